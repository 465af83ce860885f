"""The users of the demonstration: a client process that sends live traffic through the gateway and counts what it got.

Reads one JSON line on standard input (`Plan`), sends until standard input closes, and prints a JSON line with its
counts every half second and a last one at the end. It is a client like any other and knows nothing of the rest:
what it counts is what users saw.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import deque
from itertools import accumulate
from typing import Any

import httptools
import msgspec

NUMBER = "NNNNN"
"""Five characters, so that filling them in leaves the length of a request as it was."""


class Population(msgspec.Struct, frozen=True):
    """The users of one workload.

    `rate` is in requests per second. `cases` are (slice, prompt) pairs drawn with the slice's weight; every `NUMBER` in
    a prompt becomes an order number of its own, so that hardly any two requests are the same. `thumbs` is the share
    of answers that get a thumb, which is up with `happy` where the answer contains `pleases` and `unhappy` elsewhere.
    """

    workload: str
    rate: float
    users: int
    slice_header: str
    weights: dict[str, float]
    cases: list[tuple[str, str]]
    thumbs: float = 0.0
    pleases: str = ""
    happy: float = 0.9
    unhappy: float = 0.6


class Plan(msgspec.Struct, frozen=True):
    host: str
    port: int
    populations: list[Population]
    connections: int = 48
    seed: int = 7


class Seen(msgspec.Struct):
    """What the users of one workload saw so far; `last_at` is when the last answer of each variant ended."""

    sent: int = 0
    answered: int = 0
    failed: int = 0
    by_variant: dict[str, int] = {}
    last_at: dict[str, float] = {}


class Connection(asyncio.Protocol):
    """One keep-alive connection that asks one thing at a time."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.busy: tuple[Population, bool] | None = None
        self.variant = ""
        self.exchange = ""
        self.body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.crowd.idle.append(self)

    def ask(self, population: Population, data: bytes, *, counted: bool) -> None:
        self.busy = (population, counted)
        self.variant = self.exchange = ""
        self.body = []
        self.parser = httptools.HttpResponseParser(self)
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower == b"x-understudy-variant":
            self.variant = value.decode()
        elif lower == b"x-understudy-exchange":
            self.exchange = value.decode()

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        assert self.busy is not None
        population, counted = self.busy
        self.busy = None
        follow_up = self.crowd.answered(self, population, int(self.parser.get_status_code())) if counted else b""
        if self.transport.is_closing():
            return
        if follow_up:
            self.ask(population, follow_up, counted=False)
        else:
            self.crowd.idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy is not None and self.busy[1]:
            self.crowd.seen[self.busy[0].workload].failed += 1
        self.crowd.lost(self)


class Crowd:
    """All populations on one set of connections. Open loop: who is due asks, as long as a connection is free."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.idle: deque[Connection] = deque()
        self.seen = {p.workload: Seen() for p in plan.populations}
        self.due = dict.fromkeys(self.seen, 0.0)
        self.stopping = False
        self.tables = [self._table(p) for p in plan.populations]

    def _table(self, p: Population) -> tuple[list[tuple[str, bytes]], list[float]]:
        cases = []
        for name, prompt in p.cases:
            body = {"model": p.workload, "messages": [{"role": "user", "content": prompt}]}
            cases.append((name, json.dumps(body).encode()))
        counts = {name: sum(1 for n, _ in p.cases if n == name) for name in p.weights}
        return cases, list(accumulate(p.weights[name] / counts[name] for name, _ in p.cases))

    async def run(self, until: asyncio.Future[None]) -> None:
        await asyncio.gather(*(self._connect() for _ in range(self.plan.connections)))
        before = time.monotonic()
        report_at = before
        while not until.done():
            await asyncio.sleep(0.004)
            now = time.monotonic()
            for population, (cases, weights) in zip(self.plan.populations, self.tables, strict=True):
                # At most a tenth of a second is caught up: a stall must not be followed by a flood.
                due = min(self.due[population.workload] + population.rate * (now - before), population.rate / 10 + 1)
                while due >= 1 and self.idle:
                    due -= 1
                    self._ask(population, cases, weights)
                self.due[population.workload] = due
            before = now
            if now - report_at >= 0.5:
                report_at = now
                self.report()
        self.stopping = True
        for _ in range(250):
            if len(self.idle) >= self.plan.connections:
                break
            await asyncio.sleep(0.02)
        self.report()

    async def _connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: Connection(self), self.plan.host, self.plan.port)

    def _ask(self, p: Population, cases: list[tuple[str, bytes]], weights: list[float]) -> None:
        name, body = self.random.choices(cases, cum_weights=weights)[0]
        # Squaring a uniform draw makes few users heavy and many light, as real traffic is.
        user = int(p.users * self.random.random() ** 2)
        body = body.replace(NUMBER.encode(), b"%05d" % self.random.randrange(100_000))
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {self.plan.host}:{self.plan.port}\r\n"
            f"content-type: application/json\r\nx-user-id: user-{user}\r\n{p.slice_header}: {name}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        self.seen[p.workload].sent += 1
        self.idle.popleft().ask(p, head.encode() + body, counted=True)

    def answered(self, connection: Connection, p: Population, status: int) -> bytes:
        """Count an answer; returns the request to send next on this connection, a thumb, or b"" for none."""
        seen = self.seen[p.workload]
        seen.answered += 1
        if status != 200:
            seen.failed += 1
            return b""
        variant = connection.variant
        seen.by_variant[variant] = seen.by_variant.get(variant, 0) + 1
        seen.last_at[variant] = time.time()
        if not p.thumbs or self.random.random() >= p.thumbs:
            return b""
        pleased = p.pleases.encode() in b"".join(connection.body)
        up = self.random.random() < (p.happy if pleased else p.unhappy)
        body = json.dumps({"exchange": connection.exchange, "name": "satisfaction", "value": float(up)}).encode()
        head = f"POST /v1/feedback HTTP/1.1\r\nhost: {self.plan.host}\r\ncontent-type: application/json\r\n"
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    def lost(self, connection: Connection) -> None:
        if connection in self.idle:
            self.idle.remove(connection)
        if not self.stopping:
            task = asyncio.ensure_future(self._reconnect())
            task.add_done_callback(lambda done: done.exception())

    async def _reconnect(self) -> None:
        await asyncio.sleep(0.05)
        await self._connect()

    def report(self) -> None:
        sys.stdout.write(msgspec.json.encode({"at": time.time(), "seen": self.seen}).decode() + "\n")
        sys.stdout.flush()


async def _main() -> None:
    plan = msgspec.json.decode(sys.stdin.readline(), type=Plan)
    loop = asyncio.get_running_loop()
    until: asyncio.Future[None] = loop.create_future()

    class Closed(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            if not until.done():
                until.set_result(None)

    await loop.connect_read_pipe(Closed, sys.stdin)
    await Crowd(plan).run(until)


if __name__ == "__main__":
    import uvloop

    uvloop.run(_main())
