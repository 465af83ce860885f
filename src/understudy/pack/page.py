"""Writes a pack as one HTML page: its own style, no script, nothing loaded from anywhere. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from understudy.pack.blocks import Block, Cell, Drawing, Facts, Grid, Head, Laid, Prompt, Said, Section

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What a browser may load for the page: nothing but the style within it."""


_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
"""What is never broken over two lines."""


def opening(title: str, under: str, sections: Sequence[Section]) -> str:
    """Everything before the first section."""
    style = files("understudy.pack").joinpath("style.css").read_text(encoding="utf-8")
    links = "".join(f'<a href="#{escape(s.name)}">{escape(s.title)}</a>' for s in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<p class="quiet">{escape(under)}</p>\n<nav>{links}</nav>\n'
    )


def section(one: Section) -> str:
    """One section with all it has."""
    inside = "\n".join(_block(block) for block in (*one.brief, *one.full))
    return f'<section id="{escape(one.name)}">\n<h2>{escape(one.title)}</h2>\n{inside}\n</section>\n'


def closing(data: str) -> str:
    """What stands behind the sections: the same facts as JSON, for machines, and the end of the page."""
    kept = data.replace("<", "\\u003c")  # nothing in a text may end the element it stands in
    return (
        "<footer>The data of this page is within it, as JSON, in the element with the id pack.</footer>\n</main>\n"
        f'<script type="application/json" id="pack">\n{kept}</script>\n</body>\n</html>\n'
    )


def _block(block: Block) -> str:
    match block:
        case Said(text, tone):
            return f"<p{_class(tone)}>{escape(text)}</p>"
        case Head(text):
            return f"<h3>{escape(text)}</h3>"
        case Facts(rows):
            return "<dl>" + "".join(f"<dt>{escape(name)}</dt>{_tagged('dd', said)}" for name, said in rows) + "</dl>"
        case Grid():
            return _grid(block)
        case Laid(lines):
            signs = {"removed": "- ", "added": "+ "}
            told = (
                f'<span class="{escape(kind)}">{escape(signs.get(kind, "  ") + text)}</span>' for kind, text in lines
            )
            return f"<pre>{''.join(told)}</pre>"
        case Prompt(title, text):
            return f"<h3>{escape(title)}</h3><pre>{escape(text)}</pre>"
        case Drawing(svg, says):
            return f'<figure aria-label="{escape(says)}">{svg}</figure>'


def _grid(grid: Grid) -> str:
    numbers = [column.endswith(">") for column in grid.columns]
    heads = "".join(
        f"<th{_class('n' if right else '')}>{escape(column.rstrip('> '))}</th>"
        for column, right in zip(grid.columns, numbers, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(_tagged("td", cell, "n" if right else "") for cell, right in zip(row, numbers, strict=True))
        + "</tr>"
        for row in grid.rows
    )
    title = f"<caption>{escape(grid.title)}</caption>" if grid.title else ""
    return f'<div class="wide"><table>{title}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _tagged(tag: str, said: str | Cell, also: str = "") -> str:
    text, tone = said if isinstance(said, Cell) else (said, "")
    also = "t" if _MOMENT.fullmatch(text) else also
    return f"<{tag}{_class(f'{also} {tone}'.strip())}>{escape(text)}</{tag}>"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
