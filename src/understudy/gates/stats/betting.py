"""Evidence about the mean of bounded, independent units, valid at any look and any sample size.

A gambler who stakes a constant part lambda of the wealth on "harm" multiplies it by 1 + lambda x; under "no harm on
average" no wealth grows in expectation. The average over a grid of lambdas is an e-value (Waudby-Smith and Ramdas
2024). Because the stakes are constant, the order of units does not matter and workers merge by adding. Units must be
independent: one value a user, or repeats of an eval, never the requests of a sticky user.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from understudy.gates.stats.multiple import log_mean

STATE_VERSION = 1
STAKES = (0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.45, 0.6, 0.8)


class Betting:
    """Log wealths over the grid of stakes."""

    __slots__ = ("wealths",)

    def __init__(self, wealths: tuple[float, ...] | None = None) -> None:
        self.wealths = list(wealths) if wealths is not None else [0.0] * len(STAKES)

    def add(self, harm: float) -> None:
        """One unit's harm in [-1, 1]. Raises ValueError outside, and for NaN."""
        if not -1.0 <= harm <= 1.0:
            raise ValueError(f"a unit's harm must lie between -1 and 1, not {harm}")
        wealths = self.wealths
        for j, stake in enumerate(STAKES):
            wealths[j] += math.log1p(stake * harm)

    def merge(self, other: Betting) -> Betting:
        """Both together, as a new state."""
        return Betting(tuple(a + b for a, b in zip(self.wealths, other.wealths, strict=True)))

    def log_e(self) -> float:
        """log e-value against "the mean harm is at most 0"."""
        return log_mean(self.wealths)

    def as_dict(self) -> dict[str, Any]:
        return {"version": STATE_VERSION, "wealths": list(self.wealths)}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Betting:
        """Raises ValueError for another version or grid."""
        if state.get("version") != STATE_VERSION or len(state["wealths"]) != len(STAKES):
            raise ValueError(f"a betting state of version {state.get('version')!r} cannot be read: {STATE_VERSION} can")
        return cls(tuple(float(wealth) for wealth in state["wealths"]))


def harm(incumbent: float, candidate: float, margin: float = 0.0) -> float:
    """The harm of one pair of values in [0, 1] beyond a tolerated margin, scaled into [-1, 1]."""
    return (incumbent - candidate - margin) / (1.0 + margin)


class Detector:
    """A watch without an end: alarms soon after harm begins, and falsely once in `run_length` periods on average.

    Per stake the wealth of each period is bet on top of a fresh start every period (Shiryaev-Roberts form of the
    e-detector; Shin, Ramdas and Rinaldo 2024); the average over stakes is compared with the run length. Within a
    period units are order-free; periods follow each other.
    """

    __slots__ = ("periods", "wealths")

    def __init__(self, wealths: tuple[float, ...] | None = None, periods: int = 0) -> None:
        self.wealths = list(wealths) if wealths is not None else [-math.inf] * len(STAKES)
        self.periods = periods

    def step(self, period: Betting) -> None:
        """One more period, with all its units."""
        self.wealths = [
            max(old, 0.0) + math.log1p(math.exp(-abs(old))) + gain if old > -math.inf else gain
            for old, gain in zip(self.wealths, period.wealths, strict=True)
        ]
        self.periods += 1

    def log_value(self) -> float:
        """Compared with log(run_length)."""
        return log_mean(self.wealths) if self.periods else -math.inf

    def alarm(self, run_length: float) -> bool:
        """True where something changed: for a look a day, 365 means one false alarm a year or fewer."""
        return self.log_value() >= math.log(run_length)

    def as_dict(self) -> dict[str, Any]:
        wealths = None if not self.periods else list(self.wealths)
        return {"version": STATE_VERSION, "wealths": wealths, "periods": self.periods}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Detector:
        """Raises ValueError for another version."""
        if state.get("version") != STATE_VERSION:
            raise ValueError(f"a detector of version {state.get('version')!r} cannot be read, only {STATE_VERSION}")
        wealths = state["wealths"]
        return cls(tuple(float(w) for w in wealths) if wealths is not None else None, int(state["periods"]))
