"""What a page of evidence is made of: sentences, facts, tables, prompts laid over each other and drawings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple

Tone = Literal["", "good", "bad", "open", "quiet"]


class Cell(NamedTuple):
    """Text with a meaning beside its words."""

    text: str
    tone: Tone = ""


class Said(NamedTuple):
    """A paragraph."""

    text: str
    tone: Tone = ""


class Facts(NamedTuple):
    """Lines of a name and what is said of it."""

    rows: Sequence[tuple[str, str | Cell]]


class Grid(NamedTuple):
    """A table. A heading that ends in `>` is of numbers, which stand at the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]


class Laid(NamedTuple):
    """Lines of two prompts laid over each other: `same`, `removed`, `added` or `gap`, and the text."""

    lines: Sequence[tuple[str, str]]


class Prompt(NamedTuple):
    """A text as it was given to a model."""

    title: str
    text: str


class Drawing(NamedTuple):
    """An SVG of our own making, and what it shows in a sentence for those who do not see it."""

    svg: str
    says: str


class Head(NamedTuple):
    """A heading within a section."""

    text: str


Block = Said | Facts | Grid | Laid | Prompt | Drawing | Head


@dataclass(slots=True)
class Section:
    """`brief` is what a pull request shows too, `full` what only the page has."""

    name: str
    title: str
    brief: list[Block] = field(default_factory=list)
    full: list[Block] = field(default_factory=list)


TONES: dict[str, Tone] = {"pass": "good", "fail": "bad", "inconclusive": "open"}


def verdict(word: str) -> Cell:
    """A verdict with its sign: colour alone is not read by everybody."""
    sign = {"pass": "✓ ", "fail": "✗ ", "inconclusive": "? "}.get(word, "")
    return Cell(f"{sign}{word}", TONES.get(word, ""))


def moment(at: float | None) -> str:
    """A point in time, UTC, to the second."""
    return "-" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def percent(share: float) -> str:
    return f"{100 * share:g} %"


def spoken(name: str) -> str:
    return name.replace("_", " ")


def number(value: float | None, form: str = ",.0f") -> str:
    return "-" if value is None else format(value, form)
