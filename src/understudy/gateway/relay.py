"""Has a provider answer one request and passes the answer on: fallback before the first byte, honest failure after.

Until the candidate has shown content nothing of its answer reaches the client, so that the incumbent can still take
over. After the first byte there is no second attempt: a broken answer is ended as broken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from understudy.core.playbook import Arm
from understudy.gateway.ask import Ask, Outcome, handle
from understudy.gateway.calling import Call, call_of, streamed
from understudy.gateway.copying import Copy, cut_short
from understudy.gateway.core import Gateway
from understudy.gateway.exchange import exchange_of
from understudy.gateway.failing import CALLERS_FAULT, RATE_LIMITED, of_answer, of_status, told
from understudy.gateway.http import CHUNKED, JSON_KIND, LAST_CHUNK, local_answer, returned, status_line, without
from understudy.gateway.snapshot import Target
from understudy.upstream.connection import Headers, Receiver
from understudy.upstream.failure import Failure, Kind
from understudy.upstream.outbox import Outbox
from understudy.wires.base import Answer, Endpoint, WireError, WireRequest
from understudy.wires.translate import UNREADABLE, Back, Stream
from understudy.wires.translate import answer as answer_over

_CANDIDATE = Arm.CANDIDATE  # asked of the enumeration each time, a member costs as much as ten attributes
_NO_REQUEST = WireRequest("", (), b"")
HOLD_LIMIT = 64 * 1024
"""Bytes of a candidate's answer held back while it shows no content."""
CARRIED_LIMIT = 32 * 1024 * 1024
"""Bytes of an answer that is carried over into another dialect whole, and kept until then."""


class Client(Protocol):
    """The connection that waits for the answer."""

    keep: bool
    http_1_0: bool
    transport: asyncio.Transport

    @property
    def keeps(self) -> bool: ...

    def write(self, data: bytes) -> None: ...

    def answered(self) -> None: ...


class Relay(Receiver):
    __slots__ = (
        "_answered_at",
        "_arm_error",
        "_arm_latency",
        "_arm_status",
        "_ask",
        "_attempts",
        "_called_at",
        "_carrier",
        "_chunked",
        "_copy",
        "_encoding",
        "_first_at",
        "_flows",
        "_framed",
        "_gateway",
        "_head",
        "_held",
        "_hold",
        "_length",
        "_made",
        "_masked",
        "_replace",
        "_sent",
        "_session",
        "_status",
        "_streamed",
        "_target",
    )

    def __init__(self, gateway: Gateway, session: Client, ask: Ask) -> None:
        self.connection = None
        self._gateway = gateway
        self._session = session
        self._ask = ask
        self._attempts = 0
        self._masked = False
        self._arm_error = ""
        self._arm_latency: float | None = None
        self._arm_status = 0
        self._sent = False
        self._first_at = 0.0
        self._carrier: Stream | None = None
        self._hold = ask.choice.arm is _CANDIDATE and not ask.bound

    # -- asking

    def call(self, target: Target) -> None:
        """Ask a variant, the chosen one first; where its request cannot be written, say so to the caller."""
        ask = self._ask
        self._target = target
        self._attempts += 1
        self._status = 0
        self._streamed = False
        self._replace = False
        self._flows = False
        self._held: list[bytes] = []
        self._copy: Copy | None = None
        self._called_at = self._gateway.clock()
        try:
            self._made = made = call_of(ask, target)
        except WireError as error:
            self._made = Call(ask.endpoint, _NO_REQUEST)
            self._unwritten(error)
            return
        self._carrier = Stream(made.back) if made.back is not None and made.back.streamed else None
        head = target.head(made.request, ask.method, ask.forwarded, ask.headers)
        target.pool.send(self, head, made.request.body, streamed=ask.peek.stream)

    def _unwritten(self, error: WireError) -> None:
        """There is no request to this provider: the candidate is passed over, else the caller is told."""
        if self._hold:
            self._status = error.status
            self._fall_back("refused")
        else:
            self._finish_with_error(error.status, "invalid_request", str(error), "status_4xx")

    def _fall_back(self, error: str) -> None:
        """The candidate failed before its first byte: the incumbent answers, the failure stays the candidate's."""
        self._arm_error = error
        self._arm_status = self._status
        self._arm_latency = self._gateway.clock() - self._called_at
        self._masked = True
        self._hold = False
        self._target.pool.cancel(self)
        self.call(self._ask.lane.incumbent)

    def broke(self) -> None:
        """A bug of ours came to light before anything was asked: the caller is told, and waits for nobody."""
        self._made = Call(self._ask.endpoint, _NO_REQUEST)
        self._finish_with_error(500, "internal_error", "the gateway failed on this request", "internal")

    # -- Receiver

    def head(self, status: int, headers: Headers) -> None:
        self._status = status
        head = returned(status, headers)
        self._head, self._length, self._framed, kind = head.lines, head.length, head.framed, head.kind
        back = self._made.back
        self._streamed = streamed(self._made.endpoint, self._ask.peek.stream, status, kind) and (
            back is None or back.streamed
        )
        self._encoding = head.encoding
        if self._streamed:
            self._length = -1  # whatever was promised: where the stream is not whole, an error is told behind it
        if self._streamed or (head.encoding and head.encoding != b"identity"):
            self._copied()
        self._replace = status >= 300 and (status < 400 or b"json" not in kind)
        self._chunked = False
        if back is not None:
            self._length = -1
            self._head = without(self._head, b"content-type:", b"content-encoding:")
            self._head.append(_kind_for(self._ask.endpoint, self._streamed))
            if self._made.losses:
                self._head.append(b"x-understudy-not-carried: %b\r\n" % ", ".join(self._made.losses).encode())

    def data(self, chunk: bytes) -> None:
        """One read is over and the answer is not: pass on what may be passed on."""
        copy = self._copy or self._copied()
        if chunk:
            if not self._first_at:
                self._first_at = self._gateway.clock()
            copy.add(chunk)
            if self._flows:
                self._pass_on(chunk)
                return
            if self.connection is not None and copy.content_seen:
                self.connection.content_seen()
                self._flows = not self._hold and self._status < 300 and self._made.back is None
        if self._made.back is not None and not self._streamed:
            self._held.append(chunk)  # carried over whole
            if copy.size > CARRIED_LIMIT:
                self._target.pool.cancel(self)
                self.failed(Failure(Kind.PROTOCOL, f"an answer of more than {CARRIED_LIMIT} bytes is not carried over"))
            return
        if self._carrier is not None and chunk:
            chunk = self._carrier.feed(chunk)
            if self._carrier.failed == UNREADABLE:
                self._uncarried(chunk)
                return
        if self._hold or self._status >= 300:
            if self._hold and copy.reader is not None and copy.reader.error and not copy.content_seen:
                self._fall_back("in_stream")
                return
            self._held.append(chunk)
            if not self._may_release():
                return
            if self._hold and self._status >= 300:
                self._fall_back(of_status(self._status))
                return
            chunk = b"".join(self._held)
            self._held.clear()
            self._hold = False
        if chunk or not self._sent:
            self._pass_on(chunk)
        if self._flows and self._chunked and self.connection is not None:
            self.connection.pass_whole(_as_it_came(copy, self._gateway.outbox, self._session.transport))

    def end(self, chunk: bytes) -> None:
        copy, complete = self._copy, True
        now = self._gateway.clock()
        if chunk and not self._first_at:
            self._first_at = now
        if copy is None:  # it came in one read, as most do
            answer = self._target.operations[self._made.endpoint.name].read(self._status, chunk)
        else:
            if chunk:
                copy.add(chunk)
            answer = copy.answer()
            complete = copy.complete
        error = ""
        if self._status >= 300 or answer.error or not complete:
            error = of_answer(self._status, answer, complete=complete)
        if answer.unreadable and not answer.truncated and not self._streamed and not error:
            # Of nonsense of a stated length the client is the judge; what ends in the middle is not whole.
            part = not self._framed or (cut_short(chunk) if copy is None else copy.cut_short)
            error = "truncated" if part else UNREADABLE if self._hold else ""
        if self._hold and error:
            self._fall_back(error)
            return
        if self._carrier is not None and self._streamed:
            chunk = self._carrier.feed(chunk) + self._carrier.finish()
            if self._carrier.failed and not error:
                self._uncarried(b"".join(self._held) + chunk)
                return
        if self._held:
            chunk = b"".join(self._held) + chunk
        if self._made.back is not None and not self._streamed:
            self._pass_carried(self._made.back, chunk, error, answer)
            return
        if error == "truncated" and not self._sent and not self._streamed:
            message = "the provider's answer ended before it was whole"
            self._finish_with_error(502, "provider_truncated", message, error)
            return
        if error == "truncated":
            self._break_off(chunk, "provider_truncated", "the provider ended its stream without completing it")
        else:
            replace = not self._sent and (self._replace or (self._status >= 400 and answer.unreadable))
            self._pass_last(self._replaced() if replace else chunk)
        self._finish(error, answer, now=now)

    def failed(self, failure: Failure) -> None:
        if self._hold and not self._sent:
            self._fall_back(failure.kind.value)
            return
        status, code = told(failure)
        if self._sent:
            pending = failure.rest
            if pending:
                self._copied().add(pending)
                pending = self._carrier.feed(pending) if self._carrier is not None else pending
            self._break_off(pending, code, failure.message)
            self._finish(failure.kind.value, self._copied().answer())
        else:
            self._finish_with_error(status, code, failure.message, failure.kind.value)

    def resent(self) -> None:
        """The provider had closed an old connection without answering; the request went out once more."""
        self._attempts += 1

    # -- the session says

    def client_gone(self) -> None:
        """Nobody listens any more: the provider's connection is closed, what was used so far is recorded."""
        self._target.pool.cancel(self)
        answer = self._copied().answer() if self._status else Answer(complete=False)
        error = "client_gone"
        if self._sent and self._streamed and (answer.error or self._copied().ended):
            error = of_answer(
                self._status, answer, complete=True
            )  # it left because the stream had ended, or had failed
        self._finish(error, answer, answered=False)

    def stop(self) -> None:
        """The worker ends before the provider does."""
        self._target.pool.cancel(self)
        self._hold = False
        self.failed(Failure(Kind.BUSY, "the gateway is being restarted"))

    def pause(self) -> None:
        if self.connection is not None:
            self.connection.pause()

    def resume(self) -> None:
        if self.connection is not None:
            self.connection.resume()

    # -- writing to the client

    def _copied(self) -> Copy:
        """The copy that the answer is read from; an answer that comes in one read is read without one."""
        copy = self._copy
        if copy is None:
            copy = self._copy = Copy(self._target.wire, self._made.endpoint)
            copy.tell(self._status, streamed=self._streamed, encoding=self._encoding)
        return copy

    def _may_release(self) -> bool:
        copy = self._copied()
        if copy.size > HOLD_LIMIT:
            return True
        return self._status < 300 and self._streamed and copy.content_seen

    def _open(self, length: int, body: bytes = b"") -> bytes:
        """The head of the answer and `body`; `length` -1 where the body's end is not known yet."""
        self._sent = True
        ask, session = self._ask, self._session
        if length >= 0:
            framing = b"content-length: %d\r\n" % length
        elif session.http_1_0:
            session.keep, framing = False, b""
        else:
            self._chunked, framing = True, CHUNKED
        over = b"\r\n" if session.keep and not self._gateway.draining else b"connection: close\r\n\r\n"
        name, whose = ask.exchange.encode(), self._target.answer_headers
        return b"".join((*self._head, b"x-understudy-exchange: ", name, b"\r\n", whose, framing, over, body))

    def _pass_on(self, chunk: bytes) -> None:
        head = b"" if self._sent else self._open(self._length)
        if self._chunked and chunk:
            self._session.write(b"%b%x\r\n%b\r\n" % (head, len(chunk), chunk))
        elif head or chunk:
            self._session.write(head + chunk)

    def _pass_last(self, chunk: bytes) -> None:
        if not self._sent:
            self._session.write(self._open(len(chunk), chunk))
        elif not self._chunked:
            self._session.write(chunk)
        elif chunk:
            self._session.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(chunk), chunk))
        else:
            self._session.write(LAST_CHUNK)

    def _uncarried(self, told: bytes) -> None:
        """What the provider streams cannot be put into the caller's dialect, and `told` says so: no more is wanted."""
        if self._hold:
            self._fall_back(UNREADABLE)
            return
        self._target.pool.cancel(self)
        self._pass_last(told)
        self._finish(UNREADABLE, self._copied().answer())

    def _pass_carried(self, back: Back, body: bytes, error: str, answer: Answer) -> None:
        """A whole answer, in the caller's dialect."""
        try:
            carried = answer_over(back, self._status, body)
        except WireError as unreadable:
            self._finish_with_error(502, "provider_unreadable", str(unreadable), error or UNREADABLE)
            return
        self._pass_last(carried.body)
        self._finish(error, answer)

    def _break_off(self, chunk: bytes, code: str, message: str) -> None:
        """End an answer that is not whole so that no client can take it for one: an error event, no last chunk."""
        if self._streamed and not (self._carrier is not None and self._carrier.failed):
            chunk += self._ask.wire.error_event(code, message, self._ask.endpoint)
        self._pass_on(chunk)
        self._session.keep = False

    def _replaced(self) -> bytes:
        """A body in the caller's dialect for an error that came in none: a proxy's HTML page, a redirect."""
        status = self._status
        if status < 400:
            self._head[0] = status_line(502)
            status = self._status = 502
            message = "the provider answers with a redirect, which is never followed"
        else:
            message = f"the provider answered with HTTP status {status} and no message that can be read"
        self._head = without(self._head, b"content-type:", b"location:", b"content-encoding:")
        self._head.append(JSON_KIND)
        return self._ask.wire.error_body(status, "provider_error", message)

    def _finish_with_error(self, status: int, code: str, message: str, error: str) -> None:
        self._status = status
        ask, session = self._ask, self._session
        extra = b"x-understudy-exchange: %b\r\n%b" % (ask.exchange.encode(), self._target.answer_headers)
        if status == 503:
            extra += b"retry-after: 1\r\n"
        session.write(local_answer(status, ask.wire.error_body(status, code, message), extra=extra, keep=session.keeps))
        self._finish(error, Answer(complete=False))

    # -- the end

    def _finish(self, error: str, answer: Answer, *, answered: bool = True, now: float = 0.0) -> None:
        """Record how it ended and let the session go on; `error` is that of the last attempt.

        `now` is when the last of the answer came, where it came.
        """
        ask, gateway = self._ask, self._gateway
        if ask.key:
            gateway.in_use[ask.key] -= 1
        masked, status, called_at, first = self._masked, self._status, self._called_at, None
        if masked:
            latency, arm_error = self._arm_latency, self._arm_error
        else:
            latency, arm_error = (now or gateway.clock()) - called_at, error
            if self._first_at:
                first = self._first_at - called_at
        outcome = Outcome(
            status if answered or self._sent else 0,
            arm_error,
            self._target if self._sent and status < 400 else None,
            masked and not error,
            self._attempts,
            self._streamed,
            first,
            latency,
            ", ".join(self._made.losses) if self._made.losses else "",
        )
        if ask.choice.arm is _CANDIDATE:
            arm_status = self._arm_status if masked else status
            both = masked and status in CALLERS_FAULT
            gateway.candidate_ended(ask, arm_error if counts_against(arm_error, arm_status, both) else "")
        elif status in RATE_LIMITED:
            gateway.primary_limited(ask.lane)
        if answer.id and ask.lane.route is not None and ask.endpoint.name == "responses":
            gateway.pins.put(ask.lane.route.upgrade, handle(answer.id), _arm_of(ask, self._target), gateway.now())
        kept = ask.snapshot.keeper.content(ask.lane.workload.content, ask.body, answer)
        record = exchange_of(ask, ask.target, outcome, answer, kept)
        gateway.append(record)
        if gateway.tracing is not None:
            gateway.tracing.exchange(ask, ask.target, record)
        if answered:
            self._session.answered()


def _as_it_came(copy: Copy, outbox: Outbox, transport: asyncio.Transport) -> Callable[[bytes, int], None]:
    """For a stream that flows: a chunk leaves with the framing it came with, the copy gets its content."""
    add, put = copy.add, outbox.put

    def pass_on(framed: bytes, start: int) -> None:
        add(framed[start:-2])
        put(transport, framed)

    return pass_on


def _arm_of(ask: Ask, target: Target) -> Arm:
    return Arm.INCUMBENT if target is ask.lane.incumbent else Arm.CANDIDATE


def _kind_for(endpoint: Endpoint, streamed: bool) -> bytes:
    """Content-Type of an answer that was carried over into the caller's dialect."""
    if streamed and not endpoint.name.endswith(".array"):
        return b"content-type: text/event-stream; charset=utf-8\r\n"
    return JSON_KIND


def counts_against(error: str, status: int, incumbent_failed_too: bool) -> bool:
    """Whether a failure is the candidate's: not the caller's going away, not a request that nobody would take."""
    if error in ("", "client_gone"):
        return False
    return not (status in CALLERS_FAULT and incumbent_failed_too)
