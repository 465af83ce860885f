"""Turns records into the columns of a table: the day, the analysis bucket and the cost are decided here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import astuple, replace

from understudy.assign.bucket import analysis_bucket
from understudy.core.records import SCHEMA_VERSION, Exchange, Feedback, Loss, Record
from understudy.ledger import lake
from understudy.ledger.frames import Boot
from understudy.ledger.lake import Table
from understudy.ledger.prices import Prices

if TYPE_CHECKING:
    import pyarrow as pa


NUMBERED = (Table.EXCHANGES, Table.FEEDBACK, Table.LOSSES)
"""The tables whose rows carry the number they were appended under."""


_TABLES: Mapping[type[Record], Table] = {
    Exchange: Table.EXCHANGES,
    Feedback: Table.FEEDBACK,
    Loss: Table.LOSSES,
}


def table_of(record: Record) -> Table:
    """Which table a record belongs in."""
    return _TABLES[type(record)]


def by_table(boot: Boot, seqs: Sequence[int], records: Sequence[Record]) -> dict[Table, Numbered]:
    """The records of a boot, sorted out by the table they belong in; tables without any are left out."""
    kinds = set(map(type, records))
    if len(kinds) == 1:
        return {_TABLES[kinds.pop()]: Numbered(boot, seqs, records)}
    found: dict[Table, Numbered] = {}
    for kind in kinds:
        places = [place for place, record in enumerate(records) if type(record) is kind]
        found[_TABLES[kind]] = Numbered(boot, [seqs[at] for at in places], [records[at] for at in places])
    return found


class Numbered(NamedTuple):
    """Records of one boot, all of one kind, and the numbers they were appended under."""

    boot: Boot
    seqs: Sequence[int]
    records: Sequence[Any]


def day_of(at: float) -> str:
    """The day of a time in UTC, as YYYY-MM-DD."""
    return _day(at // 86_400)


@lru_cache(maxsize=4096)
def _day(number: float) -> str:
    return datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()


class _Buckets(dict[str, int]):
    """The analysis buckets of the units of one workload, as far as they were met lately."""

    def __init__(self, workload: str) -> None:
        self._workload = workload

    def __missing__(self, unit: str) -> int:
        if len(self) >= _UNITS:
            self.clear()
        found = self[unit] = analysis_bucket(self._workload, unit)
        return found


_UNITS = 200_000
_buckets = lru_cache(maxsize=16)(_Buckets)


@lru_cache(maxsize=65_536)
def _slice_list(items: tuple[tuple[str, str], ...]) -> list[str]:
    return sorted(f"{key}={value}" for key, value in items)


def exchanges(found: Numbered, prices: Prices) -> pa.Table:
    """Rows of the exchanges table. Who is nobody in particular is a group of its own: bucket by exchange."""
    columns = _columns(Table.EXCHANGES, [found])
    columns["slices"] = [_slice_list(tuple(slices.items())) for slices in columns["slices"]]
    who = zip(columns["workload"], columns["unit"], columns["exchange"], strict=True)
    columns["bucket"] = [_buckets(workload)[unit or exchange] for workload, unit, exchange in who]
    columns["cost_usd"], columns["cost_source"], columns["cost_as_of"] = prices.costs(columns)
    columns["schema_version"] = [SCHEMA_VERSION] * len(columns["day"])
    return lake.arrow(Table.EXCHANGES, columns)


def feedback(found: Numbered) -> pa.Table:
    return lake.arrow(Table.FEEDBACK, _columns(Table.FEEDBACK, [found]))


def losses(found: Sequence[Numbered], now: float) -> pa.Table:
    """Rows of the losses table; a loss that was only found in reading is dated now."""
    dated = [
        each._replace(records=[loss if loss.at else replace(loss, at=now) for loss in each.records]) for each in found
    ]
    return lake.arrow(Table.LOSSES, _columns(Table.LOSSES, dated))


def scores(found: Iterable[lake.Score]) -> pa.Table:
    return lake.arrow(Table.SCORES, dict(zip(lake.record_fields(Table.SCORES), zip(*found, strict=True), strict=True)))


def eval_scores(found: Iterable[lake.EvalScore]) -> pa.Table:
    names = lake.record_fields(Table.EVAL_SCORES)
    columns = dict(zip(names, zip(*found, strict=True), strict=True))
    return lake.arrow(Table.EVAL_SCORES, columns | {"slices": [list(each) for each in columns["slices"]]})


def decisions(found: Iterable[lake.Decision]) -> pa.Table:
    names = lake.record_fields(Table.DECISIONS)
    return lake.arrow(Table.DECISIONS, dict(zip(names, zip(*found, strict=True), strict=True)))


_AT = {Table.EXCHANGES: "started_at", Table.FEEDBACK: "at", Table.LOSSES: "at"}


def _columns(table: Table, found: Sequence[Numbered]) -> dict[str, Sequence[Any]]:
    """The fields of the records as columns, with the day and the numbers; `found` has a record at least."""
    records = chain.from_iterable(each.records for each in found)
    columns: dict[str, Sequence[Any]] = dict(
        zip(lake.record_fields(table), zip(*map(astuple, records), strict=True), strict=True)
    )
    columns["day"] = [_day(at // 86_400) for at in columns[_AT[table]]]
    columns["worker"] = [each.boot.worker for each in found for _ in each.seqs]
    columns["boot"] = [each.boot.boot for each in found for _ in each.seqs]
    columns["seq"] = [seq for each in found for seq in each.seqs]
    return columns
