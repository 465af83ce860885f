"""Removes what is older than it may be kept, table by table; the numbers stay accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from understudy.core.errors import UsageError
from understudy.core.records import Loss
from understudy.ledger import rows
from understudy.ledger.frames import Boot
from understudy.ledger.lake import Lake, Table
from understudy.ledger.locks import lake_lock
from understudy.ledger.reading import EXPIRED
from understudy.ledger.rows import NUMBERED, Numbered, day_of
from understudy.ledger.views import Views

KEPT = frozenset({Table.LOSSES, Table.DECISIONS})
"""Not subject to retention: without the account of what is missing nobody could tell a loss from an expiry, and who
decided what is asked for years later."""
DAY = 86_400.0


def expire(keep_s: Mapping[Table, float], *, segments: Path, lake: str | Path | Lake, now: float) -> dict[Table, int]:
    """Remove the rows of whole days (UTC) that ended longer ago than a table is kept; returns how many of each.

    Removed for good: the files that held them are deleted. Raises UsageError for the tables that are kept and for less
    than a day, CannotMeasure where the lake cannot be reached.
    """
    for table, seconds in keep_s.items():
        if table in KEPT or seconds < DAY:
            raise UsageError(
                f"{table} cannot be kept for {seconds:g} s",
                remedy=f"name one of {', '.join(t for t in Table if t not in KEPT)}, and a day or more",
            )
    opened = lake if isinstance(lake, Lake) else Lake(lake)
    removed: dict[Table, int] = {}
    with lake_lock(segments):
        for table, seconds in keep_s.items():
            before = now - seconds
            if table in NUMBERED:
                _account(opened, table, day_of(before), now)
                removed[table] = opened.delete_where(table, f"day < '{day_of(before)}'")
            else:
                removed[table] = opened.delete_where(table, f"at < {before - before % DAY!r}")
            opened.vacuum(table, keep_hours=0)
    return removed


def _account(lake: Lake, table: Table, before_day: str, now: float) -> None:
    """Losses in the place of the rows that go; they have no number of their own: seq + count is 0."""
    views = Views(lake)
    try:
        found = views.table(table)
        going = found.filter(found.day < before_day)
        going = going.group_by(["worker", "boot"]).agg(rows=going.count())
        counted = Counter({Boot(row["worker"], row["boot"]): row["rows"] for row in views.run(going).to_pylist()})
    finally:
        views.close()
    losses = [Numbered(boot, [-count], [Loss(count=count, why=EXPIRED, at=now)]) for boot, count in counted.items()]
    if losses:
        lake.append(Table.LOSSES, rows.losses(losses, now), {})
