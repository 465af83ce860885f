"""One small world for a row of the matrix: two faulty providers, a gateway process, its table, its ledger, clients."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.chaos.client import Leave, Saw, ask, request

import understudy
from understudy.core.records import Exchange, Feedback, Loss
from understudy.core.routing import Provider, Route, RoutingTable, Shadow, WorkloadRoute, encode
from understudy.core.variant import Variant
from understudy.gateway.supervisor import SEND_BUFFER
from understudy.ledger.reading import BootReader, Row, boots
from understudy.testing.faulty import FaultProvider, Line, Received

REPO = Path(__file__).parents[2]
DEADLINES = {"connect_s": 2.0, "headers_s": 5.0, "first_token_s": 5.0, "idle_s": 5.0, "total_s": 20.0}
"""Short, and long enough for a busy machine."""
SHORT = {"connect_s": 0.6, "headers_s": 0.5, "first_token_s": 0.7, "idle_s": 0.5, "total_s": 6.0}
"""For the rows that wait until a deadline is over; see `Scale.deadlines`."""
LIMITS = {"receipt_s": 0.8, "idle_s": 2.0, "write_s": 1.0, "drain_s": 2.0, "linger_s": 0.2, "connections": 600}
BUG: ContextVar[str] = ContextVar("BUG", default="")
"""The defect that gateways started from here on have; see `sabotage`."""
INSTALLED = Path(understudy.__file__).parents[1]
WIRES = {"openai": "openai", "responses": "openai", "anthropic": "anthropic", "gemini": "gemini"}


def code_under_test() -> Path:
    """The product as it is installed, compiled or not. A defect is planted in the sources: what is compiled does not
    look its own parts up by name."""
    return REPO / "src" if BUG.get() else INSTALLED


@dataclass
class Evidence:
    """Everything a row is judged by: the three ledgers, and the row's own measurements.

    `log` is what the gateway wrote to standard error; `reconcile` False where the row's clients speak no whole
    requests, so that there is nothing to join.
    """

    saw: list[Saw]
    received: dict[str, list[Received]]
    records: list[Exchange]
    lost: dict[str, int]
    log: str = ""
    lines: dict[str, list[Line]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    reconcile: bool = True
    tolerates: frozenset[str] = frozenset()
    """Outcomes that are no violation here: where a process is killed, "nothing" is all its clients can see."""
    patience: float = 1.0
    """How many times its limit a duration may take: more than 1 where others use the machine."""

    _indexed: int = -1
    _by_mark: dict[str, list[Received]] = field(default_factory=dict)

    def served(self) -> list[Exchange]:
        return [record for record in self.records if record.role == "served"]

    def first(self, count: int) -> Evidence:
        """A copy with the first so many clients and all that belongs to them; nothing in it is shared that a plant
        might change."""
        saw = copy.deepcopy(self.saw[:count])
        marks = {one.mark for one in saw}
        whole = len(self.saw) <= count
        return replace(
            self,
            saw=saw,
            received={
                name: [copy.copy(call) for call in calls if whole or call.mark in marks]
                for name, calls in self.received.items()
            },
            records=[r for r in self.records if whole or r.unit in marks],
            facts=copy.deepcopy(self.facts),
            _indexed=-1,
        )

    def calls(self, mark: str) -> list[Received]:
        """Every request with that mark that reached a provider."""
        size = sum(map(len, self.received.values()))
        if size != self._indexed:
            self._indexed, self._by_mark = size, {}
            for calls in self.received.values():
                for call in calls:
                    self._by_mark.setdefault(call.mark, []).append(call)
        return self._by_mark.get(mark, [])


class World:
    """Use `world()`. Workloads are named after the wires: `openai` (responses too), `anthropic`, `gemini`."""

    def __init__(self, folder: Path, inc: FaultProvider, cand: FaultProvider) -> None:
        self.folder = folder
        self.inc = inc
        self.cand = cand
        self.table = folder / "routing" / "table.json"
        self.segments = folder / "segments"
        self.port = 0
        self.process: asyncio.subprocess.Process | None = None
        self.saw: list[Saw] = []
        self.facts: dict[str, Any] = {}
        self.epoch = 0
        self.generation = "g1"
        self.routing = self._first_table()
        self._log = folder / "gateway.log"
        self._kept: list[int] = []
        self._listener: socket.socket | None = None
        self._counter = 0
        self.reconcile = True
        self.tolerates: frozenset[str] = frozenset()

    # -- the table

    def _first_table(self) -> RoutingTable:
        workloads = {}
        providers = {}
        for wire in ("openai", "anthropic", "gemini"):
            for role, provider in (("inc", self.inc), ("cand", self.cand)):
                url = provider.base_url if wire == "openai" else provider.root_url
                name = f"{role}-{wire}"
                providers[name] = Provider(name=name, wire=wire, base_url=url, api_key=f"secret-{role}")
            workloads[wire] = WorkloadRoute(
                name=wire,
                incumbent="old",
                variants={
                    "old": Variant("old", f"inc-{wire}", "inc"),
                    "new": Variant("new", f"cand-{wire}", "cand"),
                },
                unit=("header:x-user-id",),
                conversation=("header:x-conversation-id",),
                content="full",
            )
        return RoutingTable("g1", 0, time.time(), workloads, providers)

    def publish(
        self,
        *,
        share: float | None = None,
        shadow: bool = False,
        lease_s: float | None = None,
        write: bool = True,
        **changes: Any,
    ) -> bytes:
        """Write the next epoch. `share` from 0 to 1 puts an upgrade on every workload, None takes it away."""
        route = None
        if share is not None or shadow:
            route = Route(
                upgrade="u1",
                candidate="new",
                stage="shadow" if shadow else "canary",
                step=-1 if shadow else 0,
                share=round((share or 0) * 1_000_000),
                salt="salt",
                lease_until=None if lease_s is None else time.time() + lease_s,
                shadow=Shadow(sample=1_000_000) if shadow else None,
            )
        self.epoch = changes.pop("epoch", self.epoch + 1)
        workloads = {name: replace(w, route=route) for name, w in self.routing.workloads.items()}
        self.routing = replace(
            self.routing,
            workloads=changes.pop("workloads", workloads),
            epoch=self.epoch,
            generation=self.generation,
            issued_at=time.time(),
            **changes,
        )
        data = encode(self.routing)
        if write:
            self.write(data)
        return data

    def write(self, data: bytes) -> None:
        """Replace the table file the way a publisher does."""
        self.table.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.table.with_suffix(".new")
        temporary.write_bytes(data)
        temporary.replace(self.table)

    def heartbeats(self) -> dict[str, dict[str, Any]]:
        """What each worker last said of itself."""
        found = {}
        for path in (self.table.parent / "workers").glob("*.json"):
            with contextlib.suppress(ValueError, OSError):
                found[path.stem] = json.loads(path.read_text())
        return found

    async def applied(self, epoch: int, *, workers: int = 1, timeout: float = 60.0) -> float:
        """Seconds until so many workers acknowledged an epoch. Raises TimeoutError."""
        begun = time.monotonic()
        while sum(beat["epoch"] >= epoch for beat in self.heartbeats().values()) < workers:
            if time.monotonic() - begun > timeout:
                raise TimeoutError(f"epoch {epoch} was not acknowledged by {workers} workers within {timeout} s")
            await asyncio.sleep(0.005)
        return time.monotonic() - begun

    # -- the gateway

    async def start(
        self,
        *,
        workers: int = 0,
        limits: Mapping[str, Any] | None = None,
        deadlines: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> None:
        """`workers` 0: one worker with short deadlines. Else the real command with so many workers."""
        env = self.environment(environment)
        with self._log.open("ab") as log:
            if workers:
                await self._start_command(workers, env, log, port)
                return
            both = {"limits": {**LIMITS, **(limits or {})}, "deadlines": {**DEADLINES, **(deadlines or {})}}
            # A short worker plants its defect itself, because its defect may be a deadline.
            env |= {"CHAOS_LIMITS": json.dumps(both), "PYTHONPATH": f"{code_under_test()}{os.pathsep}{REPO}"}
            await self._start_short(env, log, port)

    async def _start_command(self, workers: int, env: Mapping[str, str], log: Any, port: int) -> None:
        command = [sys.executable, "-m", "understudy", "gateway", "--json", "--workers", str(workers)]
        command += ["--table", str(self.table), "--segments", str(self.segments), "--port", str(port)]
        self.process = await asyncio.create_subprocess_exec(
            *command, env=env, stdout=asyncio.subprocess.PIPE, stderr=log
        )
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 120)
        if not line:
            raise RuntimeError(f"the gateway did not start: {self._log.read_text()}")
        self.port = json.loads(line)["port"]

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a gateway process gets: the code under test on its path, and the defect it shall have, if any."""
        bug = BUG.get()
        path = [*([str(Path(__file__).parent / "planted")] if bug else []), str(code_under_test()), str(REPO)]
        planted = {"CHAOS_BUG": bug, "CHAOS_FOLDER": str(self.folder), "PYTHONPATH": os.pathsep.join(path)}
        return {**os.environ, **(more or {}), **planted}

    async def _start_short(self, env: dict[str, str], log: Any, port: int) -> None:
        self._listener = listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        listener.bind(("127.0.0.1", port))
        listener.listen(4096)
        self.port = listener.getsockname()[1]
        ready, ready_write = os.pipe()
        parent, parent_write = os.pipe()
        self._kept += [parent, parent_write]
        arguments = ["--name", f"w0-{self.port}", "--table", str(self.table), "--segments", str(self.segments)]
        for name, descriptor in (("socket", listener.fileno()), ("ready", ready_write), ("parent", parent)):
            arguments += [f"--{name}-fd", str(descriptor)]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.chaos.short_worker",
            *arguments,
            env=env,
            pass_fds=(listener.fileno(), ready_write, parent),
            stderr=log,
            stdout=log,
            cwd=REPO,
        )
        os.close(ready_write)
        loop = asyncio.get_running_loop()
        try:
            if await loop.run_in_executor(None, os.read, ready, 1) != b"1":
                raise RuntimeError(f"the gateway did not start: {self._log.read_text()}")
        finally:
            os.close(ready)

    async def stop(self, number: int = signal.SIGTERM, *, patience: float = 60.0) -> int:
        """End the gateway; returns its exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        code = await asyncio.wait_for(self.process.wait(), patience)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for descriptor in self._kept:
            os.close(descriptor)
        self._kept.clear()
        return code

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    # -- clients

    def mark(self) -> str:
        self._counter += 1
        return f"r{self._counter}"

    async def ask(
        self,
        dialect: str = "openai",
        *,
        stream: bool = True,
        leave: Leave | None = None,
        patience: float = 15.0,
        workload: str = "",
        port: int = 0,
        counted: bool = True,
        **more: Any,
    ) -> Saw:
        """One request of one client; what it saw is part of the evidence."""
        saw = Saw(more.pop("mark", None) or self.mark(), dialect, stream)
        if counted:
            self.saw.append(saw)
        name = workload or WIRES[dialect.removesuffix("_array")]
        data = request(dialect, name, saw.mark, stream=stream, **more)
        return await ask(port or self.port, data, saw, patience=patience, leave=leave)

    async def many(self, count: int, one: Callable[[int], Awaitable[Any]], *, at_once: int = 32) -> list[Any]:
        """The results of `one(0)` to `one(count - 1)`, so many at a time."""
        numbers, results = iter(range(count)), [None] * count

        async def client() -> None:
            # Clients that take turns, not a task for each request: a hundred thousand of them start for seconds.
            for number in numbers:
                results[number] = await one(number)

        await asyncio.gather(*(client() for _ in range(min(count, at_once))))
        return results

    # -- the end

    async def finish(self) -> Evidence:
        """Stop what still runs, and gather all three ledgers."""
        if self.process is not None and self.process.returncode is None:
            self.facts.setdefault("exit_code", await self.stop())
        records, lost = read_ledger(self.segments)
        return Evidence(
            saw=self.saw,
            received={"inc": self.inc.ledger, "cand": self.cand.ledger},
            records=records,
            lost=lost,
            log=self._log.read_text() if self._log.exists() else "",
            lines={"inc": self.inc.lines, "cand": self.cand.lines},
            facts=self.facts,
            reconcile=self.reconcile,
            tolerates=self.tolerates,
        )


def read_ledger(segments: Path) -> tuple[list[Exchange], dict[str, int]]:
    """All exchanges in a folder of segments, and the counted losses by reason."""
    records: list[Exchange] = []
    lost: dict[str, int] = {}
    for boot in boots(segments):
        for row in _rows(BootReader(segments, boot)):
            match row.record:
                case Exchange():
                    records.append(row.record)
                case Loss(count=count, why=why):
                    lost[why] = lost.get(why, 0) + count
                case Feedback():
                    continue
    return records, lost


def _rows(reader: BootReader) -> Iterator[Row]:
    """All of a boot: one reading brings no more than some sixty megabytes of it."""
    more = True
    while more:
        batch = reader.read()
        yield from batch.rows
        more = batch.more


@asynccontextmanager
async def world(**start: Any) -> AsyncIterator[World]:
    """A world whose gateway runs (`start=False`: not yet), on a first table without an upgrade."""
    begin = start.pop("begin", True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        async with FaultProvider() as inc, FaultProvider() as cand:
            made = World(Path(folder), inc, cand)
            try:
                made.publish()
                if begin:
                    await made.start(**start)
                yield made
            finally:
                if made.process is not None:
                    await made.stop(signal.SIGKILL)
