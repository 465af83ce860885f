"""Sees the form of an answer that a parser or a page depends on: JSON, code fences, tables, lists, headings, tools."""

from __future__ import annotations

import json
import re
from typing import Any

from understudy.drift.text import MOST, unfenced

MOST_JSON = 200_000
"""Characters of JSON that are parsed; a longer text counts as no JSON on both sides."""

_TABLE = re.compile(r"^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)+\|?[ \t]*$", re.MULTILINE)
_LIST = re.compile(r"[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]+\S")
_HEADING = re.compile(r"^#{1,6}[ \t]+\S", re.MULTILINE)
_SINGLE = re.compile(r"[{,\[]\s*'[^'\n]{0,200}'\s*[:,\]]")


def form(text: str) -> dict[str, bool]:
    """Which forms the answer has. JSON is looked for inside a code fence too: the fence is a form of its own."""
    inner = unfenced(text[:MOST_JSON])
    valid = parses(inner)
    seen = text[:MOST]
    # A table has a bar, a heading a number sign: looking for these takes no time, and few answers have them.
    return {
        "json": valid,
        "single_quotes": not valid and inner[:1] in {"{", "["} and bool(_SINGLE.search(inner[:MOST])),
        "code_fence": "```" in text or "~~~" in text,
        "table": "|" in seen and bool(_TABLE.search(seen)),
        "list": "\n" in seen and sum(map(bool, map(_LIST.match, seen.split("\n")))) > 1,
        "heading": "#" in seen and bool(_HEADING.search(seen)),
    }


def parses(text: str) -> bool:
    """Whether a text is one JSON object or list."""
    if text[:1] not in {"{", "["} or len(text) >= MOST_JSON:
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def tools(calls: str) -> list[tuple[str, str]]:
    """Name and argument shape of each tool call, from their canonical JSON; empty for what cannot be read."""
    try:
        found = json.loads(calls) if calls else []
    except (ValueError, RecursionError):
        return []
    return [
        (str(call.get("name", "")), shape(_arguments(call.get("arguments"))))
        for call in (found if isinstance(found, list) else [])
        if isinstance(call, dict)
    ]


def shape(value: Any, depth: int = 4) -> str:
    """The names and types of a value without its content: {"city": "Bonn"} is `{city:text}`."""
    match value:
        case dict() if depth:
            return "{" + ",".join(f"{key}:{shape(value[key], depth - 1)}" for key in sorted(value, key=str)) + "}"
        case list() if depth:
            return "[" + "|".join(sorted({shape(item, depth - 1) for item in value[:20]})) + "]"
        case dict() | list():
            return "..."
        case bool():
            return "truth"
        case int() | float():
            return "number"
        case None:
            return "null"
        case _:
            return "text"


def _arguments(value: Any) -> Any:
    """Arguments come as an object, or as the JSON text of one."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
