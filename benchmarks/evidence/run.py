"""Measures what looking at a big shadow and at a long-lived canary takes: processor time and memory.

    python -m benchmarks.evidence.run [--pairs 200000] [--days 60] [--markdown benchmarks/evidence/RESULTS.md]

Commands run as processes of their own, on a shadow of five days; CPU is user and system time, memory the peak of the
process. A tick is what a controller reads for the gates of a canary, with live answers graded, after 60 exchanges more;
the median of ten, at the end of the first day and of the last.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.evidence import made

from understudy.core.playbook import Stage
from understudy.core.records import Exchange
from understudy.ledger.stores import lake_of
from understudy.rollout.evidence import LedgerEvidence

END = 20_775 * made.DAY
SHADOW_DAYS = 5
TICKS = 10
A_DAY = 3_000
COMMANDS = (
    ("shadow", "report", "reply", "--json"),
    ("report", "reply", "--out", "evidence"),
    ("history", "reply"),
    ("who-served", "--user", f"user-{made.unit_of(0)}", "--at", "2026-11-18"),
    ("ledger", "cost", "reply"),
    ("upgrade", "status", "reply"),
)


BEFORE = (
    "Before pairs were read in batches and counted in arrays (commit d5dfaa0), `shadow report` of 200,000 pairs took",
    "244.8 s and 3,609 MiB on the same machine, and printed the same bytes.",
)
MEASURING = """
import resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "understudy", *sys.argv[1:]], capture_output=True, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
sys.stderr.write(done.stderr)
"""
"""Starts a command from a process that is small itself: what it holds when it starts another counts as the other's."""


def of_command(folder: Path, command: tuple[str, ...]) -> tuple[float, float]:
    """CPU seconds and peak MiB of one command in a project."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURING, *command], cwd=folder, capture_output=True, text=True, check=True
    )
    code, cpu, peak = done.stdout.split()
    if code not in ("0", "1"):  # 1 is a finding
        raise SystemExit(f"understudy {' '.join(command)} failed: {done.stderr}")
    return float(cpu), float(peak)


def of_shadow(folder: Path, pairs: int) -> dict[str, tuple[float, float]]:
    """What each command takes on a shadow of so many pairs."""
    began = END - SHADOW_DAYS * made.DAY
    _, state = made.project(folder, Stage.SHADOW, began)
    made.commit(folder, made.shadowed(state, pairs, began, SHADOW_DAYS, random.Random(1)), 10_000)
    return {" ".join(command): of_command(folder, command) for command in COMMANDS}


def of_tick(folder: Path, days: int) -> float:
    """CPU milliseconds of a reading of the gates at the end of so many days of a canary."""
    began = END - days * made.DAY
    project, state = made.project(folder, Stage.CANARY, began)
    rng = random.Random(1)

    def traffic() -> Iterator[Exchange]:
        for day in range(days):
            yield from made.exposed(state, day * A_DAY, A_DAY, began + day * made.DAY, 1, rng)

    made.commit(folder, traffic(), A_DAY // 4)
    profile, evidence, took = project.profile(state.workload), LedgerEvidence(lake_of(project)), list[float]()
    state = replace(state, baseline=evidence.baseline(state))
    for tick in range(TICKS + 2):
        before = time.process_time()
        evidence.score(project, state)
        evidence.judge(project, state, profile, END + 60.0 * tick, 3_600.0)
        took.append((time.process_time() - before) * 1_000)
        fresh = made.exposed(state, (days + 1 + tick) * A_DAY, 60, END + 60.0 * tick, 60 / made.DAY, rng)
        made.commit(folder, fresh, A_DAY)
    evidence.close()
    return statistics.median(took[2:])


def page(pairs: int, commands: dict[str, tuple[float, float]], ticks: dict[int, float]) -> str:
    """The results as a page."""
    lines = [
        "# Reading evidence: what was measured",
        "",
        f"## A shadow of {pairs:,} pairs",
        "",
        "Answers of 500 to 1,500 characters, three slice keys, five days.",
        "",
        "| command | CPU s | peak MiB |",
        "|---|---|---|",
        *(f"| `{name}` | {cpu:.1f} | {peak:.0f} |" for name, (cpu, peak) in commands.items()),
        "",
        *BEFORE,
        "",
        "## A reading of a canary's gates",
        "",
        f"{A_DAY:,} exchanges a day, five metrics, one of them graded; {TICKS} readings, each after 60 exchanges more.",
        "",
        "| day | CPU ms |",
        "|---|---|",
        *(f"| {day} | {took:.0f} |" for day, took in ticks.items()),
        "",
        f"Measured with `python -m benchmarks.evidence.run --pairs {pairs} --days {max(ticks)}` (Python "
        f"{platform.python_version()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}).",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="understudy-evidence-") as name:
        folder = Path(name)
        commands = of_shadow(folder / "shadow", options.pairs)
        ticks = {days: of_tick(folder / f"day-{days}", days) for days in sorted({1, options.days})}
    text = page(options.pairs, commands, ticks)
    sys.stdout.write(text)
    if options.markdown:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
