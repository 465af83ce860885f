"""Decides how long an unused connection may be used again: shorter than its provider keeps it. Pure.

A request that is sent just as the provider closes is lost: the provider's reset does not tell whether it was carried
out, so it cannot be sent again. The only cure is to be elsewhere at that moment. Providers say how long they wait
(`Keep-Alive: timeout=5`), or show it: two unused connections closed at a like age are a time-out, one may be a restart.
"""

from __future__ import annotations

import re

SHARE = 0.8
"""Of the provider's own time."""
LEAST_S = 0.4
"""However soon a provider closes: a few restarts in a row must not make an end of keeping connections."""
ALIKE = 1.25
"""Two ages are alike where the greater is at most so many times the lesser."""
FORGET_S = 600.0
"""What was learned is forgotten so long after it was last seen: providers change their settings too."""

_TIMEOUT = re.compile(rb"(?:^|[,;\s])timeout=([0-9]{1,6})(?:$|[,;\s])", re.IGNORECASE)


class Ageing:
    """Of the connections to one provider. `ours` is our own limit, in seconds; nothing here raises it."""

    __slots__ = ("_learned", "_learned_at", "_ours", "_previous")

    def __init__(self, ours: float) -> None:
        self._ours = self._learned = ours
        self._learned_at = 0.0
        self._previous = 0.0

    def limit(self, now: float) -> float:
        """Seconds that a connection may stay unused and be used again."""
        if self._learned < self._ours and now - self._learned_at > FORGET_S:
            self._learned = self._ours
        return self._learned

    def told(self, header: bytes, now: float) -> None:
        """The value of a provider's Keep-Alive header; one that says nothing of a time-out teaches nothing."""
        found = _TIMEOUT.search(header)
        if found is not None:
            self._learn(float(found[1]), now)

    def closed(self, age: float, now: float) -> None:
        """The provider closed a connection that had been unused for `age` seconds."""
        previous, self._previous = self._previous, age
        if 0 < max(age, previous) <= ALIKE * min(age, previous):
            self._learn(min(age, previous), now)

    def _learn(self, theirs: float, now: float) -> None:
        allowed = max(LEAST_S, SHARE * theirs)
        if allowed <= self.limit(now):
            self._learned, self._learned_at = min(allowed, self._ours), now
