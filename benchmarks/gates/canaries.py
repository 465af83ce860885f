"""Canaries by the thousand: false rollbacks, wrong passes and the time to see a loss, beside the usual rules."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from benchmarks.gates import rivals
from benchmarks.gates.traffic import METRICS, Canary, independent, run
from benchmarks.gates.twin import Running, events_fail, grid_log_e, harm_log_e, mean_fails, mean_passes
from numpy.typing import NDArray

from understudy.core.evidence import BUCKETS
from understudy.gates.gate import ROLLBACK_ALPHA, STANDARD, error_budget
from understudy.gates.stats.multiple import e_benjamini_hochberg

Bools = NDArray[np.bool_]
MARGIN = 0.02
ORACLE_RUNS = 4000
RAMP = (0.01,) * 2 + (0.05,) * 4 + (0.25,) * 8


class Rates(NamedTuple):
    """Parts of the runs in which each rule rolled back (or passed), and how many runs there were."""

    runs: int
    by_rule: dict[str, float]


def fails(name: str, state: Running, alpha: float) -> Bools:
    """The product's rule for one metric's rollback."""
    gate = STANDARD[name]
    if gate.events:
        return events_fail(state.look(), alpha, gate.relative or 0.25).astype(bool)
    margin, lower = gate.tolerated(math.nan), gate.direction == "lower"
    look = state.look(margin if gate.kind == "log_mean" else None)
    return mean_fails(look, margin, alpha, lower=lower).astype(bool)


def hourly(share: float, drop: float, runs: int, rng: np.random.Generator, *, days: int = 14) -> dict[str, Rates]:
    """Independent requests, 20,000 a day, looked at every hour for two weeks."""
    hit = {rule: np.zeros(runs, bool) for rule in ("gate", "t-test", "2 points", "2 points daily")}
    passed = np.zeros(runs, bool)
    for look in independent(20_000, share, days, runs, rng, drop=drop):
        state, pooled = look.states["quality"].look(), look.pooled["quality"]
        hit["gate"] |= mean_fails(state, MARGIN, ROLLBACK_ALPHA).astype(bool)
        hit["t-test"] |= rivals.t_test(pooled)
        hit["2 points"] |= rivals.points(pooled, MARGIN)
        if look.hour == 24.0:
            hit["2 points daily"] |= rivals.points(pooled, MARGIN)
            passed |= mean_passes(state, MARGIN).astype(bool) & ~hit["gate"]
    rates = {rule: float(found.mean()) for rule, found in hit.items()}
    return {"rollback": Rates(runs, rates), "pass": Rates(runs, {"gate": float(passed.mean())})}


def crowds(canary: Canary, runs: int, rng: np.random.Generator) -> Rates:
    """Users with habits on several metrics at once under one error budget; any metric that fails counts."""
    budget = error_budget([STANDARD[name] for name in canary.metrics], ROLLBACK_ALPHA)
    # A rule of so many points says nothing of stars or of logarithms.
    pointed = {"quality", "errors"} & set(canary.metrics)
    hit = {rule: np.zeros(runs, bool) for rule in ("gate", "t-test", *(("points",) if pointed else ()))}
    for look in run(canary, runs, rng):
        for name in canary.metrics:
            hit["gate"] |= fails(name, look.states[name], budget[name])
            lower = STANDARD[name].direction == "lower"
            hit["t-test"] |= rivals.t_test(look.pooled[name], lower=lower)
            if name in pointed:
                hit["points"] |= rivals.points(look.pooled[name], STANDARD[name].margin or MARGIN, lower=lower)
    return Rates(runs, {rule: float(found.mean()) for rule, found in hit.items()})


def pooled_ramp(runs: int, rng: np.random.Generator) -> Rates:
    """No difference, quality falling from 88 to 82 % while the share grows: strata against pooling since the start."""
    hit = {rule: np.zeros(runs, bool) for rule in ("gate", "t-test", "2 points")}
    canary = Canary(
        6000, 20_000, RAMP, quality=0.88, icc=0.0, drift=0.06, skew=0.5, metrics=("quality",), looks_per_day=4
    )
    for look in run(canary, runs, rng):
        hit["gate"] |= mean_fails(look.states["quality"].look(), MARGIN, ROLLBACK_ALPHA).astype(bool)
        hit["t-test"] |= rivals.t_test(look.pooled["quality"])
        hit["2 points"] |= rivals.points(look.pooled["quality"], MARGIN)
    return Rates(runs, {rule: float(found.mean()) for rule, found in hit.items()})


def wrong_pass(canary: Canary, runs: int, rng: np.random.Generator) -> Rates:
    """The candidate is exactly its margin worse: how often quality passes before it fails, at any look after a day."""
    worse = replace(canary, drop=MARGIN, metrics=("quality",))
    failed, passed = np.zeros(runs, bool), np.zeros(runs, bool)
    for look in run(worse, runs, rng):
        state = look.states["quality"].look()
        failed |= mean_fails(state, MARGIN, ROLLBACK_ALPHA).astype(bool)
        if look.day >= 1 or look.hour == 24.0:
            passed |= mean_passes(state, MARGIN).astype(bool) & ~failed
    return Rates(runs, {"gate": float(passed.mean())})


class Delay(NamedTuple):
    """Mean candidate requests until each rule rolled back, and how often the gate did."""

    gate: float
    oracle: float
    found: float

    @property
    def ratio(self) -> float:
        return self.gate / self.oracle


def _stops(
    share: float, drop: float, runs: int, rng: np.random.Generator, *, limit: int, step: int
) -> NDArray[np.float64]:
    """Candidate requests until the gate on quality rolled back, looking after every `step` of them; nan if never."""
    state = Running(runs)
    stopped = np.full(runs, np.nan)
    per_candidate = (1 - share) / share
    rows = np.arange(runs)
    for n in range(step, limit + 1, step):
        for _ in range(step):
            bucket = rng.integers(0, BUCKETS, runs)
            right = (rng.random(runs) < 0.85 - drop).astype(float)
            state.counts[1, rows, bucket] += 1.0
            state.totals[1, rows, bucket] += right
            state.squares[1] += right
        counts = rng.poisson(per_candidate * step / BUCKETS, (runs, BUCKETS))
        state.add(0, counts.astype(float), rng.binomial(counts, 0.85).astype(float))
        hit = mean_fails(state.look(), MARGIN, ROLLBACK_ALPHA).astype(bool) & np.isnan(stopped)
        stopped[hit] = n
        if not np.isnan(stopped).any():
            break
    return stopped


def every_request(share: float, runs: int, rng: np.random.Generator) -> Rates:
    """No difference, looked at after each of 3,000 candidate requests."""
    stopped = _stops(share, 0.0, runs, rng, limit=3000, step=1)
    return Rates(runs, {"gate": float((~np.isnan(stopped)).mean())})


def quality_delay(share: float, drop: float, runs: int, rng: np.random.Generator, *, limit: int = 8000) -> Delay:
    """Looked at after every five candidate requests; the incumbent's side gets its part of the traffic with each."""
    oracle = rivals.sprt(0.85, 0.85 - drop, ORACLE_RUNS, rng)
    stopped = _stops(share, drop, runs, rng, limit=limit, step=5)
    found = float((~np.isnan(stopped)).mean())
    return Delay(float(np.where(np.isnan(stopped), limit, stopped).mean()), float(oracle.mean()), found)


def sliced(runs: int, rng: np.random.Generator, *, slices: int = 8, harmed: float = 0.0) -> Rates:
    """Eight slices of 700 users under the slices' half of one metric's budget; one of them may be harmed."""
    canaries = [
        Canary(700, 3000, (0.2,) * 14, icc=0.1, drop=harmed if i == 0 else 0.0, metrics=("quality",), looks_per_day=2)
        for i in range(slices)
    ]
    named = np.zeros((slices, runs), bool)
    for looks in zip(*(run(canary, runs, rng) for canary in canaries), strict=True):
        states = [look.states["quality"].look() for look in looks]
        values = np.stack([harm_log_e(-s["difference"], s["variance"], MARGIN) for s in states])
        large = np.stack([mean_fails(s, MARGIN, 1.0) for s in states]).astype(bool)
        for r in range(runs):
            flags = e_benjamini_hochberg(values[:, r].tolist(), ROLLBACK_ALPHA / 2)
            named[:, r] |= np.array(flags) & large[:, r]
    right = float(named[0].mean()) if harmed else 0.0
    wrong = named[1:] if harmed else named
    return Rates(runs, {"gate": float(wrong.any(0).mean()), "found": right})


def error_delay(
    share: float, base: float, worse: float, runs: int, rng: np.random.Generator, *, limit: int = 20_000
) -> Delay:
    """Errors of independent users, each user once; looked at after every twenty candidate users."""
    oracle = rivals.sprt(base, worse, ORACLE_RUNS, rng)
    step = 20 if worse < 0.03 else 4
    state = Running(runs)
    stopped = np.full(runs, np.nan)
    for _ in range(limit // step):
        for arm, mean, rate in ((1, step, worse), (0, step * (1 - share) / share, base)):
            counts = rng.poisson(mean / BUCKETS, (runs, BUCKETS))
            state.add(arm, counts.astype(float), rng.binomial(counts, rate).astype(float))
        look = state.look()
        hit = events_fail(look, ROLLBACK_ALPHA).astype(bool) & np.isnan(stopped)
        stopped[hit] = look["n"][hit]
        if not np.isnan(stopped).any():
            break
    found = float((~np.isnan(stopped)).mean())
    return Delay(float(np.where(np.isnan(stopped), limit, stopped).mean()), float(oracle.mean()), found)


def latency(kind: str, runs: int, rng: np.random.Generator, *, per_hour: int = 8, days: int = 14) -> Rates:
    """Lognormal latency with a tail of 2 % six times as long, on a 1 % arm: beside Kayenta and a p99 rule."""
    shift, tail = {"equal": (1.0, 0.02), "median +10 %": (1.1, 0.02), "tail x3": (1.0, 0.06)}[kind]

    def draw(shape: tuple[int, ...], shift: float, tail: float) -> NDArray[np.float64]:
        values = rng.lognormal(math.log(2.0), 0.7, shape) * shift
        return np.where(rng.random(shape) < tail, 6.0 * values, values)

    frozen = np.quantile(draw((200_000,), 1.0, 0.02), [0.5, 0.95, 0.99])
    hours = 24 * days
    hit = dict.fromkeys(("gate", "Kayenta", "p99 +10 %"), 0)
    for _ in range(runs):
        new, old = draw((hours, per_hour), shift, tail), draw((hours, 4 * per_hour), 1.0, 0.02)
        state = {name: Running(1) for name in METRICS[2:]}
        found = dict.fromkeys(hit, False)
        for day in range(days):
            part = slice(24 * day, 24 * (day + 1))
            for (name, running), limit in zip(state.items(), frozen, strict=True):
                for arm, values in ((1, new[part]), (0, old[part])):
                    where = rng.integers(0, BUCKETS, values.size)
                    counts = np.bincount(where, minlength=BUCKETS)[None].astype(float)
                    over = np.bincount(where, (values > limit).ravel(), BUCKETS)[None]
                    running.add(arm, counts, over)
                found["gate"] |= bool(fails(name, running, ROLLBACK_ALPHA / 3)[0])
                running.close_stratum()
            seen = slice(0, 24 * (day + 1))
            found["Kayenta"] |= rivals.mann_whitney(new[seen].mean(1), old[seen].mean(1))
            found["p99 +10 %"] |= bool(np.quantile(new[seen], 0.99) > 1.1 * np.quantile(old[seen], 0.99))
        for rule, was in found.items():
            hit[rule] += was
    return Rates(runs, {rule: count / runs for rule, count in hit.items()})


def carried_errors(runs: int, rng: np.random.Generator) -> Rates:
    """Errors over a whole ramp while their rate moves from day to day: evidence is carried, nothing restarts."""
    hit = {rule: np.zeros(runs, bool) for rule in ("gate", "t-test")}
    state = Running(runs)
    pooled = np.zeros((2, 2, runs))
    for day, share in enumerate(RAMP):
        rate = 0.01 * (1.0 + 0.8 * math.sin(2 * math.pi * day / 7.0) + 0.05 * day)
        for _ in range(4):
            for arm, part in ((1, share), (0, 1 - share)):
                counts = rng.poisson(8000 / 4 * part / BUCKETS, (runs, BUCKETS))
                totals = rng.binomial(counts, rate)
                state.add(arm, counts.astype(float), totals.astype(float))
                pooled[arm, 0] += counts.sum(1)
                pooled[arm, 1] += totals.sum(1)
            look = state.look()
            hit["gate"] |= grid_log_e(look) >= math.log(1 / ROLLBACK_ALPHA)
            hit["t-test"] |= rivals.t_test(pooled, lower=True)
        state.close_stratum()
    return Rates(runs, {rule: float(found.mean()) for rule, found in hit.items()})
