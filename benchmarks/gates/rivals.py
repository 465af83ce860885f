"""The rules people use today, on the same canaries: a test at each look, a threshold, Mann and Whitney, SPRT."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
MIN_REQUESTS = 100
"""What the guides call significant."""


def difference(pooled: Array) -> tuple[Array, Array, Array]:
    """Candidate minus incumbent pooled since the start, its naive error, and the candidate's requests."""
    n = np.maximum(pooled[:, 0], 1.0)
    mean = pooled[:, 1] / n
    squares = pooled[:, 2] if pooled.shape[1] > 2 else pooled[:, 1]
    spread = np.maximum(squares / n - mean**2, 0.0)
    error = np.sqrt((spread / np.maximum(n - 1, 1)).sum(0))
    return mean[1] - mean[0], error, pooled[1, 0]


def t_test(pooled: Array, *, lower: bool = False) -> NDArray[np.bool_]:
    """Significantly worse at this look, at the usual 5 % two-sided."""
    d, error, n = difference(pooled)
    worse = d if lower else -d
    return (n >= MIN_REQUESTS) & (worse > 1.96 * error)


def points(pooled: Array, margin: float, *, lower: bool = False) -> NDArray[np.bool_]:
    """More than the margin worse, whatever the noise."""
    d, _, n = difference(pooled)
    return (n >= MIN_REQUESTS) & ((d if lower else -d) > margin)


def mann_whitney(candidate: Array, incumbent: Array, *, confidence: float = 0.98, tolerance: float = 0.25) -> bool:
    """Kayenta's way on one metric's hourly means: high beyond a tolerated part of the Hodges-Lehmann shift."""
    shift = float(np.median((candidate[:, None] - incumbent[None, :]).ravel()))
    if shift <= 0:
        return False
    moved = candidate - tolerance * shift
    p = stats.mannwhitneyu(moved, incumbent, alternative="greater", method="asymptotic").pvalue
    return bool(p < (1 - confidence) / 2)


def sprt(
    p0: float, p1: float, runs: int, rng: np.random.Generator, *, alpha: float = 0.05, limit: int = 20_000
) -> Array:
    """Requests until the test that knows both rates rejects, per run; `limit` where it never did."""
    gain, loss = np.log(p1 / p0), np.log((1 - p1) / (1 - p0))
    value, stopped = np.zeros(runs), np.full(runs, np.nan)
    done = 0
    while done < limit and np.isnan(stopped).any():
        block = min(500, limit - done)
        path = value[:, None] + np.cumsum(np.where(rng.random((runs, block)) < p1, gain, loss), axis=1)
        over = path > np.log(1 / alpha)
        first = over.argmax(1)
        hit = over.any(1) & np.isnan(stopped)
        stopped[hit] = done + first[hit] + 1
        value = path[:, -1]
        done += block
    return np.where(np.isnan(stopped), limit, stopped)
