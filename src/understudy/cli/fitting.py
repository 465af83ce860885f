"""A table that a terminal of any width shows: where its columns would be cut, each row is told in words instead."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Column, Table
from rich.text import Text

BROKEN_AT = 14
"""A column that may be broken is readable with so many characters, or with its longest word."""
BETWEEN, EDGES = 3, 2
"""What the frame of a table takes between two columns (one less with collapsed padding), and at both sides together."""
NOTHING = ("", "-")
_INDENT = "  "


class Fitting(Table):
    """A rich Table whose cells are Text. Below the width that its columns need, a row is its first cell, and behind it
    each heading with its value, in as many lines as that takes; what has no value is left out.
    """

    def least(self) -> int:
        """Columns of the terminal that it needs to be readable as a table."""
        between = BETWEEN - self.collapse_padding
        return sum(map(_least, self.columns)) + between * (len(self.columns) - 1) + EDGES

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.least() <= options.max_width:
            yield from super().__rich_console__(console, options)
            return
        if self.title:
            yield Text(str(self.title), style=self.title_style or "italic")
        headings = [str(column.header) for column in self.columns]
        for row in zip_longest(*(map(_text, column.cells) for column in self.columns), fillvalue=Text()):
            yield from _told(headings, row, options.max_width)
        yield Text()


def _least(column: Column) -> int:
    cells = [str(column.header), *(_text(cell).plain for cell in column.cells)]
    if column.no_wrap:
        return max(cell_len(line) for cell in cells for line in cell.split("\n"))
    return min(BROKEN_AT, max((cell_len(word) for cell in cells for word in cell.split()), default=0))


def _told(headings: list[str], row: tuple[Text, ...], width: int) -> Iterator[Text]:
    """One row in lines of at most `width` columns; a longer value is broken by the console."""
    line = row[0].copy()
    line.stylize("bold")
    for heading, value in zip(headings[1:], row[1:], strict=True):
        if value.plain.strip() in NOTHING:
            continue
        piece = Text.assemble((f"{heading} " if heading else "", "dim"), value)
        if line.cell_len + 2 + piece.cell_len > width:
            yield line
            line = Text(_INDENT)
        else:
            line.append("  ")
        line.append(piece)
    yield line


def _text(cell: object) -> Text:
    return cell if isinstance(cell, Text) else Text(str(cell))
