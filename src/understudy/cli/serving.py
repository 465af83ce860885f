"""What commands that run until they are told to stop share: the signal to end, and the events they tell as they go."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from understudy.cli.output import plain


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
