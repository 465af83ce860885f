"""Says before a canary what it will be able to tell: per metric, slice and rung, how small a loss and by when.

The same estimators as in `panel`, with the traffic and noise of the workload put in instead of data. A margin that no
rung can tell before its time is over is below the workload's own old-versus-old noise: comparing the incumbent with
itself would look no different.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from understudy.core.evidence import ALL_SLICES, BUCKETS
from understudy.core.lasting import lasting
from understudy.core.playbook import DAY, PARTS_PER_MILLION, Arm, Profile, Step
from understudy.gates.effect import NO_EFFECT, Effect, Events, distinct, measure_alone
from understudy.gates.gate import MIN_CLUSTERS, PASS_ALPHA, ROLLBACK_ALPHA, Gate, error_budget
from understudy.gates.panel import SLICE_WIDEN
from understudy.gates.stats.distributions import normal_quantile
from understudy.gates.tally import Tally
from understudy.gates.weighing import harm_evidence, pass_evidence
from understudy.gates.wording import scale_of

POWER = 0.8


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known of one metric of the incumbent, in one slice or over all traffic.

    `per_day` values of it a day over all traffic; `variance` that of one value; `per_user` values a user and day;
    `icc` the part of the variance that lies between users; `users` distinct ones over many cycles, 0 for those of one,
    who then come again in every cycle of `cycle_days`.
    """

    mean: float
    variance: float
    per_day: float
    per_user: float = 1.0
    icc: float = 0.0
    users: float = 0.0
    cycle_days: float = 1.0

    @property
    def distinct(self) -> float:
        return self.users or self.per_day / self.per_user

    def users_in(self, days: float) -> float:
        """Distinct users of so many days: those of one cycle for each of them, as far as there are so many."""
        one_cycle = self.per_day / self.per_user
        return min(self.distinct, one_cycle * max(1.0, days / self.cycle_days)) if self.users else self.distinct

    def design_effect(self, days: float) -> float:
        """How many times more values are needed because users come again over so many days."""
        if self.distinct <= 0.0:
            return 1.0
        values = max(self.per_user * self.cycle_days, self.per_day * max(days, self.cycle_days) / self.distinct)
        return 1.0 + max(0.0, values - 1.0) * self.icc


class PlanRow(NamedTuple):
    """What one rung can tell of one metric in one slice. Losses are in the metric's unit."""

    metric: str
    slice: str
    step: int
    share: float
    hold_s: float
    values_per_day: float
    """Of the candidate, on this rung."""
    detectable: float
    """Smallest loss that is rolled back by the end of the hold with 80 % power."""
    resolvable: float
    """Smallest margin that a candidate without any loss passes by the end of the hold with 80 % power."""
    margin: float
    """The margin this rung's pass allows."""
    decided_after_s: float | None
    """Time on this rung until a candidate without any loss passes; None if not before its max_wait."""
    noise: float
    """Smallest margin this rung can tell by its max_wait: the workload's own old-versus-old noise."""
    required: bool
    units: float
    """Users that get the candidate on this rung, of whom a verdict needs `min_units`."""
    min_units: int
    scale: str
    """What losses are counted in: "points" (hundredths of a share or score), "percent", or the metric's own "unit"."""

    @property
    def populated(self) -> bool:
        return self.units >= self.min_units

    @property
    def in_time(self) -> bool:
        return self.decided_after_s is not None and self.decided_after_s <= self.hold_s

    def as_dict(self) -> dict[str, Any]:
        return _finite(self._asdict())


class Refusal(NamedTuple):
    """A margin nobody can check with this traffic."""

    metric: str
    slice: str
    margin: float
    noise: float
    sentence: str


class GatePlan(NamedTuple):
    """What each gate can tell on each rung, the margins that can never be decided, and what would help."""

    rows: tuple[PlanRow, ...]
    refusals: tuple[Refusal, ...]
    advice: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "rows": [row.as_dict() for row in self.rows],
            "refusals": [_finite(refusal._asdict()) for refusal in self.refusals],
            "advice": list(self.advice),
        }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: what cannot be told is null."""
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()}


def figures_from(tally: Tally, *, cycle_s: float = DAY, turnover: float = 1.0) -> Figures | None:
    """The incumbent's own figures, from what the ledger knows of it; None where that is too little to tell a variance.

    `turnover`: how many times more users came over all that time than in one cycle of it. The part between users comes
    from the design effect of the analysis buckets.
    """
    arms = [pair[Arm.INCUMBENT] for pair in tally.strata.values() if Arm.INCUMBENT in pair]
    n = sum(arm.n for arm in arms)
    periods = {stratum.period for stratum, pair in tally.strata.items() if Arm.INCUMBENT in pair}
    if n < 2 or not periods:
        return None
    alone = measure_alone(tally, Arm.INCUMBENT)
    mean = math.fsum(arm.total for arm in arms) / n
    variance = max(0.0, (math.fsum(arm.squares for arm in arms) - n * mean * mean) / (n - 1))
    days = len(periods) * cycle_s / DAY
    units = sum(arm.units for arm in arms)
    per_user = n / units * DAY / cycle_s if units else 1.0
    users = n / days / per_user * max(1.0, turnover)
    if variance <= 0.0 or not math.isfinite(alone.variance):
        return Figures(mean, variance, n / days, per_user, 0.0, users, cycle_s / DAY)
    design = max(1.0, alone.variance * n / variance)
    come_again = n / users - 1.0
    icc = min(0.9, (design - 1.0) / come_again) if come_again > 0.5 else 0.0
    return Figures(mean, variance, n / days, per_user, icc, users, cycle_s / DAY)


def plan_gates(
    gates: Sequence[Gate],
    figures: Mapping[tuple[str, str], Figures],
    profile: Profile,
    *,
    critical_slices: Sequence[str] = (),
    alpha: float = ROLLBACK_ALPHA,
) -> GatePlan:
    """What each rung of the profile's ladder can tell. `figures` are by (metric, slice); the rest is left out.

    Raises ValueError for a metric with two gates.
    """
    budget = error_budget(gates, alpha)
    sliced = any(name != ALL_SLICES for _, name in figures)
    rows: list[PlanRow] = []
    refusals: list[Refusal] = []
    for gate in gates:
        if not gate.compares:
            continue
        mine = sorted((name, f) for (metric, name), f in figures.items() if metric == gate.metric)
        slices = sum(name != ALL_SLICES for name, _ in mine)
        for name, known in mine:
            share_of_alpha = budget[gate.metric] / (1 + (sliced or gate.limit is not None))
            if name != ALL_SLICES:
                share_of_alpha /= max(1, slices)
            critical = gate.required and (name == ALL_SLICES or name in critical_slices)
            made = _rungs(gate, name, known, profile, share_of_alpha, required=critical)
            rows += made
            if made and (refusal := _refusal(gate, name, made, profile)) is not None:
                refusals.append(refusal)
    return GatePlan(tuple(rows), tuple(refusals), tuple(_advice(rows, refusals)))


def _rungs(gate: Gate, name: str, known: Figures, profile: Profile, alpha: float, *, required: bool) -> list[PlanRow]:
    rows: list[PlanRow] = []
    seen = before_s = 0.0
    for index, step in enumerate(profile.ladder):
        if step.share >= PARTS_PER_MILLION:
            break
        share = step.share / PARTS_PER_MILLION
        per_day = known.per_day * share
        margin = gate.tolerated(known.mean) * step.widen * (SLICE_WIDEN if name else 1.0)
        # A slice has to pass on rungs that promise the whole margin only.
        needed = required and (name == ALL_SLICES or step.widen <= 1.0)
        rows.append(_rung(gate, name, known, index, step, profile, seen, before_s, alpha, margin, required=needed))
        seen += per_day * step.hold_s / DAY
        before_s += step.hold_s
    return rows


def _rung(
    gate: Gate,
    name: str,
    known: Figures,
    index: int,
    step: Step,
    profile: Profile,
    seen: float,
    before_s: float,
    alpha: float,
    margin: float,
    *,
    required: bool,
) -> PlanRow:
    share = step.share / PARTS_PER_MILLION
    per_day = known.per_day * share

    def look(held_s: float) -> Effect:
        n = seen + per_day * held_s / DAY
        return _expected(gate, known, n, n * (1.0 - share) / share, known.design_effect((before_s + held_s) / DAY))

    def units(held_s: float) -> float:
        return known.users_in((before_s + held_s) / DAY) * share

    def decided(held_s: float) -> bool:
        if per_day * held_s / DAY < gate.min_units or units(held_s) < needed:
            return False
        return _passes(gate, look(held_s), margin)

    tolerated = gate.tolerated(known.mean)
    wait_s = gate.max_wait_s if gate.max_wait_s is not None else profile.max_wait_s
    limit_s = max(step.hold_s, wait_s)
    # Events are counted exactly: they need users in enough buckets, a mean's error as many users as values.
    needed = distinct(MIN_CLUSTERS) if gate.events else gate.min_units
    return PlanRow(
        metric=gate.metric,
        slice=name,
        step=index,
        share=share,
        hold_s=step.hold_s,
        values_per_day=per_day,
        detectable=max(_detectable(gate, look(step.hold_s), tolerated, alpha), _smallest_large(gate, known)),
        resolvable=_resolvable(gate, look(step.hold_s)),
        margin=margin,
        decided_after_s=_first(decided, limit_s),
        noise=_resolvable(gate, look(limit_s)),
        required=required,
        units=units(limit_s),
        min_units=needed,
        scale=scale_of(gate),
    )


def _smallest_large(gate: Gate, known: Figures) -> float:
    """The loss below which a gate never fails, however sure it is."""
    if gate.events and gate.relative is not None:
        return gate.relative * known.mean
    return gate.tolerated(known.mean)


def _expected(gate: Gate, known: Figures, n_candidate: float, n_incumbent: float, design: float) -> Effect:
    """What would be seen of a candidate without any loss, at this amount of traffic: see `effect.measure`."""
    if n_candidate <= 0:
        return NO_EFFECT
    # A variance that right or wrong could have speaks for values in [0, 1].
    most = known.mean * (1.0 - known.mean)
    bounded = gate.kind != "log_mean" and 0.0 <= known.mean <= 1.0 and known.variance <= 1.1 * most
    span = 1.0 if bounded else max(10.0 * gate.tolerated(known.mean), math.sqrt(known.variance))
    weights = (1.0 / n_candidate, 1.0 / n_incumbent)
    return Effect(
        difference=0.0,
        # One value that was not seen: an incumbent that never erred is not known to be free of errors.
        variance=sum(max(design * known.variance, known.variance + span * span * w) * w for w in weights),
        incumbent=known.mean,
        candidate=known.mean,
        n_incumbent=round(n_incumbent),
        n_candidate=round(n_candidate),
        units=0,
        clusters=BUCKETS,
        strata=1,
        design_effect=design,
        candidate_weight=weights[0],
        incumbent_weight=weights[1],
        events=(_rates(known.mean, known.mean, n_candidate, n_incumbent),),
        dispersion=(min(1.0, known.variance / most) if most > 0.0 else 1.0) if bounded else None,
    )


def _rates(candidate: float, incumbent: float, n_candidate: float, n_incumbent: float) -> Events:
    return Events(candidate * n_candidate, incumbent * n_incumbent, n_candidate / (n_candidate + n_incumbent))


def _shifted(gate: Gate, effect: Effect, loss: float) -> Effect:
    """The same look where the loss seen is `loss`."""
    difference = -loss if gate.direction == "higher" else loss
    candidate = max(0.0, effect.incumbent + difference)
    events = _rates(candidate, effect.incumbent, 1.0 / effect.candidate_weight, 1.0 / effect.incumbent_weight)
    return effect._replace(difference=difference, candidate=candidate, events=(events,))


def _passes(gate: Gate, effect: Effect, margin: float) -> bool:
    """True where a candidate without any loss passes with the planned power."""
    if not math.isfinite(effect.variance):
        return False
    unlucky = _shifted(gate, effect, normal_quantile(POWER) * math.sqrt(effect.variance))
    return pass_evidence(gate, unlucky, margin) >= math.log(1.0 / PASS_ALPHA)


def _detectable(gate: Gate, effect: Effect, tolerated: float, alpha: float) -> float:
    """The loss that is found with the planned power, by bisection."""
    if not math.isfinite(effect.variance) or tolerated <= 0:
        return math.inf
    # Nobody can lose more than there is of a share or a score.
    most = math.inf if effect.dispersion is None else effect.incumbent
    if effect.dispersion is not None and gate.direction == "lower":
        most = 1.0 - effect.incumbent

    def found(loss: float) -> bool:
        # A rate that is higher also varies more; the loss that is seen is that much smaller in the unlucky case.
        more = effect.design_effect * loss * effect.candidate_weight if gate.events else 0.0
        seen = _shifted(gate, effect, loss - normal_quantile(POWER) * math.sqrt(effect.variance + more))
        return harm_evidence(gate, seen, tolerated) >= math.log(1.0 / alpha)

    return _smallest(found, min(most, 100.0 * math.sqrt(effect.variance)))


def _resolvable(gate: Gate, effect: Effect) -> float:
    """The smallest margin that a candidate without any loss passes with the planned power, by bisection."""
    if not math.isfinite(effect.variance):
        return math.inf
    return _smallest(lambda margin: _passes(gate, effect, margin), 100.0 * math.sqrt(effect.variance))


def _smallest(reached: Callable[[float], bool], limit: float) -> float:
    """The smallest value at which something that stays reached is; infinite if not at the limit."""
    found = _first(reached, limit)
    return math.inf if found is None else found


def _first(reached: Callable[[float], bool], limit: float) -> float | None:
    """The first value at which something that stays reached is; None if not by the limit."""
    if not reached(limit):
        return None
    low, high = 0.0, limit
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _refusal(gate: Gate, name: str, rows: Sequence[PlanRow], profile: Profile) -> Refusal | None:
    """Where even the last rung before 100 % cannot tell the margin by its max_wait."""
    if not rows[-1].required or any(row.decided_after_s is not None for row in rows if row.margin == rows[-1].margin):
        return None
    last = rows[-1]
    where = f"{gate.metric} in {name}" if name else gate.metric
    wait_s = gate.max_wait_s if gate.max_wait_s is not None else profile.max_wait_s
    sentence = (
        f"{where}: a margin of {_number(gate, last.margin)} cannot be decided: within {lasting(wait_s)} at "
        f"{100 * last.share:g} % the incumbent against itself differs by up to {_number(gate, last.noise)}"
    )
    return Refusal(gate.metric, name, last.margin, last.noise, sentence)


def _number(gate: Gate, value: float) -> str:
    return "anything" if not math.isfinite(value) else said(value, scale_of(gate))


def said(value: float, scale: str) -> str:
    """A loss on its scale; logarithms as the per cent that they stand for."""
    match scale:
        case "percent":
            return f"{_three(100 * math.expm1(value))} %"
        case "points":
            return f"{_three(100 * value)} points"
        case _:
            return f"{value:.3g}"


def _three(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _advice(rows: Sequence[PlanRow], refusals: Sequence[Refusal]) -> list[str]:
    """What to do about rungs and slices that cannot be decided."""
    said = [
        f"{refusal.sentence}; widen the margin to that, or give the gate more traffic or a longer max_wait"
        for refusal in refusals
    ]
    said += _thin_rungs(rows)
    first = min((row.step for row in rows), default=0)
    never = sorted({row.slice for row in rows if row.slice and row.step == first and row.decided_after_s is None})
    if never:
        share = next(row.share for row in rows if row.step == first)
        said.append(
            f"at {100 * share:g} % these slices can never be decided: {', '.join(never)}; pool them, "
            f"decide them on a wider rung, or judge them on shadow pairs"
        )
    return said + _late_rungs(rows)


def _late_rungs(rows: Sequence[PlanRow]) -> list[str]:
    """Rungs that last longer than their hold, with the gate that takes longest there."""
    said = []
    for step in sorted({row.step for row in rows}):
        late = [row for row in rows if row.step == step and row.required and row.decided_after_s and not row.in_time]
        if late:
            last = max(late, key=lambda row: row.decided_after_s or 0.0)
            where = f"{last.metric} in {last.slice}" if last.slice else last.metric
            most, least = lasting(last.decided_after_s or 0.0), lasting(last.hold_s)
            said.append(f"at {100 * last.share:g} % expect {most} instead of {least}: {where} takes longest")
    return said


def _thin_rungs(rows: Sequence[PlanRow]) -> list[str]:
    """Rungs on which too few users get the candidate for any verdict."""
    said = []
    for step in sorted({row.step for row in rows}):
        thin = [row for row in rows if row.step == step and row.required and not row.slice and not row.populated]
        if thin:
            least = min(thin, key=lambda row: row.units)
            enough = 100 * least.share * least.min_units / max(least.units, 1e-9)
            said.append(
                f"at {100 * least.share:g} % about {least.units:.0f} users get the candidate, too few for a verdict on "
                f"{least.metric}, which needs {least.min_units}: leave that rung out, or make it {enough:.2g} %"
            )
    return said
