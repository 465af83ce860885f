"""Reads YAML by its events, and notebooks cell by cell. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from understudy.registry.lint.lexing import read_hashed
from understudy.registry.lint.python import read_python
from understudy.registry.lint.reading import MARK, Comment, Lines, Literal, Reading, defaults

MAX_YAML = 200_000
"""Characters; a longer file is read line by line, since its events would take seconds."""
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*")


def read_yaml(text: str) -> Reading:
    """Values with the key they stand under; a file that is a template of YAML is read line by line."""
    if len(text) > MAX_YAML:
        return read_hashed(text)
    try:
        literals = list(_values(text))
    except YAMLError:
        return read_hashed(text)
    comments: list[Comment] = []
    if MARK in text:
        for number, line in enumerate(text.split("\n"), 1):
            found = _COMMENT.search(line)
            if found is not None and MARK in found[0]:
                comments.append(Comment(found[0], number, found.start() + 1, not line[: found.start()].strip()))
    return Reading(literals, comments)


def _values(text: str) -> Iterator[Literal]:
    """Follows the events; of a mapping's scalars every other one is a key."""
    routed = "litellm_params" in text
    keys: list[str | None] = []  # by depth: the key whose value is next, None where a key is next, "" in a list
    lists: list[bool] = []
    as_key: list[bool] = []  # by depth: whether the collection is itself a key
    event: Event
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            lists.pop()
            keys.pop()
            if as_key.pop():
                keys[-1] = "-"
            else:
                _passed(keys, lists)
        elif isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            as_key.append(bool(lists) and not lists[-1] and keys[-1] is None)
            above = next((key for key in reversed(keys) if key), "")
            lists.append(isinstance(event, SequenceStartEvent))
            keys.append(above if lists[-1] else None)
        elif isinstance(event, (AliasEvent, ScalarEvent)):
            value = event.value if isinstance(event, ScalarEvent) else ""  # what an alias stands for was read before
            if lists and not lists[-1] and keys[-1] is None:
                keys[-1] = value or "-"
                continue
            key = keys[-1] or "" if keys else ""
            if value and not (
                routed and key == "model_name"
            ):  # the router's own name for what stands under litellm_params
                yield from _scalar(event, key)
            _passed(keys, lists)


def _passed(keys: list[str | None], lists: list[bool]) -> None:
    """A value of the innermost mapping is over: a key is next."""
    if lists and not lists[-1]:
        keys[-1] = None


def _scalar(event: Any, key: str) -> Iterator[Literal]:
    line, column = event.start_mark.line + 1, event.start_mark.column + 1
    quoted = event.style in ("'", '"')
    if event.style in ("|", ">"):
        return
    yield Literal(event.value, line, column + quoted, key)
    yield from defaults(event.value, line, column + quoted)


_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_MAGIC = re.compile(r"^[ \t]*[%!].*", re.M)


def read_notebook(text: str) -> Reading:
    """The code cells of a Jupyter notebook as Python, in the lines and columns of the file itself.

    Raises ValueError where this is no notebook; a cell that is no Python is passed over.
    """
    document = json.loads(text, object_pairs_hook=list)
    lines, literals, comments = Lines(text), list[Literal](), list[Comment]()
    tokens = iter([(match.start(), match[0]) for match in _STRING.finditer(text)])
    for cell in _cells(document, tokens):
        source = "".join(json.loads(token) for _, token in cell)
        try:
            read = read_python(_MAGIC.sub(lambda magic: "#" * len(magic[0]), source))
        except (SyntaxError, ValueError):
            continue
        starts = _line_starts(cell)
        for each in read.literals:
            line, column = _in_file(text, lines, starts, each.line, each.value)
            literals.append(each._replace(line=line, column=column))
        for comment in read.comments:
            line, column = _in_file(text, lines, starts, comment.line, "#")
            comments.append(comment._replace(line=line, column=column))
    return Reading(literals, comments)


def _cells(document: Any, tokens: Iterator[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    """The tokens of the source of each code cell. The parser keeps the order of the file, so each text that it gave
    is the next token.
    """
    strings: list[tuple[tuple[str, ...], tuple[int, str]]] = []

    def walk(value: Any, path: tuple[str, ...]) -> None:
        if isinstance(value, str):
            strings.append((path, next(tokens)))
        elif isinstance(value, list):
            for number, each in enumerate(value):
                if isinstance(each, tuple):
                    next(tokens)
                    walk(each[1], (*path, each[0]))
                else:
                    walk(each, (*path, str(number)))

    walk(document, ())
    cells: dict[tuple[str, ...], tuple[bool, list[tuple[int, str]]]] = {}
    for path, token in strings:
        if len(path) >= 3 and path[0] == "cells" and path[2] in ("cell_type", "source"):
            code, source = cells.get(path[:2], (False, []))
            if path[2] == "cell_type":
                code = token[1] == '"code"'
            else:
                source.append(token)
            cells[path[:2]] = (code, source)
    for code, source in cells.values():
        if code:
            yield source


def _line_starts(cell: list[tuple[int, str]]) -> list[tuple[int, int]]:
    """For each line of a cell, from where to where in the file its text stands."""
    starts: list[tuple[int, int]] = []
    going_on = False
    for offset, token in cell:
        body = offset + 1
        ends = [match.span() for match in re.finditer(r"\\.", token[1:-1]) if match[0] == r"\n"]
        begins = [0, *(end for _, end in ends)]
        stops = [*(begin for begin, _ in ends), len(token) - 2]
        for number, (begin, stop) in enumerate(zip(begins, stops, strict=True)):
            if number or not going_on:
                starts.append((body + begin, body + stop))
            else:
                starts[-1] = (starts[-1][0], body + stop)
            going_on = True
        if ends and begins[-1] == stops[-1]:  # the line that the last line end began is the next token's
            starts.pop()
            going_on = False
    return starts or [(0, 0)]


def _in_file(text: str, lines: Lines, starts: list[tuple[int, int]], line: int, sought: str) -> tuple[int, int]:
    """Line and column in the file of what stands in a line of a cell."""
    begin, end = starts[min(line, len(starts)) - 1]
    at = text.find(sought, begin, end)
    return lines.place(at if at >= 0 else begin)
