"""Accounts for every number ever given out: in the lake, still in the segments, counted as lost, or missing.

For each boot the rows of the numbered tables and the numbers their losses stand for must add up to the highest
number seen. What is missing without anybody having counted it is a finding, and so is anything there twice.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from understudy.core.records import Loss
from understudy.ledger import tally
from understudy.ledger.frames import Boot
from understudy.ledger.lake import Lake, Table
from understudy.ledger.reading import UNCOUNTED, BootReader, boots
from understudy.ledger.rows import NUMBERED, table_of
from understudy.ledger.views import Views, asked_again


class BootState(NamedTuple):
    """What became of the numbers of one boot. `given` is how many were given out, as far as anybody knows."""

    worker: str
    boot: str
    given: int
    committed: int
    waiting: int
    lost: dict[str, int]
    uncounted: int
    duplicates: int
    damaged: int
    """Places in the segments where bytes are no record."""
    living: bool

    @property
    def in_order(self) -> bool:
        return not (self.uncounted or self.duplicates or self.damaged)


class Verification(NamedTuple):
    boots: list[BootState]

    @property
    def in_order(self) -> bool:
        return all(boot.in_order for boot in self.boots)

    def lost(self) -> dict[str, int]:
        """Counted losses by reason, over all boots."""
        total: Counter[str] = Counter()
        for boot in self.boots:
            total.update(boot.lost)
        return dict(sorted(total.items()))

    def as_dict(self) -> dict[str, Any]:
        return {
            "in_order": self.in_order,
            "given": sum(boot.given for boot in self.boots),
            "committed": sum(boot.committed for boot in self.boots),
            "waiting": sum(boot.waiting for boot in self.boots),
            "lost": self.lost(),
            "uncounted": sum(boot.uncounted for boot in self.boots),
            "duplicates": sum(boot.duplicates for boot in self.boots),
            "damaged": sum(boot.damaged for boot in self.boots),
            "boots": [boot._asdict() for boot in self.boots],
        }


class _InLake(NamedTuple):
    committed: int = 0
    end: int = 0
    lost: dict[str, int] = {}  # noqa: RUF012 - never changed


def verify(segments: Path, lake: str | Path | Lake) -> Verification:
    """Account for every number. Reads only; may run beside gateways and committer.

    Raises CannotMeasure where a data file of the lake cannot be read.
    """
    opened = lake if isinstance(lake, Lake) else Lake(lake)
    # The segments are listed first: what the committer moves meanwhile is then seen in the lake, never in neither.
    open_boots = boots(segments)
    before = asked_again(lambda: _in_lake(opened))
    waiting = {boot: _waiting(segments, boot, opened) for boot in open_boots}
    after = asked_again(lambda: _in_lake(opened))
    states = []
    for boot in sorted({*before, *waiting, *after}, key=lambda b: (b.boot, b.worker)):
        # A boot whose rows moved while we counted is counted as the lake has it now.
        moved = before.get(boot) != after.get(boot)
        found = after.get(boot, _InLake())
        # The last rows may have been erased: how far a boot has come is noted with the tables as well.
        noted = max(opened.transaction(table, str(boot)) for table in NUMBERED)
        found = found._replace(end=max(found.end, noted))
        rest = _Waiting(living=True, end=found.end) if moved else waiting.get(boot, _Waiting(end=found.end))
        states.append(_state(boot, found, rest))
    return Verification(states)


class _Waiting(NamedTuple):
    records: int = 0
    end: int = 0
    lost: dict[str, int] = {}  # noqa: RUF012 - never changed
    damaged: int = 0
    living: bool = False


def _state(boot: Boot, found: _InLake, rest: _Waiting) -> BootState:
    lost = Counter(found.lost)
    lost.update(rest.lost)
    given = max(found.end, rest.end)
    accounted = found.committed + rest.records + sum(lost.values())
    flagged = sum(lost.pop(why, 0) for why in UNCOUNTED)
    return BootState(
        worker=boot.worker,
        boot=boot.boot,
        given=given,
        committed=found.committed,
        waiting=rest.records,
        lost=dict(lost),
        uncounted=flagged + max(0, given - accounted),
        duplicates=max(0, accounted - given),
        damaged=rest.damaged,
        living=rest.living,
    )


def _waiting(segments: Path, boot: Boot, lake: Lake) -> _Waiting:
    """What lies in the segments and not yet in its table."""
    known = {table: max(0, lake.transaction(table, str(boot))) for table in NUMBERED}
    reader = BootReader(segments, boot, start=max(known.values()))
    records = damaged = 0
    lost: Counter[str] = Counter()
    while True:
        batch = reader.read()
        for row in batch.rows:
            if row.seq < known[table_of(row.record)]:
                continue
            if isinstance(row.record, Loss):
                lost[row.record.why] += row.record.count
            else:
                records += 1
        damaged += len(batch.poison)
        if not batch.more:
            living = tally.is_held(segments / f"{boot}{tally.SUFFIX}")
            return _Waiting(records, batch.next_seq, dict(lost), damaged, living)


def _in_lake(lake: Lake) -> dict[Boot, _InLake]:
    """By boot: rows committed, the number behind the last, losses by reason. Reads every body, to see that it can."""
    from understudy.ledger import expressions

    views = Views(lake)
    try:
        tables = [views.table(table) for table in (Table.EXCHANGES, Table.FEEDBACK, Table.LOSSES)]
        rows = views.run(expressions.numbers(*tables)).to_pylist()
        views.run(expressions.bodies(tables[0]))
    finally:
        views.close()
    found: dict[Boot, _InLake] = {}
    for row in rows:
        boot = Boot(row["worker"], row["boot"])
        old = found.get(boot, _InLake())
        lost = Counter(old.lost)
        committed = old.committed
        if row["why"]:
            lost[row["why"]] += row["numbers"]
        else:
            committed += row["numbers"]
        found[boot] = _InLake(committed, max(old.end, row["end"]), dict(lost))
    return found
