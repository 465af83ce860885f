"""kill -9 at any moment: of a worker that appends, and of a committer that commits."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from understudy.core.records import Exchange, Feedback
from understudy.ledger.committer import Committer
from understudy.ledger.lake import Lake, Table
from understudy.ledger.segments import SegmentWriter
from understudy.ledger.verify import verify

KILLS = Path(__file__).resolve().parents[3] / "benchmarks" / "ledger" / "kills.py"
STRACE = shutil.which("strace")
COMMIT = """
import sys
from pathlib import Path
from understudy.ledger.committer import Committer
with Committer(Path(sys.argv[1]), sys.argv[2], batch=40) as committer:
    print("ready", flush=True)
    while True:
        committer.run_once()
        if sys.argv[3] == "once":
            break
"""


@pytest.mark.parametrize("mode", ["group", "sync"])
def test_a_killed_worker_loses_nothing_uncounted(mode: str) -> None:
    """Every number `append` returned is recovered or counted; in mode sync every one is recovered."""
    done = subprocess.run(
        [sys.executable, str(KILLS), "--kills", "25", "--mode", mode], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kills"] == 25
    assert found["acknowledged"] > 25
    assert found["uncounted_losses"] == 0
    assert found["recovered"] > 0
    if mode == "sync":
        assert found["acknowledged_lost"] == 0


def records(count: int) -> list[Exchange | Feedback]:
    return [
        Feedback(exchange=f"x-{n - 1}", name="thumb", value=1.0, at=1_700_000_000.0)
        if n % 5 == 4
        else Exchange(exchange=f"x-{n}", workload="reply", started_at=1_700_000_000.0, epoch=1, generation="g")
        for n in range(count)
    ]


def everything_once(segments: Path, lake: Path, count: int) -> None:
    """Every record is in its table once, and the books balance."""
    found: list[Any] = []
    for table in (Table.EXCHANGES, Table.FEEDBACK, Table.LOSSES):
        opened = Lake(lake).table(table)
        if opened is not None:
            found += opened.to_pyarrow_table().column("seq").to_pylist()
    assert sorted(found) == list(range(count))
    assert verify(segments, lake).in_order


@pytest.mark.slow
def test_a_committer_killed_at_random_repeats_and_skips_nothing(tmp_path: Path) -> None:
    """Killed ten times while a worker writes, and started again each time."""
    segments, lake = tmp_path / "s", tmp_path / "l"
    rng = random.Random(7)
    writer = SegmentWriter(segments, "w0", segment_bytes=20_000)
    waiting = records(4_000)
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", COMMIT, str(segments), str(lake), "always"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        process.stdout.readline()
        until = time.monotonic() + rng.uniform(0.02, 0.9)
        while time.monotonic() < until:
            for record in waiting[:20]:
                writer.append(record)
            del waiting[:20]
            time.sleep(0.02)
        process.kill()
        process.wait()
        process.stdout.close()
    written = writer.count().appended
    writer.close()
    with Committer(segments, lake) as committer:
        committer.run_once()
    everything_once(segments, lake, written)


@pytest.mark.slow
@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
@pytest.mark.parametrize("call", ["write", "linkat", "fsync", "unlink", "mkdir"])
def test_a_committer_killed_at_each_system_call_repeats_and_skips_nothing(tmp_path: Path, call: str) -> None:
    """A sweep over the calls that change the disk: the process dies in the n-th of a thread, for the last n of each."""
    calls, _ = run_under_strace(tmp_path / "probe", call, None)
    last = {count - back for count in calls.values() for back in range(3)}
    deaths = 0
    for when in sorted(n for n in last if n > 0)[-8:]:
        folder = tmp_path / f"{call}-{when}"
        _, died = run_under_strace(folder, call, when)
        deaths += died
        with Committer(folder / "s", folder / "l", batch=40) as committer:
            committer.run_once()
        everything_once(folder / "s", folder / "l", 100)
    assert deaths  # calls move between threads, so not every n is reached every time


def run_under_strace(folder: Path, call: str, when: int | None) -> tuple[Counter[str], bool]:
    """Commit 100 records once, killed in the n-th call of a kind in some thread; calls by thread, and if it died."""
    folder.mkdir()
    writer = SegmentWriter(folder / "s", "w0", segment_bytes=4_000, mode="sync")
    for record in records(100):
        writer.append(record)
    writer.close()
    trace = folder / "trace"
    inject = [] if when is None else ["-e", f"inject={call}:signal=SIGKILL:when={when}"]
    commit = [sys.executable, "-c", COMMIT, str(folder / "s"), str(folder / "l"), "once"]
    subprocess.run(
        [str(STRACE), "-f", "-qq", "-o", str(trace), "-e", f"trace={call}", *inject, *commit],
        capture_output=True, check=False,
    )  # fmt: skip
    lines = trace.read_text().splitlines()
    return Counter(line.split()[0] for line in lines if f"{call}(" in line), any(
        "+++ killed by SIGKILL" in line for line in lines
    )
