"""Measures every proxy that is installed, in turn, and prints two tables; the last line is one JSON object.

python -m benchmarks.gateway [--quick] [--only NAME]... [--write] [--ahead] [--note TEXT]

Needs Linux, wrk and two cores; nothing else should be running on them, or --ahead keeps it away. What is missing is
said with the command that installs it. CPU per request is what the whole process tree used, divided by the requests.
All proxies run at once and idle while another one is asked: each round asks each of them, so that what disturbs the
machine for a while disturbs them alike, and a ratio is taken within a round. Added latency is the proxy's minus that
of the provider asked directly in the same round.

Exit codes: 0 measured, 2 wrong usage, 3 could not measure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.gateway import figures, machine, ours, page, plain, rivals, streams
from benchmarks.gateway.figures import OURS, Measured
from benchmarks.gateway.measure import Load, cpu_s, rss_mb, wrk
from benchmarks.gateway.processes import ROOT, ahead, provider
from benchmarks.gateway.proxy import KEY, WORKLOAD, Proxy, Running, Setting, check_stream, request_body, until_answers
from benchmarks.gateway.upstream import TOKENS

PROXIES = {proxy.name: proxy for proxy in (*ours.PROXIES, *plain.PROXIES, *rivals.PROXIES)}
CHUNKS = TOKENS + 1
STREAMED_S = 4
"""Seconds at least of a round of streams: those under way at its end have cost CPU and are not counted, which in one
second is half of them."""
COULD_NOT_MEASURE = 3


class Plan(NamedTuple):
    """How long and how often."""

    rounds: int
    seconds: int
    latency_s: int
    streams: Sequence[int]


WHOLE = Plan(rounds=5, seconds=3, latency_s=5, streams=streams.COUNTS)
QUICK = Plan(rounds=2, seconds=1, latency_s=2, streams=(100, 200, 300))


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Seat(NamedTuple):
    """A proxy that runs and has answered."""

    proxy: Proxy
    running: Running


class Bench:
    """`rows` has what was measured so far, `left_out` why something was not."""

    def __init__(self, folder: Path, plan: Plan, *, ahead: bool = False) -> None:
        self.folder = folder
        self.ahead = ahead
        self.plan = plan
        self.rows: dict[str, Measured] = {}
        self.left_out: list[str] = []
        self.body = folder / "request.json"
        self.body.write_text(request_body())
        self._starts = 0

    def load(self, port: int, proxy: Proxy | None, connections: int, seconds: int, **env: str | int) -> Load:
        """One run of wrk. Raises RuntimeError where not every answer was a success."""
        asked = {"MODEL": proxy.model, "TARGET": proxy.path} if proxy else {"MODEL": WORKLOAD}
        given = {"TARGET": "/v1/chat/completions", **asked, **env}
        found = wrk(port, connections, seconds, BODY=str(self.body), KEY=KEY, **given)
        if found.bad or found.errors or not found.n:
            raise RuntimeError(f"{found.bad} answers were no success, {found.errors} requests failed, of {found.n}")
        return found

    @contextmanager
    def started(self, wanted: Sequence[Proxy], port: int, shadow_port: int = 0) -> Iterator[dict[str, Seat]]:
        """All of them at once, each seen to answer; what does not is left out with the reason."""
        seats: dict[str, Seat] = {}
        with ExitStack() as stack:
            for proxy in wanted:
                self._starts += 1
                folder = self.folder / f"{proxy.name}-{self._starts}"
                folder.mkdir()
                progress(f"starting {proxy.name}{' with its shadow' if shadow_port else ''}")
                try:
                    running = stack.enter_context(proxy.start(Setting(folder, port, shadow_port)))
                    if self.ahead:
                        ahead(running.pid)  # each is a session of its own
                    until_answers(running, proxy)
                except RuntimeError as error:
                    self.leave_out(proxy.name, "start", error)
                else:
                    seats[proxy.name] = Seat(proxy, running)
            yield seats

    def leave_out(self, name: str, what: str, error: Exception) -> None:
        self.left_out.append(f"{name}, {what}: {' '.join(str(error).split())[:300]}")
        progress(self.left_out[-1])

    def rounds(self, what: str, seats: dict[str, Seat], once: Callable[[str, Seat, int], None]) -> None:
        """`once` for each proxy in each round; one that fails is asked no more."""
        for number in range(self.plan.rounds):
            progress(f"{what}, round {number + 1} of {self.plan.rounds}: {', '.join(seats)}")
            for name, seat in list(seats.items()):
                try:
                    once(name, seat, number)
                except RuntimeError as error:
                    self.leave_out(name, what, error)
                    del seats[name]

    def cpu_us(self, seat: Seat, **env: str | int) -> tuple[float, float]:
        """CPU microseconds a request, and the share of its core that the proxy used."""
        connections = (20 if seat.proxy.slow else 200) if env else 16 if seat.proxy.slow else 64
        seconds = self.plan.seconds
        if env:
            seconds = max(STREAMED_S, seconds * (4 if seat.proxy.slow else 1))  # a stream of theirs takes seconds
        before = cpu_s(seat.running.pid)
        found = self.load(seat.running.port, seat.proxy, connections, seconds, HEADER=seat.running.header, **env)
        used = cpu_s(seat.running.pid) - before
        return used * 1e6 / found.n, used / found.seconds

    def warm(self, seats: dict[str, Seat], **env: str | int) -> None:
        for name, seat in list(seats.items()):
            try:
                connections = 16 if seat.proxy.slow else 64
                header = seat.running.header
                self.load(seat.running.port, seat.proxy, connections, seat.proxy.warm_s, HEADER=header, **env)
            except RuntimeError as error:
                self.leave_out(name, "warm-up", error)
                del seats[name]

    def requests(self, wanted: Sequence[Proxy], port: int, shadow_port: int) -> None:
        """CPU a request, the same with every request copied, added latency, memory."""
        mirrors = [proxy for proxy in wanted if proxy.mirrors]
        with self.started(wanted, port) as seats, self.started(mirrors, port, shadow_port) as shadowed:
            for name, seat in seats.items():
                self.rows[name] = Measured(name, seat.proxy.does)
            self.warm(seats)
            self.warm(shadowed)

            def once(name: str, seat: Seat, number: int) -> None:
                used, busy = self.cpu_us(seat)
                self.rows[name].request_us.append(used)
                self.rows[name].busy.append(busy)
                if name in shadowed:
                    self.rows[name].shadowed_us.append(self.cpu_us(shadowed[name])[0])

            self.rounds("CPU a request", seats, once)
            self._latency(seats, port)
            for name, seat in seats.items():
                self.rows[name].rss_mb = rss_mb(seat.running.pid)

    def _latency(self, seats: dict[str, Seat], port: int) -> None:
        direct: dict[tuple[int, bool], Load] = {}

        def once(name: str, seat: Seat, number: int) -> None:
            slow = seat.proxy.slow
            connections, think = (4, (150, 250)) if slow else (20, (50, 150))
            env = {"THINK_LO": think[0], "THINK_HI": think[1]}
            if (number, slow) not in direct:
                direct[number, slow] = self.load(port, None, connections, self.plan.latency_s, **env)
            base, header = direct[number, slow], seat.running.header
            found = self.load(seat.running.port, seat.proxy, connections, self.plan.latency_s, HEADER=header, **env)
            self.rows[name].p50_ms.append(found.p50_ms - base.p50_ms)
            self.rows[name].p99_ms.append(found.p99_ms - base.p99_ms)

        self.rounds("added latency", seats, once)

    def streamed(self, wanted: Sequence[Proxy], port: int) -> None:
        """CPU a chunk."""
        with self.started([proxy for proxy in wanted if proxy.name in self.rows], port) as seats:
            for name, seat in list(seats.items()):
                try:
                    check_stream(seat.running, seat.proxy)
                except RuntimeError as error:
                    self.leave_out(name, "streaming", error)
                    del seats[name]
            self.warm(seats, STREAM=1)

            def once(name: str, seat: Seat, number: int) -> None:
                self.rows[name].chunk_us.append(self.cpu_us(seat, STREAM=1)[0] / CHUNKS)

            self.rounds("CPU a streamed chunk", seats, once)


def measure(bench: Bench, wanted: Sequence[Proxy]) -> list[streams.Growth]:
    """Everything, in order; the memory of streams comes last, alone on the machine."""
    with provider(0) as port, provider(0) as shadow_port:
        bench.requests(wanted, port, shadow_port)
    with provider(10) as port:
        bench.streamed(wanted, port)
    progress(f"memory of {bench.plan.streams[-1]} open streams")
    try:
        return streams.measured(bench.folder, bench.plan.streams, first=bench.ahead)
    except (RuntimeError, OSError) as error:
        bench.leave_out(OURS, "open streams", error)
        return []


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gateway", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="short runs, two rounds: to see that it works")
    parser.add_argument("--only", action="append", choices=sorted(PROXIES), help="measure these beside understudy")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md and the table in the README anew")
    parser.add_argument(
        "--ahead", action="store_true", help="take precedence over all other work on the machine (needs root)"
    )
    parser.add_argument("--note", default="", help="a word on the machine for the page: what else ran on it")
    given = parser.parse_args()
    missing = machine.missing()
    if missing:
        print("\n".join(["This machine cannot measure the gateway:", *missing]), file=sys.stderr)
        return COULD_NOT_MEASURE
    chosen = [p for p in PROXIES.values() if p.name == OURS or not given.only or p.name in given.only]
    for proxy in chosen:
        if proxy.found is None:
            progress(f"{proxy.name}: not installed: {proxy.install}")
    plan = QUICK if given.quick else WHOLE
    about = [*machine.about(given.note), f"{plan.rounds} rounds of {plan.seconds} s"]
    if plan.seconds < STREAMED_S:
        about[-1] += f", of {STREAMED_S} s for streams"
    if given.ahead:
        try:
            ahead(os.getpid())
        except OSError as error:
            parser.error(f"--ahead: {error.strerror}; run it as root, or on a machine with nothing else to do")
        about.append("ahead of all other work")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = Bench(Path(folder), plan, ahead=given.ahead)
        bench.left_out += [f"{p.name}: not installed: {p.install}" for p in chosen if p.found is None]
        grown = measure(bench, [proxy for proxy in chosen if proxy.found is not None])
    rows = {name: row for name, row in bench.rows.items() if row.request_us}
    if OURS not in rows:
        print("the gateway itself could not be measured", file=sys.stderr)
        return COULD_NOT_MEASURE
    per_gib = min((growth.per_gib for growth in grown), default=None)
    result = page.Result(about, rows, grown, bench.left_out, figures.summary(rows, per_gib))
    print(page.shown(result))
    if given.write:
        page.RESULTS.write_text(page.whole(result))
        subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "generate_docs.py"), "--write"], check=True, stdout=sys.stderr
        )
        progress(f"written: {page.RESULTS.relative_to(ROOT)} and what is generated from it")
    print(json.dumps(result.summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
