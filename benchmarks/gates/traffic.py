"""Users with habits, for simulated canaries: sticky arms, skewed activity, chronic bad luck, days that differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from benchmarks.gates.twin import Running
from numpy.typing import NDArray

from understudy.core.evidence import BUCKETS

Array = NDArray[np.float64]
METRICS = ("quality", "errors", "latency_p50", "latency_p95", "latency_p99")
ALL = (*METRICS, "satisfaction", "cost")
RATED = 0.05
"""Part of the answers that get a rating: nought to four stars, counted as 0 to 1."""
COST_SPREAD = 0.8
"""Standard deviation of the logarithm of one answer's cost."""
EXCEEDED = {"latency_p50": 0.50, "latency_p95": 0.05, "latency_p99": 0.01}


@dataclass(frozen=True)
class Canary:
    """One canary on a workload of `users`.

    `shares` gives the candidate's share for each day; `icc` how much of the variance of quality is between users;
    `chronic` the share of users who have all the errors; `drift` how much quality falls from the first to the last
    day, for both arms. Effects apply to the candidate; `dearer` to the logarithm of the cost.
    """

    users: int
    requests_per_day: float
    shares: tuple[float, ...]
    quality: float = 0.85
    icc: float = 0.1
    errors: float = 0.01
    chronic: float = 0.1
    drift: float = 0.0
    drop: float = 0.0
    error_ratio: float = 1.0
    slow_ratio: float = 1.0
    unhappier: float = 0.0
    dearer: float = 0.0
    skew: float = 1.0
    looks_per_day: int = 4
    metrics: tuple[str, ...] = METRICS


@dataclass
class Look:
    """What is known at one look: the stratified states, and the pooled totals that simpler rules use."""

    day: int
    hour: float
    states: dict[str, Running]
    pooled: dict[str, Array]
    """(2 arms, n / total / squares, runs) since the start of the canary."""


def _users(canary: Canary, runs: int, rng: np.random.Generator) -> dict[str, Array]:
    shape = (runs, canary.users)
    activity = rng.lognormal(0.0, canary.skew, shape)
    activity *= canary.requests_per_day / activity.sum(1, keepdims=True)
    users = {"activity": activity, "place": rng.random(shape), "bucket": rng.integers(0, BUCKETS, shape)}
    if canary.icc > 0:
        strength = 1.0 / canary.icc - 1.0
        users["quality"] = rng.beta(canary.quality * strength, (1 - canary.quality) * strength, shape)
    else:
        users["quality"] = np.full(shape, canary.quality)
    users["errors"] = np.where(rng.random(shape) < canary.chronic, canary.errors / canary.chronic, 0.0)
    # A slow user exceeds every quantile oftener: the odds of exceeding are multiplied by a lognormal factor.
    users["slowness"] = rng.lognormal(0.0, 0.5, shape)
    if "cost" in canary.metrics:
        users["thrift"] = rng.normal(0.0, 1.0, shape)
    return users


def buckets(users: dict[str, Array], rng: np.random.Generator) -> Array:
    """The analysis bucket of each user: always the same one. (`rng` is there for a defect that draws it anew.)"""
    return users["bucket"]


def run(canary: Canary, runs: int, rng: np.random.Generator) -> Iterator[Look]:
    """All looks of `runs` canaries side by side. A stratum is a day; errors count once a user and day."""
    users = _users(canary, runs, rng)
    states = {name: Running(runs) for name in canary.metrics}
    pooled = {name: np.zeros((2, 3, runs)) for name in canary.metrics}
    days = len(canary.shares)
    offsets = (np.arange(runs) * 2 * BUCKETS)[:, None]
    for day, share in enumerate(canary.shares):
        candidate = users["place"] < share
        index = (offsets + candidate * BUCKETS + buckets(users, rng)).astype(np.int64).ravel()
        errored = np.zeros(candidate.shape, bool)
        seen = np.zeros(candidate.shape, bool)
        for part in range(canary.looks_per_day):
            hour = (part + 0.5) / canary.looks_per_day
            rate = (1.0 + 0.6 * np.sin(2 * np.pi * hour)) / canary.looks_per_day
            counts = rng.poisson(users["activity"] * rate)
            active = counts > 0
            for name in canary.metrics:
                values = _values(name, canary, users, candidate, counts, active, seen, errored, day / days, rng)
                _record(states[name], pooled[name], index, values, runs)
            seen |= active
            yield Look(day, 24.0 * (part + 1) / canary.looks_per_day, states, pooled)
        for state in states.values():
            state.close_stratum()


def _values(
    name: str,
    canary: Canary,
    users: dict[str, Array],
    candidate: NDArray[np.bool_],
    counts: NDArray[np.int64],
    active: NDArray[np.bool_],
    seen: NDArray[np.bool_],
    errored: NDArray[np.bool_],
    progress: float,
    rng: np.random.Generator,
) -> tuple[Array, Array, Array]:
    """Values, their totals and their squares per user within one look."""
    if name == "satisfaction":
        return _ratings(canary, users, candidate, counts, progress, rng)
    if name == "cost":
        own = COST_SPREAD * np.sqrt(1.0 - canary.icc)
        middle = users["thrift"] * COST_SPREAD * np.sqrt(canary.icc) + canary.dearer * candidate
        mean = middle + rng.normal(0.0, 1.0, counts.shape) * own / np.sqrt(np.maximum(counts, 1))
        rest = np.where(counts > 1, rng.chisquare(np.maximum(counts - 1, 1)), 0.0) * own**2
        return counts.astype(float), counts * mean, counts * mean**2 + rest * active
    if name == "quality":
        p = np.clip(users["quality"] - canary.drift * progress - canary.drop * candidate, 0.0, 1.0)
        right = rng.binomial(counts, p).astype(float)
        return counts.astype(float), right, right
    if name == "errors":
        p = np.clip(users["errors"] * np.where(candidate, canary.error_ratio, 1.0), 0.0, 1.0)
        hit = active & ~errored & (rng.random(counts.shape) < 1.0 - (1.0 - p) ** counts)
        errored |= hit
        return (active & ~seen).astype(float), hit.astype(float), hit.astype(float)
    odds = EXCEEDED[name] / (1.0 - EXCEEDED[name]) * users["slowness"] * np.where(candidate, canary.slow_ratio, 1.0)
    slow = rng.binomial(counts, odds / (1.0 + odds)).astype(float)
    return counts.astype(float), slow, slow


def _ratings(
    canary: Canary,
    users: dict[str, Array],
    candidate: NDArray[np.bool_],
    counts: NDArray[np.int64],
    progress: float,
    rng: np.random.Generator,
) -> tuple[Array, Array, Array]:
    """Few rate, those who do rate in steps of a quarter, and whoever is unhappy stays so."""
    rated = rng.binomial(counts, RATED).ravel()
    p = np.clip(users["quality"] - canary.drift * progress - canary.unhappier * candidate, 0.0, 1.0).ravel()
    who = np.repeat(np.arange(rated.size), rated)
    stars = rng.binomial(4, p[who]) / 4.0
    total, squares = (np.bincount(who, values, rated.size) for values in (stars, stars**2))
    return tuple(each.reshape(counts.shape) for each in (rated.astype(float), total, squares))  # type: ignore[return-value]


def _record(
    state: Running, pooled: Array, index: NDArray[np.int64], values: tuple[Array, Array, Array], runs: int
) -> None:
    size = runs * 2 * BUCKETS
    counts, totals, squares = (np.bincount(index, each.ravel(), size).reshape(runs, 2, BUCKETS) for each in values)
    for arm in (0, 1):
        state.add(arm, counts[:, arm], totals[:, arm], squares[:, arm].sum(1))
        for row, each in enumerate((counts, totals, squares)):
            pooled[arm, row] += each[:, arm].sum(1)


def independent(
    requests_per_day: float,
    share: float,
    days: int,
    runs: int,
    rng: np.random.Generator,
    *,
    quality: float = 0.85,
    drop: float = 0.0,
    looks_per_day: int = 24,
) -> Iterator[Look]:
    """As `run`, without habits: every request is somebody else's. Cheap enough for hourly looks over two weeks."""
    state = Running(runs)
    pooled = np.zeros((2, 2, runs))
    for day in range(days):
        for part in range(looks_per_day):
            rate = 1.0 + 0.6 * np.sin(2 * np.pi * (part + 0.5) / looks_per_day)
            for arm, part_of, p in ((0, 1 - share, quality), (1, share, quality - drop)):
                counts = rng.poisson(requests_per_day * part_of * rate / looks_per_day / BUCKETS, (runs, BUCKETS))
                totals = rng.binomial(counts, p)
                state.add(arm, counts.astype(float), totals.astype(float))
                pooled[arm, 0] += counts.sum(1)
                pooled[arm, 1] += totals.sum(1)
            yield Look(day, 24.0 * (part + 1) / looks_per_day, {"quality": state}, {"quality": pooled})
        state.close_stratum()
