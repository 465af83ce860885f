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
from understudy.gateway.ask import Ask, Spot
from understudy.gateway.core import Gateway
from understudy.gateway.http import CONTINUE, local_answer
from understudy.gateway.metrics import CONTENT_TYPE
from understudy.gateway.passing import passing
from understudy.gateway.record import FULL
from understudy.gateway.relay import Relay
from understudy.gateway.router import (
    DEFAULT_WIRE,
    UNKNOWN_KEY,
    Refusal,
    presents_key,
    refuse,
    remember,
    route,
    spot_of,
)
from understudy.upstream.wheel import NEVER, Timed
from understudy.wires.base import Endpoint

_ONCE = frozenset(
    {
        b"authorization",
        b"content-length",
        b"host",
        b"transfer-encoding",
        b"x-api-key",
        b"x-goog-api-key",
        b"x-understudy-key",
        b"x-understudy-workload",
    }
)


_FEEDBACK = (b"POST", b"/v1/feedback")
_FEEDBACK_SPOT = Spot(DEFAULT_WIRE, Endpoint(DEFAULT_WIRE.name, "feedback", "feedback", ""), "POST", "/v1/feedback")
_WITH_BODY = frozenset({b"POST", b"PUT", b"PATCH"})
_NOBODYS = httptools.HttpRequestParser(object())
_Line = tuple[bytes, bytes]
"""Method and target."""
_Request = tuple[Spot | _Line, dict[bytes, bytes], bytes, bool, bool]
"""The operation, or the line where no dialect knows it; headers, body, whether the connection goes on, and whether it
is HTTP/1.0."""


class _Bad(Exception):
    """The request breaks a rule; the connection ends with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _End(NamedTuple):
    """Why the connection ends, kept until the answers before are written. Not the exception: its traceback holds the
    session and the bytes that were wrong, and a session that holds it is freed by the collector alone."""

    status: int
    message: str


class _FeedbackBody(msgspec.Struct):
    exchange: str
    name: str
    value: float
    workload: str = ""


_feedback = msgspec.json.Decoder(_FeedbackBody)


class Session(Timed):
    """A protocol as event loops know it. It has no base of asyncio's: compiled, it would lose its speed by one."""

    __slots__ = (
        "_bare",
        "_body",
        "_body_size",
        "_closed",
        "_ended",
        "_first",
        "_full",
        "_gateway",
        "_head",
        "_head_done",
        "_head_size",
        "_headers",
        "_line",
        "_old",
        "_parser",
        "_pending",
        "_queue",
        "_raw",
        "_receiving",
        "_relay",
        "_timed",
        "_url",
        "_weighed",
        "http_1_0",
        "keep",
        "on_url",
        "transport",
    )

    def __init__(self, gateway: Gateway) -> None:
        Timed.__init__(self)
        self._gateway = gateway
        self._relay: Relay | None = None
        self._queue: deque[_Request] = deque()
        self._pending: list[bytes] = []
        self._ended: _End | None = None
        self._closed = False
        self._full = False
        """The client does not read what was written: the next request waits, as its answer would."""
        self._receiving = False
        self._head_done = False
        self._head_size = 0
        self._timed = False
        self._old = False
        self._raw = b""
        self._first = True
        self._url: list[bytes] = []
        self.on_url = self._url.append
        """The parser's call for each piece of a URL, which is looked at where the line is not known."""
        self._line: Spot | _Line = (b"", b"")
        self.keep = True
        self.http_1_0 = False

    @property
    def keeps(self) -> bool:
        """Whether the connection goes on after the answer that is being written."""
        return self.keep and not self._gateway.draining

    @property
    def busy(self) -> bool:
        return self._answering or self._receiving

    @property
    def _answering(self) -> bool:
        return self._relay is not None

    # -- what an event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        gateway = self._gateway
        self._parser = httptools.HttpRequestParser(self)
        gateway.joined(self)
        limits = gateway.limits
        self.transport.set_write_buffer_limits(high=limits.buffer, low=limits.buffer // 4)
        gateway.wheel.arm(self, limits.idle_s)
        if len(gateway.sessions) > limits.connections:
            self._refuse(503, f"this worker has its {limits.connections} connections", extra=b"retry-after: 1\r\n")

    def data_received(self, data: bytes) -> None:
        if self._ended is not None:
            return
        if self._relay is not None or self._pending or self._full:  # one answer at a time: what comes early waits
            self._pending.append(data)
            self.transport.pause_reading()
            return
        if self._receiving and not self._head_done:
            self._head_size += len(data)
            self._raw += data
        else:
            self._head_size = len(data)
            self._raw = data.lstrip(b"\r\n")
            self._first = True
        try:
            self._parser.feed_data(data)
            if not self._head_done and self._head_size > self._gateway.limits.head:
                raise _Bad(431, f"headers longer than {self._gateway.limits.head} bytes")
            if self._timed and self._receiving and self._head_done:
                self._weigh(len(data))
        except httptools.HttpParserCallbackError as error:
            self._stop(error.__context__)
        except httptools.HttpParserUpgrade:
            self._ended = _End(400, "no other protocol is spoken here")
        except httptools.HttpParserError as error:
            self._ended = _End(400, f"not a request this gateway accepts: {error}")
        except _Bad as error:
            self._ended = _End(error.status, error.message)
        if self._ended is not None:
            self._go_on()
        elif self._receiving and not self._timed and not self._answering:
            self._timed = True  # from the first bytes to the last ones, however they trickle
            self._bare, self._weighed = 0, self._body_size
            self._gateway.wheel.arm(self, self._gateway.limits.receipt_s)

    def eof_received(self) -> None:
        return None  # a client that stopped sending gets no more answers either

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._gateway.wheel.forget(self)
        self._gateway.left(self)
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.client_gone()
        self._parser = _NOBODYS  # ours holds us: without this a connection is freed by the collector alone

    def pause_writing(self) -> None:
        self._full = True
        self._gateway.wheel.arm(self, self._gateway.limits.write_s)
        if self._relay is not None:
            self._relay.pause()

    def resume_writing(self) -> None:
        self._full = False
        wheel, limits = self._gateway.wheel, self._gateway.limits
        if self._relay is not None:
            wheel.disarm(self)
            self._relay.resume()
        elif not self.transport.is_closing():  # whose deadline to write stands
            wheel.arm(self, limits.receipt_s if self._timed else limits.idle_s)
            self._gateway.loop.call_soon(self._go_on)

    def expired(self) -> None:
        if self._relay is None and self._timed:
            self._refuse(408, f"the request did not arrive within {self._gateway.limits.receipt_s:g} s")
        elif not self._closed:
            self.transport.abort()  # idle, or a client that does not read

    # -- httptools

    def on_message_begin(self) -> None:
        if len(self._queue) >= self._gateway.limits.pipelined:
            raise _Bad(400, "too many requests at once on one connection")
        if not self._first:
            self._head_size = 0  # what the same read brought before is of the request before
        self._url.clear()
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._body_size = 0
        self._receiving = True
        self._head_done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        headers, name = self._headers, name.lower()
        if self._head_done and name in self._head:
            _joined(name, self._head[name], value)  # a trailer may not say a second time what is said once
        if name in headers:
            value = _joined(name, headers[name], value)
        headers[name] = value

    def on_headers_complete(self) -> None:
        self._head_done = True
        self._head = headers = self._headers
        limits = self._gateway.limits
        if len(headers) > limits.headers:
            raise _Bad(431, f"more than {limits.headers} headers")
        if b"host" not in headers:
            raise _Bad(400, "there is no host header")
        if (self._head_size > limits.head or not self._first) and sum(
            len(n) + len(v) for n, v in headers.items()
        ) > limits.head:
            raise _Bad(431, f"headers longer than {limits.head} bytes")
        spot = self._gateway.spots.get(self._raw[: self._raw.find(b"\r\n")]) if self._first else None
        if spot is None:
            self._judge_line()
        else:
            self._line, self._old = spot, False
        length = headers.get(b"content-length")
        if length is None:
            if b"transfer-encoding" in headers:
                self._headers = {}  # whatever stands behind the body is no header: a proxy before us has not seen it
            elif self._parser.get_method() in _WITH_BODY:
                raise _Bad(411, "a request with a body must state its content-length or come in chunks")
        elif int(length) > limits.body:
            raise _Bad(413, f"a body of {int(length)} bytes; the limit is {limits.body}")
        if self._parser.should_upgrade():
            raise _Bad(400, "no other protocol is spoken here")
        if b"expect" in headers:
            self._expect(headers[b"expect"])

    def _judge_line(self) -> None:
        """A request line that was not seen before: what it may be, and which operation it asks for."""
        url, raw, limits = b"".join(self._url), self._raw, self._gateway.limits
        if len(url) > limits.url:
            raise _Bad(414, f"a URL longer than {limits.url} bytes")
        if url[:1] != b"/" or url[1:2] == b"/":
            raise _Bad(400, "the request target must be a path")
        # The parser forgives white space between the parts of a request line; others may cut it elsewhere.
        method = self._parser.get_method()
        line = b"%b %b HTTP/1.1" % (method, url)
        usual = raw.startswith(line + b"\r\n") if self._first else line + b"\r\n" in raw
        if b"#" in url or not (usual or raw.startswith(line[:-1])):
            raise _Bad(400, "the request line is not method, path and version with one space between them")
        self._old = not usual and _is_1_0(self._parser.get_http_version())
        spot = spot_of(method, url, self._headers)
        self._line = (method, url) if spot is None else spot
        if spot is not None and not self._old:
            remember(self._gateway, line, spot)

    def on_body(self, chunk: bytes) -> None:
        self._body_size += len(chunk)
        if self._body_size > self._gateway.limits.body:
            raise _Bad(413, f"a body longer than {self._gateway.limits.body} bytes")
        self._body.append(chunk)

    def on_message_complete(self) -> None:
        self._receiving = self._first = False
        body = self._body
        whole = body[0] if len(body) == 1 else b"".join(body)
        keep = self._parser.should_keep_alive()
        if self._relay is None and not self._queue and self._ended is None:
            self._answer(self._line, self._head, whole, keep, self._old)
        else:
            self._queue.append((self._line, self._head, whole, keep, self._old))

    # -- the relay says

    def write(self, data: bytes) -> None:
        self._gateway.outbox.put(self.transport, data)

    def answered(self) -> None:
        """The current answer is written: go on with the next request, or close where that was agreed."""
        self._relay = None
        if self._closed:
            return
        gateway = self._gateway
        if not self.keep or gateway.draining:
            self._close()
            return
        wheel = gateway.wheel
        self.due = due = wheel.now + gateway.limits.idle_s  # `wheel.arm`, without the call
        if due < self._filed:
            wheel.file(self)
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
            self.transport.abort()

    # -- inside

    def _weigh(self, size: int) -> None:
        """Bound what is read of a body in chunks and is none of it: extensions and trailers."""
        if self._body_size != self._weighed:
            self._bare, self._weighed = 0, self._body_size
        else:
            self._bare += size
        if self._bare > self._gateway.limits.head:
            raise _Bad(431, f"more than {self._gateway.limits.head} bytes beside the body")

    def _stop(self, error: BaseException | None) -> None:
        if not isinstance(error, _Bad):
            self._ended = _End(500, "the gateway failed on this request")
            self._gateway.loop.call_exception_handler({"message": "a bug in the gateway", "exception": error})
            return
        self._ended = _End(error.status, error.message)

    def _go_on(self) -> None:
        """Answer what is waiting, in order, until an answer takes time."""
        while self._relay is None and not self._closed and not self._full:
            if self._queue:
                self._answer(*self._queue.popleft())
            elif self._ended is not None:
                self._refuse(self._ended.status, self._ended.message)
                return
            elif self._pending:
                data = b"".join(self._pending)
                self._pending.clear()
                self.transport.resume_reading()
                self.data_received(data)
                return
            else:
                return

    def _answer(self, line: Spot | _Line, headers: dict[bytes, bytes], body: bytes, keep: bool, old: bool) -> None:
        gateway = self._gateway
        self.keep, self.http_1_0 = keep, old
        self._timed = False
        self.due = NEVER
        if isinstance(line, Spot):
            answer = route(gateway, line, headers, body)
        elif line == _FEEDBACK:
            answer = self._take_feedback(headers, body)
        else:
            answer = self._local(*line, headers, body)
        if isinstance(answer, Refusal):
            said = local_answer(answer.status, answer.body, extra=answer.extra, keep=self.keeps, kind=answer.kind)
            if type(line) is tuple and line[0] == b"HEAD":
                said = said[: len(said) - len(answer.body)]
            self.write(said)
            self.answered()
            return
        relay = self._relay = Relay(gateway, self, answer)
        try:
            relay.call(answer.target)
        except Exception as error:
            gateway.loop.call_exception_handler({"message": "a bug in the gateway", "exception": error})
            relay.broke()
            return
        if answer.lane.shadow_sample:
            gateway.mirror.consider(answer)

    def _local(self, method: bytes, url: bytes, headers: dict[bytes, bytes], body: bytes) -> Ask | Refusal:
        """What the gateway answers itself, or passes on as it came."""
        match b"GET" if method == b"HEAD" else method, url.partition(b"?")[0]:
            case b"GET", b"/healthz":
                return Refusal(200, b'{"status":"alive"}')
            case b"GET", b"/readyz":
                return self._ready()
            case b"GET", b"/metrics" if self._gateway.exposition is not None and self._may_read_metrics(headers):
                return Refusal(200, self._gateway.exposition(), kind=CONTENT_TYPE)
            case _:
                return passing(self._gateway, method, url, headers, body)

    def _may_read_metrics(self, headers: dict[bytes, bytes]) -> bool:
        """Where there are keys, one for all workloads must be presented."""
        snapshot = self._gateway.snapshot
        if snapshot is None or not snapshot.keys:
            return True
        key = presents_key(snapshot, _FEEDBACK_SPOT, headers)
        return key is not None and "*" in key.workloads

    def _ready(self) -> Refusal:
        snapshot = self._gateway.snapshot
        if snapshot is None or self._gateway.draining:
            return Refusal(503, b'{"status":"not ready"}')
        ready = {"status": "ready", "generation": snapshot.generation, "epoch": snapshot.epoch}
        return Refusal(200, msgspec.json.encode(ready))

    def _take_feedback(self, headers: dict[bytes, bytes], body: bytes) -> Refusal:
        snapshot = self._gateway.snapshot
        if snapshot is None:
            return refuse(DEFAULT_WIRE, 503, "not_ready", "the gateway has no valid routing table yet")
        if snapshot.keys and presents_key(snapshot, _FEEDBACK_SPOT, headers) is None:
            return refuse(DEFAULT_WIRE, 401, "invalid_api_key", UNKNOWN_KEY)
        try:
            given = _feedback.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return refuse(DEFAULT_WIRE, 400, "invalid_feedback", f"{error}; send exchange, name and value (a number)")
        kept = {lane.workload.content for lane in snapshot.lanes.values()}
        clean = str if kept == {FULL} else snapshot.keeper.short
        digits = f"{given.value:.0f}"
        if clean(digits) != digits:
            told = "the value has the form of a card or telephone number; send a number that measures something"
            return refuse(DEFAULT_WIRE, 400, "invalid_feedback", told)
        at = self._gateway.now()
        self._gateway.append(
            Feedback(
                exchange=clean(given.exchange)[:128],
                name=clean(given.name)[:128],
                value=given.value,
                at=at,
                # A table has a folder for each workload: callers must not be the ones who name it.
                workload=given.workload if given.workload in snapshot.lanes else "",
            )
        )
        return Refusal(202, b'{"status":"accepted"}')

    def _expect(self, value: bytes) -> None:
        if value.lower() != b"100-continue":
            raise _Bad(417, "an expectation that cannot be met")
        if self._relay is None and not self._queue and not self._old:  # HTTP/1.0 knows no interim answers
            self.write(CONTINUE)

    def _refuse(self, status: int, message: str, *, extra: bytes = b"") -> None:
        """An error that ends the connection, in the dialect of what was asked as far as it is known."""
        spot = spot_of(b"POST", b"".join(self._url), {})
        spoken = spot.wire if spot else DEFAULT_WIRE
        body = spoken.error_body(status, "bad_request" if status < 500 else "unavailable", message)
        self.write(local_answer(status, body, extra=extra, keep=False))
        self._close()

    def _close(self) -> None:
        """No more is read; what was written still leaves."""
        self._ended = self._ended or _End(400, "closed")
        self._gateway.outbox.flush()
        self._gateway.wheel.arm(self, self._gateway.limits.write_s)
        self.transport.close()


def _is_1_0(version: str) -> bool:
    if version not in ("1.0", "1.1"):
        raise _Bad(400, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    return version == "1.0"


def _joined(name: bytes, former: bytes, value: bytes) -> bytes:
    """Two headers of one name; what decides about framing, identity and routing may be there only once."""
    if name in _ONCE:
        raise _Bad(400, f"the header {name.decode('latin-1')} is there more than once")
    return former + b", " + value
