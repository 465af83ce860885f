"""Gathers the ledger's sums into one mergeable state per metric and slice; what they mean is in `effect`.

Sums are counts and totals per stratum, arm and analysis bucket, so they may arrive in any order, in any batches and
late. A row that cannot be (not finite, more events than units, squares below what the total implies) is set aside
and counted: it can keep a gate from passing, never make it pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from understudy.core.evidence import BUCKETS, Stratum, Sums
from understudy.core.playbook import Arm

STATE_VERSION = 1
_SLACK = 1e-9
"""Rounding that sums of squares may show."""


class ArmTally:
    """One arm within one stratum: totals, and counts and totals per bucket."""

    __slots__ = ("counts", "n", "seen", "squares", "total", "totals", "units")

    def __init__(self) -> None:
        self.n = 0
        self.total = 0.0
        self.squares = 0.0
        self.units = 0
        self.seen = 0
        """One bit a bucket that holds anything."""
        self.counts = [0] * BUCKETS
        self.totals = [0.0] * BUCKETS

    def add(self, bucket: int, n: int, total: float, squares: float, units: int) -> None:
        self.n += n
        self.total += total
        self.squares += squares
        self.units += units
        self.seen |= 1 << bucket
        self.counts[bucket] += n
        self.totals[bucket] += total

    def merge(self, other: ArmTally) -> ArmTally:
        merged = ArmTally()
        merged.n, merged.total = self.n + other.n, self.total + other.total
        merged.squares, merged.units = self.squares + other.squares, self.units + other.units
        merged.seen = self.seen | other.seen
        merged.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        merged.totals = [a + b for a, b in zip(self.totals, other.totals, strict=True)]
        return merged

    def as_dict(self) -> dict[str, Any]:
        """Compact: only buckets that were seen."""
        seen = [[b, n, total] for b, (n, total) in enumerate(zip(self.counts, self.totals, strict=True)) if n]
        return {"squares": self.squares, "units": self.units, "buckets": seen}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> ArmTally:
        tally = cls()
        for bucket, n, total in state["buckets"]:
            tally.add(int(bucket), int(n), float(total), 0.0, 0)
        tally.squares, tally.units = float(state["squares"]), int(state["units"])
        return tally


class Tally:
    """Everything known of one metric in one slice."""

    __slots__ = ("outside", "strata", "unusable")

    def __init__(self) -> None:
        self.strata: dict[Stratum, dict[Arm, ArmTally]] = {}
        self.unusable = 0
        """Rows set aside because their numbers cannot be."""
        self.outside = 0
        """Values of nobody in particular: without a unit there is no bucket and no fair comparison."""

    def add(self, row: Sums) -> None:
        """One row. Raises ValueError for an arm that is neither incumbent nor candidate."""
        _, stratum, name, _, bucket, n, total, squares, units = row
        if not _possible(bucket, n, total, squares, units):
            self.unusable += 1
        elif bucket < 0:
            self.outside += n
        elif n:
            arms = self.strata.get(stratum)
            if arms is None:
                arms = self.strata[stratum] = {}
            arm = _ARMS.get(name) or Arm(name)
            tally = arms.get(arm)
            if tally is None:
                tally = arms[arm] = ArmTally()
            tally.add(bucket, n, total, squares, units)

    def merge(self, other: Tally) -> Tally:
        """Both together, as a new state."""
        merged = Tally()
        merged.unusable = self.unusable + other.unusable
        merged.outside = self.outside + other.outside
        for source in (self, other):
            for stratum, arms in source.strata.items():
                into = merged.strata.setdefault(stratum, {})
                for arm, tally in arms.items():
                    into[arm] = into[arm].merge(tally) if arm in into else tally
        return merged

    def count(self, arm: Arm, step: int | None = None) -> int:
        """Values of an arm, overall or on one rung."""
        chosen = [s for s in self.strata if step is None or s.step == step]
        return sum(self.strata[s][arm].n for s in chosen if arm in self.strata[s])

    def as_dict(self) -> dict[str, Any]:
        strata = [
            {"stratum": list(stratum), "arms": {arm.value: tally.as_dict() for arm, tally in sorted(arms.items())}}
            for stratum, arms in sorted(self.strata.items())
        ]
        return {"version": STATE_VERSION, "strata": strata, "unusable": self.unusable, "outside": self.outside}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Tally:
        """Raises ValueError for another version."""
        if state.get("version") != STATE_VERSION:
            raise ValueError(f"a tally of version {state.get('version')!r} cannot be read, only {STATE_VERSION}")
        tally = cls()
        tally.unusable, tally.outside = int(state["unusable"]), int(state["outside"])
        for entry in state["strata"]:
            stage, step, period = entry["stratum"]
            arms = {Arm(name): ArmTally.from_dict(arm) for name, arm in entry["arms"].items()}
            tally.strata[Stratum(str(stage), int(step), int(period))] = arms
        return tally


_ARMS: dict[str, Arm] = {arm.value: arm for arm in Arm}


def _possible(bucket: int, n: int, total: float, squares: float, units: int) -> bool:
    """False for NaN too, as it compares with nothing."""
    if n < 0 or units < 0 or bucket >= BUCKETS or not 0.0 <= squares < math.inf:
        return False
    if n == 0:
        return total == 0.0 and squares == 0.0
    # Cauchy and Schwarz: the square of a total is at most n times the sum of squares.
    return total * total <= n * squares * (1.0 + _SLACK) + _SLACK


def gather(rows: Iterable[Sums]) -> dict[tuple[str, str], Tally]:
    """Tallies by (metric, slice). Raises ValueError for an arm that is neither incumbent nor candidate."""
    tallies: dict[tuple[str, str], Tally] = {}
    for row in rows:
        key = (row.metric, row.slice)
        tally = tallies.get(key)
        if tally is None:
            tally = tallies[key] = Tally()
        tally.add(row)
    return tallies


def together(parts: Iterable[Mapping[tuple[str, str], Tally]]) -> dict[tuple[str, str], Tally]:
    """Tallies of several parts as one. What is in one part alone is not copied: nobody adds to the parts any more."""
    found: dict[tuple[str, str], Tally] = {}
    for part in parts:
        for key, tally in part.items():
            into = found.get(key)
            if into is None:
                into = found[key] = Tally()
            into.unusable += tally.unusable
            into.outside += tally.outside
            for stratum, arms in tally.strata.items():
                there = into.strata.get(stratum, {})
                both = {arm: there[arm].merge(arms[arm]) for arm in there.keys() & arms.keys()}
                into.strata[stratum] = {**there, **arms, **both} if there else arms
    return found
