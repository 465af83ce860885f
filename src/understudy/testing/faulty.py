"""A provider whose model name selects the fault, and which keeps a ledger of all it received and sent.

Names like `f/rst@3` are explained in `understudy.testing.faults`. `become` gives a plain model name a fault while the
provider runs. The ledger is one of the three that are joined after a run: what the client saw, what the provider
received, what the product's own ledger says.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from math import inf, isinf
from types import TracebackType

from understudy.testing.dialects import Dialect, Unreadable
from understudy.testing.faults import PREFIX, Close, Done, Fault, Forever, Reset, Send, Step, Wait, parse, plan
from understudy.testing.provider import ProviderServer
from understudy.testing.server import Connection, Reply, Request, Server

MARK = re.compile(rb"#([A-Za-z0-9_-]+)#")
"""A request's own mark, which a test writes into the prompt: it survives every rewriting of headers and fields."""
KEPT_PAYLOAD = 1 << 20
"""Bytes of an answer that the ledger keeps; of longer ones it has the length and the hash."""
KEPT_RAW = 1 << 20


@dataclass(slots=True)
class Received:
    """One request and what became of its answer.

    `ended` is complete, reset or closed (by this provider, as the fault wants it), or gone (the caller left first);
    "" while it is still being answered. Times are seconds of the monotonic clock.
    """

    mark: str
    model: str
    fault: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    reused: bool
    at: float
    status: int = 0
    pieces: int = 0
    terminal: bool = False
    sent: int = 0
    digest: str = ""
    payload: bytes = b""
    ended: str = ""
    ended_at: float = 0.0


@dataclass(slots=True)
class Line:
    """One connection: what came in byte for byte (up to a limit), and how it ended: open, fin, rst, ours."""

    number: int
    opened_at: float
    raw: bytearray = field(default_factory=bytearray)
    received: int = 0
    requests: int = 0
    ended: str = "open"
    ended_at: float = 0.0


class _Logged(Connection):
    """A connection that is written into the ledger."""

    server: _LoggedServer

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        assert isinstance(server, _LoggedServer)
        self.line = Line(len(server.lines), time.monotonic())
        self.ours = False
        self.current: Received | None = None
        server.lines.append(self.line)

    def data_received(self, data: bytes) -> None:
        self.line.received += len(data)
        if len(self.line.raw) < KEPT_RAW:
            self.line.raw += data
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        now = time.monotonic()
        self.line.ended = "ours" if self.ours else "rst" if exc is not None else "fin"
        self.line.ended_at = now
        if self.current is not None and not self.current.ended:
            self.current.ended, self.current.ended_at = "gone", now
        super().connection_lost(exc)


@dataclass
class _LoggedServer(Server):
    lines: list[Line] = field(default_factory=list)


class FaultProvider(ProviderServer):
    """`async with FaultProvider() as provider:` misbehaves on `provider.base_url` as the model name says.

    A model name that is no fault and was given none answers like `f/ok`; with `models`, only those exist.
    """

    def __init__(
        self, *, models: Sequence[str] = (), port: int = 0, key: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(models=models, key=key)
        self.lines: list[Line] = []
        """Every connection ever accepted."""
        self.ledger: list[Received] = []
        self.server = _LoggedServer(self.handle, port=port, tls=tls, connection_class=_Logged, lines=self.lines)
        self._calls: Counter[str] = Counter()
        self._roles: dict[str, str] = {}
        self._timers: set[asyncio.TimerHandle] = set()

    def become(self, model: str, fault: str) -> None:
        """From the next call on, `model` behaves as `fault`. Raises ValueError for a fault that does not exist."""
        parse(fault)
        self._roles[model] = fault

    def marked(self, mark: str) -> list[Received]:
        """All requests that carried a mark, in order of arrival."""
        return [received for received in self.ledger if received.mark == mark]

    def chat(self, dialect: Dialect, request: Request, reply: Reply) -> Awaitable[None] | None:
        received = self._enter(request, reply)
        try:
            asked = dialect.read(request)
            received.model = asked.model
            received.fault = self._role(asked.model)
            fault = parse(received.fault)
        except (Unreadable, ValueError) as error:
            status = error.status if isinstance(error, Unreadable) else 400
            received.ended, received.status = "complete", status
            reply.send(status, dialect.error(status, str(error)))
            return None
        self._calls[received.fault] += 1
        if self._calls[received.fault] > fault.number("times", inf):
            fault = Fault("ok", options=fault.options)
        serial = f"{len(self.ledger):08x}"
        steps = plan(fault, dialect, asked, serial, reused=received.reused, now=time.time())
        return self._play(steps, received, reply)

    def _role(self, model: str) -> str:
        """The fault of a model name. Raises Unreadable for a model that does not exist."""
        if model in self._roles:
            return self._roles[model]
        if model.startswith(PREFIX):
            return model
        if self.models and model not in self.models:
            raise Unreadable(f"the model {model!r} does not exist; known: {', '.join(self.models)}", 404)
        return "f/ok"

    def _enter(self, request: Request, reply: Reply) -> Received:
        connection = reply.connection
        assert isinstance(connection, _Logged)
        mark = MARK.search(request.body)
        received = Received(
            mark=mark[1].decode() if mark else "",
            model="",
            fault="",
            path=request.path,
            headers=request.headers,
            body=request.body,
            connection=connection.line.number,
            reused=connection.line.requests > 0,
            at=time.monotonic(),
        )
        connection.line.requests += 1
        connection.current = received
        self.ledger.append(received)
        return received

    async def _play(self, steps: list[Step], received: Received, reply: Reply) -> None:
        connection = reply.connection
        assert isinstance(connection, _Logged)
        digest = hashlib.sha256()
        for step in steps:
            match step:
                case Wait(seconds):
                    await (asyncio.Event().wait() if isinf(seconds) else asyncio.sleep(seconds))
                case Send():
                    await self._send(step, received, connection)
                    digest.update(step.payload)
                    received.digest = digest.hexdigest()
                case Forever(data, every_s):
                    while True:
                        connection.write(data)
                        received.sent += len(data)
                        await connection.drained()
                        await asyncio.sleep(every_s)
                case Reset():
                    self._ended(received, "reset", connection)
                    connection.abort()
                case Close():
                    self._ended(received, "closed", connection)
                    connection.transport.close()
                case Done(close_after_s):
                    received.ended, received.ended_at = "complete", time.monotonic()
                    reply.status = received.status
                    reply.done = True
                    connection.answered(reply)
                    if close_after_s is not None:
                        self._close_later(connection, close_after_s)

    async def _send(self, step: Send, received: Received, connection: _Logged) -> None:
        if not step.data:
            return
        if received.status == 0 and step.data.startswith(b"HTTP/1.1 ") and not step.data.startswith(b"HTTP/1.1 1"):
            received.status = int(step.data[9:12])
        connection.write(step.data)
        await connection.drained()
        # One turn of the loop for each write, so that each is a packet of its own.
        await asyncio.sleep(0)
        received.sent += len(step.payload)
        received.pieces += step.pieces
        received.terminal = received.terminal or step.terminal
        if len(received.payload) < KEPT_PAYLOAD:
            received.payload += step.payload

    def _ended(self, received: Received, how: str, connection: _Logged) -> None:
        connection.ours = True
        received.ended, received.ended_at = how, time.monotonic()

    def _close_later(self, connection: _Logged, seconds: float) -> None:
        requests = connection.line.requests

        def close() -> None:
            # A server closes what is idle: a request that came in the meantime is answered first.
            if connection.line.requests == requests:
                connection.ours = True
                connection.transport.close()

        self._timers.add(asyncio.get_running_loop().call_later(seconds, close))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for timer in self._timers:
            timer.cancel()
        await super().__aexit__(kind, error, trace)
