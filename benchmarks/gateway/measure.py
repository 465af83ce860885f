"""CPU time and memory of a process with all its children, and one run of wrk. Linux only."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from benchmarks.gateway.cores import LOAD_CORE

HERE = Path(__file__).parent


class Load(NamedTuple):
    """What wrk saw; `bad` counts answers that are no success."""

    n: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int
    bad: int


def tree(pid: int) -> list[int]:
    """The process and everything below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # it ended while we looked
            children.setdefault(int(stat[stat.rindex(")") + 2 :].split()[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += children.get(one, [])
    return found


def cpu_s(pid: int) -> float:
    """Seconds on a CPU so far, of all threads of the tree; a thread that ended takes its time along."""
    total = 0
    for one in tree(pid):
        for task in _entries(Path(f"/proc/{one}/task")):
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue
    return total / 1e9


def rss_mb(pid: int) -> float:
    total = 0
    for one in tree(pid):
        try:
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return total / 1024


def wrk(port: int, connections: int, seconds: int, **env: str | int) -> Load:
    """Load on the core that is not the proxy's; `env` is for the script. Raises RuntimeError where wrk says nothing."""
    environment = {**os.environ, **{name: str(value) for name, value in env.items()}}
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
    command += ["-s", str(HERE / "request.lua"), f"http://127.0.0.1:{port}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("JSON "):
            return Load(**json.loads(line[5:]))
    raise RuntimeError(f"wrk: {done.stdout}{done.stderr}")


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
