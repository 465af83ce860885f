"""HTTP/1.1 as the gateway speaks it: which headers pass, how an answer's head is written. Pure functions over bytes.

Framing is never copied: lengths and chunks are written anew on both sides, so the two ends of the gateway cannot
disagree about where a message ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus

from understudy.upstream.connection import Headers

_FORWARDED = {
    b"accept",
    b"content-type",
    b"http-referer",
    b"idempotency-key",
    b"user-agent",
    b"x-client-request-id",
    b"x-request-id",
    b"x-title",
}
_FORWARDED_PREFIXES = (b"anthropic-", b"openai-", b"x-goog-", b"x-stainless-")
_CREDENTIALS = {b"x-goog-api-key", b"anthropic-api-key", b"openai-api-key"}
_NOT_RETURNED = {
    b"alt-svc",  # would invite the client to go past us
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-connection",
    b"set-cookie",  # the provider's cookies are for us, not for one of many users
    b"strict-transport-security",
    b"te",
    b"trailer",
    b"upgrade",
}
_OURS = b"x-understudy-"

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
JSON_KIND = b"content-type: application/json\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_CACHE_LIMIT = 4096


class _GoesOn(dict[bytes, bool]):
    """Whether a caller's header goes on, by its name; remembered."""

    def __missing__(self, name: bytes) -> bool:
        goes_on = name in _FORWARDED or (name.startswith(_FORWARDED_PREFIXES) and name not in _CREDENTIALS)
        if len(self) < _CACHE_LIMIT:  # names come from callers: the cache must not grow with them
            self[name] = goes_on
        return goes_on


_goes_on = _GoesOn()


def forwarded(headers: dict[bytes, bytes]) -> bytes:
    """The lines of a request's headers that are sent on to the provider: an allow-list, credentials never."""
    if b"connection" in headers:
        headers = _without_hops(headers)
    known, lines = _goes_on, b""
    for name, value in headers.items():
        if known[name]:
            lines += b"%b: %b\r\n" % (name, value)
    return lines


def _without_hops(headers: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """What the caller's Connection header names is meant for us alone."""
    hops = {name.strip() for name in headers[b"connection"].lower().split(b",")}
    return {name: value for name, value in headers.items() if name not in hops}


def status_line(status: int) -> bytes:
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d Other\r\n" % status


class Head:
    """The head of an answer: its lines without framing, and what we need to know of them (b"" or -1 if not there)."""

    __slots__ = ("encoding", "framed", "kind", "length", "lines")

    def __init__(self, lines: list[bytes], length: int, kind: bytes, encoding: bytes, framed: bool) -> None:
        self.lines = lines
        self.length = length
        self.kind = kind
        self.encoding = encoding
        self.framed = framed
        """False where only the end of the connection ends the body."""


def returned(status: int, headers: Headers) -> Head:
    """The head of a provider's answer as it goes to the client: names and values as they came."""
    lines = [STATUS_LINES.get(status) or status_line(status)]
    length, kind, encoding = -1, b"", b""
    hops, chunked, meanings = b"", False, _meanings
    for name, value in headers:
        meaning = meanings[name]
        if not meaning:
            lines.append(b"%b: %b\r\n" % (name, value))
        elif meaning == _LENGTH:
            length = int(value)
        elif meaning == _KIND:
            kind = value
            lines.append(b"%b: %b\r\n" % (name, value))
        elif meaning == _ENCODING:
            encoding = value
            lines.append(b"%b: %b\r\n" % (name, value))
        elif meaning == _CONNECTION:
            hops = value.lower()
        elif meaning == _CODING:
            chunked = True
    if hops and hops not in (b"keep-alive", b"close"):
        names = tuple(name.strip() + b":" for name in hops.split(b","))
        lines[1:] = [line for line in lines[1:] if not line.lower().startswith(names)]
    return Head(lines, length, kind, encoding, length >= 0 or chunked)


def described(headers: Headers) -> tuple[bytes, bytes]:
    """Content-Type and Content-Encoding of a provider's answer that goes nowhere; b"" where it does not say."""
    kind = encoding = b""
    for name, value in headers:
        meaning = _meanings[name]
        if meaning == _KIND:
            kind = value
        elif meaning == _ENCODING:
            encoding = value
    return kind, encoding


_PASSES, _DROPPED, _LENGTH, _KIND, _ENCODING, _CONNECTION, _CODING = range(7)  # `returned` takes 0 for what passes
_SPECIAL = {
    b"connection": _CONNECTION,
    b"content-encoding": _ENCODING,
    b"content-length": _LENGTH,
    b"content-type": _KIND,
    b"transfer-encoding": _CODING,
}


class _Meanings(dict[bytes, int]):
    """What an answer's header is to us, by its name as it is spelled; remembered."""

    def __missing__(self, name: bytes) -> int:
        lower = name.lower()
        meaning = _SPECIAL.get(lower, _PASSES)
        if meaning == _PASSES and (lower in _NOT_RETURNED or lower.startswith(_OURS)):
            meaning = _DROPPED
        if len(self) < _CACHE_LIMIT:  # names come from providers: the cache must not grow with them
            self[name] = meaning
        return meaning


_meanings = _Meanings()


def without(lines: list[bytes], *names: bytes) -> list[bytes]:
    """The lines of a head but those that begin with one of the names, colon included."""
    return [line for line in lines if not line.lower().startswith(names)]


def local_answer(
    status: int, body: bytes, *, extra: bytes = b"", keep: bool, kind: bytes = b"application/json"
) -> bytes:
    """A whole answer of our own."""
    return b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n%b" % (
        status_line(status),
        kind,
        len(body),
        extra,
        b"" if keep else b"connection: close\r\n",
        body,
    )


class HeaderView(Mapping[str, str]):
    """Request headers by lower-case name; only what is asked for is decoded."""

    __slots__ = ("_raw",)

    def __init__(self, raw: dict[bytes, bytes]) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> str:
        return self._raw[name.encode("latin-1")].decode("latin-1")

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        value = self._raw.get(name.encode("latin-1"))
        return default if value is None else text(value)

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._raw)

    def __len__(self) -> int:
        return len(self._raw)


def text(value: bytes) -> str:
    """UTF-8 where it is, so that a unit is the same in a header and in a body; else byte by byte."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
