"""Keeps a copy of every decision beside the evidence it rests on: each event of a journal once, in order, for good.

The copy is for queries, and for the audit: a journal whose end was cut off or written anew differs from it.
"""

from __future__ import annotations

from collections.abc import Iterable

from understudy.ledger import rows
from understudy.ledger.lake import Decision, Lake, Table
from understudy.ledger.views import Views


class Decisions:
    """The decisions in a lake."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._ends: dict[str, int] = {}
        """By upgrade the number of the last event that is known to be there."""

    def file(self, found: Iterable[Decision]) -> int:
        """Add those that are not there yet; returns how many.

        Raises Refused where somebody else filed meanwhile, CannotMeasure where the lake cannot be written: both lose
        nothing, file again.
        """
        given = list(found)
        if all(each.seq <= self._ends.get(each.upgrade, 0) for each in given):
            return 0
        self._ends = {name: max(0, self._lake.transaction(Table.DECISIONS, _app(name))) for name in _upgrades(given)}
        new = [each for each in given if each.seq > self._ends[each.upgrade]]
        if new:
            ends = {name: max(each.seq for each in new if each.upgrade == name) for name in _upgrades(new)}
            self._lake.append(Table.DECISIONS, rows.decisions(new), {_app(name): end for name, end in ends.items()})
            self._ends |= ends
        return len(new)

    def filed(self) -> list[Decision]:
        """Everything that is there, by upgrade and in order. Raises CannotMeasure where a file cannot be read."""
        views = Views(self._lake)
        try:
            table = views.table(Table.DECISIONS)
            found = views.run(table.select(Decision._fields).order_by("upgrade", "seq"))
        finally:
            views.close()
        return [Decision(**row) for row in found.to_pylist()]


def _upgrades(decisions: Iterable[Decision]) -> set[str]:
    return {each.upgrade for each in decisions}


def _app(upgrade: str) -> str:
    return f"decisions-{upgrade}"
