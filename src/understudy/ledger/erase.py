"""Removes everything kept of one unit: from segments, tables, and files made from its exchanges; says what it removed.

Numbers stay accounted for: where a record was, a loss with the reason "erased" stands. No trace of the unit is left in
the log of the tables either, as rows are named by their exchange there. Segments of other machines are out of reach:
run it on each.
"""

from __future__ import annotations

import gzip
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import msgspec

from understudy.core.errors import UsageError
from understudy.core.records import Exchange, Feedback, Loss
from understudy.ledger import frames
from understudy.ledger.frames import Boot
from understudy.ledger.lake import Lake, Table, in_condition
from understudy.ledger.locks import lake_lock
from understudy.ledger.reading import ERASED, boots
from understudy.ledger.removal import Counted, Going, Place, Removal, carry_out, end_interrupted
from understudy.ledger.rows import NUMBERED, table_of
from understudy.ledger.sampling import HEADER as SUITE_HEADER
from understudy.ledger.views import Views

_IDS_AT_ONCE = 2_000
_NAMED_BY = (
    (Table.SCORES, "exchange"),
    (Table.EVAL_SCORES, "case_id"),
    (Table.FEEDBACK, "exchange"),
    (Table.EXCHANGES, "exchange"),
)
"""The tables with rows of a unit, and the column that has the id of its exchange; the exchanges go last."""
RESULTS = "results"
"""The folder with the results of evals."""


class Erased(NamedTuple):
    """What was removed, and what a person has to look at: what still mentions the unit or one of its exchanges."""

    exchanges: int
    shadow_copies: int
    feedback: int
    scores: int
    eval_scores: int
    in_segments: int
    lines: dict[str, int]
    """Lines taken out of files made from exchanges (suites, kept answers), by file."""
    data_files: int
    """Files of the lake that were deleted for good."""
    mentioned: list[str]


def erase(
    unit: str | Sequence[str],
    *,
    segments: Path,
    lake: str | Path | Lake,
    workload: str | None = None,
    derived: Sequence[Path] = (),
    elsewhere: Callable[[Sequence[str]], list[str]] | None = None,
    now: float | None = None,
) -> Erased:
    """Erase a unit, in one workload or in all.

    unit: its name as requests give it, or all names it may be kept under.
    derived: files, and folders with files, made from exchanges; in JSON Lines (compressed or not), and in suites made
        from the ledger, the lines that name an exchange of the unit or the unit itself are taken out, all other files
        that do are listed. A result of an eval that shows one of them is removed whole.
    elsewhere: says where else any of these names, of the unit and of its exchanges, is written: a database.

    Killed on the way, it is ended by whoever changes the ledger next: the committer, or erasing again. Raises
    UsageError for an empty unit, CannotMeasure where the lake cannot be reached; run it again then.
    """
    names = [unit] if isinstance(unit, str) else list(unit)
    if not all(names) or not names:
        raise UsageError("an empty unit is nobody", remedy="name the unit as the request does, like --unit u-17")
    opened = lake if isinstance(lake, Lake) else Lake(lake)
    at = time.time() if now is None else now
    with lake_lock(segments):
        end_interrupted(segments, opened)
        found = _of_unit(opened, names, workload)
        waiting = _in_segments(opened, segments, names, workload, {row.exchange for row in found})
        ids = sorted({row.exchange for row in found} | {name for each in waiting for name in each.exchanges})
        # First: killed behind the tables, nobody could tell any more which exchanges were the unit's.
        lines, mentioned = _erase_in_files(derived, names, ids)
        mentioned += elsewhere([*names, *ids]) if elsewhere else []
        feedback, counted = _feedback_of(opened, ids)
        for row in found:
            counted[Boot(row.worker, row.boot)] += 1
        for each in waiting:
            counted[each.boot] += each.uncommitted
        removal = Removal(
            name=uuid4().hex,
            why=ERASED,
            at=at,
            counted=[Counted(*boot, count) for boot, count in counted.items()],
            places=[place for each in waiting for place in each.places],
            going=[Going(table, in_condition(column, part)) for table, column in _NAMED_BY for part in _parts(ids)],
        )
        deleted, gone = carry_out(removal, segments, opened) if ids else ({}, 0)
    overwritten = sum(len(each.places) for each in waiting)
    shadow = sum(row.role == "shadow" for row in found)
    return Erased(
        exchanges=len(found) - shadow,
        shadow_copies=shadow,
        feedback=feedback,
        scores=deleted.get(Table.SCORES, 0),
        eval_scores=deleted.get(Table.EVAL_SCORES, 0),
        in_segments=overwritten,
        lines=lines,
        data_files=gone,
        mentioned=mentioned,
    )


class _Row(NamedTuple):
    exchange: str
    role: str
    worker: str
    boot: str


def _of_unit(lake: Lake, units: Sequence[str], workload: str | None) -> list[_Row]:
    views = Views(lake)
    try:
        table = views.table(Table.EXCHANGES, workload)
        chosen = table.filter(table.unit.isin(units))
        if workload is not None:
            chosen = chosen.filter(chosen.workload == workload)
        return [_Row(**row) for row in views.run(chosen.select(_Row._fields)).to_pylist()]
    finally:
        views.close()


def _feedback_of(lake: Lake, ids: Sequence[str]) -> tuple[int, Counter[Boot]]:
    views = Views(lake)
    counted: Counter[Boot] = Counter()
    try:
        table = views.table(Table.FEEDBACK)
        for part in _parts(ids):
            chosen = table.filter(table.exchange.isin(part)).select("worker", "boot")
            counted.update(Boot(row["worker"], row["boot"]) for row in views.run(chosen).to_pylist())
    finally:
        views.close()
    return counted.total(), counted


def _parts(ids: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), _IDS_AT_ONCE):
        yield list(ids[start : start + _IDS_AT_ONCE])


class _Segment(NamedTuple):
    """What of the unit is in one segment."""

    path: Path
    boot: Boot
    places: list[Place]
    exchanges: set[str]
    uncommitted: int


def _in_segments(
    lake: Lake, segments: Path, units: Sequence[str], workload: str | None, known: Iterable[str]
) -> list[_Segment]:
    """The unit's records in all segments, also in those that are being written."""
    ids = set(known)
    found = []
    for boot in boots(segments):
        committed = {table: lake.transaction(table, str(boot)) for table in NUMBERED}
        seen: set[int] = set()  # a batch that was written anew is in two segments
        for path in sorted(segments.glob(f"{boot}.*.seg")):
            segment = _Segment(path, boot, [], set(), 0)
            uncommitted = 0
            offset = len(frames.MAGIC)
            for each in frames.scan(path.read_bytes()):
                record = _decoded(each.payload)
                if isinstance(record, Exchange) and record.unit in units and workload in (None, record.workload):
                    ids.add(record.exchange)
                    segment.exchanges.add(record.exchange)
                if isinstance(record, Exchange | Feedback) and record.exchange in ids:
                    segment.places.append(Place(path.name, offset, each.seq, len(each.payload)))
                    uncommitted += each.seq >= committed[table_of(record)] and each.seq not in seen
                    seen.add(each.seq)
                offset = each.end
            if segment.places:
                found.append(segment._replace(uncommitted=uncommitted))
    return found


def _decoded(payload: bytes) -> Exchange | Feedback | Loss | None:
    try:
        return frames.decode(payload)
    except msgspec.DecodeError:
        return None


def _files(place: Path) -> Iterator[Path]:
    """The files below a folder; a file itself."""
    yield from (each for each in (place.rglob("*") if place.is_dir() else [place]) if each.is_file())


def _erase_in_files(
    places: Sequence[Path], units: Sequence[str], ids: Sequence[str]
) -> tuple[dict[str, int], list[str]]:
    names = {f'"{name}"'.encode() for name in (*units, *ids)}
    removed: dict[str, int] = {}
    mentioned: list[str] = []
    for path in sorted({found for place in places for found in _files(place)}):
        packed = path.suffix == ".gz"
        try:
            data = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
        except (OSError, EOFError, zlib.error):
            mentioned.append(str(path))  # nobody can say what is in it
            continue
        lines = data.splitlines(keepends=True)
        kept = [line for line in lines if not any(name in line for name in names)]
        if len(kept) == len(lines):
            continue
        if path.parent.name == RESULTS and path.suffix == ".json":
            path.unlink()  # it is bound to a suite that is another one now, and sealed: no line can be taken out
            removed[str(path)] = len(lines)
            continue
        if ".jsonl" not in path.suffixes[-2:] and lines[0].rstrip(b"\n") != SUITE_HEADER.encode():
            mentioned.append(str(path))
            continue
        left = b"".join(kept)
        fresh = path.with_suffix(".erasing")
        fresh.write_bytes(gzip.compress(left, mtime=0) if packed else left)
        fresh.replace(path)
        removed[str(path)] = len(lines) - len(kept)
    return removed, mentioned
