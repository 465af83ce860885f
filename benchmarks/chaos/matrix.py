"""All rows, in order of their numbers."""

from __future__ import annotations

from benchmarks.chaos import rows_streams

ROWS = sorted([*rows_streams.ROWS], key=lambda row: row.number)
