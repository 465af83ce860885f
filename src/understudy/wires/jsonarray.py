"""The elements of one JSON array out of bytes cut anywhere, for streams that are an array instead of events.

Only brackets and strings are followed; whether an element is sound JSON is for its reader to find. Memory is
bounded: an element above the limit is reported without its data.
"""

from __future__ import annotations

import re

from understudy.wires.sse import MAX_EVENT, Event

_STRUCTURE = re.compile(rb'["\\{}\[\]]')
_OPEN, _CLOSE = b"{[", b"}]"


class JsonArrayParser:
    """Feed it bytes, get the elements they complete. `closed` once the array's own bracket was seen."""

    __slots__ = ("_depth", "_element", "_escaped", "_limit", "_overflow", "_string", "closed")

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._depth = 0
        self._element = bytearray()
        self._string = False
        self._escaped = False
        self._overflow = False
        self.closed = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Elements that are objects or arrays; whatever stands between them is not looked at."""
        events: list[Event] = []
        kept = 0  # up to where the chunk has been moved into the element
        position = 1 if self._escaped else 0
        self._escaped = False
        while match := _STRUCTURE.search(chunk, position):
            byte, position = match.group(), match.end()
            if self._string:
                if byte == b"\\":
                    self._escaped = position == len(chunk)
                    position += 1
                elif byte == b'"':
                    self._string = False
            elif byte == b'"':
                self._string = True
            elif byte in _OPEN:
                self._depth += 1
                if self._depth == 2:
                    kept = position - 1
            elif byte in _CLOSE:
                self._depth -= 1
                if self._depth == 1:
                    self._keep(chunk[kept:position])
                    events.append(Event(b"", b"" if self._overflow else bytes(self._element), self._overflow))
                    self._element.clear()
                    self._overflow = False
                elif self._depth <= 0:
                    self.closed = True
                    return events
        if self._depth >= 2:
            self._keep(chunk[kept:])
        return events

    def _keep(self, part: bytes) -> None:
        if self._overflow or len(self._element) + len(part) > self._limit:
            self._overflow = True
            self._element.clear()
        else:
            self._element += part
