"""Drains the segments of one machine into the lake, each record exactly once, and keeps the tables small.

One committer runs per machine; a lock in the segments folder sees to it. For each table the next sequence number of
each boot is written with the rows, as a transaction of the table: after a kill at any point the next committer finds
there what is in, and takes the rest. Segments are removed only when all their records are in all tables.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from understudy.core.errors import CannotMeasure
from understudy.ledger import rows
from understudy.ledger.frames import Boot
from understudy.ledger.lake import Lake, Table
from understudy.ledger.locks import lake_lock, take_committer_lock
from understudy.ledger.prices import Price, Prices
from understudy.ledger.reading import BATCH_RECORDS, Batch, BootReader, Poison, boots
from understudy.ledger.rows import NUMBERED, Numbered, table_of

QUARANTINE_FOLDER = "quarantine"
COMPACT_EVERY = 24
VACUUM_EVERY_S = 3600.0


class Committed(NamedTuple):
    """What one run brought into the lake. `lost` counts the records that losses stand for, not the losses."""

    exchanges: int = 0
    feedback: int = 0
    lost: int = 0
    quarantined: int = 0
    boots_over: int = 0


class Committer:
    """The one process that writes the numbered tables of a lake from this machine.

    Raises Refused where another committer holds the folder.
    """

    def __init__(
        self,
        segments: Path,
        lake: str | Path | Lake,
        *,
        prices: Prices | Mapping[str, Price] | None = None,
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
        self._commits: dict[Table, int] = dict.fromkeys(NUMBERED, 0)
        self._vacuumed_at = clock()
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
        # Nothing of a batch forms cycles, and looking for them in a million records takes longer than the records.
        collecting = gc.isenabled()
        gc.disable()
        try:
            while more:
                with lake_lock(self._segments):
                    done, more = self._round()
                total = Committed(*(a + b for a, b in zip(total, done, strict=True)))
        except BaseException as error:
            # What was read and not committed must be read again, and only the lake knows what was committed.
            self._readers.clear()
            self._known.clear()
            if isinstance(error, OSError):
                raise CannotMeasure(
                    f"the segments in {self._segments} cannot be drained: {error}",
                    remedy="see to space and permissions; nothing is lost yet",
                ) from error
            raise
        finally:
            if collecting:
                gc.enable()
        with lake_lock(self._segments):
            self._tidy()
        return total

    def close(self) -> None:
        """Let another committer take over."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Committer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _round(self) -> tuple[Committed, bool]:
        """One batch of every boot: read, commit table by table, then let go of what was drained."""
        batches: dict[Boot, Batch] = {}
        room = self._batch
        for boot in boots(self._segments):
            if room <= 0:
                break
            batches[boot] = self._reader(boot).read(room)
            room -= len(batches[boot].rows)
        found = [Numbered(boot, row.seq, row.record) for boot, batch in batches.items() for row in batch.rows]
        poison = [(boot, each) for boot, batch in batches.items() for each in batch.poison]
        self._quarantine(poison)
        ends = {boot: batch.next_seq for boot, batch in batches.items()}
        sorted_out = _by_table(found)
        committed = {table: self._commit(table, sorted_out[table], ends) for table in NUMBERED}
        over = [boot for boot, batch in batches.items() if batch.over]
        for boot in batches:
            if boot in over:
                self._readers.pop(boot).remove_all()
            else:
                self._readers[boot].remove_drained()
        done = Committed(
            exchanges=len(committed[Table.EXCHANGES]),
            feedback=len(committed[Table.FEEDBACK]),
            lost=sum(each.record.count for each in committed[Table.LOSSES]),
            quarantined=len(poison),
            boots_over=len(over),
        )
        return done, room <= 0 or any(batch.more for batch in batches.values())

    def _reader(self, boot: Boot) -> BootReader:
        if boot not in self._readers:
            for table in NUMBERED:
                self._known[table, boot] = max(0, self._lake.transaction(table, str(boot)))
            start = max(self._known[table, boot] for table in NUMBERED)
            self._readers[boot] = BootReader(self._segments, boot, start=start)
        return self._readers[boot]

    def _commit(self, table: Table, found: list[Numbered], ends: Mapping[Boot, int]) -> list[Numbered]:
        """Append what the table does not have yet, together with how far each boot has come; returns what was new."""
        new = [each for each in found if each.seq >= self._known[table, each.boot]]
        if not new:
            return new
        transactions = {boot: ends[boot] for boot in {each.boot for each in new}}
        match table:
            case Table.EXCHANGES:
                data = rows.exchanges(new, self._prices)
            case Table.FEEDBACK:
                data = rows.feedback(new)
            case _:
                data = rows.losses(new, self._clock())
        self._lake.append(table, data, {str(boot): end for boot, end in transactions.items()})
        self._commits[table] += 1
        for boot, end in transactions.items():
            self._known[table, boot] = end
        return new

    def _quarantine(self, poison: Iterable[tuple[Boot, Poison]]) -> None:
        """Keep the bytes that were no record; named by where they stood, so that a second time changes nothing."""
        for _, each in poison:
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


def _by_table(found: Iterable[Numbered]) -> dict[Table, list[Numbered]]:
    tables: dict[Table, list[Numbered]] = {table: [] for table in NUMBERED}
    for each in found:
        tables[table_of(each.record)].append(each)
    return tables
