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
    b"baggage",
    b"content-type",
    b"http-referer",
    b"idempotency-key",
    b"traceparent",
    b"tracestate",
    b"user-agent",
    b"x-client-request-id",
    b"x-request-id",
    b"x-title",
}
_FORWARDED_PREFIXES = (b"anthropic-", b"openai-", b"x-goog-", b"x-stainless-")
_CREDENTIALS = {b"x-goog-api-key", b"anthropic-api-key", b"openai-api-key"}
_NOT_RETURNED = {
    b"alt-svc",  # would invite the client to go past us
    b"connection",
    b"content-length",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-connection",
    b"set-cookie",  # the provider's cookies are for us, not for one of many users
    b"strict-transport-security",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}
_OURS = b"x-understudy-"

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
CHUNKED = b"transfer-encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_forward_cache: dict[bytes, bool] = {}
_CACHE_LIMIT = 4096


def forwarded(name: bytes) -> bool:
    """Whether a request header (lower case) is sent on to the provider: an allow-list, credentials never."""
    known = _forward_cache.get(name)
    if known is None:
        known = name in _FORWARDED or (name.startswith(_FORWARDED_PREFIXES) and name not in _CREDENTIALS)
        if len(_forward_cache) < _CACHE_LIMIT:  # names come from callers: the cache must not grow with them
            _forward_cache[name] = known
    return known


def status_line(status: int) -> bytes:
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d Other\r\n" % status


def returned(status: int, headers: Headers) -> tuple[list[bytes], int]:
    """The head of an answer as a list of byte strings without framing, and the length the provider stated, -1 if none.

    Names and values are passed on as they came.
    """
    parts = [status_line(status)]
    length = -1
    for name, value in headers:
        lower = name.lower()
        if lower in _NOT_RETURNED:
            if lower == b"content-length":
                length = int(value)
        elif not lower.startswith(_OURS):
            parts += (name, b": ", value, b"\r\n")
    return parts, length


def header(headers: Headers, wanted: bytes) -> bytes:
    """The value of the first header of this lower-case name, b"" where there is none."""
    for name, value in headers:
        if name.lower() == wanted:
            return value
    return b""


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
        return default if value is None else _text(value)

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._raw)

    def __len__(self) -> int:
        return len(self._raw)


def _text(value: bytes) -> str:
    """UTF-8 where it is, so that a unit is the same in a header and in a body; else byte by byte."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
