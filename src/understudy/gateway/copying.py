"""Reads a copy of an answer as it passes: usage, finish reason, text. May fail alone; memory is bounded.

A stream is read event by event until its first content, then in batches, because only the end is of interest.
"""

from __future__ import annotations

import zlib

import msgspec

from understudy.wires.base import Answer, Endpoint, StreamReader, Wire

WHOLE_LIMIT = 4 * 1024 * 1024
"""Bytes kept of an answer that is not streamed; what is longer is passed on and not read."""
BATCH = 16 * 1024
_IN_A_NUMBER = (b"-", b"+", b".", b"e", b"E")
"""A number that ends with one of these is malformed to the decoder, and nothing but cut off to us."""


class Copy:
    """Of one answer. `tell` gives it the head, `add` the bytes as they pass, `answer` what they said."""

    __slots__ = ("_decoder", "_endpoint", "_held", "_lost", "_parts", "_wire", "reader", "size", "status")

    def __init__(self, wire: Wire, endpoint: Endpoint) -> None:
        self._wire = wire
        self._endpoint = endpoint
        self.reader: StreamReader | None = None
        self.size = 0
        self.status = 0
        self._parts: list[bytes] = []
        self._held = 0
        self._lost = False
        self._decoder: Inflate | None = None

    def tell(self, status: int, *, streamed: bool, encoding: bytes = b"") -> None:
        self.status = status
        if streamed:
            self.reader = self._wire.reader(self._endpoint)
        if encoding and encoding != b"identity":
            self._decoder = inflate(encoding)
            self._lost = self._decoder is None

    @property
    def content_seen(self) -> bool:
        """Whether something came that a user can see; for an answer that is not streamed, any byte of the body."""
        return self.size > 0 if self.reader is None else self._lost or self.reader.content_seen

    @property
    def complete(self) -> bool:
        """False where a stream ended without the provider's own terminal event. Call `answer` first."""
        return self.reader is None or self._lost or self.reader.done

    @property
    def ended(self) -> bool:
        """Whether the provider's own terminal event was seen. Call `answer` first."""
        return self.reader is not None and self.reader.done

    @property
    def cut_short(self) -> bool:
        """Whether a JSON answer ends before its last bracket: then it is no nonsense but a part."""
        if self.reader is not None or self._lost:
            return False
        return cut_short(b"".join(self._parts))

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self._lost:
            return
        if self._decoder is not None:
            plain = self._decoder.feed(chunk)
            if plain is None:
                self._lose()
                return
            chunk = plain
        reader = self.reader
        if reader is not None and not reader.content_seen:
            reader.feed(chunk)
            return
        self._parts.append(chunk)
        self._held += len(chunk)
        if reader is not None:
            if self._held > BATCH:
                self._feed(reader)
        elif self._held > WHOLE_LIMIT:
            self._lose()

    def answer(self) -> Answer:
        reader = self.reader
        if reader is None and not self._lost:
            parts = self._parts
            return self._wire.read(self._endpoint, self.status, parts[0] if len(parts) == 1 else b"".join(parts))
        if self._lost:
            return Answer(unreadable=True, truncated=True, error=f"status_{self.status}" if self.status >= 400 else "")
        assert reader is not None
        self._feed(reader)
        return reader.answer()

    def _feed(self, reader: StreamReader) -> None:
        if self._parts:
            reader.feed(b"".join(self._parts))
            self._parts.clear()
            self._held = 0

    def _lose(self) -> None:
        self._lost = True
        self._parts.clear()
        self._held = 0


def cut_short(body: bytes) -> bool:
    """Whether JSON ends before its last bracket."""
    return _cut(body) or (body[-1:] in _IN_A_NUMBER and _cut(body + b"0"))


def _cut(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        return "truncated" in str(error)  # its word for an end in the middle of a value
    return False


class Inflate:
    """gzip, of several members too, or deflate, with a limit on what comes out: a small body cannot fill the memory."""

    __slots__ = ("_inner", "_room", "_wbits")

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._inner = zlib.decompressobj(wbits)
        self._room = WHOLE_LIMIT

    def feed(self, chunk: bytes) -> bytes | None:
        """The plain bytes; None where they cannot be read or are too many."""
        plain = b""
        while chunk:
            if self._inner.eof:
                self._inner = zlib.decompressobj(self._wbits)
            try:
                part = self._inner.decompress(chunk, self._room)
            except zlib.error:
                return None
            self._room -= len(part)
            if self._inner.unconsumed_tail or self._room <= 0:
                return None
            plain += part
            chunk = self._inner.unused_data
        return plain


def inflate(encoding: bytes) -> Inflate | None:
    """A reader of that Content-Encoding, None for one we cannot read."""
    wbits = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}.get(encoding.lower())
    return None if wbits is None else Inflate(wbits)
