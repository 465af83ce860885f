"""What a controller has seen in one tick, as plain values: everything `reconcile.decide` may look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from understudy.core.evidence import Finding
from understudy.core.playbook import Profile
from understudy.core.variant import Variant
from understudy.rollout.budget import Spending
from understudy.rollout.fold import EvalRecord
from understudy.rollout.publish import Acknowledged, Kill
from understudy.stages.assessment import Judgement
from understudy.stages.shadow import Evidence as ShadowEvidence


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration asks for on one workload. `sample` in parts per million."""

    profile: Profile
    sample: int
    suites: int
    manual: bool = False
    """Whether a pass in canary waits for `upgrade promote`."""
    usd_per_day: float | None = None
    """What the shadow copies of a day may cost; None: no limit."""
    sign_off: tuple[str, ...] = ()
    """Slices that a person must approve before the canary widens."""


@dataclass(frozen=True, slots=True)
class Probe:
    """When the incumbent last answered a request of our own, and what it said since."""

    answered_at: float | None
    failing_since: float | None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """One tick's view of one upgrade. None always means "not measured", never zero.

    `held_s` is the watched time of the present clock (see `dwell`), None where no clock runs.
    """

    now: float
    configured_candidate: Variant | None = None
    configured_incumbent: Variant | None = None
    binding: str = ""
    """Hash of everything an eval of the present candidate would be bound to."""
    eval: EvalRecord | None = None
    """A finished eval with that binding."""
    eval_note: str = ""
    """What is being done about an eval that is not there, or why it could not be run."""
    shadow: ShadowEvidence | None = None
    spending: Spending | None = None
    """What shadow copies have cost on a day, where they have a budget."""
    judgement: Judgement | None = None
    baseline: Mapping[str, tuple[float, ...]] | None = None
    acknowledged: Acknowledged | None = None
    open_breakers: tuple[str, ...] = ()
    """Workers that cut the candidate off by themselves, each with why."""
    kill: Kill | None = None
    probe: Probe | None = None
    held_s: float | None = None
    notes: tuple[Finding, ...] = field(default=())
    """What else a person should know of this tick."""
