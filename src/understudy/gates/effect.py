"""From a tally to one effect: the difference between the arms with the error that users and days really give it.

Both arms are compared within each stratum and the differences averaged with the candidate's traffic as weights, so a
metric that moves while the share grows cannot pose as a difference between arms. The error comes from residuals per
analysis bucket, summed over strata before they are squared: a user who is unhappy on Monday and on Tuesday is one
unhappy user. It never falls below the error that independent values would have.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from understudy.core.evidence import BUCKETS
from understudy.core.playbook import Arm
from understudy.gates.tally import ArmTally, Tally

POOLED_FLOOR = 0.9
"""The error is at least this part of that of both arms pooled: a lucky arm does not make its own certainty."""


class Events(NamedTuple):
    """Totals of both arms within one stratum, and the candidate's share of the values."""

    candidate: float
    incumbent: float
    share: float


class Effect(NamedTuple):
    """Candidate minus incumbent. `variance` is that of `difference`; infinite where it cannot be known yet."""

    difference: float
    variance: float
    incumbent: float
    candidate: float
    n_incumbent: int
    n_candidate: int
    units: int
    """Distinct candidate units, about: the most of any stratum, or what the buckets that were hit speak for."""
    clusters: int
    """Analysis buckets with candidate values."""
    strata: int
    design_effect: float
    """How many times the clustered variance exceeds that of independent values, at least 1."""
    candidate_weight: float
    """Sum of squared stratum weights over candidate values: the variance of its mean is this times that of a value."""
    incumbent_weight: float
    events: tuple[Events, ...]
    """What the ratio of two rates is judged on, one entry a stratum."""
    dispersion: float | None
    """For values in [0, 1]: their variance over that of a right or wrong with the same mean. None for others."""


NO_EFFECT = Effect(0.0, math.inf, math.nan, math.nan, 0, 0, 0, 0, 0, 1.0, math.inf, math.inf, (), None)
"""No stratum has both arms: nothing can be compared."""


def _shared(tally: Tally) -> list[tuple[ArmTally, ArmTally]]:
    """(incumbent, candidate) of every stratum that has both."""
    both = []
    for _, arms in sorted(tally.strata.items()):
        old, new = arms.get(Arm.INCUMBENT), arms.get(Arm.CANDIDATE)
        if old is not None and new is not None and old.n > 0 and new.n > 0:
            both.append((old, new))
    return both


def _residuals(arms: list[ArmTally], weights: list[float]) -> tuple[float, int]:
    """Sum over buckets of squared weighted residuals, and the number of buckets that hold anything."""
    residuals = [0.0] * BUCKETS
    seen = 0
    for arm, weight in zip(arms, weights, strict=True):
        factor = weight / arm.n
        shift = factor * arm.total / arm.n
        residuals = [
            r + factor * total - shift * count
            for r, total, count in zip(residuals, arm.totals, arm.counts, strict=True)
        ]
        seen |= arm.seen
    return math.fsum([r * r for r in residuals]), seen.bit_count()


def distinct(buckets: int) -> int:
    """About how many units fall in so many different analysis buckets (linear counting; Whang and others 1990)."""
    if buckets >= BUCKETS:
        return round(BUCKETS * math.log(BUCKETS))
    return round(-BUCKETS * math.log1p(-buckets / BUCKETS))


def _within(arm: ArmTally) -> float:
    """Sum of squares around the stratum's mean."""
    return max(0.0, arm.squares - arm.total * arm.total / arm.n)


class _ArmError(NamedTuple):
    variance: float
    """Of the arm's weighted mean, the larger of the clustered and the independent one."""
    clustered: float
    independent: float
    clusters: int
    weight: float


def _arm_error(arms: list[ArmTally], weights: list[float], span: float) -> _ArmError:
    """One arm's error over all strata; `span` squared is added to the squares as one value that was not seen."""
    n, freedom = sum(arm.n for arm in arms), sum(arm.n - 1 for arm in arms)
    weight = math.fsum(w * w / arm.n for w, arm in zip(weights, arms, strict=True))
    if freedom <= 0:
        return _ArmError(math.inf, math.inf, math.inf, 0, weight)
    squares = math.fsum(_within(arm) for arm in arms)
    independent = squares / freedom * weight
    residual, clusters = _residuals(arms, weights)
    if clusters < 2:
        return _ArmError(math.inf, math.inf, independent, clusters, weight)
    # One mean is estimated per stratum, which makes the residuals too small by freedom / n.
    clustered = residual * clusters / (clusters - 1) * n / freedom
    smoothed = (squares + span * span) / freedom * weight
    return _ArmError(max(clustered, smoothed), clustered, independent, clusters, weight)


def _bounded(both: list[tuple[ArmTally, ArmTally]]) -> bool:
    """True where the sums allow that all values lie in [0, 1]."""
    arms = [arm for pair in both for arm in pair]
    return all(0.0 <= arm.total <= arm.n and arm.squares <= arm.total * (1 + 1e-9) + 1e-9 for arm in arms)


def _span(both: list[tuple[ArmTally, ArmTally]], margin: float) -> float:
    """How far off one more value could lie where the scale has no ends: the spread, or ten margins."""
    arms = [arm for pair in both for arm in pair]
    freedom = max(1, sum(arm.n - 1 for arm in arms))
    return max(10.0 * margin, math.sqrt(math.fsum(_within(arm) for arm in arms) / freedom))


def _dispersion(arms: list[ArmTally]) -> float:
    """Squares within the strata over those of rights and wrongs with the same means; 1 where all are alike."""
    most = math.fsum(arm.total * (1.0 - arm.total / arm.n) for arm in arms)
    return min(1.0, math.fsum(_within(arm) for arm in arms) / most) if most > 0.0 else 1.0


def measure(tally: Tally, margin: float) -> Effect:
    """The stratified difference and its variance. `margin` sets the scale where values have no bounds."""
    both = _shared(tally)
    if not both:
        return NO_EFFECT
    olds, news = [old for old, _ in both], [new for _, new in both]
    n_old, n_new = sum(old.n for old in olds), sum(new.n for new in news)
    weights = [new.n / n_new for new in news]
    old_mean = math.fsum(w * old.total / old.n for w, old in zip(weights, olds, strict=True))
    new_mean = math.fsum(new.total for new in news) / n_new
    bounded = _bounded(both)
    span = 1.0 if bounded else _span(both, margin)
    old_error, new_error = _arm_error(olds, weights, span), _arm_error(news, weights, span)
    total = old_error.variance + new_error.variance
    floor = POOLED_FLOOR * _pooled_variance(both) * (old_error.weight + new_error.weight)
    independent = old_error.independent + new_error.independent
    clustered = old_error.clustered + new_error.clustered
    design = clustered / independent if 0.0 < independent < math.inf else 1.0
    return Effect(
        difference=new_mean - old_mean,
        variance=max(total, floor),
        incumbent=old_mean,
        candidate=new_mean,
        n_incumbent=n_old,
        n_candidate=n_new,
        units=max(distinct(new_error.clusters), *(new.units for new in news)),
        clusters=new_error.clusters,
        strata=len(both),
        design_effect=max(1.0, design),
        candidate_weight=new_error.weight,
        incumbent_weight=old_error.weight,
        events=tuple(Events(new.total, old.total, new.n / (new.n + old.n)) for old, new in both),
        dispersion=_dispersion(olds) if bounded else None,
    )


def _pooled_variance(both: list[tuple[ArmTally, ArmTally]]) -> float:
    """Variance of one value around the mean of both arms of its stratum."""
    squares = n = 0.0
    for old, new in both:
        count, total = old.n + new.n, old.total + new.total
        squares += max(0.0, old.squares + new.squares - total * total / count)
        n += count
    return squares / n


class Own(NamedTuple):
    """One arm's own mean over all its traffic, and the variance of it."""

    mean: float
    variance: float
    n: int
    clusters: int


NOTHING_ALONE = Own(math.nan, math.inf, 0, 0)
"""No value of the arm, or nobody asked."""


def measure_alone(tally: Tally, arm: Arm = Arm.CANDIDATE) -> Own:
    """One arm by itself, as an absolute limit needs it, also where nobody has the other one any more."""
    arms = [pair[arm] for _, pair in sorted(tally.strata.items()) if arm in pair]
    if not arms:
        return NOTHING_ALONE
    n = sum(each.n for each in arms)
    mean = math.fsum(each.total for each in arms) / n
    spread = math.sqrt(math.fsum(_within(each) for each in arms) / n)
    error = _arm_error(arms, [each.n / n for each in arms], max(spread, 0.05 * abs(mean)))
    # A constant 0 leaves no scale at all: nothing is known of its error.
    return Own(mean, error.variance if error.variance > 0.0 else math.inf, n, error.clusters)
