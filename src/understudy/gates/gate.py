"""What a gate is and what it answers: metric, margin, part of the error budget. Judging is in `panel`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from understudy.core.canonical import digest
from understudy.core.playbook import Verdict

Kind = Literal["mean", "log_mean", "count", "exceedance"]
Direction = Literal["higher", "lower"]

ROLLBACK_ALPHA = 0.05
"""Chance of a false rollback over a whole canary: all its stages, metrics, slices and looks together."""

PASS_ALPHA = 0.05
"""Chance that one metric beyond its margin passes. All have to pass, so it needs no correction."""

MIN_CLUSTERS = 20
"""Analysis buckets with candidate traffic below which an estimated error is not believed."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One metric that may hold or roll back an upgrade.

    `kind`: the mean of a value, of its logarithm (`log_mean`: the ledger adds logarithms up), the share of units
    with an event (`count`), or the share of values above a frozen quantile of the incumbent (`exceedance`). `margin`
    is absolute, in the metric's own unit; `relative` a part of the incumbent's value; where both are given the larger
    one is tolerated in a pass. `must_have_data` False: the gate can fail but never holds a step. `feedback`: not
    judged before its feedback window has passed. `weight`: part of the rollback error budget, relative to the other
    gates'. `limit`: an absolute limit on the candidate's own mean. `critical`: no step is left while it is undecided,
    whatever `must_have_data` says.
    """

    metric: str
    kind: Kind = "mean"
    direction: Direction = "higher"
    margin: float | None = None
    relative: float | None = None
    critical: bool = False
    must_have_data: bool = True
    min_units: int = 100
    max_wait_s: float | None = None
    weight: float = 0.01
    limit: float | None = None
    feedback: bool = False

    def __post_init__(self) -> None:
        for name in ("margin", "relative"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} of gate {self.metric} must be above 0, it is {value}")
        if self.margin is None and self.relative is None and self.limit is None:
            raise ValueError(f"gate {self.metric} has neither a margin nor a limit: it could never decide anything")
        if self.limit is not None and not math.isfinite(self.limit):
            raise ValueError(f"the limit of gate {self.metric} must be a finite number, it is {self.limit}")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"the weight of gate {self.metric} must be above 0, it is {self.weight}")
        if self.min_units < 1:
            raise ValueError(f"min_units of gate {self.metric} must be at least 1, it is {self.min_units}")

    @property
    def events(self) -> bool:
        return self.kind in {"count", "exceedance"}

    @property
    def compares(self) -> bool:
        """False where the gate only guards an absolute limit."""
        return self.margin is not None or self.relative is not None

    @property
    def required(self) -> bool:
        return self.critical or self.must_have_data

    def tolerated(self, incumbent: float) -> float:
        """The loss a pass may leave, in the metric's unit, where the incumbent's value is `incumbent`."""
        if self.kind == "log_mean" and self.relative is not None:
            return max(self.margin or 0.0, math.log1p(self.relative))
        base = abs(incumbent) if math.isfinite(incumbent) else 0.0
        return max(self.margin or 0.0, (self.relative or 0.0) * base)

    def large(self, difference: float, incumbent: float) -> bool:
        """True where the harm seen is as large as the margin: a real but small loss rolls nothing back.

        For events the ratio decides where one is given: errors that double from 0.2 % are large, though not in points.
        """
        worse = -difference if self.direction == "higher" else difference
        if self.events and self.relative is not None:
            return worse > 0.0 and worse >= self.relative * incumbent - 1e-12
        return worse >= self.tolerated(incumbent) - 1e-12


_ERRORS = Gate("errors", "count", "lower", margin=0.005, relative=0.25, weight=0.02)
_LATENCY = Gate("latency", "exceedance", "lower", margin=0.005, relative=0.25, weight=0.01 / 3)

STANDARD: dict[str, Gate] = {
    gate.metric: gate
    for gate in (
        _ERRORS,
        replace(_ERRORS, metric="refusals", weight=0.01),
        replace(_ERRORS, metric="invalid_format", weight=0.01),
        Gate("quality", "mean", "higher", margin=0.02, weight=0.015),
        Gate("win_rate", "mean", "higher", margin=0.02, weight=0.015, must_have_data=False),
        Gate("satisfaction", "mean", "higher", margin=0.005, weight=0.005, must_have_data=False, feedback=True),
        replace(_LATENCY, metric="latency_p50", relative=0.1),
        replace(_LATENCY, metric="latency_p95"),
        replace(_LATENCY, metric="latency_p99"),
        replace(_LATENCY, metric="ttft_p50", relative=0.1),
        replace(_LATENCY, metric="ttft_p95"),
        replace(_LATENCY, metric="ttft_p99"),
        Gate("cost", "log_mean", "lower", relative=0.10, weight=0.005),
        Gate("cost_usd", "mean", "lower", relative=0.25, weight=0.005, must_have_data=False),
    )
}
"""Gates by metric, as a workload gets them without a word of configuration about the metric."""


def configured(
    metric: str,
    *,
    margin: float | None = None,
    relative: float | None = None,
    direction: Direction | None = None,
    kind: Kind | None = None,
    critical: bool = False,
    must_have_data: bool | None = None,
    min_units: int | None = None,
    max_wait_s: float | None = None,
    weight: float | None = None,
    limit: float | None = None,
    feedback: bool | None = None,
) -> Gate:
    """The standard gate of this metric with a workload's own words over it; a mean, higher is better, if unknown.

    A margin of one sort replaces both of the standard's. Raises ValueError where nothing could ever be decided.
    """
    base = STANDARD.get(metric, Gate(metric, margin=0.02))
    if margin is not None or relative is not None:
        base = replace(base, margin=margin, relative=relative)
    given = {
        "direction": direction,
        "kind": kind,
        "must_have_data": must_have_data,
        "min_units": min_units,
        "max_wait_s": max_wait_s,
        "weight": weight,
        "limit": limit,
        "feedback": feedback,
    }
    return replace(base, critical=critical, **{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What one gate says of one slice ("" for all traffic), with its evidence.

    `estimate` is candidate minus incumbent in the metric's unit (of logarithms for a `log_mean`); `low` and `high`
    hold at all looks together. `log_e` is the evidence of harm and `log_e_needed` what a rollback needs; likewise
    `log_e_pass` for a pass. `None` where nothing is known.
    """

    metric: str
    slice: str
    kind: Kind
    verdict: Verdict
    critical: bool
    required: bool
    """True where a step is not left before this has passed."""
    incumbent: float | None
    candidate: float | None
    estimate: float | None
    low: float | None
    high: float | None
    tolerated: float | None
    """The margin of this pass, in the metric's unit."""
    log_e: float
    log_e_needed: float
    log_e_pass: float
    log_e_pass_needed: float
    n: int
    """Candidate values."""
    units: int
    clusters: int
    strata: int
    missing: tuple[str, ...]
    decidable_in_s: float | None
    """At the present traffic, if the candidate is no worse; 0 where it is decided, None where nobody can say."""
    overdue: bool
    """Undecided for longer than its max_wait: a person has to look."""
    sentence: str
    direction: Direction = "higher"
    """Which way is better."""

    def as_dict(self) -> dict[str, Any]:
        return {key: _json(value) for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Panel:
    """All gates' answer: fail if one fails, pass if every required one passes, else inconclusive."""

    verdict: Verdict
    sentence: str
    gates: tuple[GateVerdict, ...]
    missing: tuple[str, ...]
    overdue: bool
    decidable_in_s: float | None
    bound_to: str
    """Hash of the gates, slices and error budget this was judged by: it is void once they change."""

    @property
    def failed(self) -> tuple[GateVerdict, ...]:
        return tuple(gate for gate in self.gates if gate.verdict is Verdict.FAIL)

    @property
    def undecided(self) -> tuple[GateVerdict, ...]:
        return tuple(gate for gate in self.gates if gate.verdict is Verdict.INCONCLUSIVE)

    def as_dict(self) -> dict[str, Any]:
        """Stable JSON: fields are added, never renamed."""
        return {
            "verdict": self.verdict.value,
            "sentence": self.sentence,
            "gates": [gate.as_dict() for gate in self.gates],
            "missing": list(self.missing),
            "overdue": self.overdue,
            "decidable_in_s": _json(self.decidable_in_s),
            "bound_to": self.bound_to,
        }


def _json(value: Any) -> Any:
    if isinstance(value, Verdict):
        return value.value
    if isinstance(value, tuple):
        return list(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


JUDGED_BY = 2
"""Version of the estimators: raised whenever the same sums could give another verdict."""


def binding(gates: Sequence[Gate], slices: Sequence[str], critical: Sequence[str], widen: float, alpha: float) -> str:
    """Hash of everything but the data that a verdict rests on."""
    return digest(
        {
            "estimators": JUDGED_BY,
            "gates": [asdict(gate) for gate in sorted(gates, key=lambda gate: gate.metric)],
            "slices": sorted(slices),
            "critical": sorted(critical),
            "widen": widen,
            "alpha": alpha,
        }
    )


def error_budget(gates: Sequence[Gate], alpha: float) -> dict[str, float]:
    """Each gate's part of the rollback error rate, by weight (weighted Bonferroni).

    Raises ValueError for two gates on one metric.
    """
    metrics = [gate.metric for gate in gates]
    if len(set(metrics)) != len(metrics):
        raise ValueError(f"each metric has one gate, given were {sorted(metrics)}")
    total = math.fsum(gate.weight for gate in gates)
    return {gate.metric: alpha * gate.weight / total for gate in gates}
