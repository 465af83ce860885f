"""Counts the requests of each limited key against its requests a minute, for all workers of a machine together.

A token bucket of one minute's requests that refills evenly: up to that many at once, then one every 60/n seconds. It is
kept as one number a key, the time at which its bucket would be full again, in a file that the workers map into memory:
a restart forgets nothing, and a file that is lost is a full bucket. Two workers that count within the same microsecond
may let one request more through; nothing waits for a lock.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from pathlib import Path

from understudy.core.routing import GatewayKey
from understudy.gateway.shared import mapped

SLOTS = 1 << 16
"""Keys that are counted apart: more than a configuration can hold. A key that is gone leaves its slot to a new one."""
_WINDOW = 60 * 10**9


class Meter:
    """The bucket of one key. `full_at` are the numbers of all keys, in nanoseconds since the epoch."""

    __slots__ = ("_every", "_full_at", "_slot")

    def __init__(self, full_at: memoryview[int], slot: int, per_minute: int) -> None:
        self._full_at = full_at
        self._slot = slot
        self._every = _WINDOW // per_minute

    def take(self, now: float) -> float:
        """Count a request; seconds until there is room where there is none, and then nothing is counted."""
        at = int(now * 1e9)
        # No bucket takes longer than the window to fill: beyond that the clock was set back.
        empty = min(max(self._full_at[self._slot] - at, 0), _WINDOW)
        missing = empty + self._every - _WINDOW
        self._full_at[self._slot] = at + empty + (0 if missing > 0 else self._every)
        return max(missing, 0) / 1e9


class Meters:
    """`path` None counts for one process only."""

    def __init__(self, path: Path | None, slots: int = SLOTS) -> None:
        self._path = path
        whole = memoryview(mapped(path, slots * 16))
        self._owners = whole[: slots * 8].cast("Q")
        self._full_at = whole[slots * 8 :].cast("Q")

    def of(self, keys: Iterable[GatewayKey]) -> dict[str, Meter]:
        """The meters of the keys that have a limit, by name."""
        limited = [(key, key.requests_per_minute) for key in keys if key.requests_per_minute]
        if not limited:
            return {}
        owners = [int(key.hash[:16], 16) or 1 for key, _ in limited]
        if self._path is None:
            slots = self._slots(owners)
        else:
            with self._path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # two workers must not give one slot to two keys
                slots = self._slots(owners)
        return {
            key.name: Meter(self._full_at, slot, per_minute)
            for (key, per_minute), slot in zip(limited, slots, strict=True)
        }

    def _slots(self, owners: list[int]) -> list[int]:
        """Where each of them is counted: where it was, else in an empty slot, else in that of the most silent other."""
        taken = {owner: slot for slot, owner in enumerate(self._owners.tolist()) if owner}
        new = [owner for owner in dict.fromkeys(owners) if owner not in taken]
        if new:
            kept = {taken[owner] for owner in owners if owner in taken}
            full_at, used = self._full_at.tolist(), set(taken.values())
            free = sorted(
                (slot for slot in range(len(full_at)) if slot not in kept), key=lambda s: (s in used, full_at[s])
            )
            for owner, slot in zip(new, free, strict=False):
                self._full_at[slot] = 0
                self._owners[slot] = owner
                taken[owner] = slot
        return [taken[owner] for owner in owners]
