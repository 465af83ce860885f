"""DuckDB in this process: reads local files itself; those of an object store are read for it by deltalake."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING
from urllib.parse import unquote

from understudy.ledger.engines.base import ibis_schema, unreadable
from understudy.ledger.lake import Lake, Table, place_of

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa
    from ibis.expr.operations import Node
    from pyarrow.dataset import FileSystemDataset, ParquetFileFragment

KEPT = 100
"""Statements remembered at once."""


class DuckDB:
    """The engine of one machine. It has no options.

    A table that is bound anew under its name has the same columns, and so an expression over it stays the same
    statement: what is asked again and again is compiled once.
    """

    def __init__(self, lake: Lake) -> None:
        import ibis

        self._lake = lake
        self._connection = ibis.duckdb.connect()
        self._tables: dict[str, ir.Table] = {}
        self._compiled: dict[Node, str] = {}

    def bind(self, name: str, table: Table, files: Sequence[str]) -> ir.Table:
        import duckdb

        if files and not self._lake.is_local:
            return self._registered(name, table, files)
        try:
            self._connection.con.execute(self._view(name, table, files))
            if name not in self._tables:
                self._tables[name] = self._connection.table(name)
        except duckdb.Error as error:
            raise unreadable(self._lake, error) from error
        return self._tables[name]

    def _view(self, name: str, table: Table, files: Sequence[str]) -> str:
        """The statement that makes a view of files, with a null in the place of each column that no file has yet."""
        wanted = {n: self._connection.compiler.type_mapper.to_string(kind) for n, kind in ibis_schema(table).items()}
        source, there = "(SELECT 1) WHERE false", set[str]()
        if files:
            # By name, as older files lack newer columns; partition values stand in the path and are text.
            names = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
            options = "hive_partitioning = true, hive_types_autocast = false, union_by_name = true"
            source = f"read_parquet([{names}], {options})"
            there = {row[0] for row in self._connection.con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
        columns = ", ".join(
            f"CAST({_quoted(n) if n in there else 'NULL'} AS {wanted[n]}) AS {_quoted(n)}" for n in wanted
        )
        return f"CREATE OR REPLACE TEMPORARY VIEW {_quoted(name)} AS SELECT {columns} FROM {source}"

    def _registered(self, name: str, table: Table, files: Sequence[str]) -> ir.Table:
        """Files of an object store: deltalake reads them."""
        import ibis
        from pyarrow.dataset import FileSystemDataset

        opened = self._lake.table(table)
        assert opened is not None
        dataset = opened.to_pyarrow_dataset()
        present = {f.path.rsplit("/", 1)[-1]: f for f in dataset.get_fragments()}
        chosen = [present.get(file.rsplit("/", 1)[-1]) or _replaced(table, file, dataset) for file in files]
        part = FileSystemDataset(chosen, dataset.schema, dataset.format, dataset.filesystem)
        self._connection.con.register(f"{name}_files", part)
        found = self._connection.table(f"{name}_files")
        missing = {n: ibis.null(kind) for n, kind in ibis_schema(table).items() if n not in found.columns}
        return found.mutate(**missing) if missing else found

    def run(self, expression: ir.Table) -> pa.Table:
        import duckdb

        node = expression.op()
        statement = self._compiled.get(node)
        if statement is None:
            if len(self._compiled) >= KEPT:
                self._compiled.clear()
            statement = self._compiled[node] = self._connection.compile(expression)
        try:
            found = self._connection.con.sql(statement).to_arrow_table()
        except (duckdb.Error, OSError) as error:  # an object store is read by pyarrow, which raises OSError
            raise unreadable(self._lake, error) from error
        return found.cast(expression.schema().to_pyarrow())

    def close(self) -> None:
        self._connection.disconnect()


def _replaced(table: Table, file: str, dataset: FileSystemDataset) -> ParquetFileFragment:
    """A file that a compaction has replaced, and that is still there."""
    import pyarrow.dataset as ds

    place = place_of(table, file)
    values = (part.partition("=") for part in place.split("/")[:-1])
    belongs = reduce(and_, [ds.field(name) == unquote(value) for name, _, value in values])
    return dataset.format.make_fragment(place, filesystem=dataset.filesystem, partition_expression=belongs)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
