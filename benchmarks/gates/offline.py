"""Evals, reruns, drift, soak and guards by the hundred: how often each is wrong, and what it sees."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from understudy.core.evidence import BUCKETS
from understudy.core.playbook import Verdict
from understudy.gates.escalation import SCHEDULE, carried, compare_at, next_look
from understudy.gates.gate import STANDARD
from understudy.gates.guards import Assigned, HardGuard, check_split
from understudy.gates.paired import Comparison, PairedCase, compare
from understudy.gates.soak import RUN_LENGTH
from understudy.gates.stats.betting import STAKES
from understudy.gates.stats.drift import PairedSums, flag, flag_drift, mean_drift

SLICES, CASES = 12, 30


class Suite:
    """12 slices of 30 cases whose chance to pass differs, answered by both variants as often as one asks."""

    def __init__(self, drops: NDArray[np.float64], rng: np.random.Generator, repeats: int) -> None:
        p = rng.beta(0.8, 0.2, (SLICES, CASES))
        if (drops < 0).any():
            q = 1 - (1 - p) * (1 + drops[:, None] / 0.2)
        else:
            q = p * (1 - drops[:, None] / 0.8)
        self.old = (rng.random((SLICES, CASES, repeats)) < p[:, :, None]).astype(float)
        self.new = (rng.random((SLICES, CASES, repeats)) < q[:, :, None]).astype(float)

    def cases(self, repeats: dict[str, int] | int) -> list[PairedCase]:
        found = []
        for s in range(SLICES):
            for i in range(CASES):
                name = f"{s:02}-{i:02}"
                k = repeats if isinstance(repeats, int) else repeats[name]
                old, new = self.old[s, i, :k].tolist(), self.new[s, i, :k].tolist()
                found.append(PairedCase(name, (f"slice{s:02}",), tuple(old), tuple(new)))
        return found


class EvalRates(NamedTuple):
    runs: int
    block: float
    passed: float
    naive_block: float
    """Of the rule "some slice is more than 2 points worse"."""


def drops_of(kind: str) -> NDArray[np.float64]:
    drops = np.zeros(SLICES)
    match kind:
        case "one slice -10":
            drops[0] = 0.10
        case "one slice -20":
            drops[0] = 0.20
        case "all -2":
            drops[:] = 0.02
        case "all -5":
            drops[:] = 0.05
    return drops


def evals(kind: str, repeats: int, runs: int, rng: np.random.Generator) -> EvalRates:
    """One look at `repeats` answers a case."""
    verdicts, naive = [], 0
    for _ in range(runs):
        suite = Suite(drops_of(kind), rng, repeats)
        result = compare(suite.cases(repeats))
        verdicts.append(result.verdict)
        naive += any(row.difference < -0.02 for row in result.slices)
    return EvalRates(runs, _part(verdicts, Verdict.FAIL), _part(verdicts, Verdict.PASS), naive / runs)


def escalated(kind: str, runs: int, rng: np.random.Generator) -> EvalRates:
    """Undecided slices are asked again at 10 and 20 answers; beside it, comparing anew until something is decided."""
    verdicts, until_decided = [], 0
    for _ in range(runs):
        suite = Suite(drops_of(kind), rng, SCHEDULE[-1].repeats)
        verdicts.append(_escalate(suite))
        looks = (compare(suite.cases(rung.repeats)).verdict for rung in SCHEDULE)
        until_decided += any(verdict is Verdict.FAIL for verdict in looks)
    return EvalRates(runs, _part(verdicts, Verdict.FAIL), _part(verdicts, Verdict.PASS), until_decided / runs)


def _escalate(suite: Suite) -> Verdict:
    asked = {case.case: SCHEDULE[0].repeats for case in suite.cases(1)}
    together: Comparison | None = None
    for look in range(len(SCHEDULE)):
        cases = suite.cases(asked)
        found = compare_at(look, cases)
        together = found if together is None else carried(together, found)
        more = next_look(look, cases, together)
        if more is None:
            return together.verdict
        asked |= dict.fromkeys(more.cases, more.repeats)
    raise AssertionError("the last look asks for no other")


def _part(verdicts: list[Verdict], which: Verdict) -> float:
    return sum(verdict is which for verdict in verdicts) / len(verdicts)


class DriftRates(NamedTuple):
    runs: int
    false_discovery: float
    power: float
    naive_false_discovery: float
    """Of the rule "p below 5 %"."""


def drift(kind: str, pairs: int, runs: int, rng: np.random.Generator, *, clustered: str = "") -> DriftRates:
    """40 slices, 4 of them drifted: answers 18 % shorter, or invalid JSON up from 1 to 4 %.

    `clustered`: pairs of one user resemble each other; users are "even", or "uneven": the first of 60 makes a fifth of
    the pairs (Zipf).
    """
    rates, powers, naive = [], [], []
    zipf = 1.0 / np.arange(1, 61)
    for _ in range(runs):
        if clustered == "uneven":
            users = rng.choice(60, (40, pairs), p=zipf / zipf.sum())
        elif clustered:
            users = rng.integers(0, max(20, pairs // 3), (40, pairs))
        else:
            users = np.tile(np.arange(pairs), (40, 1))
        if kind == "length":
            shift = np.zeros(40)
            shift[:4] = math.log(0.82)
            x = rng.standard_t(5, (40, pairs)) * 0.45 / math.sqrt(5 / 3) + shift[:, None]
            if clustered:
                x += rng.normal(0.0, 0.25, (40, int(users.max()) + 1))[np.arange(40)[:, None], users]
        else:
            rate = np.full(40, 0.01)
            rate[:4] = 0.04
            x = (rng.random((40, pairs)) < rate[:, None]) * 1.0 - (rng.random((40, pairs)) < 0.01)
        p_values, beyond = [], []
        for values, who in zip(x, users % 256, strict=True):
            sums = _paired_sums(values, who)
            found = mean_drift(sums, resolution=0.05) if kind == "length" else flag_drift(sums)
            p_values.append(found.p)
            beyond.append(abs(math.expm1(found.effect)) > 0.05 if kind == "length" else found.effect > 0.01)
        flags = np.array([each.flagged for each in flag(p_values, beyond)])
        rates.append(flags[4:].sum() / max(1, flags.sum()))
        powers.append(flags[:4].mean())
        plain = np.array(p_values) < 0.05
        naive.append(plain[4:].sum() / max(1, plain.sum()))
    return DriftRates(runs, float(np.mean(rates)), float(np.mean(powers)), float(np.mean(naive)))


def _paired_sums(values: NDArray[np.float64], who: NDArray[np.int64]) -> PairedSums:
    counts = np.bincount(who, minlength=256)
    totals, squares = np.bincount(who, values, 256), np.bincount(who, values**2, 256)
    return PairedSums({int(b): (int(counts[b]), float(totals[b]), float(squares[b])) for b in np.flatnonzero(counts)})


class SoakRates(NamedTuple):
    runs: int
    alarms_a_year: float
    days_to_alarm: float


def soak(drop: float, runs: int, rng: np.random.Generator, *, cases: int = 60, days: int = 365) -> SoakRates:
    """A golden set of 60 cases, replayed daily on both variants, each case with its own chance to pass."""
    p = rng.beta(0.8 * 5, 0.2 * 5, (runs, cases))
    q = np.clip(p - drop, 0, 1)
    wealth = np.zeros((runs, len(STAKES)))
    alarms, first = np.zeros(runs), np.full(runs, np.nan)
    stakes = np.array(STAKES)
    for day in range(1, days + 1):
        old, new = rng.random((runs, cases)) < p, rng.random((runs, cases)) < q
        harm = (old * 1.0 - new - 0.02) / 1.02
        wealth = (wealth + 1.0) * np.exp(np.log1p(stakes[None, None, :] * harm[:, :, None]).sum(1))
        alarm = wealth.mean(1) >= RUN_LENGTH
        alarms += alarm
        first = np.where(alarm & np.isnan(first), day, first)
        wealth[alarm] = 0.0
        if drop and not np.isnan(first).any():
            break
    if drop:
        return SoakRates(runs, math.nan, float(np.where(np.isnan(first), days, first).mean()))
    return SoakRates(runs, float(alarms.mean() * 365 / days), math.nan)


class TailRates(NamedTuple):
    runs: int
    alarms_a_year: float
    days_to_alarm: float
    naive_alarms_a_year: float
    """Of the rule "a day's mean is beyond what is allowed"."""


def tails(
    ratio: float, runs: int, rng: np.random.Generator, *, base: float = 0.01, days: int = 365, quiet: int = 20
) -> TailRates:
    """Slow answers of users with habits at 100 %, watched day by day; from day `quiet` on their part grows by `ratio`.

    Groups of users differ for good, and are seen with a mean of 20 answers a day. With a ratio of 1 nothing happens.
    """
    habit = rng.lognormal(0.0, 0.5, (runs, BUCKETS))
    rate = base * habit / habit.mean(1, keepdims=True)
    before = _cell_means(np.repeat(rate[None], 7, 0), rng)
    reference = np.nanmean(before, axis=(0, 2))
    allowed = reference + STANDARD["latency_p99"].tolerated(base)
    wealth, stakes = np.zeros((runs, len(STAKES))), np.array(STAKES)
    alarms, naive, first = np.zeros(runs), np.zeros(runs), np.full(runs, np.nan)
    for day in range(1, days + 1):
        seen = _cell_means(rate * (ratio if day > quiet else 1.0), rng)
        harm = np.nan_to_num(seen - allowed[:, None], nan=0.0)
        wealth = tail_step(wealth, harm, stakes)
        alarm = wealth.mean(1) >= RUN_LENGTH
        alarms += alarm
        naive += np.nanmean(seen, axis=1) > allowed
        first = np.where(alarm & np.isnan(first) & (day > quiet), day - quiet, first)
        wealth[alarm] = 0.0
        if ratio > 1.0 and not np.isnan(first).any():
            break
    late = float(np.where(np.isnan(first), days - quiet, first).mean())
    return TailRates(runs, float(alarms.mean() * 365 / days), late, float(naive.mean() * 365 / days))


def tail_step(wealth: NDArray[np.float64], harm: NDArray[np.float64], stakes: NDArray[np.float64]) -> Any:
    """One more day of the detector, for all runs; a test holds it to the product's."""
    gains = np.stack([np.log1p(stake * harm).sum(-1) for stake in stakes], axis=-1)
    return (wealth + 1.0) * np.exp(gains)


def _cell_means(rate: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Mean of each group's answers; nan where it had none."""
    n = rng.poisson(20.0, rate.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        return rng.binomial(n, np.minimum(rate, 1.0)) / n


class GuardRates(NamedTuple):
    runs: int
    tripped: float
    answers_to_trip: float


def guard(error_rate: float, runs: int, rng: np.random.Generator, *, answers: int = 70_000) -> GuardRates:
    """The hard guard over a whole canary's answers; failures come in one kind, the worst case for it."""
    tripped, delays = 0, []
    hard = HardGuard()
    for _ in range(runs):
        failures = np.flatnonzero(rng.random(answers) < error_rate)
        found = _first_trip(failures, hard, answers)
        tripped += found is not None
        if found is not None:
            delays.append(found)
    return GuardRates(runs, tripped / runs, float(np.mean(delays)) if delays else math.nan)


def _first_trip(failures: NDArray[np.int64], hard: HardGuard, answers: int) -> int | None:
    """The guard's first trip, found by the gaps between failures; a test holds it to the guard itself."""
    found = [answers]
    k = hard.consecutive
    if len(failures) >= k:
        run = failures[k - 1 :] - failures[: len(failures) - k + 1] == k - 1
        if run.any():
            found.append(int(failures[k - 1 :][run.argmax()]) + 1)
    k = math.ceil(hard.share * hard.window)
    if len(failures) >= k:
        near = failures[k - 1 :] - failures[: len(failures) - k + 1] < hard.window
        if near.any():
            found.append(max(int(failures[k - 1 :][near.argmax()]) + 1, hard.window))
    best = min(found)
    return None if best == answers else best


def split(runs: int, rng: np.random.Generator, *, users: int = 20_000, share: float = 0.05) -> float:
    """Part of fair splits that are ever suspected, looked at after every 200 users."""
    suspected = 0
    for _ in range(runs):
        mine = np.cumsum(rng.binomial(200, share, users // 200))
        suspected += any(
            not check_split([Assigned(0, share, 200 * (i + 1) - int(k), int(k))]).fair for i, k in enumerate(mine)
        )
    return suspected / runs
