"""The fault matrix, small: each row holds against a real gateway, and turns red when its defect is planted."""

from __future__ import annotations

import asyncio

import pytest
from benchmarks.chaos.matrix import ROWS
from benchmarks.chaos.row import BY_ROW, Row, Scale
from benchmarks.chaos.sabotage import DEFECTS

NAMES = [f"{row.number}: {row.fault}" for row in ROWS]


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_row_holds_and_its_planted_defects_are_caught(row: Row) -> None:
    """What the client saw, what the provider received and what the ledger says fit together; a defect would show."""
    evidence = asyncio.run(row.run(Scale(short=True)))
    evidence.patience = 20.0  # durations are shown by the bench, alone on its machine
    assert row.verdict(evidence) == []
    assert row.catches_plant(evidence)
    if row.defect:
        assert asyncio.run(row.run_with_defect(Scale(short=True))) != []


def test_every_defect_is_one_of_the_gateway_s_and_all_are_used() -> None:
    """A defect of a row that does not exist would be planted nowhere."""
    assert set(BY_ROW.values()) == set(DEFECTS)


def test_every_row_of_the_matrix_is_there() -> None:
    """Rows 1 to 28, 41 to 44, 57, 58, 62, 63, 66, 72 to 75, 80 to 84 and 88 to 92, each once."""
    wanted = [*range(1, 29), *range(41, 45), 57, 58, 62, 63, 66, *range(72, 76), *range(80, 85), *range(88, 93)]
    assert [row.number for row in ROWS] == wanted
