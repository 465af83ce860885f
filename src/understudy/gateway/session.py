"""One client connection: frames requests strictly, has them answered one after another, and keeps to the limits.

Everything a request means is decided elsewhere; here it is bytes, times and the order of answers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple, cast

import httptools
import msgspec

from understudy.core.records import Feedback
from understudy.gateway.core import Gateway
from understudy.gateway.http import CONTINUE, local_answer
from understudy.gateway.relay import Relay
from understudy.gateway.router import WIRES as _WIRES
from understudy.gateway.router import Refusal, endpoint_of, refuse, route
from understudy.upstream.wheel import Timed

_ONCE = (b"host", b"content-length", b"transfer-encoding", b"authorization", b"x-api-key", b"x-understudy-workload")
_WAITING = 64 * 1024
"""Bytes of further requests kept while one is answered; a client that sends more is not read."""


class _Request(NamedTuple):
    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes
    keep: bool
    http_1_0: bool


class _Bad(Exception):
    """The request breaks a rule; the connection ends with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _FeedbackBody(msgspec.Struct):
    exchange: str
    name: str
    value: float
    workload: str = ""


_feedback = msgspec.json.Decoder(_FeedbackBody)


class Session(asyncio.Protocol, Timed):
    __slots__ = (
        "_body",
        "_body_size",
        "_closed",
        "_ended",
        "_gateway",
        "_head_done",
        "_head_size",
        "_headers",
        "_parser",
        "_pending",
        "_queue",
        "_receiving",
        "_relay",
        "_transport",
        "_url",
        "http_1_0",
        "keep",
    )

    def __init__(self, gateway: Gateway) -> None:
        Timed.__init__(self)
        self._gateway = gateway
        self._relay: Relay | None = None
        self._queue: deque[_Request] = deque()
        self._pending: list[bytes] = []
        self._ended: _Bad | None = None
        self._closed = False
        self._receiving = False
        self._head_done = False
        self._head_size = 0
        self.keep = True
        self.http_1_0 = False

    @property
    def keeps(self) -> bool:
        """Whether the connection goes on after the answer that is being written."""
        return self.keep and not self._gateway.draining

    @property
    def busy(self) -> bool:
        return self._relay is not None or self._receiving

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        gateway = self._gateway
        self._parser = httptools.HttpRequestParser(self)
        gateway.joined(self)
        limits = gateway.limits
        self._transport.set_write_buffer_limits(high=limits.buffer, low=limits.buffer // 4)
        gateway.wheel.arm(self, limits.idle_s)
        if len(gateway.sessions) > limits.connections:
            self._refuse(503, f"this worker has its {limits.connections} connections", extra=b"retry-after: 1\r\n")

    def data_received(self, data: bytes) -> None:
        if self._ended is not None:
            return
        if self._relay is not None:  # one answer at a time: what comes early waits
            self._pending.append(data)
            self._transport.pause_reading()
            return
        self._feed(data)

    def eof_received(self) -> None:
        return None  # a client that stopped sending gets no more answers either

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._gateway.wheel.disarm(self)
        self._gateway.left(self)
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.client_gone()

    def pause_writing(self) -> None:
        self._gateway.wheel.arm(self, self._gateway.limits.write_s)
        if self._relay is not None:
            self._relay.pause()

    def resume_writing(self) -> None:
        self._gateway.wheel.disarm(self)
        if self._relay is not None:
            self._relay.resume()

    def expired(self) -> None:
        if self._relay is None and self._receiving:
            self._refuse(408, f"the request did not arrive within {self._gateway.limits.receipt_s:g} s")
        elif not self._closed:
            self._transport.abort()  # idle, or a client that does not read

    # -- httptools

    def on_message_begin(self) -> None:
        if len(self._queue) >= self._gateway.limits.pipelined:
            raise _Bad(400, "too many requests at once on one connection")
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._body_size = 0
        self._head_done = False
        self._receiving = True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._head_done = True
        headers, limits = self._headers, self._gateway.limits
        if len(headers) > limits.headers:
            raise _Bad(431, f"more than {limits.headers} headers")
        if len(self._url) > limits.url:
            raise _Bad(414, f"a URL longer than {limits.url} bytes")
        size = 0
        for name, value in headers:
            size += len(name) + len(value)
            if name == b"content-length" and int(value) > limits.body:
                raise _Bad(413, f"a body of {int(value)} bytes; the limit is {limits.body}")
            if name == b"expect":
                self._expect(value)
        if size > limits.head:
            raise _Bad(431, f"headers longer than {limits.head} bytes")

    def on_body(self, chunk: bytes) -> None:
        self._body_size += len(chunk)
        if self._body_size > self._gateway.limits.body:
            raise _Bad(413, f"a body longer than {self._gateway.limits.body} bytes")
        self._body.append(chunk)

    def on_message_complete(self) -> None:
        self._receiving = False
        self._head_size = 0
        body, parser = self._body, self._parser
        self._queue.append(
            _Request(
                method=parser.get_method().decode("ascii"),
                path=_target(self._url),
                headers=_checked(self._headers),
                body=body[0] if len(body) == 1 else b"".join(body),
                keep=parser.should_keep_alive(),
                http_1_0=parser.get_http_version() == "1.0",
            )
        )
        self._body = []

    # -- the relay says

    def write(self, data: bytes) -> None:
        if not self._closed:
            self._transport.write(data)

    def answered(self) -> None:
        """The current answer is written: go on with the next request, or close where that was agreed."""
        self._relay = None
        if self._closed:
            return
        if not self.keeps:
            self._close()
            return
        gateway = self._gateway
        gateway.wheel.arm(self, gateway.limits.idle_s)
        if self._queue or self._pending or self._ended is not None:
            gateway.loop.call_soon(self._go_on)

    # -- from the worker

    def drain(self) -> None:
        """The worker ends: an idle connection may bring one more request for a moment, then it is closed."""
        if not self.busy and not self._closed:
            self._gateway.wheel.arm(self, self._gateway.limits.linger_s)

    def stop(self) -> None:
        """The time for draining is over."""
        if self._relay is not None:
            self._relay.stop()
        elif not self._closed:
            self._transport.abort()

    # -- inside

    def _feed(self, data: bytes) -> None:
        if not self._receiving:
            self._gateway.wheel.arm(self, self._gateway.limits.receipt_s)
            self._receiving = True
        if not self._head_done:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
            if not self._head_done and self._receiving and self._head_size > self._gateway.limits.head:
                raise _Bad(431, f"headers longer than {self._gateway.limits.head} bytes")
        except httptools.HttpParserCallbackError as error:
            self._stop(error.__context__)
        except httptools.HttpParserUpgrade:
            self._ended = _Bad(400, "no other protocol is spoken here")
        except httptools.HttpParserError as error:
            self._ended = _Bad(400, f"not a request this gateway accepts: {error}")
        except _Bad as error:
            self._ended = error
        if self._queue or self._ended is not None:
            self._go_on()

    def _stop(self, error: BaseException | None) -> None:
        if not isinstance(error, _Bad):
            self._ended = _Bad(500, "the gateway failed on this request")
            self._gateway.loop.call_exception_handler({"message": "a bug in the gateway", "exception": error})
            return
        self._ended = error

    def _go_on(self) -> None:
        """Answer what is waiting, in order, until an answer takes time."""
        while self._relay is None and not self._closed:
            if self._queue:
                self._answer(self._queue.popleft())
            elif self._ended is not None:
                self._refuse(self._ended.status, self._ended.message)
                return
            elif self._pending:
                data = b"".join(self._pending)
                self._pending.clear()
                self._transport.resume_reading()
                self._feed(data)
                return
            else:
                return

    def _answer(self, request: _Request) -> None:
        gateway = self._gateway
        self.keep, self.http_1_0 = request.keep, request.http_1_0
        gateway.wheel.disarm(self)
        method, path, headers, body = request[:4]
        local = self._local(method, path, body)
        if local is None:
            ask = route(gateway, method, path, headers, body)
            if not isinstance(ask, Refusal):
                relay = self._relay = Relay(gateway, self, ask)
                relay.start()
                gateway.mirror.consider(ask)
                return
            local = ask
        self.write(local_answer(local.status, local.body, keep=self.keeps))
        self.answered()

    def _local(self, method: str, path: str, body: bytes) -> Refusal | None:
        """What the gateway answers itself, None where it is for a provider."""
        match method, path.partition("?")[0]:
            case "GET", "/healthz":
                return Refusal(200, b'{"status":"alive"}')
            case "GET", "/readyz":
                return self._ready()
            case "POST", "/v1/feedback":
                return self._take_feedback(body)
            case _:
                return None

    def _ready(self) -> Refusal:
        snapshot = self._gateway.snapshot
        if snapshot is None or self._gateway.draining:
            return Refusal(503, b'{"status":"not ready"}')
        ready = {"status": "ready", "generation": snapshot.generation, "epoch": snapshot.epoch}
        return Refusal(200, msgspec.json.encode(ready))

    def _take_feedback(self, body: bytes) -> Refusal:
        try:
            given = _feedback.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return refuse(_WIRES[0], 400, "invalid_feedback", f"{error}; send exchange, name and value (a number)")
        at = self._gateway.now()
        self._gateway.append(
            Feedback(
                exchange=given.exchange[:128],
                name=given.name[:128],
                value=given.value,
                at=at,
                workload=given.workload[:128],
            )
        )
        return Refusal(202, b'{"status":"accepted"}')

    def _expect(self, value: bytes) -> None:
        if value.lower() != b"100-continue":
            raise _Bad(417, "an expectation that cannot be met")
        if self._relay is None and not self._queue:
            self.write(CONTINUE)

    def _refuse(self, status: int, message: str, *, extra: bytes = b"") -> None:
        """An error that ends the connection, in the dialect of what was asked as far as it is known."""
        found = endpoint_of("POST", self._url.decode("latin-1")) if self._receiving and self._url else None
        spoken = found[0] if found else _WIRES[0]
        body = spoken.error_body(status, "bad_request" if status < 500 else "unavailable", message)
        self.write(local_answer(status, body, extra=extra, keep=False))
        self._close()

    def _close(self) -> None:
        self._ended = self._ended or _Bad(400, "closed")
        self._gateway.wheel.arm(self, self._gateway.limits.write_s)
        self._transport.close()


def _target(url: bytes) -> str:
    """The request target; only the origin form is taken, so that no URL can name another host."""
    if not url.startswith(b"/") or url.startswith(b"//"):
        raise _Bad(400, "the request target must be a path")
    return url.decode("latin-1")


def _checked(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name; what decides about framing, identity and routing may be there only once."""
    found = dict(headers)
    if len(found) != len(headers):
        for name in _ONCE:
            if sum(name == other for other, _ in headers) > 1:
                raise _Bad(400, f"the header {name.decode()} is there more than once")
    if b"host" not in found:
        raise _Bad(400, "there is no host header")
    return found
