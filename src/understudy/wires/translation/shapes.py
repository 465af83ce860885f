"""Reading members of unknown objects: each helper returns what it expected or raises WireError naming the member."""

from __future__ import annotations

from typing import Any

import msgspec

from understudy.wires.base import Usage, WireError
from understudy.wires.body import UNREADABLE
from understudy.wires.reading import count
from understudy.wires.sse import Event


def an_object(value: object, where: str) -> dict[str, Any]:
    """A copy of an object, to take members out of."""
    if not isinstance(value, dict):
        raise WireError(f"{where} is not an object")
    return dict(value)


def a_list(value: object, where: str) -> list[Any]:
    """An array; an absent or null one is empty."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise WireError(f"{where} is not an array")
    return value


def a_string(value: object, where: str) -> str:
    """A string; an absent or null one is empty."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise WireError(f"{where} is not a string")
    return value


def a_number(value: object, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WireError(f"{where} is not a number")
    return value


def an_integer(value: object, where: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise WireError(f"{where} is not an integer")
    return value


def strings(value: object, where: str) -> list[str]:
    """An array of strings, or one string for an array of one."""
    if isinstance(value, str):
        return [value]
    return [a_string(item, where) for item in a_list(value, where)]


def parsed(arguments: str) -> dict[str, Any] | None:
    """JSON text as an object, None where it is none."""
    try:
        value = msgspec.json.decode(arguments) if arguments else {}
    except UNREADABLE:
        return None
    return value if isinstance(value, dict) else None


def json_text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def without_none(members: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value is not None}


def plus(first: int | None, second: int | None) -> int | None:
    return first + second if first is not None and second is not None else first if second is None else second


def minus(whole: int | None, *parts: int | None) -> int | None:
    """What is left of a count when known parts are counted apart; never below 0."""
    if whole is None:
        return None
    return max(0, whole - sum(part for part in parts if part is not None))


def counted(members: dict[str, Any], *path: str) -> int | None:
    """A count some levels down, None where any level is missing."""
    value: Any = members
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return count(value)


def or_zero(value: int | None) -> int:
    """For dialects in which a count cannot be left out."""
    return 0 if value is None else value


NO_USAGE = Usage()


def decoded(event: Event) -> dict[str, Any]:
    """An event's data as an object. Raises WireError where it is none, or was too long to keep."""
    if event.overflow:
        raise WireError("an event of the stream is too long to translate")
    try:
        value = msgspec.json.decode(event.data)
    except UNREADABLE as error:
        raise WireError(f"an event of the stream cannot be read: {error}") from error
    return an_object(value, "an event of the stream")
