"""What a controller asks of the rest of the house: evidence, evals, a probe, a clock. Interfaces alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from understudy.config.project import Project
from understudy.core.playbook import Profile
from understudy.rollout.budget import Spending
from understudy.rollout.fold import EvalRecord, UpgradeState
from understudy.rollout.observation import Probe
from understudy.stages.assessment import Judgement
from understudy.stages.shadow import Evidence as ShadowEvidence


class Clock(Protocol):
    """Time, in seconds."""

    def wall(self) -> float:
        """Seconds since the epoch; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        ...


class RealClock:
    """This machine's time."""

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class Evidence(Protocol):
    """Reads the ledger. Called in a thread, one call at a time; every method may raise UnderstudyError."""

    def shadow(self, project: Project, state: UpgradeState, profile: Profile, now: float) -> ShadowEvidence: ...

    def spending(self, state: UpgradeState, now: float) -> Spending:
        """What the shadow copies of the workload have cost since midnight."""
        ...

    def judge(
        self, project: Project, state: UpgradeState, profile: Profile, now: float, held_s: float
    ) -> Judgement: ...

    def baseline(self, state: UpgradeState) -> Mapping[str, tuple[float, ...]] | None:
        """Quantiles of the incumbent from the shadow, to freeze; None where it has answered nobody."""
        ...

    def score(self, project: Project, state: UpgradeState) -> None:
        """Grade newly served exchanges with what the suites can grade without a reference."""
        ...


class EvalStatus(NamedTuple):
    """Where the eval with a binding stands."""

    record: EvalRecord | None
    note: str = ""


class Evals(Protocol):
    """Runs evals beside the controller, which asks again until there is a result."""

    def binding(self, project: Project, state: UpgradeState) -> str:
        """Hash of all that a result depends on. Raises UnderstudyError where a suite cannot be read."""
        ...

    def status(self, binding: str) -> EvalStatus: ...

    def start(self, project: Project, state: UpgradeState, binding: str) -> None:
        """Begin the eval unless it runs already or has a result."""
        ...

    async def close(self) -> None: ...


class Prober(Protocol):
    """Whether the incumbent still answers."""

    def probe(self, project: Project, state: UpgradeState, now: float) -> Probe | None:
        """The latest word of the incumbent; asks it anew, in the background, when that is a minute old."""
        ...

    async def close(self) -> None: ...
