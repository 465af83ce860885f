"""Names the engine that a lake is read with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

DUCKDB, CLICKHOUSE, SPARK = "duckdb", "clickhouse", "spark"
ENGINES = (DUCKDB, CLICKHOUSE, SPARK)


class Choice(NamedTuple):
    """Which engine answers, and what it needs to be reached: see the modules of the engines for their options."""

    engine: str = DUCKDB
    options: Mapping[str, str] = {}

    @property
    def approximates(self) -> bool:
        """True where quantiles are estimates, to be shown and never compared."""
        return self.engine == CLICKHOUSE


DEFAULT = Choice()
