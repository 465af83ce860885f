"""One coarse timer for thousands of connections: moving a deadline is an assignment, not a call into the loop.

An object is filed in the slot of its deadline. A later deadline leaves it there; when the slot comes up the object
is filed again. Only an earlier deadline files it anew. So a deadline costs nothing a request, at the price of the
resolution. What is over is forgotten at once: a slot may lie minutes ahead, and thousands of closed connections would
wait there for it.
"""

from __future__ import annotations

import asyncio
import math

NEVER = math.inf
_LATE = 4
"""Ticks of delay from which on the loop is taken to have stood still."""


class Timed:
    """Something with one deadline on a wheel; subclasses say in `expired` what happens then."""

    __slots__ = ("_filed", "due")

    def __init__(self) -> None:
        self.due = NEVER
        self._filed = NEVER

    def expired(self) -> None:
        """The deadline has passed; it has been taken away already."""
        raise AssertionError("a Timed object without an end")


class Wheel:
    """`now` is the loop's clock as of the last tick, at most `resolution` seconds old."""

    def __init__(self, loop: asyncio.AbstractEventLoop, resolution: float = 0.1) -> None:
        self._loop = loop
        self._resolution = resolution
        self._slots: dict[int, set[Timed]] = {}
        self.now = loop.time()
        self._slot = int(self.now / resolution)
        self._stood_still = False
        self._handle: asyncio.TimerHandle | None = loop.call_later(resolution, self._tick)

    def arm(self, timed: Timed, after: float) -> None:
        """Let `timed` expire `after` seconds from now, unless it is armed again before."""
        due = self.now + after
        timed.due = due
        if due < timed._filed:
            self.file(timed)

    def disarm(self, timed: Timed) -> None:
        timed.due = NEVER

    def forget(self, timed: Timed) -> None:
        """Disarm for good; nothing here refers to `timed` any more."""
        timed.due = NEVER
        self._unfile(timed)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._slots.clear()

    def file(self, timed: Timed) -> None:
        """Where a deadline was brought forward: see that it is not missed."""
        # In the slot before the deadline lies; it is visited at that slot's end, so a tick after the deadline at most.
        self._unfile(timed)
        slot = max(int(timed.due / self._resolution), self._slot)
        timed._filed = slot * self._resolution
        self._slots.setdefault(slot, set()).add(timed)

    def _unfile(self, timed: Timed) -> None:
        if timed._filed != NEVER:
            self._slots.get(round(timed._filed / self._resolution), set()).discard(timed)
            timed._filed = NEVER

    def _tick(self) -> None:
        self._handle = self._loop.call_later(self._resolution, self._tick)
        before, self.now = self.now, self._loop.time()
        now = self.now
        self._stood_still = not self._stood_still and now - before > _LATE * self._resolution
        if self._stood_still:
            return  # what has come meanwhile is read before anybody is called late; once, for a loop may always be late
        current = int(now / self._resolution)
        while self._slot < current:
            slot = self._slot
            self._slot += 1
            due = self._slots.pop(slot, ())
            for timed in due:
                timed._filed = NEVER
            for timed in due:
                self._visit(timed, now)

    def _visit(self, timed: Timed, now: float) -> None:
        if timed.due == NEVER or timed._filed != NEVER:
            return  # disarmed, or armed anew by one that expired just before it
        if timed.due <= now:
            timed.due = NEVER
            timed.expired()
        else:
            self.file(timed)
