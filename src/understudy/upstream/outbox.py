"""Lets what is written in one turn of the loop leave together at the end of the turn.

A turn reads from many connections. Written at once, each answer wakes its receiver for itself alone, and to wake a
process is the dearest part of a short message on one machine; written together, the first one wakes it for all. The
first of a turn does not wait: where there is little to do nothing is gained by it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol


class Way(Protocol):
    """Where bytes leave by: a transport, or what looks after one."""

    def is_closing(self) -> bool:
        """Whether what was put in is to be dropped by now."""
        ...

    def write(self, data: bytes) -> None: ...


class Outbox:
    """One for all connections of a loop; what one connection puts in leaves in its order."""

    __slots__ = ("_loop", "_turn", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._turn = False
        """Something has left in this turn: whatever follows waits for its end."""
        self._waiting: deque[tuple[Way, bytes]] = deque()

    def put(self, way: Way, data: bytes) -> None:
        if self._turn:
            self._waiting.append((way, data))
            return
        self._turn = True
        self._loop.call_soon(self._end)
        if not way.is_closing():
            way.write(data)

    def flush(self) -> None:
        """Send everything now: before a transport is closed."""
        waiting = self._waiting
        while waiting:
            way, data = waiting.popleft()
            if not way.is_closing():
                way.write(data)

    def _end(self) -> None:
        try:
            self.flush()
        finally:
            if self._waiting:  # one that failed does not take the others along
                self._loop.call_soon(self._end)
            else:
                self._turn = False
