"""A gateway to test against: in this process on the running loop, or as the real command with its workers.

Both are the gateway itself on real sockets; only the ledger of the first is a list. `call` is a plain HTTP client
that shows an answer as it came.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

from understudy.core.records import Exchange, Feedback, Record
from understudy.core.routing import GatewayKey, Provider, Route, RoutingTable, Shadow, WorkloadRoute, encode
from understudy.core.variant import Variant
from understudy.gateway.core import Gateway
from understudy.gateway.limits import Limits
from understudy.gateway.pins import Pins
from understudy.gateway.session import Session
from understudy.upstream.deadlines import Deadlines

WORKLOAD = "chat"
ALL = 1_000_000
PATIENT = Deadlines(connect_s=10.0, headers_s=30.0, first_token_s=30.0, idle_s=30.0, total_s=60.0, keep_alive_s=30.0)
"""Out of the way: a busy machine misses none of them."""
QUICK = Deadlines(connect_s=10.0, headers_s=1.0, first_token_s=1.0, idle_s=1.0, total_s=20.0, keep_alive_s=30.0)
"""For providers that hang."""


def route(share: int = 0, *, shadow: Shadow | None = None, lease_until: float | None = None, **fields: Any) -> Route:
    """An upgrade from `old` to `new`."""
    defaults: dict[str, Any] = {"upgrade": "u1", "candidate": "new", "stage": "canary", "step": 0, "salt": "s1"}
    return Route(**{**defaults, **fields}, share=share, lease_until=lease_until, shadow=shadow)


def table(
    old_url: str,
    new_url: str | None = None,
    *,
    epoch: int = 1,
    generation: str = "g1",
    route: Route | None = None,
    keys: Sequence[GatewayKey] = (),
    limits: Mapping[str, float] | None = None,
    variants: Mapping[str, Variant] | None = None,
    providers: Mapping[str, Mapping[str, Any]] | None = None,
    **workload: Any,
) -> RoutingTable:
    """One workload `chat`: variant `old` (model m-old) at one provider, `new` (m-new) at the other."""
    known = {"old": Variant("old", "p-old", "m-old"), "new": Variant("new", "p-new", "m-new"), **(variants or {})}
    urls = {"p-old": old_url, "p-new": new_url or old_url}
    extra = providers or {}
    return RoutingTable(
        generation=generation,
        epoch=epoch,
        issued_at=time.time(),
        workloads={
            WORKLOAD: WorkloadRoute(
                **{
                    "name": WORKLOAD,
                    "incumbent": "old",
                    "variants": known,
                    "unit": ("header:x-user-id", "body:user"),
                    "content": "full",
                    "route": route,
                    **workload,
                }
            )
        },
        providers={
            name: Provider(
                **{"name": name, "wire": "openai", "base_url": url, "api_key": f"sk-{name}", **extra.get(name, {})}
            )
            for name, url in urls.items()
        },
        keys=tuple(keys),
        limits=limits or {},
    )


def chat(text: str = "hello", **fields: Any) -> bytes:
    """The body of a chat completion request to the workload."""
    return json.dumps({"model": WORKLOAD, "messages": [{"role": "user", "content": text}], **fields}).encode()


class Answer(NamedTuple):
    """`complete` is False where the connection ended before the answer's framing said so."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool


async def call(
    port: int,
    body: bytes,
    *,
    path: str = "/v1/chat/completions",
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
) -> Answer:
    """One request on a connection of its own. Raises OSError where there is no connection or no answer at all."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        given = {"host": "gateway", "content-type": "application/json", **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        return await read_answer(reader)
    finally:
        writer.close()


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Raises ConnectionResetError where nothing came."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError(f"the connection ended after {len(error.partial)} bytes") from error
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    status = int(first.split(" ")[1])
    if status == 100:
        return await read_answer(reader)
    body = bytearray()
    try:
        if "content-length" in headers:
            body += await reader.readexactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            await _chunks(reader, body)
        else:
            body += await reader.read()
    except asyncio.IncompleteReadError as error:
        return Answer(status, headers, bytes(body) + error.partial, False)
    return Answer(status, headers, bytes(body), True)


async def _chunks(reader: asyncio.StreamReader, body: bytearray) -> None:
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        chunk = await reader.readexactly(size + 2)
        body += chunk[:-2]
        if size == 0:
            return


async def until(condition: Callable[[], bool], within_s: float = 90.0) -> None:
    """Wait for something to become true; raises AssertionError where it does not."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"it did not happen within {within_s} s"
        await asyncio.sleep(0.005)


class Crossed:
    """A redaction that is easy to see: every character becomes an x."""

    def text(self, text: str, limit: int | None = None) -> str:
        return "x" * len(text[:limit])

    def body(self, body: bytes, limit: int | None = None) -> bytes:
        return b"x" * len(body[:limit])


class Served:
    """A gateway on the running loop."""

    def __init__(self, gateway: Gateway, server: asyncio.Server, records: list[Record]) -> None:
        self.gateway = gateway
        self.records = records
        self._server = server
        self.port: int = server.sockets[0].getsockname()[1]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def exchanges(self) -> list[Exchange]:
        """The served ones, in the order in which they ended."""
        return [r for r in self.records if isinstance(r, Exchange) and r.role == "served"]

    @property
    def copies(self) -> list[Exchange]:
        return [r for r in self.records if isinstance(r, Exchange) and r.role == "shadow"]

    @property
    def feedback(self) -> list[Feedback]:
        return [r for r in self.records if isinstance(r, Feedback)]

    async def chat(self, user: str = "", **fields: Any) -> Answer:
        """Ask the workload as this user."""
        return await call(self.port, chat(**fields), headers={"x-user-id": user} if user else {})

    async def settled(self, count: int, *, copies: bool = False, within_s: float = 90.0) -> list[Exchange]:
        """Wait until that many records are there; raises AssertionError where they do not come."""
        until = time.monotonic() + within_s
        while len(found := self.copies if copies else self.exchanges) < count:
            if time.monotonic() > until:
                raise AssertionError(f"{len(found)} of {count} records came")
            await asyncio.sleep(0.005)
        return found


@asynccontextmanager
async def served(
    first: RoutingTable,
    *,
    deadlines: Deadlines = PATIENT,
    limits: Limits | None = None,
    pins: Pins | None = None,
) -> AsyncIterator[Served]:
    """Serve this table on a free port."""
    records: list[Record] = []
    gateway = Gateway(records.append, redact=lambda _: Crossed(), deadlines=deadlines, limits=limits, pins=pins)
    gateway.apply(first)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: cast(asyncio.Protocol, Session(gateway)), "127.0.0.1", 0)
    try:
        yield Served(gateway, server, records)
    finally:
        server.close()
        for session in list(gateway.sessions):
            session.stop()
        gateway.close()
        await asyncio.sleep(0.01)


class GatewayProcess:
    """`understudy gateway` as a process, with its workers. `async with` starts and stops it."""

    def __init__(self, folder: Path, first: RoutingTable, *, workers: int = 2, arguments: Sequence[str] = ()) -> None:
        self.table_file = folder / "routing" / "table.json"
        self.segments = folder / "segments"
        self.workers = workers
        self.port = 0
        self.errors = b""
        self._arguments = arguments
        self.table_file.parent.mkdir(parents=True, exist_ok=True)
        self.publish(first)

    def publish(self, new: RoutingTable) -> None:
        """Write the table as a publisher does: beside, then renamed."""
        temporary = self.table_file.with_suffix(".new")
        temporary.write_bytes(encode(new))
        temporary.replace(self.table_file)

    def heartbeats(self) -> dict[str, dict[str, Any]]:
        """What each worker says of itself, by name."""
        found: dict[str, dict[str, Any]] = {}
        for file in (self.table_file.parent / "workers").glob("*.json"):
            with suppress(FileNotFoundError):  # its worker has just left
                found[file.stem] = json.loads(file.read_text())
        return found

    async def until_epoch(self, epoch: int, within_s: float = 90.0) -> float:
        """Wait until every worker acknowledged it; returns how long that took."""
        start = time.monotonic()
        while True:
            beats = self.heartbeats()
            if len(beats) == self.workers and all(beat["epoch"] == epoch for beat in beats.values()):
                return time.monotonic() - start
            if time.monotonic() - start > within_s:
                raise AssertionError(f"epoch {epoch} was not acknowledged: {beats}")
            await asyncio.sleep(0.01)

    @property
    def pids(self) -> list[int]:
        return sorted(beat["pid"] for beat in self.heartbeats().values())

    def signal(self, signum: signal.Signals) -> None:
        self._process.send_signal(signum)

    async def ended(self) -> int:
        """Wait for the end; returns the exit code."""
        _, self.errors = await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode

    async def __aenter__(self) -> GatewayProcess:
        command = [sys.executable, "-m", "understudy", "gateway", "--table", str(self.table_file), "--json"]
        command += ["--port", "0", "--workers", str(self.workers), *self._arguments]
        self._process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=dict(os.environ)
        )
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            await self.ended()
            raise AssertionError(f"the gateway did not start: {self.errors.decode()}")
        self.port = json.loads(line)["port"]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            await self.ended()
