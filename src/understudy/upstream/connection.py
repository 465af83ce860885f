"""One connection to a provider: sends a request, hands the answer to a receiver as it comes, keeps the deadlines.

What a failure means for the caller is the receiver's business; a connection only says what happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from understudy.upstream.chunks import LONGEST, SIZE_LINES
from understudy.upstream.deadlines import Deadlines
from understudy.upstream.failure import Failure, Kind
from understudy.upstream.outbox import Outbox
from understudy.upstream.wheel import NEVER, Timed, Wheel

MAX_HEAD = 64 * 1024
"""Bytes of an answer's status line and headers."""

_NOBODYS = httptools.HttpResponseParser(object())

Headers = list[tuple[bytes, bytes]]


class Receiver:
    """Takes one answer. After `end` or `failed` nothing more is called."""

    __slots__ = ("connection",)
    connection: Connection | None
    """Where the answer comes from; None until connected and after it is over."""

    def head(self, status: int, headers: Headers) -> None:
        raise AssertionError("a receiver without head()")

    def data(self, chunk: bytes) -> None:
        """All that one read brought of the body; empty where that was the head alone."""
        raise AssertionError("a receiver without data()")

    def end(self, chunk: bytes) -> None:
        """The answer is complete; `chunk` is the rest of the body, often all of it."""
        raise AssertionError("a receiver without end()")

    def failed(self, failure: Failure) -> None:
        raise AssertionError("a receiver without failed()")

    def resent(self) -> None:
        """The request goes out a second time, on another connection."""


class Owner(Protocol):
    """What a connection needs of the pool it belongs to."""

    wheel: Wheel
    deadlines: Deadlines
    outbox: Outbox
    buffer: memoryview
    get_buffer: Callable[[int], memoryview]

    def resend(self, receiver: Receiver, request: bytes, body: bytes, *, streamed: bool) -> None: ...

    def release(self, connection: Connection) -> None: ...

    def keeps(self, header: bytes) -> None: ...

    def aged(self, connection: Connection) -> None: ...

    def lost(self, connection: Connection) -> None: ...


class Connection(Timed):
    """A protocol as event loops know it. It has no base of asyncio's: compiled, it would lose its speed by one."""

    __slots__ = (
        "_answered",
        "_awaiting_content",
        "_between",
        "_chunk_over",
        "_complete",
        "_head_bytes",
        "_headers",
        "_interim",
        "_keep",
        "_kept_at",
        "_parser",
        "_paused",
        "_pieces",
        "_request",
        "_token_due",
        "_total_due",
        "_whole",
        "closed",
        "get_buffer",
        "idle_since",
        "on_body",
        "pool",
        "receiver",
        "reused",
        "transport",
    )

    def __init__(self, pool: Owner) -> None:
        Timed.__init__(self)
        self.pool = pool
        self.get_buffer = pool.get_buffer
        """All connections of a pool read into one buffer: what was read is parsed at once."""
        self.receiver: Receiver | None = None
        self.closed = False
        self.reused = False
        self.idle_since = 0.0
        self._headers: Headers = []
        self._request: tuple[bytes, bytes, bool] | None = None
        self._head_bytes = 0
        self._paused = False
        self._pieces: list[bytes] = []
        self._whole: Callable[[bytes, int], None] | None = None
        self._between = False
        """The parser stands between two chunks, and there is somebody who takes them whole."""
        self.on_body = self._pieces.append
        """The parser's call for each piece of a body; a method would cost a frame of Python for each chunk."""

    # -- sending

    def begin(self, receiver: Receiver, request: bytes, body: bytes, *, streamed: bool) -> None:
        """Send head and body; the answer goes to `receiver`."""
        self.receiver = receiver
        receiver.connection = self
        self._request = (request, body, streamed) if self.reused else None
        self._answered = self._complete = self._interim = self._chunk_over = False
        self._awaiting_content = True
        self._token_due = False
        self._head_bytes = 0
        self._kept_at = -1.0
        deadlines = self.pool.deadlines
        wheel = self.pool.wheel
        now = wheel.now
        self._total_due = now + deadlines.total_s
        self.due = due = now + (deadlines.head_s if streamed else deadlines.whole_s)  # `wheel.arm`, without the call
        if due < self._filed:
            wheel.file(self)
        if len(body) <= 65536:
            self.pool.outbox.put(self, request + body)
        else:
            self.transport.writelines((request, body))

    def is_closing(self) -> bool:
        """Whether a request that waits to leave is no longer wanted."""
        return self.receiver is None or self.closed

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def content_seen(self) -> None:
        """From here on the idle deadline counts, not the one for the first token."""
        self._awaiting_content = False
        self._kept_at = -1.0

    def pass_whole(self, whole: Callable[[bytes, int], None]) -> None:
        """From here on `whole` takes each read that is one whole chunk, instead of `Receiver.data`: the read as it came
        and where the chunk's content begins in it; it ends two bytes before the end.
        """
        self._whole = whole

    def cancel(self) -> None:
        """The receiver wants no more: the provider sees the connection end."""
        self._let_go()
        self._close_now()

    def pause(self) -> None:
        """Take no more bytes until `resume`; whoever pauses keeps the time."""
        if not self._paused and not self.closed:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self.closed:
            self._paused = False
            self.transport.resume_reading()
            if self.receiver is not None:
                self._arm(self.pool.deadlines.idle_s)

    # -- what an event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        """Where the loop is asyncio's own, which reads into the buffers of its own kind of protocols only."""
        buffer = self.pool.buffer
        for start in range(0, len(data), len(buffer)):
            piece = data[start : start + len(buffer)]
            buffer[: len(piece)] = piece
            self.buffer_updated(len(piece))
            if self.closed:
                return

    def pause_writing(self) -> None:
        """A request is sent whole: there is nothing to hold back."""

    def resume_writing(self) -> None:
        pass

    def buffer_updated(self, nbytes: int) -> None:
        pool = self.pool
        read = pool.buffer[:nbytes]
        if self._between and nbytes < LONGEST:
            data, line = bytes(read), SIZE_LINES[nbytes]
            if data.startswith(line) and data.endswith(b"\r\n"):
                if self._kept_at != pool.wheel.now:
                    self._keep_time()
                assert self._whole is not None
                self._whole(data, len(line))
                return
        receiver = self.receiver
        if receiver is None:  # bytes nobody asked for: the next answer could not be trusted
            self._close_now()
            return
        if not self._answered:
            self._head_bytes += nbytes
            if self._head_bytes > MAX_HEAD + nbytes:
                self._fail(Kind.PROTOCOL, f"the head of the answer is longer than {MAX_HEAD} bytes")
                return
        self._between = False
        try:
            self._parser.feed_data(read)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._stumbled(error)
            return
        if self.receiver is not receiver:
            return  # given up while it read
        pieces = self._pieces
        chunk = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._complete:
            self._finish(receiver, chunk)
        elif self._answered:
            if self._kept_at != pool.wheel.now:
                self._keep_time()
            receiver.data(chunk)
            self._between = self._chunk_over and self._whole is not None and bytes(read[-2:]) == b"\r\n"
            if nbytes == len(pool.buffer):  # more is read in this turn: a full client must be noticed before
                pool.outbox.flush()

    def _stumbled(self, error: Exception) -> None:
        """The parser cannot go on; what was not its own doing is a bug of ours, and raised again."""
        why = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
        if not isinstance(why, httptools.HttpParserError | httptools.HttpParserUpgrade):
            self._fail(Kind.PROTOCOL, "the answer could not be handled")
            raise why or error from None
        self._fail(Kind.PROTOCOL, f"the answer is not HTTP/1.1: {why}")

    def eof_received(self) -> None:
        """The provider closes. An orderly end of a used connection before any answer is its idle time-out, which
        crossed our request: that goes out once more, and `resent` counts it. A reset proves nothing and is a failure.
        """
        if self.reused and (self.receiver is None or not self._head_bytes):
            self.pool.aged(self)
        if self.receiver is None:
            self.closed = True  # a request that comes before `connection_lost` must not go out here
        self._send_again()

    def _send_again(self) -> None:
        request, receiver = self._request, self.receiver
        if request is not None and receiver is not None and not self._head_bytes:
            receiver.connection = None
            self._let_go()
            receiver.resent()
            self.pool.resend(receiver, request[0], request[1], streamed=request[2])

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.pool.wheel.forget(self)
        self.pool.lost(self)
        self._parser = _NOBODYS  # ours holds us
        if isinstance(exc, BrokenPipeError):
            self._send_again()  # the system took none of it: the provider had closed before
        receiver = self.receiver
        if receiver is None:
            return
        if self._answered and exc is None and not _framed(self._headers):
            self._finish(receiver, b"")  # an answer without a length ends with its connection
        elif self._answered:
            self._fail(Kind.TRUNCATED, "the provider closed the connection inside its answer")
        else:
            self._fail(Kind.RESET, "the provider closed the connection without an answer")

    def expired(self) -> None:
        if self.receiver is None:
            self._close_now()
            return
        left = self._total_due - self.pool.wheel.now
        if left <= 0:
            self._fail(Kind.TIMEOUT, f"the answer was not complete within {self.pool.deadlines.total_s:g} s")
        elif self._paused:
            self.pool.wheel.arm(self, left)  # the client does not read: its own deadline decides before the total
        elif self._answered:
            what = "content" if self._awaiting_content else "more of its answer"
            self._fail(Kind.TIMEOUT, f"the provider sent no {what} in time")
        else:
            self._fail(Kind.TIMEOUT, "the provider sent no answer in time")

    # -- httptools

    def on_message_begin(self) -> None:
        if self._complete:
            raise httptools.HttpParserError("an answer nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        headers = self._headers
        if status < 200:
            self._interim = True
            self._headers = []
            if status == 101:
                raise httptools.HttpParserError("the provider wants another protocol")
            return
        self._interim = False
        self._answered = True
        if not self.reused:  # the first answer of a connection speaks for all
            for name, value in headers:
                if len(name) == 10 and name.lower() == b"keep-alive":
                    self.pool.keeps(value)
        if self.receiver is not None:
            self.receiver.head(status, headers)

    def on_chunk_header(self) -> None:
        self._chunk_over = False

    def on_chunk_complete(self) -> None:
        self._chunk_over = True

    def on_message_complete(self) -> None:
        if not self._interim:
            self._complete = True
            self._keep = self._parser.should_keep_alive()  # the parser forgets it on return

    # -- ending

    def _keep_time(self) -> None:
        """Every read extends the idle deadline, up to the total; before content the first-token deadline stands."""
        deadlines = self.pool.deadlines
        self._kept_at = self.pool.wheel.now  # which is coarse: of many reads between two ticks the first one does
        if not self._awaiting_content:
            self._arm(deadlines.idle_s)
        elif not self._token_due:
            self._token_due = True
            self._arm(deadlines.first_token_s)

    def _arm(self, after: float) -> None:
        wheel = self.pool.wheel
        wheel.arm(self, min(after, self._total_due - wheel.now))

    def _finish(self, receiver: Receiver, chunk: bytes) -> None:
        receiver.connection = self._request = None
        self._let_go()
        self._headers = []
        if not self.closed:
            if self._complete and self._keep and not self._paused:
                self.reused = True
                self.pool.release(self)
            else:
                self._close_now()
        receiver.end(chunk)

    def _fail(self, kind: Kind, message: str) -> None:
        receiver = self.receiver
        self._let_go()
        self._close_now()
        if receiver is not None:
            receiver.connection = None
            receiver.failed(Failure(kind, message, rest=b"".join(self._pieces)))

    def _let_go(self) -> None:
        self.receiver = self._whole = None
        self._between = False

    def _close_now(self) -> None:
        self.due = NEVER
        if not self.closed:
            self.closed = True
            self.transport.abort()


def _framed(headers: Headers) -> bool:
    return any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in headers)
