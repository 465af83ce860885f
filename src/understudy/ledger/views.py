"""The tables of the lake as Ibis tables, at their newest version, on the engine the lake is read with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from understudy.ledger.engines.base import Engine
from understudy.ledger.engines.opening import open_engine
from understudy.ledger.lake import Lake, Table

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa


class Views:
    """One connection; a table is bound again only when its version changed. Not for several threads at once."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._opened: Engine | None = None
        self._bound: dict[tuple[Table, str | None], tuple[int, ir.Table]] = {}
        self._names: dict[tuple[Table, str | None], str] = {}

    def table(self, table: Table, workload: str | None = None) -> ir.Table:
        """The table, or the part of it that belongs to a workload, as of its last commit; empty if never written."""
        version = self._lake.version(table)
        key = (table, workload)
        bound = self._bound.get(key)
        if bound is not None and bound[0] == version:
            return bound[1]
        name = self._names.setdefault(key, f"{table}_{len(self._names)}")
        made = self._engine.bind(name, table, self._lake.files(table, workload=workload))
        self._bound[key] = (version, made)
        return made

    def over(self, table: Table, files: Sequence[str], part: str = "part") -> ir.Table:
        """Some files of a table. To be run before this is asked for the same part of it again."""
        return self._engine.bind(f"{table}_{part}", table, files)

    def run(self, expression: ir.Table) -> pa.Table:
        """The rows of an expression. Raises CannotMeasure where a file cannot be read."""
        return self._engine.run(expression)

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
