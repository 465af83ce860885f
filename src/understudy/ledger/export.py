"""Writes the exchanges of a workload or a unit to one file, for people and other tools to read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.core.errors import UsageError
from understudy.ledger import sealing
from understudy.ledger.lake import Lake, Table
from understudy.ledger.sealing import Seal
from understudy.ledger.views import Views, asked_again

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


def export(
    to: Path,
    *,
    lake: str | Path | Lake,
    workload: str | None = None,
    unit: str | Sequence[str] | None = None,
    since: float | None = None,
    until: float | None = None,
    seal: Seal | None = None,
) -> int:
    """Write exchanges in order of time, each with its feedback and scores; returns how many.

    The suffix of the file says how: JSON Lines (bytes as text), the same compressed, or Parquet. The file appears whole
    or not at all, readable by its owner alone; encrypted content is opened, except in Parquet. Raises UsageError for
    another suffix, for a folder that is not there, and for encrypted content without its key.
    """
    if not to.name.endswith(SUFFIXES):
        raise UsageError(f"{to} has no suffix we write", remedy=f"end the name with one of {', '.join(SUFFIXES)}")
    if not to.parent.is_dir():
        raise UsageError(f"there is no folder {to.parent}", remedy="make it first, or write somewhere else")
    cipher = sealing.configured() if seal is None else seal
    views = Views(lake if isinstance(lake, Lake) else Lake(lake))
    try:
        found = asked_again(lambda: views.run(_chosen(views, workload, unit, since, until)))
    finally:
        views.close()
    fresh = to.with_name(f".{to.name}.part")
    fresh.touch(mode=0o600)
    if to.suffix == ".parquet":
        import pyarrow.parquet

        pyarrow.parquet.write_table(found, fresh, compression="zstd")
    else:
        with fresh.open("wb") as file:
            if to.suffix == ".gz":
                with gzip.GzipFile(fileobj=file, mode="wb", filename="") as packed:
                    packed.writelines(_lines(found, cipher))
            else:
                file.writelines(_lines(found, cipher))
    fresh.replace(to)
    return int(found.num_rows)


def _chosen(
    views: Views, workload: str | None, unit: str | Sequence[str] | None, since: float | None, until: float | None
) -> ir.Table:
    from understudy.ledger import expressions

    exchanges = views.table(Table.EXCHANGES, workload)
    if workload is not None:
        exchanges = exchanges.filter(exchanges.workload == workload)
    if unit is not None:
        exchanges = exchanges.filter(exchanges.unit.isin([unit] if isinstance(unit, str) else list(unit)))
    if since is not None:
        exchanges = exchanges.filter(exchanges.started_at >= since)
    if until is not None:
        exchanges = exchanges.filter(exchanges.started_at < until)
    return expressions.with_opinions(exchanges, views.table(Table.FEEDBACK), views.table(Table.SCORES, workload))


def _lines(found: pa.Table, seal: Seal | None) -> Iterator[bytes]:
    for batch in found.to_batches(max_chunksize=1_000):
        for row in batch.to_pylist():
            for field in ("request", "answer", "tool_calls"):
                value = row[field] if field == "request" else row[field].encode()
                row[field] = sealing.opened(seal, row["exchange"], field, value).decode("utf-8", "replace")
            yield json.dumps(row, ensure_ascii=False).encode() + b"\n"
