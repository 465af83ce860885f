"""Reads a value from a request by `header:NAME` or `body:FIELD`: the unit, the conversation, a slice. First wins.

A value is text; numbers in a body are taken as they are written, other JSON values count as absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

MAX_VALUE = 512
"""Characters that are kept of a value; longer ones are cut, so that one caller cannot fill the ledger."""


class Source(NamedTuple):
    """`path` is the header's lower-case name, or the keys that lead to a field."""

    header: str
    path: tuple[str, ...]


def parse(text: str) -> Source:
    """Raises ValueError where `text` is neither form."""
    kind, _, rest = text.partition(":")
    if kind == "header" and rest:
        return Source(rest.lower(), ())
    if kind == "body" and rest:
        return Source("", tuple(rest.split(".")))
    raise ValueError(f"{text!r} is no source; write header:NAME or body:FIELD")


def first(sources: Iterable[Source], headers: Mapping[str, str], fields: Mapping[str, Any]) -> str:
    """The first source that names something, "" where none does."""
    for header, path in sources:
        value = headers.get(header, "") if header else _field(path, fields)
        if value:
            return value[:MAX_VALUE]
    return ""


def _field(path: tuple[str, ...], fields: Mapping[str, Any]) -> str:
    value: Any = fields.get(path[0])
    for key in path[1:]:
        if not isinstance(value, Mapping):
            return ""
        value = value.get(key)
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ""
    return str(value)
