"""What this machine must have for the benchmark, how to get it, and what is to be known of it beside the figures."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from pathlib import Path

CORES = 2
_NEEDED = {"wrk": "apt-get install wrk", "taskset": "apt-get install util-linux"}


def missing(*, load: bool = True) -> list[str]:
    """What is not there that nothing can be measured without, each with what to do; `load` False: without wrk."""
    if sys.platform != "linux":
        return [f"CPU time is read from /proc, which {sys.platform} does not have: run it on Linux"]
    found = [
        f"{name}: not installed: {how}"
        for name, how in _NEEDED.items()
        if (load or name != "wrk") and not shutil.which(name)
    ]
    cores = len(os.sched_getaffinity(0))
    if cores < CORES:
        found.append(f"{cores} core: the proxy needs one to itself, load and provider another: run it on {CORES}")
    return found


def about(note: str = "") -> list[str]:
    """When and on what was measured."""
    named = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = named[0].partition(":")[2].strip() if named else platform.machine()
    cores = f"{len(os.sched_getaffinity(0))} cores {processor}"
    lines = [
        time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        f"{cores}, Linux {platform.release()}, Python {platform.python_version()}",
        f"load average before the run {os.getloadavg()[0]:.1f}",
    ]
    return [*lines, note] if note else lines
