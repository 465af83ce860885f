"""Holds a prompt against the incumbent, case by case: how far it is from the bar, and which of two is nearer. Pure.

These are point estimates that steer a search. Whether a gap is closed is decided by `proof`, on other cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

from understudy.core.evidence import ALL_SLICES

PASSES = 0.5
"""The score from which on an answer to a must-pass case passes, as in the gate."""
ROUNDING = 1e-9


class Held(NamedTuple):
    """One case with the score of the incumbent's answer and of the answer to a prompt, both from 0 to 1."""

    case: str
    slices: tuple[str, ...]
    critical: bool
    incumbent: float
    candidate: float

    @property
    def lost(self) -> bool:
        return self.candidate < self.incumbent - ROUNDING


class Level(NamedTuple):
    """A slice, or all cases (slice ""): its number of cases and both mean scores."""

    slice: str
    n: int
    incumbent: float
    candidate: float

    @property
    def short(self) -> float:
        """What the prompt lacks to the incumbent, 0 where it lacks nothing."""
        return max(0.0, self.incumbent - self.candidate)


class Standing(NamedTuple):
    """How a prompt stands. The greater of two is the better one."""

    critical_kept: int
    """Must-pass cases lost, as a negative number."""
    reach: float
    """What all slices and the whole lack together, as a negative number."""
    mean: float

    @property
    def clears(self) -> bool:
        """At least the incumbent on every slice and over all, and no must-pass case lost."""
        return self.critical_kept == 0 and self.reach >= -ROUNDING


def levels(cases: Sequence[Held]) -> list[Level]:
    """All cases first, then each slice by name."""
    names = sorted({name for each in cases for name in each.slices} | {ALL_SLICES})
    inside = {name: [each for each in cases if name in (ALL_SLICES, *each.slices)] for name in names}
    return [
        Level(name, len(held), fmean(each.incumbent for each in held), fmean(each.candidate for each in held))
        for name, held in inside.items()
        if held
    ]


def standing(cases: Sequence[Held]) -> Standing:
    """Raises ValueError for no case at all."""
    if not cases:
        raise ValueError("nothing to hold against the bar")
    lost = sum(each.critical and each.incumbent >= PASSES > each.candidate for each in cases)
    short = sum(level.short for level in levels(cases))
    return Standing(-lost, -round(short, 9), fmean(each.candidate for each in cases))


def best(standings: Iterable[Standing]) -> int:
    """The number of the best prompt; of equal ones the first, which changes least."""
    ranked = list(standings)
    return max(range(len(ranked)), key=lambda number: (ranked[number], -number))
