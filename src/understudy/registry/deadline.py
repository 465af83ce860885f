"""Plans an upgrade backwards from the day its incumbent is shut down: when each stage has to begin at the latest. Pure.

Lead times as a rule of thumb do not fit notices of 60 days or two weeks, so the plan is computed: the sum of what
the profile's stages take at least, counted back from the first day without the incumbent. A gate that cannot decide
holds its rung longer than that, which is what slack is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from understudy.core.playbook import DAY, PARTS_PER_MILLION, Profile

PREPARATION_S = 12 * DAY
"""For eval and prompt work, where nobody says otherwise: one day and eleven in the playbook's account."""


class Fit(StrEnum):
    """Whether an upgrade that begins today is over in time."""

    FITS = "fits"
    SHORTENED = "shortened"
    """All stages fit, but the incumbent is gone before it has been kept for as long as the profile wants."""
    FORCED = "forced"
    """Only the compressed profile fits."""
    TOO_LATE = "too_late"


class Window(NamedTuple):
    """One stage of the plan: how long it takes at least, and the day it has to begin at the latest."""

    stage: str
    share: float
    """The candidate's part of the traffic meanwhile, 0 to 1."""
    least_s: float
    begin_by: date


@dataclass(frozen=True, slots=True)
class DeadlinePlan:
    """When to begin what, so that the upgrade is over before `deadline`, the first day without the incumbent."""

    deadline: date
    today: date
    fit: Fit
    profile: str
    """The profile that `windows` follow: the workload's own, or `forced`."""
    windows: tuple[Window, ...]
    gives_up: tuple[str, ...]
    """What the plan does without, compared with the workload's own profile."""
    begin_by: date
    """The last day to begin with the workload's own profile and lose nothing."""
    last_day: date
    """The last day on which any plan fits."""

    @property
    def slack_days(self) -> int:
        """Days that may pass before this plan begins; below 0 by how many it is too late."""
        return (self.windows[0].begin_by - self.today).days

    def as_dict(self) -> dict[str, Any]:
        """The plan as `--json` prints it."""
        return {
            "deadline": self.deadline.isoformat(),
            "today": self.today.isoformat(),
            "verdict": str(self.fit),
            "profile": self.profile,
            "slack_days": self.slack_days,
            "begin_by": self.begin_by.isoformat(),
            "last_day": self.last_day.isoformat(),
            "gives_up": list(self.gives_up),
            "stages": [{**window._asdict(), "begin_by": window.begin_by.isoformat()} for window in self.windows],
        }


def plan_backwards(
    profile: Profile, forced: Profile, deadline: date, today: date, preparation_s: float = PREPARATION_S
) -> DeadlinePlan:
    """The least compressed plan that is over in time, or the forced one where none is.

    `forced` is the compressed profile to fall back on. `preparation_s` is what eval and prompt work take before shadow.
    """
    own = windows(profile, deadline, preparation_s)
    short = windows(profile, deadline, preparation_s, keep=False)
    compressed = windows(forced, deadline, preparation_s)
    last_day = max(own[0].begin_by, short[0].begin_by, compressed[0].begin_by)

    def made(fit: Fit, name: str, chosen: tuple[Window, ...], gives_up: Iterable[str]) -> DeadlinePlan:
        return DeadlinePlan(deadline, today, fit, name, chosen, tuple(gives_up), own[0].begin_by, last_day)

    if own[0].begin_by >= today:
        return made(Fit.FITS, profile.name, own, profile.gives_up)
    if short[0].begin_by >= today:
        kept = (profile.soak_s / DAY) + (short[0].begin_by - today).days
        wanted = f"an incumbent that stays callable for {profile.retain_s / DAY:g} days"
        lost = f"{wanted}: it is gone {kept:g} days after 100 %"
        return made(Fit.SHORTENED, profile.name, short, (*profile.gives_up, lost))
    fit = Fit.FORCED if compressed[0].begin_by >= today else Fit.TOO_LATE
    return made(fit, forced.name, compressed, forced.gives_up)


def windows(
    profile: Profile, deadline: date, preparation_s: float = PREPARATION_S, *, keep: bool = True
) -> tuple[Window, ...]:
    """The stages of a profile, counted back from the deadline; with `keep` the incumbent outlives the soak."""
    stages: list[tuple[str, float, float]] = [
        ("regress and retune", 0.0, preparation_s),
        ("shadow", 0.0, profile.shadow_min_s),
    ]
    stages += [("canary", step.share / PARTS_PER_MILLION, step.hold_s) for step in profile.ladder[:-1]]
    stages.append(("soak", 1.0, profile.soak_s))
    if keep and profile.retain_s > profile.soak_s:
        stages.append(("incumbent kept", 1.0, profile.retain_s - profile.soak_s))
    end = datetime(deadline.year, deadline.month, deadline.day, tzinfo=UTC)
    made: list[Window] = []
    for name, share, least_s in reversed(stages):
        end -= timedelta(seconds=least_s)
        made.append(Window(name, share, least_s, end.date()))
    return tuple(reversed(made))
