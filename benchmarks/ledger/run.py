"""Measures the ledger: append, commit, aggregate, incremental tick, space, and losses under kill -9.

    python -m benchmarks.ledger.run [--exchanges 1000000] [--kills 100] [--sizes 200000]

Prints a table; the last line is one JSON object with the figures that are promised, and no others. Append is CPU time
of the appending thread with 2 kB bodies; the rest
is wall time with bodies of 230 bytes, so other work on the machine shows in it. `sums` is the panel of a canary's gates
by stratum, arm, slice and bucket, read for the first time; `tick` is the same asked again after 10,000 new exchanges,
the first of a new day, the second and the tenth of it, and the twelfth after a compaction; `aggregate` is what a page
shows, by slice and arm. `bytes in` is what an exchange takes on disk, beside other stores with the same rows: see
`sizes`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.ledger import sizes

from understudy.core.records import Exchange
from understudy.ledger.committer import Committer
from understudy.ledger.lake import Lake, Table
from understudy.ledger.metrics import MetricSpec
from understudy.ledger.queries import Ledger
from understudy.ledger.segments import SegmentWriter

DAY = 86_400.0
SHOWN = {1: "tick_10k", 2: "tick_2nd_10k", 10: "tick_10th_10k", 12: "tick_compacted_10k"}
TICKS = max(SHOWN)
BEGAN = 20_371 * DAY
FIGURES = ("append_us", "commit_1m_s", "aggregate_1m_s", "tick_10k_ms", "uncounted_losses")
SLICES = ("billing", "login", "refund", "other")
PANEL = (
    MetricSpec("error", "count"),
    MetricSpec("latency", "log_mean", "field:latency_s"),
    MetricSpec("slow", "exceedance", "field:latency_s", 2.0),
    MetricSpec("cost", "log_mean", "field:cost_usd"),
)


def exchanges(
    count: int, rng: random.Random, *, first: int = 0, body: int = 230, began: float = BEGAN, days: int = 7
) -> Iterator[Exchange]:
    """Canary traffic as a gateway records it: 50,000 units, four slices, both arms."""
    text = "".join(chr(rng.randrange(97, 123)) for _ in range(100_000))
    for number in range(first, first + count):
        candidate = rng.random() < 0.25
        variant = "sonnet-4-6" if candidate else "sonnet-3-7"
        at = rng.randrange(len(text) - body)
        yield Exchange(
            exchange=f"{number:020x}",
            workload="reply-drafting",
            started_at=began + (number - first) * days * DAY / count,
            epoch=17,
            generation="b5c1",
            upgrade="up-1",
            stage="canary",
            step=2,
            arm="candidate" if candidate else "incumbent",
            reason="share",
            variant=variant,
            fingerprint="0123456789abcdef" if candidate else "fedcba9876543210",
            served_variant=variant,
            unit=f"user-{rng.randrange(50_000)}",
            unit_bucket=rng.randrange(1_000_000),
            slices={"ticket": SLICES[number % 4]},
            endpoint="/v1/chat/completions",
            status=200,
            error="" if rng.random() < 0.99 else "timeout",
            ttft_s=rng.expovariate(3),
            latency_s=rng.expovariate(1),
            model_requested="claude-sonnet-4-6" if candidate else "claude-3-7-sonnet-20250219",
            model_served="claude-sonnet-4-6" if candidate else "claude-3-7-sonnet-20250219",
            finish_reason="stop",
            input_tokens=rng.randrange(200, 2_000),
            output_tokens=rng.randrange(20, 400),
            request=text[at : at + body // 2].encode(),
            answer=text[at + body // 2 : at + body],
        )


def append_us(folder: Path, count: int = 60_000) -> tuple[float, float]:
    """CPU microseconds an append of a 2 kB exchange takes: of the calling thread, and of the whole process."""
    ready = list(exchanges(1_000, random.Random(1), body=2_000))
    writer = SegmentWriter(folder, "w0")
    process, thread = time.process_time(), time.thread_time()
    for number in range(count):
        writer.append(ready[number % 1_000])
        if number % 1_000 == 999:
            time.sleep(0.05)
    caller = time.thread_time() - thread
    writer.close()
    return caller / count * 1e6, (time.process_time() - process) / count * 1e6


def fill(segments: Path, records: Iterator[Exchange]) -> None:
    writer = SegmentWriter(segments, "w0", max_buffered=1 << 40)
    for record in records:
        writer.append(record)
    writer.close()


def timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(folder: Path, count: int) -> dict[str, float]:
    found: dict[str, float] = {}
    caller, whole = append_us(folder / "append")
    found["append_us"], found["append_with_writer_us"] = round(caller, 2), round(whole, 2)
    segments, lake = folder / "segments", folder / "lake"
    rng = random.Random(2)
    fill(segments, exchanges(count, rng))
    with Committer(segments, lake) as committer:
        cpu = time.process_time()
        found["commit_1m_s"] = round(timed(committer.run_once) * 1e6 / count, 2)
        found["commit_1m_cpu_s"] = round((time.process_time() - cpu) * 1e6 / count, 2)
        found["bytes_per_exchange"] = round(sum(path.stat().st_size for path in lake.rglob("*.parquet")) / count, 1)
        ledger = Ledger(lake)
        asked: tuple[Any, ...] = (PANEL,)
        about: dict[str, Any] = {"workload": "reply-drafting", "upgrade": "up-1", "cycle_s": DAY}
        found["sums_1m_s"] = round(min(timed(lambda: Ledger(lake).sums(*asked, **about)) for _ in range(3)), 3)
        figures = lambda: ledger.by_slice("reply-drafting", upgrade="up-1")  # noqa: E731
        figures()
        cpu = time.process_time()
        found["aggregate_1m_s"] = round(min(timed(figures) for _ in range(3)), 3)
        found["aggregate_1m_cpu_s"] = round((time.process_time() - cpu) / 3, 3)
        ledger.sums(*asked, **about)
        for number in range(1, TICKS + 1):
            first = count + 10_000 * (number - 1)
            fill(segments, exchanges(10_000, rng, first=first, began=BEGAN + 7 * DAY, days=1))
            committed = timed(committer.run_once)
            if number == TICKS:
                Lake(lake).compact(Table.EXCHANGES)
            cpu = time.process_time()
            took = timed(lambda: ledger.sums(*asked, **about))
            if number in SHOWN:
                name = SHOWN[number]
                found[f"{name}_ms"] = round(took * 1_000, 1)
                found[f"{name}_cpu_ms"] = round((time.process_time() - cpu) * 1_000, 1)
            if number == 1:
                found["commit_10k_s"] = round(committed, 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--exchanges", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--sizes", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="understudy-ledger-") as folder:
        found: dict[str, Any] = measure(Path(folder), options.exchanges)
    found |= {f"bytes in {store}": size for store, size in sizes.measured(options.sizes).items()}
    kills = Path(__file__).with_name("kills.py")
    done = subprocess.run(
        [sys.executable, str(kills), "--kills", str(options.kills)], capture_output=True, text=True, check=True
    )
    found["load"] = round(os.getloadavg()[0], 1)
    found["kills"] = options.kills
    found["uncounted_losses"] = json.loads(done.stdout.splitlines()[-1])["uncounted_losses"]
    for name, value in found.items():
        sys.stdout.write(f"{name:>24}  {value}\n")
    sys.stdout.write(json.dumps({name: found[name] for name in FIGURES}) + "\n")


if __name__ == "__main__":
    main()
