"""Drains the segments of one machine into the lake, each record exactly once, and keeps the tables small.

One committer runs per machine; a lock in the segments folder sees to it. For each table the next sequence number of
each boot is written with the rows, as a transaction of the table: after a kill at any point the next committer finds
there what is in, and takes the rest. Segments are removed only when all their records are in all tables.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from understudy.core.errors import CannotMeasure
from understudy.ledger import rows
from understudy.ledger.frames import Boot
from understudy.ledger.lake import Lake, Table
from understudy.ledger.locks import lake_lock, take_committer_lock
from understudy.ledger.prices import Price, Prices
from understudy.ledger.reading import BATCH_RECORDS, Batch, BootReader, Poison, boots
from understudy.ledger.removal import end_interrupted
from understudy.ledger.retention import expire
from understudy.ledger.rows import NUMBERED, Numbered
from understudy.ledger.uncollected import uncollected

if TYPE_CHECKING:
    import pyarrow as pa

QUARANTINE_FOLDER = "quarantine"
COMPACT_EVERY = 24
VACUUM_EVERY_S = 3600.0
EXPIRE_EVERY_S = 3600.0
PIECE = 10_000
"""Records made into columns at once."""
SPELL = 8
"""Batches between which nobody else may change lake or segments: a few seconds, however long the backlog."""


class Committed(NamedTuple):
    """What one run brought into the lake. `lost` counts the records that losses stand for, not the losses."""

    exchanges: int = 0
    feedback: int = 0
    lost: int = 0
    quarantined: int = 0
    boots_over: int = 0


class _Part(NamedTuple):
    """Rows for one table, and by boot the number behind the last of them."""

    pieces: list[pa.Table]
    transactions: dict[str, int]


@dataclass(slots=True)
class _Round:
    """What goes into the lake with one commit of each table."""

    parts: dict[Table, _Part] = field(default_factory=dict)
    segments: dict[Boot, int] = field(default_factory=dict)
    """By boot the segment that reading came to."""
    over: set[Boot] = field(default_factory=set)
    committed: Committed = field(default_factory=Committed)
    more: bool = False


class Committer:
    """The one process that writes the numbered tables of a lake from this machine.

    keep_s: how long rows of a table are kept; tables that are not named are kept for ever.
    Raises Refused where another committer holds the folder.
    """

    def __init__(
        self,
        segments: Path,
        lake: str | Path | Lake,
        *,
        prices: Prices | Mapping[str, Price] | None = None,
        keep_s: Mapping[Table, float] | None = None,
        batch: int = BATCH_RECORDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._segments = segments
        self._lake = lake if isinstance(lake, Lake) else Lake(lake)
        self._prices = prices if isinstance(prices, Prices) else Prices(prices)
        self._batch = batch
        self._clock = clock
        self._readers: dict[Boot, BootReader] = {}
        self._known: dict[tuple[Table, Boot], int] = {}
        """By table and boot the number behind what is in the table, or on its way there."""
        self._over: set[Boot] = set()
        """Boots whose last batch is on its way."""
        self._commits: dict[Table, int] = dict.fromkeys(NUMBERED, 0)
        self._vacuumed_at = clock()
        self._keep_s = dict(keep_s or {})
        self._expired_at = -EXPIRE_EVERY_S
        self._lock: int | None = take_committer_lock(segments)

    def run_once(self) -> Committed:
        """Bring everything into the lake that is in the segments now.

        Raises CannotMeasure where lake or segments cannot be reached, Refused where somebody else drains the same
        boots; nothing is lost by either, call again later.
        """
        if self._lock is None:
            raise RuntimeError("the committer was closed")
        total = Committed()
        more = True
        try:
            with uncollected():
                while more:
                    with lake_lock(self._segments):
                        done, more = self._spell()
                    total = _added(total, done)
        except BaseException as error:
            # What was read and not committed must be read again, and only the lake knows what was committed.
            self._readers.clear()
            self._known.clear()
            self._over.clear()
            if isinstance(error, OSError):
                raise CannotMeasure(
                    f"the segments in {self._segments} cannot be drained: {error}",
                    remedy="see to space and permissions; nothing is lost yet",
                ) from error
            raise
        with lake_lock(self._segments):
            self._tidy()
        if self._keep_s and self._clock() - self._expired_at >= EXPIRE_EVERY_S:
            expire(self._keep_s, segments=self._segments, lake=self._lake, now=self._clock())
            self._expired_at = self._clock()
        return total

    def use(self, prices: Prices, keep_s: Mapping[Table, float]) -> None:
        """Go on with other prices and other times of keeping; from the same thread as `run_once`."""
        self._prices = prices
        if self._keep_s != keep_s:
            self._keep_s = dict(keep_s)
            self._expired_at = -EXPIRE_EVERY_S

    def close(self) -> None:
        """Let another committer take over."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Committer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _spell(self) -> tuple[Committed, bool]:
        """Some batches under one lock: while one is written, the next is read and made into columns."""
        with ThreadPoolExecutor(1, thread_name_prefix="committer") as writer:
            total = Committed()
            end_interrupted(self._segments, self._lake)
            ready = self._prepare()
            for _ in range(SPELL):
                written = writer.submit(self._write, ready)
                following = self._prepare() if ready.more else None
                total = self._finish(ready, written, total)
                if following is None:
                    return total, False
                ready = following
            return self._finish(ready, writer.submit(self._write, ready), total), ready.more

    def _finish(self, done: _Round, written: Future[None], total: Committed) -> Committed:
        """Let go of what was drained once it is in the lake."""
        written.result()
        for boot, segment in done.segments.items():
            if boot in done.over:
                self._over.remove(boot)
                self._readers.pop(boot).remove_all()
            else:
                self._readers[boot].remove_before(segment)
        return _added(total, done.committed)

    def _prepare(self) -> _Round:
        """Some records of every boot, read and made into columns of what each table does not have yet.

        Piece by piece, as a record takes several times the memory of its columns.
        """
        ready = _Round()
        room = self._batch
        for boot in boots(self._segments):
            if boot in self._over:
                continue
            more = True
            while more and room > 0:
                batch = self._reader(boot).read(min(room, PIECE))
                room -= len(batch.records)
                self._quarantine(batch.poison)
                self._sort_out(boot, batch, ready)
                more = batch.more
            ready.more |= more
        self._over |= ready.over
        return ready

    def _sort_out(self, boot: Boot, batch: Batch, ready: _Round) -> None:
        count = Counter[Table]()
        for table, all_ in rows.by_table(boot, batch.seqs, batch.records).items():
            start = bisect_left(all_.seqs, self._known[table, boot])
            if start < len(all_.seqs):
                new = Numbered(boot, all_.seqs[start:], all_.records[start:])
                part = ready.parts.setdefault(table, _Part([], {}))
                part.pieces.append(self._columns(table, new))
                part.transactions[str(boot)] = self._known[table, boot] = batch.next_seq
                count[table] = sum(loss.count for loss in new.records) if table is Table.LOSSES else len(new.seqs)
        ready.segments[boot] = batch.segment
        if batch.over:
            ready.over.add(boot)
        ready.committed = _added(
            ready.committed,
            Committed(
                exchanges=count[Table.EXCHANGES],
                feedback=count[Table.FEEDBACK],
                lost=count[Table.LOSSES],
                quarantined=len(batch.poison),
                boots_over=batch.over,
            ),
        )

    def _columns(self, table: Table, found: Numbered) -> pa.Table:
        match table:
            case Table.EXCHANGES:
                return rows.exchanges(found, self._prices)
            case Table.FEEDBACK:
                return rows.feedback(found)
            case _:
                return rows.losses([found], self._clock())

    def _write(self, ready: _Round) -> None:
        """Append to each table, together with how far each boot has come. Runs beside the reading of the next batch."""
        import pyarrow as pa

        for table in NUMBERED:
            if (part := ready.parts.get(table)) is not None:
                self._lake.append(table, pa.concat_tables(part.pieces), part.transactions)
                self._commits[table] += 1

    def _reader(self, boot: Boot) -> BootReader:
        if boot not in self._readers:
            for table in NUMBERED:
                self._known[table, boot] = max(0, self._lake.transaction(table, str(boot)))
            start = max(self._known[table, boot] for table in NUMBERED)
            self._readers[boot] = BootReader(self._segments, boot, start=start)
        return self._readers[boot]

    def _quarantine(self, poison: Iterable[Poison]) -> None:
        """Keep the bytes that were no record; named by where they stood, so that a second time changes nothing."""
        for each in poison:
            folder = self._segments / QUARANTINE_FOLDER
            folder.mkdir(mode=0o700, exist_ok=True)
            path = folder / f"{each.segment}.{each.offset}.bin"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(each.data)

    def _tidy(self) -> None:
        """Compact what grew by many small commits, and drop files that nobody can be reading any more."""
        for table, commits in self._commits.items():
            if commits >= COMPACT_EVERY:
                self._lake.compact(table)
                self._commits[table] = 0
        if self._clock() - self._vacuumed_at >= VACUUM_EVERY_S:
            for table in Table:
                self._lake.vacuum(table)
            self._vacuumed_at = self._clock()


def _added(one: Committed, other: Committed) -> Committed:
    return Committed(*(a + b for a, b in zip(one, other, strict=True)))
