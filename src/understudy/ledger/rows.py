"""Turns records into the columns of a table: the day, the analysis bucket and the cost are decided here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

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


def table_of(record: Record) -> Table:
    """Which table a record belongs in."""
    match record:
        case Exchange():
            return Table.EXCHANGES
        case Feedback():
            return Table.FEEDBACK
        case Loss():
            return Table.LOSSES


class Numbered(NamedTuple):
    """A record and the number it was appended under."""

    boot: Boot
    seq: int
    record: Any


def day_of(at: float) -> str:
    """The day of a time in UTC, as YYYY-MM-DD."""
    return _day(at // 86_400)


@lru_cache(maxsize=4096)
def _day(number: float) -> str:
    return datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()


@lru_cache(maxsize=65_536)
def _bucket(workload: str, unit: str) -> int:
    return analysis_bucket(workload, unit)


@lru_cache(maxsize=65_536)
def _slice_list(items: tuple[tuple[str, str], ...]) -> list[str]:
    return sorted(f"{key}={value}" for key, value in items)


def exchanges(found: Sequence[Numbered], prices: Prices) -> pa.Table:
    """Rows of the exchanges table. Who is nobody in particular is a group of its own: bucket by exchange."""
    records: list[Exchange] = [each.record for each in found]
    columns = _columns(Table.EXCHANGES, records)
    columns["slices"] = [_slice_list(tuple(slices.items())) for slices in columns["slices"]]
    columns["bucket"] = [_bucket(r.workload, r.unit) if r.unit else _bucket(r.workload, r.exchange) for r in records]
    costs = [prices.cost(record) for record in records]
    columns["cost_usd"], columns["cost_source"], columns["cost_as_of"] = zip(*costs, strict=True)
    columns["schema_version"] = [SCHEMA_VERSION] * len(records)
    columns["day"] = [_day(at // 86_400) for at in columns["started_at"]]
    return lake.arrow(Table.EXCHANGES, columns | _numbers(found))


def feedback(found: Sequence[Numbered]) -> pa.Table:
    records: list[Feedback] = [each.record for each in found]
    columns = _columns(Table.FEEDBACK, records)
    columns["day"] = [day_of(at) for at in columns["at"]]
    return lake.arrow(Table.FEEDBACK, columns | _numbers(found))


def losses(found: Sequence[Numbered], now: float) -> pa.Table:
    """Rows of the losses table; a loss that was only found in reading is dated now."""
    records: list[Loss] = [each.record for each in found]
    columns = _columns(Table.LOSSES, records)
    columns["at"] = [at or now for at in columns["at"]]
    columns["day"] = [day_of(at) for at in columns["at"]]
    return lake.arrow(Table.LOSSES, columns | _numbers(found))


def scores(found: Iterable[lake.Score]) -> pa.Table:
    records = list(found)
    return lake.arrow(Table.SCORES, _columns(Table.SCORES, records))


def _columns(table: Table, records: Sequence[Any]) -> dict[str, Sequence[Any]]:
    names = lake.record_fields(table)
    return dict(zip(names, zip(*map(attrgetter(*names), records), strict=True), strict=True))


def _numbers(found: Sequence[Numbered]) -> dict[str, Sequence[Any]]:
    boots, seqs, _ = zip(*found, strict=True)
    workers, names = zip(*boots, strict=True)
    return {"worker": workers, "boot": names, "seq": seqs}
