"""Carries a removal that was decided to its end, however often it is killed on the way.

What is to go is written down first: how many numbers of which boot, which places of which segments, which rows of which
tables. Each step may then be repeated: the account of the numbers is written with a transaction of its own, and what is
gone already goes no second time. Whoever holds the lock of the lake next ends what somebody before them began.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from understudy.core.errors import CannotMeasure, DataCorrupt
from understudy.core.records import Loss
from understudy.ledger import frames, rows
from understudy.ledger.frames import Boot
from understudy.ledger.lake import Lake, Table
from understudy.ledger.reading import ERASED
from understudy.ledger.rows import Numbered
from understudy.ledger.segments import sync_folder

SUFFIX = ".removal"
_FRESH = ".new"


class Place(msgspec.Struct, frozen=True, array_like=True):
    """A record in a segment: where its frame begins, its number, and the length of its payload."""

    segment: str
    offset: int
    seq: int
    length: int


class Going(msgspec.Struct, frozen=True, array_like=True):
    """The rows of a table for which an SQL condition holds; the condition names nobody, as the log keeps it."""

    table: Table
    condition: str


class Counted(msgspec.Struct, frozen=True, array_like=True):
    """How many numbers of a boot go."""

    worker: str
    boot: str
    numbers: int


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """What goes, and why; `name` is unique."""

    name: str
    why: str
    at: float
    counted: list[Counted]
    places: list[Place]
    going: list[Going]


def carry_out(removal: Removal, segments: Path, lake: Lake) -> tuple[dict[Table, int], int]:
    """Remove it, holding the lock of the lake; returns the rows deleted of each table and the files of the lake that
    are gone for good. Raises CannotMeasure where something cannot be written: nothing is gone then, or the rest goes
    the next time anybody changes the ledger.
    """
    path = segments / f"{removal.name}{SUFFIX}"
    try:
        _write_down(removal, path)
        return _go_on(removal, path, lake)
    except OSError as error:
        raise CannotMeasure(
            f"{path} cannot be carried out: {error.strerror}",
            remedy="see to space and permissions; then run it again, or `understudy ledger commit`, which ends it",
        ) from error


def end_interrupted(segments: Path, lake: Lake) -> int:
    """End the removals that somebody began and did not end, holding the lock of the lake; returns how many."""
    for path in segments.glob(f"*{SUFFIX}{_FRESH}"):
        path.unlink(missing_ok=True)
    found = sorted(segments.glob(f"*{SUFFIX}"))
    for path in found:
        try:
            removal = msgspec.json.decode(path.read_bytes(), type=Removal)
        except msgspec.DecodeError as error:
            raise DataCorrupt(
                f"{path} does not say what was to be removed: {error}",
                remedy="move it away and run the removal again; `understudy ledger verify` accounts for the numbers",
            ) from error
        _go_on(removal, path, lake)
    return len(found)


def _write_down(removal: Removal, path: Path) -> None:
    fresh = path.with_name(path.name + _FRESH)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(removal))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def _go_on(removal: Removal, path: Path, lake: Lake) -> tuple[dict[Table, int], int]:
    _account(removal, lake)
    _overwrite(removal.places, path.parent, removal.at)
    deleted = {going.table: 0 for going in removal.going}
    for going in removal.going:
        deleted[going.table] += lake.delete_where(going.table, going.condition)
    gone = sum(lake.vacuum(table, keep_hours=0) for table in deleted)
    path.unlink()
    return deleted, gone


def _account(removal: Removal, lake: Lake) -> None:
    """Losses in the place of what goes, once. They have no number of their own: seq + count is 0."""
    app = f"removal {removal.name}"
    found = [
        Numbered(
            Boot(each.worker, each.boot),
            [-each.numbers],
            [Loss(count=each.numbers, why=removal.why, at=removal.at)],
        )
        for each in removal.counted
        if each.numbers
    ]
    if found and lake.transaction(Table.LOSSES, app) < 0:
        lake.append(Table.LOSSES, rows.losses(found, removal.at), {app: 0})


def _overwrite(places: Iterable[Place], segments: Path, at: float) -> None:
    """Put tombstones over the records; frames keep their length and number, so a writer and readers go on."""
    by_segment: dict[str, list[Place]] = {}
    for place in places:
        by_segment.setdefault(place.segment, []).append(place)
    for name, found in by_segment.items():
        with (segments / name).open("r+b", buffering=0) as file:
            for place in found:
                file.seek(place.offset)
                file.write(frames.frame(place.seq, tombstone(place.length, at)))
            os.fsync(file.fileno())


_ONES = (b"\x01", b"\xcc\x01", b"\xcd\x00\x01")
"""The number 1 in MessagePack, in one, two and three bytes."""


def tombstone(length: int, at: float) -> bytes:
    """A Loss of one record, reason "erased", padded to a length in bytes; any exchange or feedback is long enough."""
    shortest = len(frames.encode_payload(Loss(count=1, why=ERASED, at=at)))
    for spaces in range(length - shortest, max(-1, length - shortest - 6), -1):
        payload = frames.encode_payload(Loss(count=1, why=ERASED + " " * spaces, at=at))
        for one in _ONES:  # a text grows by more than a byte where its length field does; a wider 1 fills that
            if len(payload) + len(one) - 1 == length:
                return payload.replace(b"\xa5count\x01", b"\xa5count" + one)
    raise ValueError(f"no record is as short as {length} bytes")
