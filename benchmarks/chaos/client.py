"""A client that notices everything: raw bytes, framing, the dialect's own ending, when what arrived, how it ended."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httptools

KEPT = 128 * 1024 * 1024
"""Bytes that a client keeps of an answer."""
DIALECTS = ("openai", "responses", "anthropic", "gemini", "gemini_array")
"""What apps speak; `gemini_array` is Gemini's stream as one JSON array."""

PATHS = {
    "openai": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
}
_TERMINAL = {
    "openai": (b"data: [DONE]",),
    "responses": (b'"type":"response.completed"', b'"type":"response.incomplete"'),
    "anthropic": (b'"type":"message_stop"',),
    "gemini": (b'"finishReason"',),
    "gemini_array": (b'"finishReason"',),
}
_ERROR_EVENT = {
    "openai": (b'data: {"error"',),
    "responses": (b'"type":"error"', b'"type":"response.failed"'),
    "anthropic": (b'"type":"error"',),
    "gemini": (b'{"error"',),
    "gemini_array": (b'{"error"',),
}


class Leave(NamedTuple):
    """The client goes away: so many seconds after `known` became true, or as soon as so many bytes of body came."""

    after_s: float = 0.0
    known: Callable[[], bool] = lambda: True
    after_bytes: int = 0
    reset: bool = False


@dataclass
class Saw:
    """One request as its client saw it. Times are seconds of the monotonic clock; 0 where it did not come to it."""

    mark: str
    dialect: str
    stream: bool
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    payload: bytes = b""
    framed: bool = False
    """The answer ended the way its own framing says."""
    end: str = ""
    """complete, fin, rst, timeout, left, refused."""
    sent_at: float = 0.0
    first_at: float = 0.0
    """First byte of the body."""
    ended_at: float = 0.0
    answers: int = 0
    size: int = 0
    """Bytes of the body; `payload` has the first KEPT of them."""

    @property
    def terminal(self) -> bool:
        """The dialect's own last event is there."""
        return any(mark in self.payload.replace(b'": "', b'":"') for mark in _TERMINAL[self.dialect])

    @property
    def error_event(self) -> bool:
        compact = self.payload.replace(b": ", b":").replace(b'data:{"error"', b'data: {"error"')
        return any(mark in compact for mark in _ERROR_EVENT[self.dialect])

    @property
    def outcome(self) -> str:
        """ok, error (typed, in the dialect), broken (visibly not whole), quiet (ends as if whole, and is not), left,
        nothing (no answer at all), hung, odd (an error the dialect does not know)."""
        if self.end in ("left",):
            return "left"
        if self.end == "timeout":
            return "hung"
        if self.status == 0:
            return "nothing"
        if self.status >= 400:
            return "error" if self.framed and typed_error(self.dialect, self.payload) else "odd"
        if not self.framed or self.error_event or typed_error(self.dialect, self.payload):
            return "broken"
        if not self.stream or self.dialect == "gemini_array":
            # JSON that stops in the middle is no JSON: every client notices.
            return "ok" if _whole(self.payload) and (self.terminal or not self.stream) else "broken"
        return "ok" if self.terminal else "quiet"

    @property
    def seconds(self) -> float:
        return self.ended_at - self.sent_at


def _whole(payload: bytes) -> bool:
    try:
        json.loads(payload)
    except ValueError:
        return False
    return True


def typed_error(dialect: str, payload: bytes) -> bool:
    """Whether a body is an error of the dialect."""
    try:
        match json.loads(payload):
            case {"error": {"message": str(), "code": int(), "status": str()}} if dialect.startswith("gemini"):
                return True
            case {"type": "error", "error": {"type": str(), "message": str()}} if dialect == "anthropic":
                return True
            case {"error": {"message": str(), "type": str()}} if dialect in ("openai", "responses"):
                return True
    except (ValueError, UnicodeDecodeError):
        return False
    return False


def body_of(dialect: str, model: str, text: str, *, stream: bool, **extra: Any) -> dict[str, Any]:
    """A body that asks `text`, in a dialect."""
    match dialect:
        case "responses":
            body: dict[str, Any] = {"model": model, "input": text, "stream": stream}
        case "anthropic":
            messages = [{"role": "user", "content": text}]
            body = {"model": model, "max_tokens": 500, "messages": messages, "stream": stream}
        case "gemini" | "gemini_array":
            body = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
        case _:
            body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}
    return body | extra


def request(
    dialect: str,
    workload: str,
    mark: str,
    *,
    stream: bool = True,
    user: str | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes | None = None,
    close: bool = True,
    **extra: Any,
) -> bytes:
    """The bytes of a request; `mark` is in the prompt and, unless `user` is given, is the unit."""
    if dialect.startswith("gemini"):
        action = "streamGenerateContent" if stream else "generateContent"
        path = f"/v1beta/models/{workload}:{action}{'?alt=sse' if stream and dialect == 'gemini' else ''}"
    else:
        path = PATHS[dialect]
    if body is None:
        body = json.dumps(body_of(dialect, workload, f"#{mark}# Grüße 🎭", stream=stream, **extra)).encode()
    lines = [f"POST {path} HTTP/1.1", "host: gateway", "content-type: application/json"]
    lines.append(f"x-user-id: {mark if user is None else user}")
    if dialect == "anthropic":
        lines.append("anthropic-version: 2023-06-01")
    lines += [f"{name}: {value}" for name, value in headers]
    if close:
        lines.append("connection: close")
    lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8") + body


class _Answers(asyncio.Protocol):
    """Collects the answers of one connection."""

    def __init__(self, saw: Saw, leave: Leave | None) -> None:
        self.saw = saw
        self.leave = leave
        self.done = asyncio.get_running_loop().create_future()
        self.parser = httptools.HttpResponseParser(self)
        self.pieces: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.saw.headers["!parser"] = str(error)
            self.transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.saw.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.saw.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if not self.saw.first_at:
            self.saw.first_at = time.monotonic()
        if self.saw.size < KEPT:
            self.pieces.append(body)
        self.saw.size += len(body)
        if self.leave is not None and self.leave.after_bytes and self.saw.size >= self.leave.after_bytes:
            self.go()

    def on_message_complete(self) -> None:
        if self.saw.status >= 200:
            self.saw.framed = True
            self.saw.answers += 1
            self.finish("complete")

    def go(self) -> None:
        """Leave now."""
        if self.done.done():
            return
        if self.leave is not None and self.leave.reset:
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()
        self.finish("left")

    def finish(self, end: str) -> None:
        if not self.done.done():
            self.saw.ended_at = time.monotonic()
            self.done.set_result(end)

    def eof_received(self) -> None:
        if not self.done.done() and "content-length" not in self.saw.headers:
            # An answer without any framing ends with its connection.
            self.saw.framed = self.saw.status > 0 and "transfer-encoding" not in self.saw.headers

    def connection_lost(self, exc: Exception | None) -> None:
        self.finish("rst" if exc is not None else "fin")


async def ask(port: int, data: bytes, saw: Saw, *, patience: float = 15.0, leave: Leave | None = None) -> Saw:
    """Send a request on a connection of its own and watch the answer to its end."""
    loop = asyncio.get_running_loop()
    saw.sent_at = time.monotonic()
    try:
        _, protocol = await loop.create_connection(lambda: _Answers(saw, leave), "127.0.0.1", port)
    except OSError:
        saw.end, saw.ended_at = "refused", time.monotonic()
        return saw
    protocol.transport.write(data)
    leaving = loop.create_task(_leave(protocol, leave)) if leave is not None and leave.after_s else None
    try:
        async with asyncio.timeout(patience):
            saw.end = await protocol.done
    except TimeoutError:
        saw.end, saw.ended_at = "timeout", time.monotonic()
    finally:
        if leaving is not None:
            leaving.cancel()
        protocol.transport.abort()
    saw.payload = b"".join(protocol.pieces)
    return saw


async def _leave(protocol: _Answers, leave: Leave) -> None:
    while not leave.known():
        await asyncio.sleep(0.005)
    await asyncio.sleep(leave.after_s)
    protocol.go()


async def raw(port: int, *pieces: bytes, patience: float = 3.0, pause: float = 0.0) -> tuple[bytes, str]:
    """Send bytes as they are; returns all that came back and how it ended (fin, rst, open).

    Reads while it sends: a server may answer and close before everything was sent.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got: list[bytes] = []

    async def send() -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(patience):
            while data := await reader.read(65536):
                got.append(data)
        end = "fin"
    except TimeoutError:
        end = "open"
    except ConnectionError:
        end = "rst"
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.transport.abort()
    return b"".join(got), end
