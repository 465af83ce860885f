"""What a query engine does: makes Ibis tables of data files, and runs expressions over them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from understudy.core.errors import CannotMeasure, UsageError

if TYPE_CHECKING:
    import ibis.expr.schema as ir_schema
    import ibis.expr.types as ir
    import pyarrow as pa

    from understudy.ledger.lake import Lake, Table

_SECRET = re.compile("key|secret|token|password", re.IGNORECASE)


class Engine(Protocol):
    """One connection, for one thread at a time."""

    def bind(self, name: str, table: Table, files: Sequence[str]) -> ir.Table:
        """Data files of a table of the lake as one table with all columns of `lake.schema`; empty without files.

        Columns that a file lacks are null in it; partition columns are read from its path, as text. A table bound
        under a name that was in use may take the place of the earlier one. Raises CannotMeasure for an unreadable file.
        """

    def run(self, expression: ir.Table) -> pa.Table:
        """The rows of an expression. Raises CannotMeasure where a file or the engine cannot be reached."""

    def close(self) -> None:
        """Let go of the connection; the engine is not used again."""


def ibis_schema(table: Table) -> ir_schema.Schema:
    """The columns of a table as Ibis knows them."""
    import ibis

    from understudy.ledger.lake import schema

    return ibis.schema(schema(table))


def as_declared(found: pa.Table, expression: ir.Table) -> pa.Table:
    """An engine's own columns in the types that the expression has."""
    import pyarrow as pa

    wanted = expression.schema().to_pyarrow()
    return pa.table([found.column(each.name).cast(each.type) for each in wanted], schema=wanted)


def missing_extra(engine: str, error: ImportError) -> UsageError:
    """What to say where an engine is configured and not installed."""
    return UsageError(
        f"the ledger's engine {engine} is not installed: {error}",
        remedy=f"pip install 'understudy[{engine}]', or remove `engine: {engine}` under ledger",
    )


def unreadable(lake: Lake, said: object) -> CannotMeasure:
    """What to say where a data file or an engine cannot be read; no secret of the lake or the engine is in it."""
    line = next((line for line in str(said).splitlines() if line.strip()), type(said).__name__)
    named = {**lake.options, **lake.choice.options}
    for secret in (value for name, value in named.items() if value and _SECRET.search(name)):
        line = line.replace(secret, "***")
    return CannotMeasure(
        f"the ledger at {lake.where} cannot be read: {line[:400]}",
        remedy="ask again, in case an expiry or an erasure has just removed the file it names; else restore that "
        "from a backup: `understudy ledger verify` accounts for what is left",
    )
