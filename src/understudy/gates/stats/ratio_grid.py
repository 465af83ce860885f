"""Evidence that events fall on the candidate oftener than its share of the traffic explains, at any look.

Given an event, it is the candidate's with probability theta = share * ratio / (share * ratio + 1 - share), where
`ratio` compares the two arms' rates. The likelihood ratio against the tolerated ratio, averaged over a grid of 60
ratios up to ten times as large, is an e-value (Robbins 1970; Lindon and Malek 2022), exact for independent events.
The grid is over ratios, not over theta: evidence goes on adding up while the share grows from rung to rung.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from understudy.gates.stats.multiple import log_mean

STATE_VERSION = 1
POINTS = 60
TOP = 10.0
RATIOS = tuple(math.exp((g + 0.5) / POINTS * math.log(TOP)) for g in range(POINTS))

_LOG_RATIOS = tuple(math.log(ratio) for ratio in RATIOS)


class RatioGrid:
    """Log likelihood ratios over the grid. Adding is order-free; states of the same tolerated ratio merge by adding."""

    __slots__ = ("tolerated", "weights")

    def __init__(self, tolerated: float = 1.0, weights: tuple[float, ...] | None = None) -> None:
        self.tolerated = tolerated
        self.weights = list(weights) if weights is not None else [0.0] * POINTS

    def add(self, candidate: float, incumbent: float, share: float) -> None:
        """Events of both arms while the candidate had `share` of the traffic.

        Raises ValueError outside 0 < share < 1: where one arm saw no traffic there is nothing to compare.
        """
        if not 0.0 < share < 1.0:
            raise ValueError(f"the candidate's share of the traffic must lie between 0 and 1, not {share}")
        odds = share * self.tolerated / (1.0 - share)
        log_null = math.log1p(odds)
        events, log1p = candidate + incumbent, math.log1p
        self.weights = [
            weight + candidate * log_ratio - events * (log1p(odds * ratio) - log_null)
            for weight, ratio, log_ratio in zip(self.weights, RATIOS, _LOG_RATIOS, strict=True)
        ]

    def merge(self, other: RatioGrid) -> RatioGrid:
        """Both together, as a new state. Raises ValueError for different tolerated ratios."""
        if self.tolerated != other.tolerated:
            raise ValueError(f"grids of tolerated ratio {self.tolerated} and {other.tolerated} cannot be merged")
        return RatioGrid(self.tolerated, tuple(a + b for a, b in zip(self.weights, other.weights, strict=True)))

    def log_e(self, design_effect: float = 1.0) -> float:
        """log e-value against "the ratio is at most the tolerated one".

        Where events come in bursts, each counts as 1 / `design_effect` of an independent one.
        """
        return log_mean([weight / design_effect for weight in self.weights])

    def as_dict(self) -> dict[str, Any]:
        return {"version": STATE_VERSION, "tolerated": self.tolerated, "weights": list(self.weights)}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> RatioGrid:
        """Raises ValueError for another version or grid."""
        if state.get("version") != STATE_VERSION or len(state["weights"]) != POINTS:
            raise ValueError(f"a ratio grid of version {state.get('version')!r} cannot be read, only {STATE_VERSION}")
        return cls(float(state["tolerated"]), tuple(float(weight) for weight in state["weights"]))


def log_e_either_way(candidate: float, incumbent: float, share: float) -> float:
    """log e-value against "exactly `share` of the events are the candidate's", looking both ways."""
    more, fewer = RatioGrid(), RatioGrid()
    more.add(candidate, incumbent, share)
    fewer.add(incumbent, candidate, 1.0 - share)
    return log_mean([more.log_e(), fewer.log_e()])
