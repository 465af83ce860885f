"""Removes what is older than it may be kept, table by table; the numbers stay accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from understudy.core.errors import UsageError
from understudy.ledger.frames import Boot
from understudy.ledger.lake import Lake, Table
from understudy.ledger.locks import lake_lock
from understudy.ledger.reading import EXPIRED
from understudy.ledger.removal import Counted, Going, Removal, carry_out, end_interrupted
from understudy.ledger.rows import NUMBERED, day_of
from understudy.ledger.views import Views

KEPT = frozenset({Table.LOSSES, Table.DECISIONS})
"""Not subject to retention: without the account of what is missing nobody could tell a loss from an expiry, and who
decided what is asked for years later."""
DAY = 86_400.0


def expire(keep_s: Mapping[Table, float], *, segments: Path, lake: str | Path | Lake, now: float) -> dict[Table, int]:
    """Remove the rows of whole days (UTC) that ended longer ago than a table is kept; returns how many of each.

    Removed for good: the files that held them are deleted. Killed on the way, it is ended by whoever changes the ledger
    next. Raises UsageError for the tables that are kept and for less than a day, CannotMeasure where the lake cannot be
    reached.
    """
    for table, seconds in keep_s.items():
        if table in KEPT or seconds < DAY:
            raise UsageError(
                f"{table} cannot be kept for {seconds:g} s",
                remedy=f"name one of {', '.join(t for t in Table if t not in KEPT)}, and a day or more",
            )
    opened = lake if isinstance(lake, Lake) else Lake(lake)
    with lake_lock(segments):
        end_interrupted(segments, opened)
        counted: Counter[Boot] = Counter()
        going = []
        for table, seconds in keep_s.items():
            before = now - seconds
            if table in NUMBERED:
                condition = f"day < '{day_of(before)}'"
                rows = _numbered(opened, table, day_of(before))
                counted += rows
                some = bool(rows)
            else:
                condition = f"at < {before - before % DAY!r}"
                some = _has_before(opened, table, before - before % DAY)
            if some:
                going.append(Going(table, condition))
        if not going:  # and nothing is vacuumed from under the readers of a ledger in use
            return dict.fromkeys(keep_s, 0)
        removal = Removal(
            name=uuid4().hex,
            why=EXPIRED,
            at=now,
            counted=[Counted(*boot, count) for boot, count in counted.items()],
            places=[],
            going=going,
        )
        return dict.fromkeys(keep_s, 0) | carry_out(removal, segments, opened)[0]


def _numbered(lake: Lake, table: Table, before_day: str) -> Counter[Boot]:
    """How many rows of each boot go."""
    views = Views(lake)
    try:
        found = views.table(table)
        going = found.filter(found.day < before_day)
        going = going.group_by(["worker", "boot"]).agg(rows=going.count())
        return Counter({Boot(row["worker"], row["boot"]): row["rows"] for row in views.run(going).to_pylist()})
    finally:
        views.close()


def _has_before(lake: Lake, table: Table, before: float) -> bool:
    views = Views(lake)
    try:
        found = views.table(table)
        return len(views.run(found.filter(found.at < before).select("at").limit(1))) > 0
    finally:
        views.close()
