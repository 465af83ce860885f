"""A small HTTP/1.1 server for providers: takes requests apart, frames answers, notices who went away.

What is answered is a handler's business. Nothing here knows a dialect, and nothing of `understudy.wires` is used, so
that a fault in the product's own parsing cannot hide behind the same fault in its fakes. Built for thousands of
requests a second on one core: an answer is one write, and a handler that has nothing to wait for is a plain function.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import sys
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, cast

import httptools

BODY_LIMIT = 64 * 1024 * 1024
"""A request body above this is answered with 413."""

REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}


@dataclass(slots=True)
class Request:
    """A whole request. Header names are lower case; of a repeated header the values are joined with ", "."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool = True


Headers = Iterable[tuple[str, str]]
Handler = Callable[[Request, "Reply"], Awaitable[None] | None]


class Gone(ConnectionError):
    """The caller went away before the answer was finished."""


class Reply:
    """The answer to one request: either `send` once, or `start`, any number of `write`, `finish`."""

    __slots__ = ("_chunked", "_connection", "done", "request", "status")

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._chunked = False
        self.request = request
        self.status = 0
        self.done = False

    @property
    def gone(self) -> bool:
        return self._connection.closed

    @property
    def connection(self) -> Connection:
        """The raw connection, for a provider that means to misbehave on it."""
        return self._connection

    def send(self, status: int, body: bytes, *, content_type: str = "application/json", headers: Headers = ()) -> None:
        """A whole answer with a content-length."""
        self.status = status
        head = self._head(status, content_type, headers)
        self._connection.write(b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body))
        self._done()

    def start(
        self, status: int, *, content_type: str = "text/event-stream; charset=utf-8", headers: Headers = ()
    ) -> None:
        """Status and headers of an answer that comes in chunks."""
        self.status = status
        self._chunked = True
        head = self._head(status, content_type, headers)
        self._connection.write(b"%stransfer-encoding: chunked\r\n\r\n" % head)

    def write(self, data: bytes) -> None:
        """One chunk. Raises Gone where the caller went away."""
        if self._connection.closed:
            raise Gone("the caller went away")
        if data:
            self._connection.write(b"%x\r\n%s\r\n" % (len(data), data))

    async def drain(self) -> None:
        """Wait until the caller has read enough of what was written. Raises Gone where it went away."""
        await self._connection.drained()

    def finish(self) -> None:
        self._connection.write(b"0\r\n\r\n")
        self._done()

    def _head(self, status: int, content_type: str, headers: Headers) -> bytes:
        lines = f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\ncontent-type: {content_type}\r\n"
        for name, value in headers:
            lines += f"{name}: {value}\r\n"
        if not self.request.keep_alive:
            lines += "connection: close\r\n"
        return lines.encode("latin-1")

    def _done(self) -> None:
        self.done = True
        self._connection.answered(self)


class Connection(asyncio.Protocol):
    """One connection: requests are answered one at a time and in order, however fast they arrive."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.closed = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_size = 0
        self._waiting: deque[Request] = deque()
        self._current: Reply | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._paused = False

    # -- bytes in ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.refuse(400, "no upgrades here")
        except httptools.HttpParserError as error:
            self.refuse(400, f"not HTTP: {error}")

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.server.connections.discard(self)
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self._task is not None:
            self._task.cancel()
        self.ended.set_result(None)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size <= BODY_LIMIT:
            self._body.append(body)

    def on_message_complete(self) -> None:
        path, _, query = self._url.decode("latin-1").partition("?")
        request = Request(
            method=self._parser.get_method().decode("latin-1"),
            path=path,
            query=query,
            headers=self._headers,
            body=b"".join(self._body),
            keep_alive=self._parser.should_keep_alive(),
        )
        too_big = self._body_size > BODY_LIMIT
        self._url, self._headers, self._body, self._body_size = b"", {}, [], 0
        if too_big:
            self.refuse(413, f"the body is larger than {BODY_LIMIT} bytes")
        elif self._current is not None:
            self._waiting.append(request)
            self.transport.pause_reading()
        else:
            self._begin(request)

    # -- answers out -------------------------------------------------------------------------------------------

    def _begin(self, request: Request) -> None:
        reply = self._current = Reply(self, request)
        try:
            pending = self.server.handler(request, reply)
        except Exception as error:
            self._failed(reply, error)
            return
        if pending is not None:
            self._task = asyncio.ensure_future(self._carry(reply, pending))

    async def _carry(self, reply: Reply, pending: Awaitable[None]) -> None:
        try:
            await pending
        except Gone:
            pass
        except Exception as error:
            self._failed(reply, error)

    def _failed(self, reply: Reply, error: Exception) -> None:
        """A handler broke: that is a bug in the provider, kept so that `Server.stop` can raise it."""
        self.server.failures.append(error)
        traceback.print_exception(error, file=sys.stderr)
        if reply.status == 0 and not self.closed:
            reply.send(500, b'{"error":{"message":"the provider itself failed","type":"server_error"}}')
        else:
            self.abort()

    def answered(self, reply: Reply) -> None:
        """The current answer is complete: go on with the next request, or close where that was agreed."""
        self._current = self._task = None
        if self.closed:
            return
        if not reply.request.keep_alive:
            self.transport.close()
        elif self._waiting:
            request = self._waiting.popleft()
            if not self._waiting:
                self.transport.resume_reading()
            # Not from here, so that a client that sends ahead cannot make the stack grow.
            asyncio.get_running_loop().call_soon(self._begin, request)

    def write(self, data: bytes) -> None:
        """Bytes as they are."""
        if not self.closed:
            self.transport.write(data)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    async def drained(self) -> None:
        if self._paused and not self.closed:
            self._writable = asyncio.get_running_loop().create_future()
            await self._writable
        if self.closed:
            raise Gone("the caller went away")

    def refuse(self, status: int, why: str) -> None:
        """Answer what cannot be served and close; nothing more is read from this connection."""
        body = b'{"error":{"message":"%s","type":"invalid_request_error"}}' % why.encode("ascii", "replace")
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.write(head.encode() + b"content-length: %d\r\n\r\n%s" % (len(body), body))
        self.closed = True
        self.transport.close()

    def abort(self) -> None:
        """Reset the connection (RST), dropping what was not yet sent."""
        sock: Any = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


@dataclass
class Server:
    """A listening server. Use it as `async with Server(handler) as server:`; port 0 lets the system choose.

    Leaving the block closes every connection and raises what any handler raised, so that a test cannot pass over a
    provider that broke.
    """

    handler: Handler
    port: int = 0
    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    connection_class: type[Connection] = Connection
    connections: set[Connection] = field(default_factory=set)
    failures: list[Exception] = field(default_factory=list)
    _listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind and listen. Raises OSError where the address is taken."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: self.connection_class(self), self.host, self.port, ssl=self.tls, backlog=4096
        )
        self.port = self._listener.sockets[0].getsockname()[1]

    def stop_listening(self) -> None:
        """Refuse new connections; those that are open go on."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def stop(self) -> None:
        """Close everything. Raises ExceptionGroup with whatever the handlers raised."""
        self.stop_listening()
        open_now = list(self.connections)
        for connection in open_now:
            connection.transport.abort()
        await asyncio.gather(*(connection.ended for connection in open_now))
        if self.failures:
            raise ExceptionGroup("the provider's own handlers failed", self.failures)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
