"""The tables of the lake as Ibis tables on DuckDB, at their newest version; the only module that runs a query."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from understudy.core.errors import CannotMeasure
from understudy.ledger.lake import Lake, Table, schema

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa
    from ibis.backends.duckdb import Backend


class Views:
    """One connection; a table is bound again only when its version changed. Not for several threads at once."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._connection: Backend | None = None
        self._bound: dict[tuple[Table, str | None], tuple[int, ir.Table]] = {}
        self._names: dict[tuple[Table, str | None], str] = {}

    def table(self, table: Table, workload: str | None = None) -> ir.Table:
        """The table, or the part of it that belongs to a workload, as of its last commit; empty if never written."""
        import ibis

        opened = self._lake.table(table)
        version = -1 if opened is None else opened.version()
        key = (table, workload)
        bound = self._bound.get(key)
        if bound is not None and bound[0] == version:
            return bound[1]
        files = self._lake.files(table, workload=workload)
        name = self._names.setdefault(key, f"{table}_{len(self._names)}")
        wanted = ibis.memtable(schema(table).empty_table())
        made = _completed(self._bind(name, files, table), wanted) if files else wanted
        self._bound[key] = (version, made)
        return made

    def over(self, table: Table, files: list[str]) -> ir.Table:
        """Some files of a table. To be run before this is asked for the same table again."""
        import ibis

        wanted = ibis.memtable(schema(table).empty_table())
        return _completed(self._bind(f"{table}_part", files, table), wanted)

    def run(self, expression: ir.Table) -> pa.Table:
        """The rows of an expression. Raises CannotMeasure where a file cannot be read."""
        with self._readable():
            return self._connect().to_pyarrow(expression)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            raise CannotMeasure(
                f"the ledger at {self._lake.where} cannot be read: {str(error).splitlines()[0]}",
                remedy="restore the file it names from a backup; `understudy ledger verify` accounts for what is left",
            ) from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
        self._connection = None
        self._bound.clear()

    def _connect(self) -> Backend:
        import ibis

        if self._connection is None:
            self._connection = ibis.duckdb.connect()
        return self._connection

    def _bind(self, name: str, files: list[str], table: Table) -> ir.Table:
        """The files as one table. DuckDB reads local files itself; from an object store deltalake reads them."""
        if not self._lake.is_local:
            from pyarrow.dataset import FileSystemDataset

            opened = self._lake.table(table)
            assert opened is not None
            wanted = {file.rsplit("/", 1)[-1] for file in files}
            dataset = opened.to_pyarrow_dataset()
            chosen = [f for f in dataset.get_fragments() if f.path.rsplit("/", 1)[-1] in wanted]
            part = FileSystemDataset(chosen, dataset.schema, dataset.format, dataset.filesystem)
            self._connect().con.register(name, part)
            return self._connect().table(name)
        # By name, as older files lack newer columns; partition values stand in the path and are text.
        with self._readable():
            return self._connect().read_parquet(
                files, table_name=name, hive_partitioning=True, hive_types_autocast=False, union_by_name=True
            )


def _completed(found: ir.Table, wanted: ir.Table) -> ir.Table:
    """The table with all columns of this version: those that no file has yet are null."""
    import ibis

    missing = {name: ibis.null(type_) for name, type_ in wanted.schema().items() if name not in found.columns}
    return found.mutate(**missing) if missing else found
