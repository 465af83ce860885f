"""What every reader of answers shares: bounded text, tool calls, counts, and the shell of an SSE stream reader.

A reader works on a copy. Whatever it meets it never raises and never repairs: what it cannot read it flags.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec

from understudy.core.canonical import canonical_json
from understudy.wires.base import Answer, Usage
from understudy.wires.body import UNREADABLE
from understudy.wires.sse import MAX_EVENT, Event, SseParser

MAX_TEXT = 256 * 1024
"""Bytes of text in UTF-8, and characters of tool arguments, that are kept of one answer."""
MAX_COUNT = 2**50
"""Tokens of one answer; nobody counts more, and a ledger holds no larger sums."""
MAX_CALLS = 256
"""Tool calls that are kept of one answer."""


class Text:
    """Text that grows up to a limit and then only says that there was more.

    Held in UTF-8, a byte a letter for most of it: one emoji makes a string of Python's four bytes a letter, and there
    is such a text for each open stream.
    """

    __slots__ = ("_kept", "_room", "truncated")

    def __init__(self, limit: int = MAX_TEXT) -> None:
        self._kept = bytearray()
        self._room = limit
        self.truncated = False

    def add(self, part: str) -> None:
        piece = part.encode("utf-8", "surrogatepass")
        if len(piece) > self._room:
            piece = piece[: _whole_letters(piece, self._room)]
            self._room = len(piece)
            self.truncated = True
        self._room -= len(piece)
        self._kept += piece

    def value(self) -> str:
        return self._kept.decode("utf-8", "surrogatepass")


def _whole_letters(piece: bytes, room: int) -> int:
    """How many of the first `room` bytes to keep so that no letter is cut in two."""
    while room and piece[room] & 0xC0 == 0x80:
        room -= 1
    return room


class CallNumbers:
    """Numbers the calls of a stream from 0 on. Some providers give each of them the index 0, or none at all: another id
    under a known index is another call."""

    __slots__ = ("_ids", "_last", "_numbers", "count")

    def __init__(self) -> None:
        self._ids: dict[int, str] = {}
        self._numbers: dict[int, int] = {}
        self._last = 0
        self.count = 0

    def of(self, index: int | None, call_id: str | None) -> int:
        """The number of the call that a piece belongs to: `count`, as it was before, where it begins a new one."""
        at = self._last = self._last if index is None else index
        known = self._ids.get(at)
        if known is None or (known and call_id and call_id != known):
            self._numbers[at] = self.count
            self.count += 1
            self._ids[at] = call_id or ""
        elif call_id:
            self._ids[at] = call_id
        return self._numbers[at]


class Calls:
    """Tool calls that arrive in pieces, each piece naming its call by an index."""

    __slots__ = ("_arguments", "_names", "_room", "truncated")

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._arguments: dict[int, Text] = {}
        self._room = MAX_TEXT
        self.truncated = False

    @property
    def size(self) -> int:
        return len(self._arguments)

    def add(self, index: int, name: str | None, arguments: str | None) -> None:
        if index not in self._arguments:
            if len(self._arguments) >= MAX_CALLS:
                self.truncated = True
                return
            self._arguments[index] = Text()
            self._names[index] = ""
        if name:
            self._names[index] += name[:256]
        if arguments:
            kept = arguments[: self._room]
            self.truncated = self.truncated or len(kept) < len(arguments)
            self._room -= len(kept)
            self._arguments[index].add(kept)

    def value(self) -> str:
        return tool_calls((self._names[i], text.value()) for i, text in sorted(self._arguments.items()))


def tool_calls(calls: Iterable[tuple[str, object]]) -> str:
    """Canonical JSON of (name, arguments); arguments given as JSON text are parsed, and kept as text if they cannot be.

    "" where there are no calls.
    """
    listed = [{"name": name, "arguments": _parsed(arguments)} for name, arguments in calls]
    if not listed:
        return ""
    try:
        return canonical_json(listed).decode()
    except UNREADABLE:
        return canonical_json([{"name": call["name"], "arguments": None} for call in listed]).decode()


def count(value: object) -> int | None:
    """A token count as a provider gave it, None where it is no count."""
    return value if type(value) is int and 0 <= value <= MAX_COUNT else None  # and no bool, an int to isinstance


def total(*parts: int | None) -> int | None:
    """The sum of the counts that are known; None where none is."""
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def decode_or_none(decoder: msgspec.json.Decoder[Any], data: bytes) -> Any:
    """What the decoder makes of the bytes, None where it cannot read them."""
    try:
        return decoder.decode(data)
    except UNREADABLE:
        return None


def unreadable(status: int) -> Answer:
    """An answer of which nothing can be said but its status."""
    return Answer(unreadable=True, error=f"status_{status}" if status >= 400 else "")


class SseReader:
    """The shell of a stream reader: subclasses read one event each time `_event` is called."""

    last_event_ends: ClassVar[bool] = True
    """Events after the terminal one are not read."""

    __slots__ = (
        "_parser", "calls", "content_seen", "done", "error", "finish_reason", "id", "model", "overflowed",
        "system_fingerprint", "text", "unreadable", "usage",
    )  # fmt: skip

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._parser = SseParser(limit)
        self.text = Text()
        self.calls: Calls | None = None
        self.done = False
        self.content_seen = False
        self.error = ""
        self.finish_reason = ""
        self.id = ""
        self.model = ""
        self.system_fingerprint = ""
        self.usage = Usage()
        self.unreadable = False
        self.overflowed = False

    def feed(self, chunk: bytes) -> None:
        found = self._parser.plain(chunk)
        if found is not None and not self.done and self._events(found):
            return
        for event in self._parser.cut(chunk) if found is None else [Event(b"", data) for data in found]:
            if self.done and self.last_event_ends:
                return
            if event.overflow:
                self.overflowed = True
                self._overflow(event)
            else:
                self._event(event)

    def _event(self, event: Event) -> None:
        """Read one event. The shell itself, for operations that have no streams, finds every event unreadable."""
        self.unreadable = True

    def _events(self, found: list[bytes]) -> bool:
        """Read the data of many events at once; False, and nothing is read, where they must be taken one by one."""
        return False

    def _overflow(self, event: Event) -> None:
        """An event too long to keep counts as something the user saw."""
        self.content_seen = True

    def add_text(self, part: str) -> None:
        self.content_seen = True
        self.text.add(part)

    def add_call(self, index: int, name: str | None, arguments: str | None) -> None:
        self.content_seen = True
        if self.calls is None:
            self.calls = Calls()
        self.calls.add(index, name, arguments)

    def answer(self) -> Answer:
        calls = self.calls
        return Answer(
            text=self.text.value(),
            tool_calls=calls.value() if calls else "",
            finish_reason=self.finish_reason,
            model=self.model,
            system_fingerprint=self.system_fingerprint,
            usage=self.usage,
            complete=self.done,
            error=self.error,
            unreadable=self.unreadable,
            truncated=self.text.truncated or self.overflowed or bool(calls and calls.truncated),
            id=self.id,
        )


def _parsed(arguments: object) -> object:
    if not isinstance(arguments, str):
        return arguments
    try:
        return msgspec.json.decode(arguments) if arguments else {}
    except UNREADABLE:
        return arguments
