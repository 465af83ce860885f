"""Server-sent events out of bytes cut anywhere: lines, fields and events as the HTML standard has them.

Ends of lines may be CRLF, LF or CR, a byte order mark may stand in front, comments are skipped, several data lines
join with a line feed. Memory is bounded: an event above the limit is reported without its data. What the data mean
is left to the readers of each dialect.
"""

from __future__ import annotations

import msgspec

MAX_EVENT = 4 * 1024 * 1024
"""Bytes of one event that are kept; a longer one is passed on by the gateway and not read."""

_ENOUGH = 64
"""Bytes of an overlong line that are kept, so that it is still seen to be a line."""

_BOM = b"\xef\xbb\xbf"


class Event(msgspec.Struct, frozen=True, gc=False):
    """One dispatched event. `overflow`: it was longer than the limit, its data were let go."""

    name: bytes
    data: bytes
    overflow: bool = False


class SseParser:
    """Feed it bytes, get the events they complete. An event without its blank line at the end never counts."""

    __slots__ = ("_after_cr", "_data", "_fresh", "_has_data", "_idle", "_limit", "_name", "_overflow", "_size", "_tail")

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._tail = bytearray()
        self._idle = True
        """Nothing of an event has been seen since the last blank line."""
        self._fresh = True
        self._after_cr = False
        self._name = b""
        self._data: list[bytes] = []
        self._has_data = False
        self._size = 0
        self._overflow = False

    def plain(self, chunk: bytes) -> list[bytes] | None:
        """The data of a chunk's events where it is how nearly all come: whole events of one line, without a name.

        None for any other chunk, which is `cut`'s.
        """
        if self._idle and chunk[:6] == b"data: " and chunk[-2:] == b"\n\n" and len(chunk) <= self._limit:
            found = chunk[6:-2].split(b"\n\ndata: ")
            if b"\r" not in chunk and b"\n" not in b"".join(found):  # to count line feeds takes ten times as long
                self._fresh = False
                return found
        return None

    def feed(self, chunk: bytes) -> list[Event]:
        found = self.plain(chunk)
        return self.cut(chunk) if found is None else [Event(b"", data) for data in found]

    def cut(self, chunk: bytes) -> list[Event]:
        """`feed` for a chunk that is not plain."""
        events = self._any(chunk)
        self._idle = not (self._tail or self._after_cr or self._size or self._has_data or self._overflow)
        return events

    def _any(self, chunk: bytes) -> list[Event]:
        """Read a chunk cut anywhere."""
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[0] == 10:
                chunk = chunk[1:]
        if not chunk:
            return []
        self._after_cr = chunk[-1] == 13
        if b"\n" not in chunk and b"\r" not in chunk:
            self._keep(chunk)
            return []
        if self._tail:
            chunk = bytes(self._tail) + chunk
            self._tail.clear()
        lines = chunk.splitlines()
        rest = b"" if chunk[-1] in b"\r\n" else lines.pop()
        if self._fresh:
            self._fresh = False
            lines[0] = lines[0].removeprefix(_BOM)
        events = self._lines(lines)
        self._keep(rest)
        return events

    def _keep(self, part: bytes) -> None:
        """Remember the beginning of a line; past the limit only that it was too long."""
        if self._size + len(self._tail) + len(part) > self._limit:
            self._overflow = True
        if self._overflow:
            part = part[: max(0, _ENOUGH - len(self._tail))]
            del self._tail[_ENOUGH:]
        self._tail += part

    def _lines(self, lines: list[bytes]) -> list[Event]:
        events: list[Event] = []
        for line in lines:
            if not line:
                if self._has_data or self._overflow:
                    data = b"" if self._overflow else self._joined()
                    events.append(Event(self._name, data, self._overflow))
                self._name, self._has_data, self._size, self._overflow = b"", False, 0, False
                self._data.clear()
                continue
            self._size += len(line)
            if self._size > self._limit:
                self._overflow = True
                self._data.clear()
            if self._overflow:
                continue
            field, _, value = line.partition(b":")
            if field == b"data":
                self._has_data = True
                self._data.append(value[1:] if value[:1] == b" " else value)
            elif field == b"event":
                self._name = value[1:] if value[:1] == b" " else value
        return events

    def _joined(self) -> bytes:
        return self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
