"""Rehearses canaries on a workload's own figures: how often a good candidate is rolled back, a bad one missed.

The verdicts are the product's own (`panel.judge_tallies`), looked at twice a cycle, with the ladder, holds and waits
of the profile; only the traffic is made up, from the rates, the clustering and the amount that were measured.
Randomness is handed in, so a seed gives the same table anywhere.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from understudy.core.evidence import ALL_SLICES, Stratum
from understudy.core.playbook import DAY, PARTS_PER_MILLION, Arm, Profile, Stage, Verdict
from understudy.gates.gate import Gate
from understudy.gates.panel import Look, judge_tallies
from understudy.gates.planning import Figures
from understudy.gates.stats.distributions import beta_cdf
from understudy.gates.tally import ArmTally, Tally

GROUPS = 128
"""Groups of users that are drawn; each falls in an analysis bucket of its own."""

LOOKS = 2
"""Looks a cycle."""

DAMAGE = 2.5
"""A bad candidate loses so many margins in one metric."""


class Source(Protocol):
    """What of `random.Random` is needed."""

    def random(self) -> float: ...

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float: ...


class Run(NamedTuple):
    """How one simulated canary ended: "promoted", "rolled_back" or "held" for a person."""

    end: str
    days: float
    exposed: float
    """Candidate values of the busiest metric until the end."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """Runs with a candidate that is no different, and runs with one that is clearly worse in one metric."""

    equal: tuple[Run, ...]
    worse: tuple[tuple[str, Run], ...]

    def as_dict(self) -> dict[str, Any]:
        n, m = len(self.equal), len(self.worse)
        false = sum(run.end == "rolled_back" for run in self.equal)
        missed = sum(run.end == "promoted" for _, run in self.worse)
        return {
            "runs": n,
            "false_rollbacks": {"rate": _rate(false, n), "high": upper_limit(false, n)},
            "missed_regressions": {"rate": _rate(missed, m), "high": upper_limit(missed, m)},
            "held_for_a_person": {
                "equal": _rate(sum(run.end == "held" for run in self.equal), n),
                "worse": _rate(sum(run.end == "held" for _, run in self.worse), m),
            },
            "days_to_full": _median(run.days for run in self.equal if run.end == "promoted"),
            "days_to_rollback": _median(run.days for _, run in self.worse if run.end == "rolled_back"),
            "values_to_rollback": _median(run.exposed for _, run in self.worse if run.end == "rolled_back"),
            "by_metric": {
                metric: {
                    "caught": _rate(sum(r.end == "rolled_back" for m, r in self.worse if m == metric), count),
                    "runs": count,
                }
                for metric, count in _counts(metric for metric, _ in self.worse).items()
            },
        }


def _counts(values: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return counts


def _rate(hits: int, n: int) -> float | None:
    return hits / n if n else None


def _median(values: Any) -> float | None:
    known = list(values)
    return statistics.median(known) if known else None


def upper_limit(hits: int, n: int, alpha: float = 0.05) -> float | None:
    """One-sided upper limit of a rate seen `hits` times in `n` runs (Clopper and Pearson); None without runs."""
    if not n:
        return None
    if hits >= n:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if 1.0 - beta_cdf(hits + 1.0, n - hits, middle) > alpha else (low, middle)
    return high


def simulate(
    gates: Sequence[Gate],
    figures: Mapping[tuple[str, str], Figures],
    profile: Profile,
    runs: int,
    source: Source,
    *,
    critical_slices: Sequence[str] = (),
    progress: Callable[[int], None] = lambda n: None,
) -> Simulated:
    """`runs` canaries with an equal candidate and as many with one that loses `DAMAGE` margins in one metric.

    `figures` are by (metric, slice); gates without any over all traffic are left out, and slices that are not critical:
    a step waits for the critical ones alone. A slice is drawn apart from the whole it is a part of. Raises ValueError
    where no gate has figures.
    """
    judged = [gate for gate in gates if (gate.metric, ALL_SLICES) in figures and gate.compares]
    slices = tuple(dict.fromkeys(critical_slices))
    if not judged:
        raise ValueError("no gate has figures to simulate with")
    equal, worse = [], []
    for number in range(runs):
        equal.append(_canary(judged, figures, profile, slices, "", source))
        hurt = judged[number % len(judged)].metric
        worse.append((hurt, _canary(judged, figures, profile, slices, hurt, source)))
        progress(1)
    return Simulated(tuple(equal), tuple(worse))


class _Crowd(NamedTuple):
    """Users of one group that reach the candidate on one rung (or never): how many, and how they differ."""

    bucket: int
    rung: int
    users: int
    luck: float


@dataclass(slots=True)
class _Metric:
    gate: Gate
    slice: str
    figures: Figures
    harm: float
    binary: bool
    crowds: list[_Crowd] = field(default_factory=list)


def _canary(
    gates: Sequence[Gate],
    figures: Mapping[tuple[str, str], Figures],
    profile: Profile,
    slices: Sequence[str],
    hurt: str,
    source: Source,
) -> Run:
    rungs = [step for step in profile.ladder if step.share < PARTS_PER_MILLION]
    shares = [step.share / PARTS_PER_MILLION for step in rungs]
    metrics = [
        _metric(gate, name, figures[gate.metric, name], shares, gate.metric == hurt, source)
        for gate in gates
        for name in (ALL_SLICES, *slices)
        if (gate.metric, name) in figures
    ]
    tallies = {(metric.gate.metric, metric.slice): Tally() for metric in metrics}
    part_s = profile.cycle_s / LOOKS
    looks = 0
    for index, step in enumerate(rungs):
        held = 0.0
        while True:
            stratum = Stratum(Stage.CANARY, index, looks // LOOKS)
            for metric in metrics:
                _serve(metric, tallies[metric.gate.metric, metric.slice], stratum, part_s / DAY, source)
            looks, held = looks + 1, held + part_s
            look = Look(step.widen, held, index, held > profile.feedback_window_s)
            panel = judge_tallies(gates, tallies, slices=(), critical_slices=slices, look=look)
            days = looks * part_s / DAY
            if panel.verdict is Verdict.FAIL:
                return Run("rolled_back", days, _exposed(tallies))
            if panel.verdict is Verdict.PASS and held >= step.hold_s:
                break
            if held >= max(profile.max_wait_s, step.hold_s):
                return Run("held", days, _exposed(tallies))
    return Run("promoted", looks * part_s / DAY, _exposed(tallies))


def _exposed(tallies: Mapping[tuple[str, str], Tally]) -> float:
    return float(max(tally.count(Arm.CANDIDATE) for tally in tallies.values()))


def _metric(gate: Gate, name: str, known: Figures, shares: Sequence[float], hurt: bool, source: Source) -> _Metric:
    binary = gate.events or abs(known.variance - known.mean * (1.0 - known.mean)) < 0.02 * known.variance
    metric = _Metric(gate, name, known, _harm(gate, known) if hurt else 0.0, binary)
    users = known.distinct
    bounds = [0.0, *shares, 1.0]
    for group in range(GROUPS):
        for rung, (low, high) in enumerate(itertools.pairwise(bounds)):
            count = poisson(users * (high - low) / GROUPS, source)
            luck = source.gauss(0.0, math.sqrt(known.icc * known.variance / count)) if count else 0.0
            metric.crowds.append(_Crowd(group, rung, count, luck))
    return metric


def _harm(gate: Gate, known: Figures) -> float:
    """What the candidate adds to the metric where it is the bad one."""
    if gate.events and gate.relative is not None:
        return max(DAMAGE * gate.relative * known.mean, gate.margin or 0.0)
    loss = DAMAGE * gate.tolerated(known.mean)
    return -loss if gate.direction == "higher" else loss


def _serve(metric: _Metric, tally: Tally, stratum: Stratum, days: float, source: Source) -> None:
    arms = tally.strata.setdefault(stratum, {Arm.INCUMBENT: ArmTally(), Arm.CANDIDATE: ArmTally()})
    known = metric.figures
    own = known.variance * (1.0 - known.icc)
    for bucket, rung, users, luck in metric.crowds:
        n = poisson(users * known.per_day / known.distinct * days, source)
        if not n:
            continue
        arm = Arm.CANDIDATE if rung <= stratum.step else Arm.INCUMBENT
        mean = known.mean + luck + (metric.harm if arm is Arm.CANDIDATE else 0.0)
        if metric.binary:
            total = binomial(n, min(1.0, max(0.0, mean)), source)
            arms[arm].add(bucket, n, total, total, 0)
        else:
            mean_seen = source.gauss(mean, math.sqrt(own / n))
            arms[arm].add(bucket, n, n * mean_seen, n * mean_seen**2 + (n - 1) * own, 0)


def poisson(mean: float, source: Source) -> int:
    """A Poisson number; beyond 30 the rounded normal."""
    if mean <= 0.0:
        return 0
    if mean > 30.0:
        return max(0, round(source.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), source.random(), 0
    while product > limit:
        product *= source.random()
        count += 1
    return count


def binomial(n: int, p: float, source: Source) -> int:
    """A binomial number; by inversion while few events are expected, beyond that the rounded normal."""
    if p > 0.5:
        return n - binomial(n, 1.0 - p, source)
    if n * p > 30.0:
        return min(n, max(0, round(source.gauss(n * p, math.sqrt(n * p * (1.0 - p))))))
    if p <= 0.0:
        return 0
    left, count = source.random(), 0
    mass = (1.0 - p) ** n
    while left > mass and count < n:
        left -= mass
        count += 1
        mass *= (n - count + 1) / count * p / (1.0 - p)
    return count
