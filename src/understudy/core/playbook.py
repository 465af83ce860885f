"""The five stages and the words of a decision, with the profile that says how long each stage lasts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

PARTS_PER_MILLION = 1_000_000
"""Shares of traffic are whole parts per million, so that a ladder has no rounding."""

DAY = 86_400.0


class Stage(StrEnum):
    """Where an upgrade stands: not begun (draft), in one of the five stages, or over in one of four ways."""

    DRAFT = "draft"
    REGRESS = "regress"
    RETUNE = "retune"
    SHADOW = "shadow"
    CANARY = "canary"
    SOAK = "soak"
    DONE = "done"
    BLOCKED = "blocked"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"

    @property
    def over(self) -> bool:
        """True where the upgrade has ended: a new one needs a new id."""
        return self in {Stage.DONE, Stage.BLOCKED, Stage.ROLLED_BACK, Stage.ABORTED}


QUESTIONS = {
    Stage.REGRESS: "Is the candidate at least as good on every slice we measure?",
    Stage.RETUNE: "Can prompt work close the gap?",
    Stage.SHADOW: "Would users notice the swap?",
    Stage.CANARY: "Do live metrics agree with the eval?",
    Stage.SOAK: "Do slow tails appear at 100 %? Can we still go back?",
}
"""The five stages in their order, with what each asks; the answer is in the event that left it."""


class Arm(StrEnum):
    """Which variant serves a unit: what served before, or what might take its place."""

    INCUMBENT = "incumbent"
    CANDIDATE = "candidate"


class Verdict(StrEnum):
    """What the evidence says. Inconclusive is its own answer and never folded into another."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Decision(StrEnum):
    """What a stage makes of its evidence; who carries it out is the controller."""

    ADVANCE = "advance"
    HOLD = "hold"
    ROLL_BACK = "roll_back"
    STOP = "stop"


class Outcome(StrEnum):
    """What the playbook's table says after a regression eval."""

    PROCEED = "proceed"
    CAUTION = "caution"
    RETUNE = "retune"
    STOP = "stop"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Step:
    """One rung of the canary ladder: the share in parts per million, and how long it is held at least.

    `widen` multiplies every gate's margin for the pass that leaves this rung: a low rung is there to catch disasters
    among few users and cannot resolve two points, the last rung before 100 % must meet the margin itself.
    """

    share: int
    hold_s: float
    widen: float = 1.0


@dataclass(frozen=True, slots=True)
class Profile:
    """How long the stages last. All durations are seconds.

    `cycle_s` is one full cycle of the users' behaviour; it is also the length of a stratum: evidence of the two
    arms is compared within one cycle of one step and only then added up. `lease_s` is how long a gateway may keep
    serving the candidate without hearing from a living controller.
    """

    name: str
    shadow_min_s: float
    shadow_max_s: float
    ladder: tuple[Step, ...]
    soak_s: float
    retain_s: float
    cycle_s: float = DAY
    lease_s: float = 600.0
    feedback_window_s: float = DAY
    max_wait_s: float = 28 * DAY
    min_units: int = 100
    """No statistical verdict below this many candidate units: the smallest case the error rates were simulated at."""
    gives_up: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shares = [step.share for step in self.ladder]
        if not shares or shares != sorted(set(shares)) or shares[-1] != PARTS_PER_MILLION or shares[0] <= 0:
            raise ValueError(f"the ladder of profile {self.name} must rise from above 0 to 100%, it is {shares}")


def ladder(rungs: Iterable[tuple[int, float]]) -> tuple[Step, ...]:
    """Steps of (share in parts per million, hold in seconds), each with its widening.

    The last rung below 100 % never widens, however low it is: behind it is everybody.
    """
    rungs = tuple(rungs)
    below = [share for share, _ in rungs if share < PARTS_PER_MILLION]
    return tuple(Step(share, hold, 1.0 if below and share == below[-1] else widening(share)) for share, hold in rungs)


def widening(share: int) -> float:
    """How much wider than the gate's margin the pass may be that leaves a rung of this share."""
    return 5.0 if share < 20_000 else 2.0 if share < 100_000 else 1.0


def _ladder(*rungs: tuple[float, float]) -> tuple[Step, ...]:
    return ladder((round(percent * 10_000), hold) for percent, hold in rungs)


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "interactive",
            shadow_min_s=7 * DAY,
            shadow_max_s=28 * DAY,
            ladder=_ladder((1, DAY), (5, 2 * DAY), (25, 7 * DAY), (100, 0)),
            soak_s=14 * DAY,
            retain_s=30 * DAY,
        ),
        Profile(
            "gradual",
            shadow_min_s=2 * DAY,
            shadow_max_s=14 * DAY,
            ladder=_ladder((1, DAY), (5, DAY), (10, 2 * DAY), (25, 3 * DAY), (50, 3 * DAY), (100, 0)),
            soak_s=14 * DAY,
            retain_s=30 * DAY,
        ),
        Profile(
            "quarterly",
            shadow_min_s=7 * DAY,
            shadow_max_s=28 * DAY,
            ladder=_ladder((5, 5 * DAY), (25, 7 * DAY), (50, 7 * DAY), (100, 0)),
            soak_s=14 * DAY,
            retain_s=30 * DAY,
        ),
        Profile(
            "forced",
            shadow_min_s=2 * DAY,
            shadow_max_s=5 * DAY,
            ladder=_ladder((1, DAY), (5, DAY), (25, 2 * DAY), (100, 0)),
            soak_s=7 * DAY,
            retain_s=7 * DAY,
            gives_up=(
                "a full weekly cycle in shadow and at 25 %",
                "a two-week soak",
                "an incumbent that stays callable for 30 days",
            ),
        ),
        Profile(
            "demo",
            shadow_min_s=4,
            shadow_max_s=20,
            ladder=_ladder((1, 3), (5, 2), (25, 2), (100, 0)),
            soak_s=3,
            retain_s=3,
            cycle_s=10,
            lease_s=5,
            feedback_window_s=0,
            max_wait_s=40,
            min_units=30,
            gives_up=("everything that takes longer than a coffee: this profile shows the machinery, not safety",),
        ),
    )
}
"""`interactive` follows the playbook; the others are its named variations."""
