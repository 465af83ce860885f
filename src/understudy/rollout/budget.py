"""Decides when shadow copies rest because their budget of the day is spent, and says so. Pure.

A day is one in UTC. Copies of unknown price are never free: they count at the mean price of the others, and where no
price is known at all the copies rest, with a few let through every hour to see whether that has changed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from understudy.core.playbook import DAY
from understudy.rollout.fold import UpgradeState
from understudy.rollout.journal import Draft
from understudy.rollout.machine import Kind

UNKNOWN_S = 3_600.0
"""How long copies rest whose price nobody knows."""


class Spending(NamedTuple):
    """The shadow copies of a workload that were answered since a midnight: how many, how many of known price, and
    what those cost in US dollars."""

    since: float
    copies: int
    priced: int
    usd: float

    @property
    def estimate(self) -> float | None:
        """What all of them cost; None where no price is known."""
        if not self.copies:
            return 0.0
        return self.usd * self.copies / self.priced if self.priced else None


def midnight(now: float) -> float:
    """The beginning of the day, UTC."""
    return now - now % DAY


def record(
    state: UpgradeState, spending: Spending | None, usd_per_day: float | None, now: float, by: str
) -> Draft | None:
    """The event that makes copies rest, or go on before the rest is over because there is a budget again."""
    resting = state.resting(now)
    if usd_per_day is None:
        return _end(now, by, "there is no budget any more") if resting else None
    if spending is None or spending.since != midnight(now):
        return None
    estimate = spending.estimate
    over = estimate is None or estimate >= usd_per_day
    if resting:
        return None if over else _end(now, by, f"there is budget again: {sentence(spending, usd_per_day)}")
    if not over:
        return None
    until = spending.since + DAY if estimate is not None else min(now + UNKNOWN_S, spending.since + DAY)
    why = f"shadow copies rest until {_clock(until)}: {sentence(spending, usd_per_day)}"
    figures = {"copies": spending.copies, "priced": spending.priced, "usd": spending.usd, "usd_per_day": usd_per_day}
    return Draft(Kind.RESTED, by, why, {"until": until, **figures})


def sentence(spending: Spending, usd_per_day: float) -> str:
    """What was spent of the day's budget, and how well that is known."""
    estimate, unknown = spending.estimate, spending.copies - spending.priced
    if estimate is None:
        return (
            f"what {spending.copies} copies cost is not known, so a budget of {usd_per_day:g} USD a day "
            "cannot be kept: write the model's price under prices"
        )
    said = f"{estimate:.2f} of {usd_per_day:g} USD spent on {spending.copies} copies today (UTC)"
    return f"{said}, {unknown} of unknown price counted at the mean of the others" if unknown else said


def _end(now: float, by: str, why: str) -> Draft:
    """The rest ends now, and not when it was said to."""
    return Draft(Kind.RESTED, by, why, {"until": now})


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
