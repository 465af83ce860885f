"""DuckDB in this process: reads local files itself; those of an object store are read for it by deltalake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from understudy.ledger.engines.base import ibis_schema, unreadable
from understudy.ledger.lake import Lake, Table, schema

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa


class DuckDB:
    """The engine of one machine. It has no options."""

    def __init__(self, lake: Lake) -> None:
        import ibis

        self._lake = lake
        self._connection = ibis.duckdb.connect()

    def bind(self, name: str, table: Table, files: Sequence[str]) -> ir.Table:
        import ibis

        if not files:
            return ibis.memtable(schema(table).empty_table())
        found = self._read(name, table, files)
        # Columns that no file has yet.
        missing = {n: ibis.null(kind) for n, kind in ibis_schema(table).items() if n not in found.columns}
        return found.mutate(**missing) if missing else found

    def _read(self, name: str, table: Table, files: Sequence[str]) -> ir.Table:
        import duckdb

        if not self._lake.is_local:
            from pyarrow.dataset import FileSystemDataset

            opened = self._lake.table(table)
            assert opened is not None
            wanted = {file.rsplit("/", 1)[-1] for file in files}
            dataset = opened.to_pyarrow_dataset()
            chosen = [f for f in dataset.get_fragments() if f.path.rsplit("/", 1)[-1] in wanted]
            part = FileSystemDataset(chosen, dataset.schema, dataset.format, dataset.filesystem)
            self._connection.con.register(name, part)
            return self._connection.table(name)
        try:
            # By name, as older files lack newer columns; partition values stand in the path and are text.
            return self._connection.read_parquet(
                list(files), table_name=name, hive_partitioning=True, hive_types_autocast=False, union_by_name=True
            )
        except duckdb.Error as error:
            raise unreadable(self._lake, error) from error

    def run(self, expression: ir.Table) -> pa.Table:
        import duckdb

        try:
            return self._connection.to_pyarrow(expression)
        except (duckdb.Error, OSError) as error:  # an object store is read by pyarrow, which raises OSError
            raise unreadable(self._lake, error) from error

    def close(self) -> None:
        self._connection.disconnect()
