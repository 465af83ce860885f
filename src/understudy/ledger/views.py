"""The tables of the lake as Ibis tables, at their newest version, on the engine the lake is read with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from understudy.core.errors import CannotMeasure
from understudy.ledger.engines.base import Engine
from understudy.ledger.engines.opening import open_engine
from understudy.ledger.lake import Lake, Table

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa

_T = TypeVar("_T")
_ASKED = 5
"""So often at most. A removal is a matter of days; twice during one question is a chance already."""


class Removed(CannotMeasure):
    """A file that was to be read belongs to its table no longer: asked again, the table has others."""


def asked_again(question: Callable[[], _T]) -> _T:
    """The answer to a question of the lake, asked again where a removal took files away while it was answered."""
    for _ in range(_ASKED - 1):
        try:
            return question()
        except Removed:
            continue
    return question()


class Views:
    """One connection; a table is bound again only when its version changed. Not for several threads at once.

    What cannot be read raises CannotMeasure; Removed where that is because the table changed meanwhile.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._opened: Engine | None = None
        self._bound: dict[tuple[Table, str | None], tuple[int, ir.Table]] = {}
        self._names: dict[tuple[Table, str | None], str] = {}
        self._files: dict[str, tuple[Table, Sequence[str]]] = {}

    def table(self, table: Table, workload: str | None = None) -> ir.Table:
        """The table, or the part of it that belongs to a workload, as of its last commit; empty if never written."""
        version = self._lake.version(table)
        key = (table, workload)
        bound = self._bound.get(key)
        if bound is not None and bound[0] == version:
            return bound[1]
        name = self._names.setdefault(key, f"{table}_{len(self._names)}")
        made = self._bind(name, table, self._lake.files(table, workload=workload))
        self._bound[key] = (version, made)
        return made

    def over(self, table: Table, files: Sequence[str], part: str = "part") -> ir.Table:
        """Some files of a table. To be run before this is asked for the same part of it again."""
        return self._bind(f"{table}_{part}", table, files)

    def run(self, expression: ir.Table) -> pa.Table:
        """The rows of an expression."""
        try:
            return self._engine.run(expression)
        except CannotMeasure as error:
            raise self._explained(error) from error

    def _bind(self, name: str, table: Table, files: Sequence[str]) -> ir.Table:
        self._files[name] = (table, files)
        try:
            return self._engine.bind(name, table, files)
        except CannotMeasure as error:
            raise self._explained(error) from error

    def _explained(self, error: CannotMeasure) -> CannotMeasure:
        """Removed where one of the files in use belongs to its table no longer; else the error as it is."""
        for table in {table for table, _ in self._files.values()}:
            there = frozenset(self._lake.files(table))
            if any(not there.issuperset(files) for of, files in self._files.values() if of == table):
                self._bound.clear()
                return Removed(error.message, remedy=error.remedy)
        return error

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
        self._opened = None
        self._bound.clear()

    @property
    def _engine(self) -> Engine:
        if self._opened is None:
            self._opened = open_engine(self._lake)
        return self._opened
