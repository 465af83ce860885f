"""What commands that run until they are told to stop share: the signal to end, and the events they tell as they go."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from understudy.cli.output import plain
from understudy.core.errors import UsageError


def told_to_stop() -> asyncio.Event:
    """Set by SIGTERM or Ctrl-C; to be called inside the running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def teller(as_json: bool) -> Callable[[str], None]:
    """Says one event a line on standard output: after the time of day, or as `{"at", "event"}`."""

    def say(event: str) -> None:
        if as_json:
            line = json.dumps({"at": time.time(), "event": event}, ensure_ascii=False)
        else:
            line = f"{time.strftime('%H:%M:%S')} {plain(event)}"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    return say


@contextmanager
def only_one(lock: Path, what: str, remedy: str) -> Iterator[None]:
    """Hold a lock file while `what` runs; the system lets go of it with the process, however that ends. Raises
    UsageError where another process holds it. Where the file cannot be made (a full disk, a folder that is read only)
    nothing is held: that is no reason not to serve.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace") or "unknown"
            raise UsageError(f"{what} runs already (process {holder})", remedy=remedy) from None
        with suppress(OSError):  # on a full disk the lock holds all the same, only its holder goes unnamed
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


class Documents:
    """JSON documents out of the lines that a child process prints: one on a line, or one over several."""

    def __init__(self, heard: Callable[[dict[str, Any]], None]) -> None:
        self._heard = heard
        self._lines: list[str] = []

    def line(self, line: str) -> None:
        if line.startswith("{"):
            self._lines.clear()  # what a child that was killed did not finish
        self._lines.append(line)
        try:
            document = json.loads("\n".join(self._lines))
        except json.JSONDecodeError:
            return  # an error goes over several lines
        self._lines.clear()
        self._heard(document)
