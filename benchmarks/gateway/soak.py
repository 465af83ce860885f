"""Memory of one gateway worker over many mixed requests: `python -m benchmarks.gateway.soak [--requests N]`.

A real worker, a provider that misbehaves by name, every request shadowed. What is asked is drawn by a seed in
`mixed`. Resident memory is read after every hundredth of the requests; its least-squares growth for 100,000 requests,
without the first fifth in which the worker fills what it keeps, is what counts. The last line is one JSON object.

Exit codes: 0 flat, 1 it grows, 2 wrong usage, 3 could not measure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import httptools
from benchmarks.gateway import machine
from benchmarks.gateway.figures import slope
from benchmarks.gateway.measure import tree
from benchmarks.gateway.mixed import DIALECTS, FAILING_SHADOW, FAULTS, Asked, draw
from benchmarks.gateway.ours import serving
from benchmarks.gateway.proxy import KEY, Running

from understudy.core.routing import GatewayKey, Provider, Route, RoutingTable, Shadow, WorkloadRoute, encode
from understudy.core.variant import Variant
from understudy.testing.faulty import FaultProvider

REQUESTS = 200_000
CLIENTS = 32
SAMPLES = 100
WARM_SHARE = 0.2
LIMIT_MIB = 2.0
"""Growth for 100,000 requests that still counts as flat: 21 bytes a request."""
PATIENCE_S = 60.0
COULD_NOT_MEASURE = 3
RESULTS = Path(__file__).with_name("SOAK.md")


@dataclass(slots=True)
class Seen:
    """What the clients saw, and the worker's memory as the requests went on."""

    points: list[tuple[int, float]] = field(default_factory=list)
    """Requests so far and resident MiB."""
    kinds: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    """By status, or how it ended without one."""
    wrong: list[str] = field(default_factory=list)
    """Requests that had to succeed and did not."""
    seconds: float = 0.0
    pids: set[int] = field(default_factory=set)
    """Worker processes seen; more than one means that one died."""

    @property
    def settled(self) -> list[tuple[int, float]]:
        """The points after the worker has filled what it keeps."""
        return [point for point in self.points if point[0] >= WARM_SHARE * self.points[-1][0]]

    @property
    def growth(self) -> float:
        """MiB for 100,000 requests."""
        return slope(self.settled) * 100_000


class _Client(asyncio.Protocol):
    """One connection, one request at a time; says how each ended."""

    def __init__(self) -> None:
        self._parser: Any = None
        self._asked: Asked | None = None
        self.size = 0
        self._ended: asyncio.Future[str] | None = None
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.open = True

    async def ask(self, asked: Asked) -> str:
        """The status, or `left`, or `closed` where the connection ended within the answer."""
        self._asked, self.size = asked, 0
        self._parser = httptools.HttpResponseParser(self)
        self._ended = asyncio.get_running_loop().create_future()
        self.transport.write(asked.data)
        async with asyncio.timeout(PATIENCE_S):
            return await self._ended

    def data_received(self, data: bytes) -> None:
        assert self._asked is not None
        self.size += len(data)
        if self._asked.leave_after and self.size >= self._asked.leave_after:
            self._leave(self._asked)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()
            self._finish("no HTTP")
            return
        if self._asked.slow and self.open:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(0.005, self._resume)

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.transport.close()
            self.open = False
        self._finish(str(self._parser.get_status_code()))

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._finish("closed")

    def _resume(self) -> None:
        if self.open and not self.transport.is_closing():
            self.transport.resume_reading()

    def _leave(self, asked: Asked) -> None:
        if asked.reset:
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
        self.open = False
        self._finish("left")

    def _finish(self, how: str) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(how)


def table(incumbent: FaultProvider, candidate: FaultProvider) -> bytes:
    """A workload for each dialect and fault, every request of each shadowed."""
    providers, workloads = {}, {}
    for wire in DIALECTS:
        for role, provider in (("inc", incumbent), ("cand", candidate)):
            url = provider.base_url if wire == "openai" else provider.root_url
            providers[f"{role}-{wire}"] = Provider(f"{role}-{wire}", wire, url, "sk-soak")
        for name, fault in {"plain": "f/ok", FAILING_SHADOW: "f/ok", **FAULTS}.items():
            shadowed = "f/rst@3" if name == FAILING_SHADOW else "f/ok"
            variants = {
                "old": Variant("old", f"inc-{wire}", fault, "Be kind.", {"temperature": 0.5}),
                "new": Variant("new", f"cand-{wire}", shadowed),
            }
            route = Route("u1", "new", "shadow", -1, 0, "salt", None, Shadow(1_000_000, max_in_flight=64))
            workloads[f"{name}-{wire}"] = WorkloadRoute(
                f"{name}-{wire}",
                "old",
                variants,
                ("header:x-user-id",),
                conversation=("header:x-conversation-id",),
                content="redacted",
                route=route,
            )
    keys = (GatewayKey("soak", sha256(KEY.encode()).hexdigest()),)
    return encode(RoutingTable("g1", 1, time.time(), workloads, providers, keys))


class Soak:
    """`seen` fills as `run` goes on."""

    def __init__(self, running: Running, providers: tuple[FaultProvider, ...], segments: Path, seed: int) -> None:
        self._running = running
        self._providers = providers
        self._segments = segments
        self._seed = seed
        self.seen = Seen()

    async def run(self, requests: int, samples: int, progress: Callable[[str], None]) -> None:
        """All requests, by so many clients that each keep their connection as long as it lives."""
        begun = time.monotonic()
        done, step = 0, max(1, requests // samples)
        while done < requests:
            count = min(step, requests - done)
            numbers = iter(range(done, done + count))
            await asyncio.gather(*(self._client(numbers) for _ in range(CLIENTS)))
            done += count
            await self._settle()
            self.seen.points.append((done, self._rss_mib()))
            progress(f"{done:,} of {requests:,} requests, {self.seen.points[-1][1]:.1f} MiB")
        self.seen.seconds = time.monotonic() - begun

    async def _client(self, numbers: Iterator[int]) -> None:
        client: _Client | None = None
        before = "nothing"
        for number in numbers:
            asked = draw(random.Random(f"{self._seed}:{number}"), number, KEY)
            if client is None or not client.open:
                client, before = await self._connect(), "nothing"
            how = await self._ask(client, asked)
            if how == "closed" and not client.size and before != "nothing":
                # The gateway ends a connection on which a provider broke a stream: a client asks again, on a new one.
                self.seen.answers["asked again"] += 1
                client, before = await self._connect(), "nothing"
                how = await self._ask(client, asked)
            self.seen.kinds[asked.kind] += 1
            self.seen.answers[how] += 1
            if how == "hung" or (asked.must and how != str(asked.must)):
                self.seen.wrong.append(f"{asked.kind} {number}: {how}, after {before} on its connection")
            before = f"{asked.kind} {number} ({how})"
        if client is not None:
            client.transport.abort()

    async def _connect(self) -> _Client:
        _, client = await asyncio.get_running_loop().create_connection(_Client, "127.0.0.1", self._running.port)
        return client

    async def _ask(self, client: _Client, asked: Asked) -> str:
        try:
            return await client.ask(asked)
        except TimeoutError:
            client.transport.abort()
            client.open = False
            return "hung"

    async def _settle(self) -> None:
        """Let shadows end, and forget what the providers and the disk kept: neither is what is measured."""
        await asyncio.sleep(0.3)
        for provider in self._providers:
            provider.ledger.clear()
            provider.lines.clear()
        closed = sorted(self._segments.rglob("*"), key=lambda path: path.stat().st_mtime if path.exists() else 0)
        for path in [path for path in closed if path.is_file() and path.stat().st_size > 1 << 20][:-1]:
            path.unlink()

    def _rss_mib(self) -> float:
        """Of the worker alone, not of its supervisor."""
        for pid in tree(self._running.pid):
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"understudy.gateway.worker" in arguments:
                self.seen.pids.add(pid)
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                return pages * 4096 / 1024**2
        raise RuntimeError("no worker is alive")


async def soak(
    folder: Path,
    requests: int,
    seed: int,
    progress: Callable[[str], None],
    *,
    samples: int = SAMPLES,
    **environment: str,
) -> Seen:
    """Start provider and gateway, ask everything, and tell what was seen. Raises RuntimeError where none is alive.

    `samples`: how often memory is read; all requests before a reading are over by then. `environment` is the gateway's.
    """
    async with FaultProvider() as incumbent, FaultProvider() as candidate:
        routing = folder / "routing"
        routing.mkdir(parents=True)
        (routing / "table.json").write_bytes(table(incumbent, candidate))
        with serving(routing / "table.json", folder, **environment) as running:
            await _ready(running)
            one = Soak(running, (incumbent, candidate), folder / "segments", seed)
            await one.run(requests, samples, progress)
            return one.seen


async def _ready(running: Running) -> None:
    """The socket is open before its worker is there."""
    until = time.monotonic() + 30
    while True:
        try:
            _, client = await asyncio.get_running_loop().create_connection(_Client, "127.0.0.1", running.port)
            if await client.ask(Asked("ready", b"GET /readyz HTTP/1.1\r\nhost: g\r\n\r\n")) == "200":
                client.transport.abort()
                return
            client.transport.abort()
        except OSError:
            pass
        if time.monotonic() > until:
            raise RuntimeError("the gateway did not become ready")
        await asyncio.sleep(0.1)


def summary(seen: Seen) -> dict[str, Any]:
    """The JSON object of the last line."""
    settled = [mib for _, mib in seen.settled]
    return {
        "requests": sum(seen.kinds.values()),
        "growth_mib_per_100k": round(seen.growth, 2),
        "rss_mib": {"first": round(settled[0], 1), "last": round(settled[-1], 1), "most": round(max(settled), 1)},
        "wrong": len(seen.wrong),
        "flat": flat(seen),
    }


def flat(seen: Seen) -> bool:
    return seen.growth <= LIMIT_MIB and len(seen.pids) == 1


def report(seen: Seen) -> str:
    """Memory in ten steps and what was asked, as Markdown."""
    tenth = max(1, len(seen.points) // 10)
    lines = ["| requests | resident MiB |", "|---|---|"]
    lines += [f"| {done:,} | {mib:.1f} |" for done, mib in seen.points[tenth - 1 :: tenth]]
    kinds = ", ".join(f"{name} {count:,}" for name, count in seen.kinds.most_common())
    answers = ", ".join(f"{name} {count:,}" for name, count in seen.answers.most_common())
    growth = f"Growth {seen.growth:+.2f} MiB for 100,000 requests (flat: at most {LIMIT_MIB:g})"
    lines += ["", f"{growth}, least squares without the first {WARM_SHARE:.0%}.", "", f"Asked: {kinds}.", ""]
    lines += [f"Answers: {answers}. Requests that had to succeed and did not: {len(seen.wrong)}."]
    lines += [f"Worker processes: {len(seen.pids)}. {seen.seconds:.0f} s."]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gateway.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--requests", type=int, default=REQUESTS, help=f"how many, {REQUESTS:,} by default")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="write SOAK.md anew")
    given = parser.parse_args()
    if given.requests < 1000:
        parser.error(f"--requests {given.requests}: memory cannot be judged by fewer than 1000")
    missing = machine.missing(load=False)
    if missing:
        print("\n".join(["This machine cannot measure the gateway:", *missing]), file=sys.stderr)
        return COULD_NOT_MEASURE
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        try:
            seen = asyncio.run(
                soak(Path(folder), given.requests, given.seed, lambda line: print(line, file=sys.stderr))
            )
        except RuntimeError as error:
            print(f"could not measure: {error}", file=sys.stderr)
            return COULD_NOT_MEASURE
    print(report(seen))
    if given.write:
        about = "; ".join(machine.about())
        head = (
            f"# Memory over {given.requests:,} mixed requests\n\nWritten by `make soak-gateway ARGS=--write`. {about}."
        )
        RESULTS.write_text(f"{head}\n\n{report(seen)}\n\n```json\n{json.dumps(summary(seen))}\n```\n")
    for line in seen.wrong[:10]:
        print(line, file=sys.stderr)
    print(json.dumps(summary(seen)))
    return 0 if flat(seen) and not seen.wrong else 1


if __name__ == "__main__":
    sys.exit(main())
