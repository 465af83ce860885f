"""What a reader makes of a file: the texts that stand for themselves, and the comments. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


class Literal(NamedTuple):
    """A text that a program or a configuration uses as a value; line and column count from 1."""

    value: str
    line: int
    column: int
    key: str = ""
    """What it is given to: a variable, an argument, a key, a function."""
    weights: bool = False
    """Whether weights are loaded by it, and nothing beside it says which revision."""


class Comment(NamedTuple):
    """A comment with what stands on its line before it."""

    text: str
    line: int
    column: int
    alone: bool
    """Whether nothing stands before it: then it speaks of the next line."""


class Reading(NamedTuple):
    """What one file says."""

    literals: list[Literal]
    comments: list[Comment]


LONGEST = 200
"""Characters of a name of a model; longer texts are none."""
MARK = "understudy:"
"""Only comments with this word matter; others are not kept."""

_DEFAULT = re.compile(r"\$\{(?P<name>\w+):?[-=](?P<value>[^{}$]*)\}")


class Lines:
    """Turns offsets in a text into lines and columns."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer(r"\n", text))]
        self._at = 0

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column, from 1. Offsets may come in any order; rising ones are fast."""
        if self._starts[self._at] > offset:
            self._at = 0
        while self._at + 1 < len(self._starts) and self._starts[self._at + 1] <= offset:
            self._at += 1
        return self._at + 1, offset - self._starts[self._at] + 1


_FLAG = re.compile(r"--?(?P<name>[\w-]*model[\w-]*)=(?P<value>[^\s\"'${}]+)")


def defaults(value: str, line: int, column: int) -> Iterator[Literal]:
    """Names within a value: what shells and compose files fall back on, ${LLM_MODEL:-gpt-4o}, and what a program is
    started with, --model=gpt-4o.
    """
    flag = _FLAG.fullmatch(value)
    for found in (*_DEFAULT.finditer(value), *([flag] if flag else [])):
        yield Literal(found["value"], line, column + found.start("value"), found["name"])
