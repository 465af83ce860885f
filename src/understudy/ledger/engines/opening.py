"""Opens the engine that a lake is to be read with."""

from __future__ import annotations

from understudy.core.errors import UsageError
from understudy.ledger.choice import CLICKHOUSE, DUCKDB, ENGINES, SPARK
from understudy.ledger.engines.base import Engine
from understudy.ledger.lake import Lake


def open_engine(lake: Lake) -> Engine:
    """Raises UsageError for an engine that is unknown or not installed, CannotMeasure for one that is not reached."""
    match lake.choice.engine:
        case engine if engine == DUCKDB:
            from understudy.ledger.engines.duck import DuckDB

            return DuckDB(lake)
        case engine if engine == CLICKHOUSE:
            from understudy.ledger.engines.clickhouse import ClickHouse

            return ClickHouse(lake)
        case engine if engine == SPARK:
            from understudy.ledger.engines.spark import Spark

            return Spark(lake)
        case engine:
            raise UsageError(f"there is no engine {engine!r}", remedy=f"use one of {', '.join(ENGINES)}")
