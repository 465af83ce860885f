"""Which files brought rows to a table since somebody last read it, whatever compactions made of them meanwhile."""

from __future__ import annotations

from collections.abc import Iterable

from understudy.ledger.lake import Change, Lake, Table, place_of


class Arrivals:
    """What came between two versions of a table. The log is read only where files are gone."""

    def __init__(self, lake: Lake, table: Table, *, since: int, until: int) -> None:
        self._lake = lake
        self._table = table
        self._since, self._until = since, until
        self._changes: list[Change] | None = None
        self._looked = False

    def among(self, known: frozenset[str], files: frozenset[str]) -> frozenset[str] | None:
        """The addresses of the files with rows that are in none of `known`; None where rows went, or nobody can tell.

        known, files: the addresses of all data files of some folders, then and now.
        """
        if known <= files:
            return files - known
        if not self._looked:
            self._changes = self._lake.changes(self._table, self._since, self._until)
            self._looked = True
        if self._changes is None:
            return None
        there = {place_of(self._table, file): file for file in files}
        new = new_rows(frozenset(place_of(self._table, file) for file in known), frozenset(there), self._changes)
        replaced = None if new is None else self._lake.replaced(self._table, new - there.keys())
        if new is None or replaced is None:
            return None
        return frozenset(replaced) | {there[place] for place in new & there.keys()}


def new_rows(known: frozenset[str], files: frozenset[str], changes: Iterable[Change]) -> frozenset[str] | None:
    """The files that brought rows between two states of some folders, replaced since or not; None where rows went.

    known, files: the places of all data files of the folders, then and now.
    changes: the commits between, of the whole table.
    """
    folders = {_folder(file) for file in known | files}
    there, new = known, frozenset[str]()
    for change in changes:
        added = frozenset(file for file in change.added if _folder(file) in folders)
        removed = frozenset(file for file in change.removed if _folder(file) in folders)
        if not removed <= there or (removed and not change.moved):
            return None
        there = there - removed | added
        if not change.moved:
            new |= added
    return new if there == files else None


def _folder(file: str) -> str:
    return file.rsplit("/", 1)[0]
