"""Says which process wrote something, and whether that process is certainly over, told from the kernel's own account.

A process id alone is used again, and means another process on another machine or in another container: so the machine
(its boot and the namespace of its process ids) and the moment of the process's start belong to it.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

_OVER = (b"Z", b"X")
"""States of a process that has ended and was not waited for yet."""


@cache
def machine() -> str:
    """This boot and this namespace of process ids; "" where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - no path, but the name of a namespace
    except OSError:
        return ""


def started(pid: int) -> int:
    """When a process of this machine began, in the kernel's ticks since boot; 0 where there is none, or it is over."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    # The name stands in brackets and may hold anything: what follows the last one is the state and then numbers.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return 0 if fields[0] in _OVER else int(fields[19])


def lives(where: str, pid: int, began: int) -> bool:
    """Whether the process with that id, begun then, is still there. False wherever that cannot be known from here."""
    return bool(where) and where == machine() and began > 0 and started(pid) == began


def gone(where: str, pid: int, began: int) -> bool:
    """Whether the process with that id, begun then, is over. False wherever that cannot be known from here."""
    return bool(where) and where == machine() and began > 0 and started(pid) != began
