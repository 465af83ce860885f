"""Decides a regression eval: paired scores of both variants to a verdict per slice, and the playbook's outcome.

Each case was answered by both variants, once or K times. What is estimated depends on K, and every comparison names
it: with one answer each, how the candidate does on cases *like* these ("population": mid-p McNemar and Tango where
scores are right or wrong, a t interval where they are graded); with repeats, how it does on *these* cases ("suite":
only the noise of the answers counts, so a small suite can be decided by asking again). A slice fails where its
p-value survives Holm over all slices and the aggregate and its loss reaches the margin; it passes where the lower
bound of its difference lies above minus its margin; else it is inconclusive, and the comparison says what would
decide it. Where the error rates were simulated: docs on the gates, and benchmarks/gates.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from understudy.core.evidence import ALL_SLICES
from understudy.core.playbook import Outcome, Verdict
from understudy.core.signed import signed
from understudy.gates.stats.distributions import normal_cdf, normal_quantile, t_cdf, t_quantile
from understudy.gates.stats.multiple import holm
from understudy.gates.stats.paired import mcnemar, sample_size, tango

MIN_CASES = 10
"""A slice with fewer cases is shown but neither passes nor fails; only its must-pass cases can fail it."""

PRIOR_TRIALS = 30.0
"""Weight, in answers, of the suite's variance in that of a slice: ten lucky answers do not make a slice certain."""

MANY = 10_000.0
"""Degrees of freedom from which on Student's t is the normal."""

CRITICAL_SHARE = 0.8
"""Part of alpha the critical slices have to themselves, where there are any."""

POWER = 0.8

UNSCORED_CRITICAL = "a must-pass case has no score"

ROUNDING = 1e-12
"""A loss of exactly the margin counts as the margin, whatever the last bit of its mean says."""


@dataclass(frozen=True, slots=True)
class PairedCase:
    """One case and the scores in [0, 1] of both variants' answers, one a repeat; NaN means it could not be scored."""

    case: str
    slices: tuple[str, ...]
    incumbent: tuple[float, ...]
    candidate: tuple[float, ...]
    critical: bool = False


@dataclass(frozen=True, slots=True)
class SliceComparison:
    """One slice, or the aggregate (slice ""). `low` and `high` bound the difference by alpha on each side."""

    slice: str
    n: int
    repeats: float
    incumbent: float
    candidate: float
    difference: float
    low: float
    high: float
    p: float
    """One-sided, against "not worse", before Holm."""
    p_adjusted: float
    """After Holm and the split of alpha: it fails below alpha."""
    margin: float
    """The loss that would be tolerated for a pass."""
    verdict: Verdict
    critical: bool
    unmeasured: int
    estimand: Literal["suite", "population"]
    needed_cases: int | None
    """Cases that would decide it at the present number of repeats; None where it is decided."""
    needed_repeats: int | None
    """Repeats that would decide it on the present cases."""

    def as_dict(self) -> dict[str, Any]:
        return {key: _json(value) for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The eval's verdict and outcome, and all that led to them."""

    outcome: Outcome
    verdict: Verdict
    aggregate: SliceComparison
    slices: tuple[SliceComparison, ...]
    critical_failures: tuple[str, ...]
    """Must-pass cases the incumbent always passes and the candidate mostly fails."""
    unmeasured: tuple[str, ...]
    """Cases without a score of both variants; each counts as lost in every lower bound."""
    needed: tuple[str, ...]
    """What would decide an inconclusive eval, a sentence a slice."""
    sentence: str
    alpha: float
    margin: float

    def as_dict(self) -> dict[str, Any]:
        """Stable JSON: fields are added, never renamed."""
        return {
            "outcome": self.outcome.value,
            "verdict": self.verdict.value,
            "sentence": self.sentence,
            "aggregate": self.aggregate.as_dict(),
            "slices": [row.as_dict() for row in self.slices],
            "critical_failures": list(self.critical_failures),
            "unmeasured": list(self.unmeasured),
            "needed": list(self.needed),
            "alpha": self.alpha,
            "margin": self.margin,
        }


def _json(value: Any) -> Any:
    if isinstance(value, Verdict):
        return value.value
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Scored(NamedTuple):
    """A case reduced to what the tests need: mean and unbiased variance per arm (None from a single answer)."""

    incumbent: float
    candidate: float
    incumbent_variance: float | None
    candidate_variance: float | None
    incumbent_repeats: int
    candidate_repeats: int

    @property
    def difference(self) -> float:
        return self.candidate - self.incumbent


class _Estimate(NamedTuple):
    low: float
    high: float
    p: float
    between: float
    within: float
    estimand: Literal["suite", "population"]


def _score(case: PairedCase) -> _Scored | None:
    """None where either arm has no usable score. Raises ValueError for a score outside [0, 1]."""
    arms: list[tuple[float, float | None, int]] = []
    for scores in (case.incumbent, case.candidate):
        usable = [score for score in scores if math.isfinite(score)]
        if any(not 0.0 <= score <= 1.0 for score in usable):
            raise ValueError(f"case {case.case!r} has a score outside 0 to 1: {scores}")
        if not usable:
            return None
        mean = math.fsum(usable) / len(usable)
        variance = None
        if len(usable) > 1:
            variance = math.fsum((score - mean) ** 2 for score in usable) / (len(usable) - 1)
        arms.append((mean, variance, len(usable)))
    (old, old_variance, old_count), (new, new_variance, new_count) = arms
    return _Scored(old, new, old_variance, new_variance, old_count, new_count)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


class _ArmVariance(NamedTuple):
    """Variance of one answer within a slice, and the variance of that figure itself."""

    value: float
    error: float


def _arm_variance(cases: Sequence[_Scored], pooled: float, *, candidate: bool) -> _ArmVariance:
    """Shrunk towards the suite's."""
    known = [case.candidate_variance if candidate else case.incumbent_variance for case in cases]
    values = [value for value in known if value is not None]
    trials = sum(case.candidate_repeats if candidate else case.incumbent_repeats for case in cases)
    seen = _mean(values) if values else pooled
    weight = trials / (trials + PRIOR_TRIALS)
    scatter = math.fsum((value - seen) ** 2 for value in values) / max(1, len(values) - 1) / max(1, len(values))
    return _ArmVariance(seen * weight + pooled * (1.0 - weight), weight * weight * scatter)


def _suite_estimate(cases: Sequence[_Scored], pooled: tuple[float, float], alpha: float) -> _Estimate:
    """Conditional on the cases: the answers' own noise is the only one.

    That noise is itself estimated, from few answers a case: Student's t with the degrees of freedom of Satterthwaite
    (1946), 2 V^2 / var V, where the scatter of the cases' variances gives var V (too large rather than too small).
    """
    n = len(cases)
    estimate = _mean([case.difference for case in cases])
    old = _arm_variance(cases, pooled[0], candidate=False)
    new = _arm_variance(cases, pooled[1], candidate=True)
    old_weight = math.fsum(1.0 / case.incumbent_repeats for case in cases) / (n * n)
    new_weight = math.fsum(1.0 / case.candidate_repeats for case in cases) / (n * n)
    variance = old.value * old_weight + new.value * new_weight
    doubt = old.error * old_weight**2 + new.error * new_weight**2
    freedom = max(2.0, round(2.0 * variance * variance / doubt, 1)) if doubt > 0.0 else math.inf
    error = math.sqrt(variance)
    p, quantile = normal_cdf(estimate / error), normal_quantile(1.0 - alpha)
    if freedom < MANY:
        p, quantile = t_cdf(estimate / error, freedom), t_quantile(1.0 - alpha, freedom)
    low, high = max(-1.0, estimate - quantile * error), min(1.0, estimate + quantile * error)
    return _Estimate(low, high, p, 0.0, old.value + new.value, "suite")


def _binary_estimate(cases: Sequence[_Scored], alpha: float) -> _Estimate:
    n = len(cases)
    gained = sum(case.difference > 0 for case in cases)
    lost = sum(case.difference < 0 for case in cases)
    low, high = tango(gained, lost, n, 2.0 * alpha)
    discordant = (gained + lost + 1.0) / (n + 1.0)
    return _Estimate(low, high, mcnemar(gained, lost).one_mid, discordant, 0.0, "population")


def _graded_estimate(cases: Sequence[_Scored], alpha: float) -> _Estimate:
    """A t interval; half a case at each end of the scale is added to the spread, so that it is never zero."""
    differences = [case.difference for case in cases]
    n = len(differences)
    estimate = _mean(differences)
    squares = math.fsum((difference - estimate) ** 2 for difference in differences) + 1.0
    freedom = max(1, n - 1)
    variance = squares / freedom
    error = math.sqrt(variance / n)
    radius = t_quantile(1.0 - alpha, freedom) * error
    low, high = max(-1.0, estimate - radius), min(1.0, estimate + radius)
    return _Estimate(low, high, t_cdf(estimate / error, freedom), variance, 0.0, "population")


def _pooled_variances(cases: Sequence[_Scored]) -> tuple[float, float] | None:
    """Mean variance of one answer per arm; None without repeats, or where no repeat ever differed.

    Repeats that never differ come from a cache or a deterministic model: they are one answer, counted once.
    """
    old = [case.incumbent_variance for case in cases if case.incumbent_variance is not None]
    new = [case.candidate_variance for case in cases if case.candidate_variance is not None]
    if not old or not new or math.fsum(old) + math.fsum(new) <= 0.0:
        return None
    return _mean(old), _mean(new)


def _estimate(cases: Sequence[_Scored], pooled: tuple[float, float] | None, alpha: float) -> _Estimate:
    if pooled is not None:
        return _suite_estimate(cases, pooled, alpha)
    if all(case.incumbent in (0.0, 1.0) and case.candidate in (0.0, 1.0) for case in cases):
        return _binary_estimate(cases, alpha)
    return _graded_estimate(cases, alpha)


def _slice_margin(n: int, margin: float, slice_margin: float | None) -> float:
    """What a slice may lose and still pass: by default 10 points up to 50 cases and 5 beyond, never below `margin`."""
    if slice_margin is not None:
        return slice_margin
    return max(margin, 0.10 if n <= 50 else 0.05)


class _Group(NamedTuple):
    """A slice on its way to a verdict."""

    name: str
    cases: list[_Scored]
    unmeasured: int
    margin: float
    critical: bool
    estimate: _Estimate | None

    @property
    def tested(self) -> bool:
        return self.estimate is not None and len(self.cases) >= MIN_CASES


def _adjusted(groups: Sequence[_Group]) -> dict[str, float]:
    """Holm-adjusted p-values by slice name, scaled so that each is compared with the whole alpha."""
    critical = [group for group in groups if group.tested and group.critical]
    other = [group for group in groups if group.tested and not group.critical]
    adjusted: dict[str, float] = {}
    for family, share in ((critical, CRITICAL_SHARE), (other, 1.0 - CRITICAL_SHARE if critical else 1.0)):
        values = [group.estimate.p for group in family if group.estimate is not None]
        for group, p in zip(family, holm(values), strict=True):
            adjusted[group.name] = min(1.0, p / share)
    return adjusted


def _needed(group: _Group, repeats: float, alpha: float) -> tuple[int | None, int | None]:
    """Cases at the present repeats, and repeats on the present cases, that resolve the margin from no difference."""
    if group.estimate is None:
        return MIN_CASES, None
    n, spread = len(group.cases), group.estimate
    cases = sample_size(spread.between, spread.within, repeats, group.margin, alpha=alpha, power=POWER)
    answers = sample_size(0.0, spread.within or spread.between, 1.0, group.margin, alpha=alpha, power=POWER)
    return max(MIN_CASES, math.ceil(cases)), max(2, math.ceil(answers / n))


def _verdict(group: _Group, adjusted: float, alpha: float, margin: float) -> Verdict:
    estimate = group.estimate
    if estimate is None or not group.tested:
        return Verdict.INCONCLUSIVE
    difference = _mean([case.difference for case in group.cases])
    if adjusted < alpha and difference <= -margin + ROUNDING:
        return Verdict.FAIL
    if _with_lost(estimate.low, len(group.cases), group.unmeasured) > -group.margin:
        return Verdict.PASS
    return Verdict.INCONCLUSIVE


def _with_lost(low: float, n: int, unmeasured: int) -> float:
    """The lower bound if every case without a score were lost outright: missing data never helps a pass."""
    return (n * low - unmeasured) / (n + unmeasured)


def _compared(group: _Group, adjusted: Mapping[str, float], alpha: float, margin: float) -> SliceComparison:
    p_adjusted = adjusted.get(group.name, 1.0)
    verdict = _verdict(group, p_adjusted, alpha, margin)
    counts = [case.incumbent_repeats + case.candidate_repeats for case in group.cases]
    repeats = _mean([float(count) for count in counts]) / 2.0 if counts else 0.0
    cases, again = _needed(group, repeats, alpha) if verdict is Verdict.INCONCLUSIVE else (None, None)
    low, high, p = group.estimate[:3] if group.estimate else (-1.0, 1.0, 1.0)
    return SliceComparison(
        slice=group.name,
        n=len(group.cases),
        repeats=repeats,
        incumbent=_mean([case.incumbent for case in group.cases]),
        candidate=_mean([case.candidate for case in group.cases]),
        difference=_mean([case.difference for case in group.cases]),
        low=low,
        high=high,
        p=p,
        p_adjusted=p_adjusted,
        margin=group.margin,
        verdict=verdict,
        critical=group.critical,
        unmeasured=group.unmeasured,
        estimand=group.estimate.estimand if group.estimate else "population",
        needed_cases=cases,
        needed_repeats=again,
    )


def _critical_failure(case: PairedCase, scored: _Scored) -> bool:
    """The incumbent passes every time and the candidate fails most times; a graded answer passes from one half."""
    old = [score >= 0.5 for score in case.incumbent if math.isfinite(score)]
    new = [score >= 0.5 for score in case.candidate if math.isfinite(score)]
    return case.critical and all(old) and sum(new) * 2 < len(new)


def _groups(
    cases: Sequence[PairedCase],
    scored: Mapping[str, _Scored | None],
    *,
    alpha: float,
    margin: float,
    slice_margin: float | None,
    critical_slices: frozenset[str],
) -> list[_Group]:
    """The aggregate first, then every slice in order of name."""
    # A critical slice without a case is a row of its own: it cannot pass.
    members: dict[str, list[str]] = {name: [] for name in critical_slices}
    members[ALL_SLICES] = [case.case for case in cases]
    for case in cases:
        for name in set(case.slices) - {ALL_SLICES}:
            members.setdefault(name, []).append(case.case)
    measured = [value for value in scored.values() if value is not None]
    pooled = _pooled_variances(measured)
    groups = []
    for name in sorted(members):
        inside = [value for value in (scored[case] for case in members[name]) if value is not None]
        allowed = margin if name == ALL_SLICES else _slice_margin(len(inside), margin, slice_margin)
        estimate = _estimate(inside, pooled, alpha) if inside else None
        lost = len(members[name]) - len(inside)
        groups.append(_Group(name, inside, lost, allowed, name in critical_slices, estimate))
    return groups


def _outcome(
    verdict: Verdict, rows: Sequence[SliceComparison], failures: Sequence[str], margin: float, *, exhausted: bool
) -> Outcome:
    """The playbook's table: an aggregate or critical loss asks for prompt work, a lost slice for caution."""
    if verdict is Verdict.PASS:
        return Outcome.PROCEED
    if verdict is Verdict.INCONCLUSIVE:
        return Outcome.INCONCLUSIVE
    aggregate = rows[0]
    # "Worse" without proof is enough here: some slice has failed already, and caution presumes the whole is not worse.
    worse = aggregate.verdict is Verdict.FAIL or aggregate.difference <= -margin + ROUNDING
    if worse or failures or any(row.critical and row.verdict is Verdict.FAIL for row in rows):
        return Outcome.STOP if exhausted else Outcome.RETUNE
    return Outcome.CAUTION


def _need_sentence(row: SliceComparison) -> str:
    name = f"slice {row.slice}" if row.slice else "the aggregate"
    if row.n < MIN_CASES:
        return f"{name} has {row.n} scored cases; no verdict below {MIN_CASES}"
    again = f", or about {row.needed_repeats} answers to each of the present {row.n}" if row.needed_repeats else ""
    lost = f"; {row.unmeasured} cases have no score and count as lost" if row.unmeasured else ""
    return f"{name}: about {row.needed_cases} cases to tell a loss of {100 * row.margin:g} points{again}{lost}"


def _sentence(outcome: Outcome, rows: Sequence[SliceComparison], failures: Sequence[str]) -> str:
    aggregate = rows[0]
    scores = f"{100 * aggregate.incumbent:.1f} to {100 * aggregate.candidate:.1f} over {aggregate.n} cases"
    failed = ", ".join(
        f"{row.slice or 'the aggregate'} ({signed(100 * row.difference, '.1f')} points)"
        for row in rows
        if row.verdict is Verdict.FAIL
    )
    undecided = sum(row.verdict is Verdict.INCONCLUSIVE for row in rows)
    parts = [f"{scores}."]
    if failed:
        parts.append(f"Proven worse: {failed}.")
    if failures:
        lost = "1 must-pass case is" if len(failures) == 1 else f"{len(failures)} must-pass cases are"
        parts.append(f"{lost} lost: {', '.join(failures[:5])}.")
    if outcome is Outcome.PROCEED:
        parts.append("No slice loses more than its margin.")
    if outcome is Outcome.INCONCLUSIVE:
        parts.append(f"Nothing is proven worse, but {undecided} of {len(rows)} comparisons cannot be told yet.")
    return " ".join(parts)


def compare(
    cases: Iterable[PairedCase],
    *,
    alpha: float = 0.05,
    margin: float = 0.02,
    slice_margin: float | None = None,
    critical_slices: Iterable[str] = (),
    tuning_exhausted: bool = False,
) -> Comparison:
    """Compare both variants on every slice and overall.

    `alpha` is one-sided, once for "some slice falsely fails" and once for each false pass. `margin` is the smallest
    loss that counts as a failure and the largest the aggregate may have in a pass; `slice_margin` the largest of a
    slice. `tuning_exhausted` turns `retune` into `stop`. The order of cases does not matter. Raises ValueError for no
    cases at all, a case given twice, or a score outside [0, 1].
    """
    ordered = sorted(cases, key=lambda case: case.case)
    if not ordered:
        raise ValueError("a comparison needs at least one case")
    for first, second in itertools.pairwise(ordered):
        if first.case == second.case:
            raise ValueError(f"case {first.case!r} was given twice")
    scored = {case.case: _score(case) for case in ordered}
    groups = _groups(
        ordered,
        scored,
        alpha=alpha,
        margin=margin,
        slice_margin=slice_margin,
        critical_slices=frozenset(critical_slices),
    )
    adjusted = _adjusted(groups)
    rows = [_compared(group, adjusted, alpha, margin) for group in groups]
    lost = tuple(case.case for case in ordered if scored[case.case] is None)
    failures = tuple(c.case for c in ordered if (s := scored[c.case]) is not None and _critical_failure(c, s))
    return conclude(
        rows,
        failures=failures,
        unmeasured=lost,
        unscored_critical=any(case.critical and scored[case.case] is None for case in ordered),
        alpha=alpha,
        margin=margin,
        tuning_exhausted=tuning_exhausted,
    )


def conclude(
    rows: Sequence[SliceComparison],
    *,
    failures: tuple[str, ...],
    unmeasured: tuple[str, ...],
    unscored_critical: bool,
    alpha: float,
    margin: float,
    tuning_exhausted: bool,
) -> Comparison:
    """What the rows, the aggregate first, come to together."""
    if failures or any(row.verdict is Verdict.FAIL for row in rows):
        verdict = Verdict.FAIL
    elif all(row.verdict is Verdict.PASS for row in rows) and not unscored_critical:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.INCONCLUSIVE
    outcome = _outcome(verdict, rows, failures, margin, exhausted=tuning_exhausted)
    needed = tuple(_need_sentence(row) for row in rows if row.verdict is Verdict.INCONCLUSIVE)
    if unscored_critical:
        needed += (UNSCORED_CRITICAL,)
    return Comparison(
        outcome=outcome,
        verdict=verdict,
        aggregate=rows[0],
        slices=tuple(rows[1:]),
        critical_failures=failures,
        unmeasured=unmeasured,
        needed=needed if outcome is Outcome.INCONCLUSIVE else (),
        sentence=_sentence(outcome, rows, failures),
        alpha=alpha,
        margin=margin,
    )
