"""The connections to one provider: the last one used is used first, so that spare ones grow old and are closed.

A pool opens, lends and forgets connections; it never retries and never follows a redirect.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from understudy.upstream.ageing import Ageing
from understudy.upstream.connection import Connection, Receiver
from understudy.upstream.deadlines import Deadlines
from understudy.upstream.failure import Failure, Kind
from understudy.upstream.origin import Origin, tls_context
from understudy.upstream.outbox import Outbox
from understudy.upstream.tunnel import open_tunnel, proxy_for
from understudy.upstream.wheel import Timed, Wheel

MAX_CONNECTIONS = 4096
READ_BYTES = 16 * 1024
"""The most that is read of an answer before it is passed on; bounds what waits for a slow client."""


class _Handshake(Timed):
    """Ends the opening of a connection that takes too long. The wheel keeps the time, which knows that a process may
    stand still: a connection that was made meanwhile is not late."""

    __slots__ = ("_task", "late")

    def __init__(self, task: asyncio.Task[None]) -> None:
        super().__init__()
        self._task = task
        self.late = False

    def expired(self) -> None:
        self.late = True
        self._task.cancel()


class Pool:
    """Must be made inside a running loop. `limit` bounds the connections, waiting for a handshake included."""

    def __init__(
        self,
        origin: Origin,
        wheel: Wheel,
        deadlines: Deadlines | None = None,
        *,
        outbox: Outbox | None = None,
        limit: int = MAX_CONNECTIONS,
    ) -> None:
        self.origin = origin
        self.wheel = wheel
        self.deadlines = deadlines or Deadlines()
        self.outbox = outbox or Outbox(asyncio.get_running_loop())
        self._limit = limit
        self._proxy = proxy_for(origin, os.environ)
        self._tls = tls_context(origin.ca_file) if origin.tls else None
        self.buffer = memoryview(bytearray(READ_BYTES))
        self.get_buffer: Callable[[int], memoryview] = partial(getattr, self, "buffer")
        """Gives the buffer, whatever size is asked for; a function would cost a frame of Python for each read."""
        self._idle: dict[Connection, None] = {}
        self._ageing = Ageing(self.deadlines.keep_alive_s)
        self._open: set[Connection] = set()
        self._opening: dict[Receiver, asyncio.Task[None]] = {}

    @property
    def open_connections(self) -> int:
        return len(self._open) + len(self._opening)

    def send(self, receiver: Receiver, request: bytes, body: bytes, *, streamed: bool) -> None:
        """Send `request` (head with content-length and blank line) and `body`; never raises, `receiver` hears."""
        idle = self._idle
        while idle:
            connection, _ = idle.popitem()
            if not connection.closed:
                connection.begin(receiver, request, body, streamed=streamed)
                return
        self.resend(receiver, request, body, streamed=streamed)

    def resend(self, receiver: Receiver, request: bytes, body: bytes, *, streamed: bool) -> None:
        """`send` on a new connection."""
        receiver.connection = None
        if self.open_connections >= self._limit:
            message = f"all {self._limit} connections to provider {self.origin.name} are in use"
            asyncio.get_running_loop().call_soon(receiver.failed, Failure(Kind.BUSY, message, sent=False))
            return
        opening = self._connect(receiver, request, body, streamed)
        self._opening[receiver] = asyncio.get_running_loop().create_task(opening)

    def cancel(self, receiver: Receiver) -> None:
        """Give up a call in any phase; the receiver hears nothing more."""
        task = self._opening.pop(receiver, None)
        if task is not None:
            task.cancel()
        elif receiver.connection is not None:
            connection, receiver.connection = receiver.connection, None
            connection.cancel()

    def release(self, connection: Connection) -> None:
        """An answer is complete and the connection may carry another."""
        now = connection.idle_since = self.wheel.now
        self.wheel.arm(connection, self._ageing.limit(now))
        self._idle[connection] = None

    def keeps(self, header: bytes) -> None:
        """What the provider says in a Keep-Alive header."""
        self._ageing.told(header, self.wheel.now)

    def aged(self, connection: Connection) -> None:
        """The provider closed a connection while it was unused: others of that age are not waited with."""
        now = self.wheel.now
        before = self._ageing.limit(now)
        self._ageing.closed(now - connection.idle_since, now)
        limit = self._ageing.limit(now)
        if limit < before:
            for other in self._idle:
                self.wheel.arm(other, max(0.0, other.idle_since + limit - now))

    def lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._idle.pop(connection, None)

    def close(self) -> None:
        for task in self._opening.values():
            task.cancel()
        self._opening.clear()
        for connection in list(self._open):
            connection.cancel()
        self._idle.clear()

    async def _connect(self, receiver: Receiver, request: bytes, body: bytes, streamed: bool) -> None:
        failure = None
        connection = None
        try:
            connection = await self._open_one()
        except TimeoutError:
            failure = Failure(
                Kind.TIMEOUT, f"{self._where} took longer than {self.deadlines.connect_s:g} s", sent=False
            )
        except ssl.SSLCertVerificationError as error:
            why = f"{self._where} shows a certificate we do not trust: {error.verify_message}"
            failure = Failure(Kind.CONNECT, why, sent=False)
        except (OSError, ssl.SSLError) as error:
            failure = Failure(Kind.CONNECT, f"{self._where} failed: {_reason(error)}", sent=False)
        if self._opening.pop(receiver, None) is None:  # given up in the same turn of the loop
            if connection is not None:
                connection.cancel()
        elif connection is None:
            assert failure is not None
            receiver.failed(failure)
        elif connection.closed:
            receiver.failed(Failure(Kind.CONNECT, f"{self._where} was closed at once", sent=False))
        else:
            connection.begin(receiver, request, body, streamed=streamed)

    async def _open_one(self) -> Connection:
        """Raises TimeoutError after `connect_s`."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        handshake = _Handshake(task)
        self.wheel.arm(handshake, self.deadlines.connect_s + loop.time() - self.wheel.now)
        try:
            connection = await self._handshaken(loop)
        except asyncio.CancelledError:
            if handshake.late:
                raise TimeoutError from None
            raise
        finally:
            self.wheel.forget(handshake)
        self._open.add(connection)
        return connection

    async def _handshaken(self, loop: asyncio.AbstractEventLoop) -> Connection:
        origin = self.origin
        server_hostname = origin.host if self._tls else None
        if self._proxy is None:
            _, made = await loop.create_connection(
                lambda: _protocol(self), origin.host, origin.port, ssl=self._tls, server_hostname=server_hostname
            )
        else:
            tunnel = await open_tunnel(self._proxy, origin.host, origin.port)
            _, made = await loop.create_connection(
                lambda: _protocol(self), sock=tunnel, ssl=self._tls, server_hostname=server_hostname
            )
        connection: Connection = made
        return connection

    @property
    def _where(self) -> str:
        return f"connecting to provider {self.origin.name} at {self.origin.host}:{self.origin.port}"


def _protocol(pool: Pool) -> Any:
    """A protocol in all but its bases."""
    return Connection(pool)


def _reason(error: OSError | ssl.SSLError) -> str:
    return error.strerror or str(error) or type(error).__name__
