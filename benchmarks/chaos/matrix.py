"""All rows, in order of their numbers."""

from __future__ import annotations

from benchmarks.chaos import (
    rows_answers,
    rows_control,
    rows_ledger,
    rows_processes,
    rows_requests,
    rows_security,
    rows_streams,
)

ROWS = sorted(
    [
        *rows_streams.ROWS,
        *rows_answers.ROWS,
        *rows_requests.ROWS,
        *rows_processes.ROWS,
        *rows_control.ROWS,
        *rows_ledger.ROWS,
        *rows_security.ROWS,
    ],
    key=lambda row: row.number,
)
