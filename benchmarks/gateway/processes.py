"""The provider of the benchmark as a process on the load's core, and precedence for all that is measured."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.gateway.cores import LOAD_CORE

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def provider(pause_ms: float, *, endless: bool = False) -> Iterator[int]:
    """Its port. Raises RuntimeError where it does not start."""
    command = [sys.executable, "-m", "benchmarks.gateway.upstream", str(pause_ms), *(["endless"] if endless else [])]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    running = subprocess.Popen(
        ["taskset", "-c", str(LOAD_CORE), *command],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        assert running.stdout is not None
        port = running.stdout.readline().strip()
        if not port:
            raise RuntimeError("the provider did not start")
        yield int(port)
    finally:
        running.terminate()
        running.wait()


def ahead(pid: int) -> None:
    """Give the session of a process precedence over every other on the machine. Raises OSError without the right to.

    Where Linux shares the cores out by session, a nice value counts within one alone.
    """
    group = Path(f"/proc/{pid}/autogroup")
    if group.exists():
        group.write_text("-20")
    os.setpriority(os.PRIO_PROCESS, pid, -20)
