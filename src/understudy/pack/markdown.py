"""Writes the short form of a pack for a pull request, as Markdown: the brief part of every section. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from understudy.pack.blocks import Block, Cell, Drawing, Facts, Grid, Head, Laid, Prompt, Said, Section

LONG = 400
"""Characters of a cell that are shown; the page has all of it."""


def opening(title: str, under: str) -> str:
    return f"# {_plain(title)}\n\n{_plain(under)}\n"


def section(one: Section) -> str:
    """One section in short, "" where it has nothing to say in short."""
    inside = [said for said in map(_block, one.brief) if said]
    return f"\n## {_plain(one.title)}\n\n" + "\n\n".join(inside) + "\n" if inside else ""


def _block(block: Block) -> str:
    match block:
        case Said(text, tone):
            mark = {"good": "✓ ", "bad": "✗ ", "open": "? "}.get(tone, "")
            return f"_{_plain(text)}_" if tone == "quiet" else mark + _plain(text)
        case Head(text):
            return f"### {_plain(text)}"
        case Facts(rows):
            return "\n".join(f"- **{_plain(name)}**: {_plain(_text(said))}" for name, said in rows)
        case Grid():
            return _grid(block)
        case Laid(lines):
            signs = {"removed": "- ", "added": "+ "}
            told = "\n".join(signs.get(kind, "  ") + text for kind, text in lines)
            fence = "`" * (max((len(run) for run in re.findall("`+", told)), default=2) + 1)
            return f"{fence if len(fence) > 2 else '```'}diff\n{told}\n{fence if len(fence) > 2 else '```'}"
        case Prompt() | Drawing():
            return ""


def _grid(grid: Grid) -> str:
    heads = [_cell(column.rstrip("> ")) for column in grid.columns]
    rule = ["--:" if column.endswith(">") else "---" for column in grid.columns]
    title = f"{_plain(grid.title)}:\n\n" if grid.title else ""
    return title + "\n".join(_line(row) for row in (heads, rule, *([_cell(c) for c in row] for row in grid.rows)))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: str | Cell) -> str:
    text = _text(cell)
    return _plain(text if len(text) <= LONG else f"{text[:LONG]}…").replace("|", "\\|")


def _text(cell: str | Cell) -> str:
    return cell.text if isinstance(cell, Cell) else cell


def _plain(text: str) -> str:
    """Text that cannot become a tag, a link, an image or a new line of its own."""
    return re.sub(r"([\\<>\[\]*_`#])", r"\\\1", " ".join(text.split()))
