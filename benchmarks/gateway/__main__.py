"""Measures every proxy that is installed, alternating, and prints a table; the last line is one JSON object.

python -m benchmarks.gateway [--quick] [--only NAME]...    needs wrk and taskset; two cores, nothing else running

CPU per request is what the whole process tree used, divided by the requests: it depends little on what else the
machine does. Added latency is the proxy's minus the direct one, measured in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.gateway.cores import LOAD_CORE, PROXY_CORE
from benchmarks.gateway.measure import Load, cpu_s, rss_mb, wrk
from benchmarks.gateway.peers import KEY, MIRRORS, PEERS, SLOW, WORKLOAD, Running, Setting, installed
from benchmarks.gateway.upstream import TOKENS

CHUNKS = TOKENS + 1


def request_body() -> str:
    """A chat request of about 1.5 KB; the load script puts a user in."""
    system = "You are a release engineer. Answer in plain words, name the risk first, and keep to the facts. " * 6
    question = "What is the difference between a blue-green deployment and a canary release for a model upgrade? " * 6
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    body = {"model": WORKLOAD, "user": "@@USER@@", "stream": False, "temperature": 0.2, "messages": messages}
    return json.dumps(body)


@contextmanager
def provider(pause_ms: float) -> Iterator[int]:
    command = ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "benchmarks.gateway.upstream", str(pause_ms)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        yield int(running.stdout.readline())
    finally:
        running.terminate()
        running.wait()


class Bench:
    def __init__(self, folder: Path, seconds: int, repeats: int) -> None:
        self.folder = folder
        self.seconds = seconds
        self.repeats = repeats
        self.body = folder / "request.json"
        self.body.write_text(request_body())
        self._runs = 0

    @contextmanager
    def running(self, name: str, port: int, shadow_port: int = 0) -> Iterator[Running]:
        self._runs += 1
        folder = self.folder / f"{name}-{self._runs}"
        folder.mkdir()
        with PEERS[name](Setting(folder, port, shadow_port)) as started:
            yield started

    def load(self, port: int, connections: int, seconds: int | None = None, **env: str | int) -> Load:
        found = wrk(port, connections, seconds or self.seconds, self.body, KEY, **env)
        if found.bad or found.errors or not found.n:
            raise RuntimeError(f"{found.bad} answers were no success, {found.errors} requests failed, of {found.n}")
        return found

    def cpu_us(self, proxy: Running, connections: int, **env: str | int) -> float:
        """Median CPU microseconds a request."""
        self.load(proxy.port, connections, 2, **env)
        taken = []
        for _ in range(self.repeats):
            before = cpu_s(proxy.pid)
            found = self.load(proxy.port, connections, **env)
            taken.append((cpu_s(proxy.pid) - before) * 1e6 / found.n)
        return statistics.median(taken)

    def added_ms(
        self, proxy: Running, direct_port: int, connections: int, think: tuple[int, int]
    ) -> tuple[float, float]:
        """Median added p50 and p99 at a fixed rate, direct and through the proxy in turn."""
        env = {"THINK_LO": think[0], "THINK_HI": think[1]}
        p50, p99 = [], []
        for _ in range(self.repeats):
            direct = self.load(direct_port, connections, **env)
            found = self.load(proxy.port, connections, **env)
            p50.append(found.p50_ms - direct.p50_ms)
            p99.append(found.p99_ms - direct.p99_ms)
        return statistics.median(p50), statistics.median(p99)


async def _open_streams(port: int, count: int, body: bytes) -> list[asyncio.StreamWriter]:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\n"
    request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    writers = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        await reader.readuntil(b"data: ")
        writers.append(writer)
    return writers


def streams_per_gib(bench: Bench, count: int) -> int:
    """How many open streams fit into a GiB of the gateway's memory, from the growth over `count` of them."""
    with provider(60_000) as port, bench.running("understudy", port) as proxy:
        body = bench.body.read_bytes().replace(b'"stream": false', b'"stream": true')

        async def grow() -> float:
            for writer in await _open_streams(proxy.port, 20, body):
                writer.close()
            await asyncio.sleep(0.5)
            before = rss_mb(proxy.pid)
            writers = await _open_streams(proxy.port, count, body)
            await asyncio.sleep(0.5)
            grown = rss_mb(proxy.pid) - before
            for writer in writers:
                writer.close()
            return grown

        return int(count / (asyncio.run(grow()) / 1024))


def measured(bench: Bench, name: str, ports: tuple[int, int, int]) -> dict[str, float]:
    """All figures of one proxy. Raises RuntimeError where it does not run or does not answer."""
    whole, streaming, shadow = ports
    slow = name in SLOW
    found: dict[str, float] = {}
    with bench.running(name, whole) as proxy:
        found["cpu_us_per_request"] = bench.cpu_us(proxy, 16 if slow else 64)
        connections, think = (4, (150, 250)) if slow else (20, (50, 150))
        found["added_p50_ms"], found["added_p99_ms"] = bench.added_ms(proxy, whole, connections, think)
        found["rss_mb"] = rss_mb(proxy.pid)
    with bench.running(name, streaming) as proxy:
        found["cpu_us_per_chunk"] = bench.cpu_us(proxy, 20 if slow else 200, STREAM=1) / CHUNKS
    if name in MIRRORS:
        with bench.running(name, whole, shadow) as proxy:
            found["cpu_us_with_shadow"] = bench.cpu_us(proxy, 64)
    return found


def show(rows: dict[str, dict[str, float]]) -> None:
    columns = [
        ("CPU us/request", "cpu_us_per_request", 1),
        ("x nginx", "x_nginx", 2),
        ("with 100 % shadow", "cpu_us_with_shadow", 1),
        ("us/SSE chunk", "cpu_us_per_chunk", 1),
        ("x nginx (SSE)", "x_nginx_sse", 2),
        ("added p50 ms", "added_p50_ms", 3),
        ("added p99 ms", "added_p99_ms", 3),
        ("RSS MB", "rss_mb", 0),
    ]
    base = rows.get("nginx", {})
    print("| proxy | " + " | ".join(title for title, _, _ in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for name, found in sorted(rows.items(), key=lambda item: item[1]["cpu_us_per_request"]):
        if base:
            found["x_nginx"] = found["cpu_us_per_request"] / base["cpu_us_per_request"]
            found["x_nginx_sse"] = found["cpu_us_per_chunk"] / base["cpu_us_per_chunk"]
        cells = [f"{found[key]:.{digits}f}" if key in found else "-" for _, key, digits in columns]
        print(f"| {name} | " + " | ".join(cells) + " |")


def summary(rows: dict[str, dict[str, float]], streams: int) -> dict[str, Any]:
    ours = rows["understudy"]
    return {
        "cpu_us_per_request": {name: round(found["cpu_us_per_request"], 1) for name, found in rows.items()},
        "cpu_us_per_chunk": {name: round(found["cpu_us_per_chunk"], 1) for name, found in rows.items()},
        "shadow_adds_us": round(ours["cpu_us_with_shadow"] - ours["cpu_us_per_request"], 1),
        "added_p50_ms": round(ours["added_p50_ms"], 3),
        "added_p99_ms": round(ours["added_p99_ms"], 3),
        "streams_per_gib": streams,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs, one repeat: to see that it works")
    parser.add_argument("--only", action="append", choices=sorted(PEERS), help="measure these beside understudy")
    given = parser.parse_args()
    wanted = [name for name in PEERS if name == "understudy" or not given.only or name in given.only]
    print(f"{time.strftime('%Y-%m-%d %H:%M')} UTC, proxy on core {PROXY_CORE}, load and provider on core {LOAD_CORE}, ")
    print(f"load average {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), 1 if given.quick else 3, 1 if given.quick else 3)
        with provider(0) as whole, provider(10) as streaming, provider(0) as shadow:
            for name in wanted:
                if not installed(name):
                    print(f"{name}: not installed, left out", file=sys.stderr)
                    continue
                try:
                    rows[name] = measured(bench, name, (whole, streaming, shadow))
                except RuntimeError as error:
                    print(f"{name}: {error}", file=sys.stderr)
        streams = streams_per_gib(bench, 200 if given.quick else 1000)
    if "understudy" not in rows:
        print("the gateway itself could not be measured", file=sys.stderr)
        return 3
    show(rows)
    print()
    print(json.dumps(summary(rows, streams)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
