"""A table stays readable at any width: as columns where they fit, and in words where they would be cut."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from understudy.cli.output import table

HEADS = [("from", "whole"), "variant", "model", ("answers", "right")]
ROWS = [["11-21 21:40:24", "small-1", "small-1-2025-03-01", 1076], ["11-21 21:40:30", "small-2-tuned", "-", 653]]


def shown(width: int) -> list[str]:
    console = Console(file=StringIO(), width=width, highlight=False)
    console.print(table("what was served", HEADS, ROWS))
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_columns_that_fit_are_a_table_with_thousands_apart() -> None:
    lines = shown(80)
    assert " from             variant         model                answers" in lines
    assert " 11-21 21:40:24   small-1         small-1-2025-03-01     1,076" in lines


def test_columns_that_do_not_fit_are_told_in_words_and_nothing_is_left_out() -> None:
    assert shown(50) == [
        "what was served",
        "11-21 21:40:24  variant small-1",
        "  model small-1-2025-03-01  answers 1,076",
        "11-21 21:40:30  variant small-2-tuned  answers 653",
        "",
    ]


@pytest.mark.parametrize("width", range(30, 100))
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut(width: int) -> None:
    lines = shown(width)
    assert max(map(len, lines)) <= width
    assert any("1,076" in line for line in lines)
    assert any("11-21 21:40:24" in line for line in lines)
