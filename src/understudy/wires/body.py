"""The top level of a JSON body: decoded one level deep, changed, and written back with every other value as it came.

Values stay the bytes the caller sent. Keys may change their spelling (an escape is resolved) and of a repeated key
only the last one goes on: the value we route on is the one the provider sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw

from understudy.wires.base import Peek, WireError

Members = dict[str, Any]
"""Top-level members: `Raw` where untouched, any encodable value where ours."""

UNREADABLE = (ValueError, RecursionError)
"""What decoding hostile bytes can raise: malformed JSON, wrong types, bad UTF-8, too large numbers, too much depth."""

JSON_HEADERS = (("content-type", "application/json"),)

_members = msgspec.json.Decoder(dict[str, Raw])
_text = msgspec.json.Decoder(str)
_anything = msgspec.json.Decoder()
encode = msgspec.json.Encoder().encode


def members(body: bytes) -> Members:
    """The members of a JSON object. Raises WireError where the body is anything else."""
    try:
        return _members.decode(body)
    except UNREADABLE as error:
        raise WireError(f"the body is not a JSON object: {_why(error)}") from error


def text(name: str, raw: Raw | None) -> str:
    """A string member, "" where it is absent. Raises WireError where it is something else."""
    if raw is None:
        return ""
    try:
        return _text.decode(raw)
    except UNREADABLE as error:
        raise WireError(f"{name} is not a string: {_why(error)}") from error


def value(name: str, raw: Raw) -> Any:
    """Any member decoded whole. Raises WireError where it holds what Python cannot (a lone surrogate, 1e999)."""
    try:
        return _anything.decode(raw)
    except UNREADABLE as error:
        raise WireError(f"{name} cannot be read: {_why(error)}") from error


def is_true(raw: Raw | None) -> bool:
    return raw is not None and bytes(raw) == b"true"


def is_null(raw: Raw | None) -> bool:
    return raw is None or bytes(raw) == b"null"


def put(members: Members, name: str, value: object) -> None:
    """Set a member; None takes it out."""
    if value is None:
        members.pop(name, None)
    else:
        members[name] = value


@lru_cache(maxsize=1024)
def system_message(prompt: str) -> bytes:
    """A prompt as a message of the role system. Variants are few and their prompts long: each is encoded once."""
    return encode({"role": "system", "content": prompt})


@lru_cache(maxsize=1024)
def text_block(prompt: str) -> bytes:
    return encode({"type": "text", "text": prompt})


@lru_cache(maxsize=1024)
def text_part(prompt: str) -> bytes:
    return encode({"text": prompt})


def prepended(name: str, head: bytes, raw: Raw | None) -> Raw:
    """The array `raw` with the element `head`, encoded, in front; an absent or null array becomes one of only it."""
    if raw is None or is_null(raw):
        return Raw(b"[" + head + b"]")
    array = bytes(raw)
    if array[:1] != b"[":
        raise WireError(f"{name} is not an array")
    rest = array[1:].lstrip(b" \t\r\n")
    return Raw(b"[" + head + (b"" if rest[:1] == b"]" else b",") + rest)


def merged(name: str, current: object, over: Mapping[str, Any]) -> Members:
    """The members of the object `current`, raw or ours (none where it is absent or null), with those of `over` set."""
    raw = current if isinstance(current, Raw) else Raw(encode(current))
    members: Members = {}
    if not is_null(raw):
        try:
            members.update(_members.decode(raw))
        except UNREADABLE as error:
            raise WireError(f"{name} is not an object: {_why(error)}") from error
    members.update(over)
    return members


def joined(name: str, first: str, raw: Raw | None) -> Raw:
    """The JSON string `raw` with `first` and an empty line put in front, its own bytes unchanged."""
    if raw is None or is_null(raw):
        return Raw(encode(first))
    string = bytes(raw)
    if string[:1] != b'"':
        raise WireError(f"{name} is not a string")
    return Raw(encode(first)[:-1] + b"\\n\\n" + string[1:])


def again(peeked: Peek | None, body: bytes) -> Members:
    """The members of a body to be changed: from what was peeked where that is at hand, else read again."""
    if peeked is not None and isinstance(peeked.fields, Fields):
        return dict(peeked.fields.raw)
    return members(body)


class Fields(Mapping[str, Any]):
    """A read-only view of a body's members that decodes a value each time it is asked for."""

    __slots__ = ("raw",)

    def __init__(self, raw: Mapping[str, Raw]) -> None:
        self.raw = raw

    def __getitem__(self, key: str) -> Any:
        return value(key, self.raw[key])

    def get(self, key: str, default: Any = None) -> Any:
        raw = self.raw.get(key)
        return default if raw is None else value(key, raw)

    def __contains__(self, key: object) -> bool:
        return key in self.raw

    def __iter__(self) -> Iterator[str]:
        return iter(self.raw)

    def __len__(self) -> int:
        return len(self.raw)


def _why(error: BaseException) -> str:
    return "too deeply nested" if isinstance(error, RecursionError) else str(error)
