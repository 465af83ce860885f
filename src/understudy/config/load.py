"""Reads one YAML file into plain data and remembers where every key and value stands; knows no schema.

YAML 1.2 core schema only: text, numbers, true/false, null, lists and mappings. What a hostile or careless file could
smuggle in (anchors, aliases, tags, merge keys, duplicate keys, great size or depth) is refused while the events of
the parser pass by, before anything big is built.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)
from ruamel.yaml.reader import ReaderError

from understudy.core.errors import ConfigError, Position, Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 100_000
MAX_NUMBER = 40
"""Characters; a longer run of digits is an id somebody forgot to quote."""

MAX_PROBLEMS = 50
"""Nobody reads further; a file with more is of another kind."""

KeyPath = tuple[str | int, ...]

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
"""Stand in for the braces of ${NAME} while parsing, so that it may stand unquoted between { and }, as people write it.
Unicode reserves both for such use inside a program; one character each, so every column stays right."""

_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class Place(NamedTuple):
    """Where an entry stands: its key (for a list, its dash) and its value, each as (line, column) from 1."""

    key: tuple[int, int]
    value: tuple[int, int]


@dataclass(slots=True)
class Document:
    """The data of a file, and a position for everything in it. Paths are tuples of keys and list indices."""

    file: str
    data: Any
    places: dict[KeyPath, Place]
    filled: dict[KeyPath, str] = field(default_factory=dict)
    """What was written where a value was filled in from elsewhere: messages repeat this, and not the value."""

    def position(self, path: KeyPath = ()) -> Position:
        """Where the value at `path` stands; where nothing is there, the key of the nearest enclosing entry."""
        if path in self.places:
            return Position(self.file, *self.places[path].value)
        return self.key_position(path)

    def key_position(self, path: KeyPath) -> Position:
        """Where the key at `path` stands; where nothing is there, the key of the nearest enclosing entry."""
        while path not in self.places:
            path = path[:-1]
        return Position(self.file, *self.places[path].key)

    def problem(self, path: KeyPath, message: str, remedy: str) -> Problem:
        """A problem with the value at `path`."""
        return Problem(self.position(path), message, remedy)


def load_yaml(path: Path, *, shown_as: str = "") -> Document:
    """Read a YAML file; `shown_as` is its name in messages, by default the path as given.

    Raises ConfigError with everything the file does that is not plain data: limits, syntax, anchors, aliases, tags,
    merge keys, duplicate keys, keys and numbers that are ambiguous.
    """
    name = shown_as or str(path)
    return parse_yaml(read_text(path, shown_as=name), name)


def read_text(path: Path, *, shown_as: str = "", at: Position | None = None) -> str:
    """The text of a small UTF-8 file, line ends as "\\n". `at` is where it is named, if that is the place to look.

    Raises ConfigError where it is missing, no ordinary file, above MAX_BYTES, or not UTF-8.
    """
    name = shown_as or str(path)
    where = at or Position(name, 1, 1)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError([Problem(where, f"{name} is no ordinary file", "name a text file")])
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ConfigError(
            [Problem(where, f"{name} cannot be read: {why}", "check the path and who may read it")]
        ) from None
    if len(raw) > MAX_BYTES:
        limit = f"{name} is larger than {MAX_BYTES:,} bytes, the limit"
        raise ConfigError([Problem(where, limit, "split it, or keep long lists in a .jsonl file that it names")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        message = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        raise ConfigError([Problem(Position(name, line, column), message, "save the file as UTF-8")]) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_yaml(text: str, name: str) -> Document:
    """The document in `text`; `name` stands for the file in positions. Raises ConfigError as `load_yaml` does."""
    for mark in (_OPEN, _CLOSE):
        if mark in text:
            raise ConfigError([_unprintable(text, name, text.index(mark))])
    text = _REFERENCE.sub(rf"${_OPEN}\1{_CLOSE}", text)
    builder = _Builder(name)
    try:
        for event in _events(text):
            builder.take(event)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Position(name, mark.line + 1, mark.column + 1) if mark else Position(name, 1, 1)
        raise ConfigError([*builder.problems, Problem(where, *_syntax(error))]) from None
    except ReaderError as error:
        raise ConfigError([_unprintable(text, name, int(error.position))]) from None
    except YAMLError as error:
        raise ConfigError([Problem(Position(name, 1, 1), f"no YAML: {error}", "check the file")]) from None
    if builder.problems:
        raise ConfigError(builder.problems)
    if () not in builder.places:
        raise ConfigError([Problem(Position(name, 1, 1), f"{name} is empty", "`understudy init` writes an example")])
    return Document(name, builder.data, builder.places)


def _events(text: str) -> Iterator[Event]:
    yield from YAML(typ="safe", pure=True).parse(text)


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been seen."""

    value: dict[str, Any] | list[Any]
    path: KeyPath
    key: str | None = None
    key_at: tuple[int, int] = (1, 1)


@dataclass(slots=True)
class _Builder:
    """Turns events into data, position by position; collects what it refuses."""

    file: str
    data: Any = None
    places: dict[KeyPath, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    open: list[_Open] = field(default_factory=list)
    nodes: int = 0
    documents: int = 0

    def take(self, event: Event) -> None:
        match event:
            case DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    self._stop(event, "a second document begins here", "keep one document in a file: remove the `---`")
            case CollectionEndEvent():
                self.open.pop()
            case NodeEvent():
                self._count(event)
                self._node(event)
            case _:
                pass

    def _count(self, event: NodeEvent) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            remedy = "keep long lists in a .jsonl file that this one names"
            self._stop(event, f"more than {MAX_NODES:,} keys and values, the limit", remedy)
        if isinstance(event, CollectionStartEvent) and len(self.open) >= MAX_DEPTH:
            self._stop(event, f"nested deeper than {MAX_DEPTH} levels, the limit", "flatten it")
        if isinstance(event, AliasEvent):
            self._refuse(event, f"the alias *{event.anchor}", "write the value out where it is used")
            return
        if event.anchor is not None:
            self._refuse(event, f"the anchor &{event.anchor}", "remove it, and write the value out where it is used")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._refuse(event, f"the tag {tag}", "remove it: only plain data is read here")

    def _node(self, event: NodeEvent) -> None:
        here = self.open[-1] if self.open else None
        if here is not None and isinstance(here.value, dict) and here.key is None:
            self._key(here, event)
            return
        value: Any = None
        if isinstance(event, ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, CollectionStartEvent):
            value = {} if isinstance(event, MappingStartEvent) else []
        path = self._place(here, event, value)
        if isinstance(event, CollectionStartEvent):
            self.open.append(_Open(value, path))

    def _place(self, here: _Open | None, event: NodeEvent, value: Any) -> KeyPath:
        at = (event.start_mark.line + 1, event.start_mark.column + 1)
        path: KeyPath = ()
        key_at = at
        if here is None:
            self.data = value
        elif isinstance(here.value, dict):
            assert here.key is not None
            path, key_at = (*here.path, here.key), here.key_at
            here.value[here.key] = value
            here.key = None
        else:
            path = (*here.path, len(here.value))
            here.value.append(value)
        self.places[path] = Place(key_at, at)
        return path

    def _key(self, here: _Open, event: NodeEvent) -> None:
        if isinstance(event, CollectionStartEvent):
            self._stop(event, "a list or mapping stands where a key is expected", "write a plain text key")
        if isinstance(event, AliasEvent):
            here.key = f"*{event.anchor}"  # refused already; the mapping goes on so that other problems are found
            return
        assert isinstance(event, ScalarEvent)
        key = _written(event)
        if event.implicit[0] and key == "<<":
            self._refuse(event, "the merge key <<", "write the entries out")
        elif not isinstance(self._scalar(event), str):
            self._say(event, f"the key {key or '(empty)'} is not text", f'put it in quotes: "{key}"')
        if key in here.value:
            first = self.places[(*here.path, key)].key
            message = f"the key {key} stands twice in one mapping, first in line {first[0]}"
            self._say(event, message, "keep one of the two")
        here.key = key
        here.key_at = (event.start_mark.line + 1, event.start_mark.column + 1)

    def _scalar(self, event: ScalarEvent) -> str | int | float | bool | None:
        text = _written(event)
        if not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _LEADING_ZERO.fullmatch(text) and len(text) <= MAX_NUMBER:
            self._say(
                event, f"{text} may be text or a number", f'write "{text}" for text, or {int(text)} for the number'
            )
            return 0
        number = _number(text)
        if number is None:
            return text
        if len(text) > MAX_NUMBER or not math.isfinite(number):
            shown = text if len(text) <= MAX_NUMBER else text[:12] + "…"
            self._say(event, f"{shown} is no number that can be kept exactly", "put it in quotes if it is text")
            return 0
        return number

    def _refuse(self, event: Event, what: str, remedy: str) -> None:
        self._say(event, f"{what} is refused: what stands in this file must be readable in place", remedy)

    def _say(self, event: Event, message: str, remedy: str) -> None:
        where = Position(self.file, event.start_mark.line + 1, event.start_mark.column + 1)
        self.problems.append(Problem(where, message, remedy))
        if len(self.problems) >= MAX_PROBLEMS:
            raise ConfigError(self.problems)

    def _stop(self, event: Event, message: str, remedy: str) -> None:
        self._say(event, message, remedy)
        raise ConfigError(self.problems)


def _written(event: ScalarEvent) -> str:
    return str(event.value).replace(_OPEN, "{").replace(_CLOSE, "}")


def _number(text: str) -> int | float | None:
    """The number a plain scalar means in YAML 1.2, None where it is text."""
    if _NOT_FINITE.fullmatch(text):
        return math.nan
    if _INT.fullmatch(text):
        return int(text) if len(text) <= MAX_NUMBER else math.inf
    if _BASED.fullmatch(text):
        return int(text, 0) if len(text) <= MAX_NUMBER else math.inf
    return float(text) if _FLOAT.fullmatch(text) else None


_SYNTAX: tuple[tuple[str, str, str], ...] = (
    ("found character '\\t'", "a tab stands where spaces are expected", "indent with spaces"),
    ("found character", "", "put the value in quotes"),
    (
        "mapping values are not allowed here",
        "a second `key: value` begins in one line",
        "put a value that contains `: ` in quotes, or indent the line under its key",
    ),
    (
        "could not find expected ':'",
        "a key without `:`",
        "write `key: value`, or check the indentation of the line above",
    ),
    (
        "expected <block end>",
        "this line is indented unlike the ones around it",
        "indent entries of one mapping or list alike",
    ),
    ("found unexpected end of stream", "a quote is opened and never closed", "close it on its line"),
    (
        "expected the node content",
        "a value is expected here and something else stands",
        "check commas, brackets and quotes up to here",
    ),
    ("expected ',' or", "a [ or { is opened and not closed properly", "check commas and brackets up to here"),
)


def _syntax(error: MarkedYAMLError) -> tuple[str, str]:
    """A sentence and a remedy for what the parser says."""
    said = str(error.problem or error.context or "no valid YAML")
    for begins, message, remedy in _SYNTAX:
        if said.startswith(begins):
            return message or said, remedy
    return f"no valid YAML: {said}", "check indentation, quotes and brackets around this place"


def _unprintable(text: str, name: str, at: int) -> Problem:
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    code = ord(text[at]) if at < len(text) else 0
    return Problem(Position(name, line, column), f"the control character U+{code:04X} is not allowed", "remove it")
