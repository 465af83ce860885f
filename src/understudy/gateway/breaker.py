"""The guard that needs nobody: takes a failing candidate out of service in this worker, without the controller.

Opens after 5 hard failures in a row, or when 20 % of the last 50 candidate requests failed, and then stays open for
that upgrade: going back to a broken candidate is a person's decision, made by a new upgrade.
"""

from __future__ import annotations

from collections import deque

CONSECUTIVE = 5
WINDOW = 50
WINDOW_ERRORS = 10


class Breaker:
    """Of one candidate in one upgrade. `why` is "" while closed."""

    __slots__ = ("_errors", "_recent", "_run", "why")

    def __init__(self) -> None:
        self._run = 0
        self._errors = 0
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self.why = ""

    @property
    def open(self) -> bool:
        return self.why != ""

    def succeeded(self) -> None:
        self._count(failed=False)
        self._run = 0

    def failed(self, kind: str) -> None:
        """A hard failure of the candidate; whether the incumbent masked it does not matter."""
        self._count(failed=True)
        self._run += 1
        if self.why:
            return
        if self._run >= CONSECUTIVE:
            self.why = f"{CONSECUTIVE} failures in a row, the last one {kind}"
        elif self._errors >= WINDOW_ERRORS:
            self.why = f"{self._errors} of the last {len(self._recent)} requests failed, the last one {kind}"

    def trip(self, why: str) -> None:
        """Another worker's breaker opened for the same upgrade."""
        self.why = self.why or why

    def _count(self, *, failed: bool) -> None:
        if len(self._recent) == WINDOW:
            self._errors -= self._recent[0]
        self._recent.append(failed)
        self._errors += failed
