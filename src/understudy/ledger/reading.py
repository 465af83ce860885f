"""Reads the segments of one boot, in order, each number once; says what is lost, and whether the boot is over.

What was read is decided by sequence numbers alone; offsets only save reading the same bytes again. So a reader that
starts anew, or finds a batch twice because its first copy was not trusted, comes to the same records.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from understudy.core.records import Loss, Record
from understudy.ledger import frames, tally
from understudy.ledger.frames import Boot
from understudy.ledger.segments import RESERVE_SUFFIX

GAP = "gap"
"""Numbers missing where nobody counted them: the only loss that is a finding."""
KILLED = "killed"
QUARANTINED = "quarantined"
ERASED = "erased"
"""Stands in the place of a record that was removed on request."""
EXPIRED = "expired"
"""Removed because it was older than it may be kept."""
NO_TALLY = "no_tally"
"""A boot that ended and left no tally: whether its last records are there cannot be told."""
UNCOUNTED = (GAP, NO_TALLY)

BATCH_RECORDS = 50_000
BATCH_BYTES = 64 * 1024 * 1024
"""Of payload in a batch, whatever the number of records: long conversations must not fill the memory."""


CHUNK_BYTES = 1024 * 1024
"""Read at once, so that going on in the middle of a long segment does not read all the rest of it."""


class Row(NamedTuple):
    """One record under its number; `seq` to `seq + width` are accounted for by it."""

    seq: int
    record: Record


class Poison(NamedTuple):
    """Bytes that were no record, with where they came from."""

    segment: str
    offset: int
    data: bytes


@dataclass(slots=True)
class Batch:
    """What one call of `BootReader.read` found. `next_seq` is the number behind everything in it."""

    seqs: list[int] = field(default_factory=list)
    """The numbers of the records, ascending."""
    records: list[Record] = field(default_factory=list)
    poison: list[Poison] = field(default_factory=list)
    size: int = 0
    """Bytes of the frames it was made from."""
    next_seq: int = 0
    segment: int = -1
    """Index of the segment it ends in: those before it are drained once this batch is in the lake."""
    more: bool = False
    """True where the batch was full before the segments were at their end."""
    over: bool = False
    """True where the writer is gone and everything it left is in this batch or an earlier one."""

    @property
    def rows(self) -> list[Row]:
        return [Row(*each) for each in zip(self.seqs, self.records, strict=True)]

    def add(self, seq: int, record: Record) -> None:
        self.seqs.append(seq)
        self.records.append(record)

    def full(self, limit: int) -> bool:
        return len(self.records) >= limit or self.size >= BATCH_BYTES


def boots(folder: Path) -> list[Boot]:
    """The boots that left files in a folder, oldest first."""
    found = set()
    for path in folder.iterdir() if folder.is_dir() else ():
        parsed = frames.parse_segment_name(path)
        if parsed is not None:
            found.add(parsed[0])
        elif path.suffix == tally.SUFFIX and path.name.count(".") == 2:
            found.add(Boot(*path.name.split(".")[:2]))
    return sorted(found, key=lambda boot: (boot.boot, boot.worker))


class BootReader:
    """A cursor over the segments of one boot. `start` is the number before which everything is known already."""

    def __init__(self, folder: Path, boot: Boot, *, start: int = 0) -> None:
        self.boot = boot
        self._folder = folder
        self._tally_path = folder / f"{boot}{tally.SUFFIX}"
        self._start = start
        self._expected: int | None = None
        self._segment = -1
        self._offset = 0

    def read(self, limit: int = BATCH_RECORDS) -> Batch:
        """The next records, about `limit` of them. Raises OSError where a segment cannot be read."""
        # Asked before the files are listed: what a writer leaves behind when it dies is then all seen.
        alive = tally.is_held(self._tally_path)
        segments = self._segments()
        batch = Batch()
        for index, path in segments:
            if index < self._segment:
                continue
            if index > self._segment:
                self._segment, self._offset = index, 0
            self._read_segment(path, batch, final=path != segments[-1][1] or not alive, limit=limit)
            if batch.full(limit):
                batch.more = True
                break
        if not alive and not batch.more:
            batch.over = True
            self._tail(batch)
        batch.next_seq = self._start if self._expected is None else self._expected
        batch.segment = self._segment
        return batch

    def remove_before(self, segment: int) -> None:
        """Remove the segments before this one: everything in them is in the lake."""
        for index, path in self._segments():
            if index < segment:
                path.unlink(missing_ok=True)

    def remove_all(self) -> None:
        """Remove what a boot that is over left behind: segments first, the tally last."""
        for _, path in self._segments():
            path.unlink(missing_ok=True)
        (self._folder / f"{self.boot}{RESERVE_SUFFIX}").unlink(missing_ok=True)
        self._tally_path.unlink(missing_ok=True)

    def _segments(self) -> list[tuple[int, Path]]:
        found = []
        for path in self._folder.glob(f"{self.boot}.*.seg"):
            parsed = frames.parse_segment_name(path)
            if parsed is not None:
                found.append((parsed[1], path))
        return sorted(found)

    def _read_segment(self, path: Path, batch: Batch, *, final: bool, limit: int) -> None:
        """Read on from the offset; in a segment that is `final`, go past what is no frame."""
        with path.open("rb") as file:
            while not batch.full(limit):
                file.seek(self._offset)
                data = file.read(CHUNK_BYTES)
                to_its_end = len(data) < CHUNK_BYTES
                before = self._offset
                self._read_chunk(path, data, batch, final=final and to_its_end, limit=limit)
                if to_its_end:
                    return
                if self._offset == before:  # damage, or a frame longer than a chunk: decided on all there is
                    self._read_chunk(path, data + file.read(), batch, final=final, limit=limit)
                    return

    def _read_chunk(self, path: Path, data: bytes, batch: Batch, *, final: bool, limit: int) -> None:
        base, position = self._offset, 0
        if base == 0:
            if data[: len(frames.MAGIC)] != frames.MAGIC:
                if final and len(data) >= len(frames.MAGIC):
                    batch.poison.append(Poison(path.name, 0, data))
                return
            position = len(frames.MAGIC)
        while not batch.full(limit):
            if self._expected is not None:  # the next ones, whole and records: nearly all
                position = self._take_run(data, position, self._expected, batch, limit)
                if batch.full(limit):
                    break
            found = frames.read_frame(data, position)
            if found is not None:
                batch.size += found.end - position
                self._take(found, batch, path, base + position)
                position = found.end
            elif final and (resumed := frames.resume_after_damage(data, position)) is not None:
                batch.poison.append(Poison(path.name, base + position, data[position:resumed]))
                position = resumed
            else:
                break
        self._offset = base + position

    def _take_run(self, data: bytes, position: int, seq: int, batch: Batch, limit: int) -> int:
        stop = position + BATCH_BYTES - batch.size
        found, end = frames.run(data, position, seq, count=limit - len(batch.records), stop=stop)
        batch.seqs += range(seq, seq + len(found))
        batch.records += found
        batch.size += end - position
        self._expected = seq + len(found)
        return end

    def _take(self, found: frames.Frame, batch: Batch, path: Path, offset: int) -> None:
        expected = self._expected
        if expected is None:
            # Older segments may be gone because they were drained; what begins before `start` is read again.
            expected = min(self._start, found.seq)
        if found.seq > expected:
            batch.add(expected, Loss(count=found.seq - expected, why=GAP, at=0.0))
            expected = found.seq
        try:
            record = frames.decode(found.payload)
        except msgspec.DecodeError:
            record = Loss(count=1, why=QUARANTINED, at=0.0)
            if found.seq == expected:
                batch.poison.append(Poison(path.name, offset, found.payload))
        end = found.seq + frames.width(record)
        if end <= expected:
            return  # a second copy, written after a failure that the first one survived
        self._expected = end
        if isinstance(record, Loss):
            if record.why.startswith(ERASED):
                return  # whoever erased it has accounted for it
            record = msgspec.structs.replace(record, count=end - expected)
        batch.add(expected, record)

    def _tail(self, batch: Batch) -> None:
        """What a boot that is over did not bring to the disk, told from its tally."""
        count = tally.read(self._tally_path)
        expected = self._start if self._expected is None else self._expected
        if count is None:
            batch.add(expected, Loss(count=0, why=NO_TALLY, at=0.0))
            return
        if expected < count.durable:
            batch.add(expected, Loss(count=count.durable - expected, why=GAP, at=0.0))
            expected = count.durable
        if expected < count.appended:
            why = KILLED if count.errno == 0 else f"io_error_{errno.errorcode.get(count.errno, count.errno)}"
            batch.add(expected, Loss(count=count.appended - expected, why=why, at=0.0))
        self._expected = max(expected, count.appended)
