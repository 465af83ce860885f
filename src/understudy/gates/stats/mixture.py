"""Evidence about a mean that may be looked at whenever one likes: the one-sided normal mixture and its interval.

The likelihood ratio of an effect z = excess / sqrt(variance), averaged over a half-normal prior of the given scale on
the effect, is an e-value: under the null it exceeds 1 / alpha at any time with a chance of at most alpha (Robbins
1970; Howard, Ramdas, McAuliffe and Sekhon 2021, one-sided normal mixture). With an estimated variance the statement
is asymptotic (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024).
"""

from __future__ import annotations

import math
from functools import lru_cache

from understudy.gates.stats.distributions import normal_log_cdf


def log_e(excess: float, variance: float, scale: float, beyond: float = 0.0) -> float:
    """log e-value against "the true excess is at most 0". Raises ValueError where variance or scale is not positive.

    `beyond` cuts the prior off below an excess that would not count anyway: all bets go to excesses above it. The
    likelihood ratio of each of them is an e-value of the same null, so the average stays one; it only grows sooner
    where such an excess is there.
    """
    if not (variance > 0 and scale > 0):
        raise ValueError(f"variance and scale must be positive, they are {variance} and {scale}")
    if math.isinf(variance):
        return 0.0
    prior = scale * scale
    shrink = prior / (variance + prior)
    z = excess / math.sqrt(variance)
    odds = 0.5 * math.log(variance / (variance + prior))
    spread = math.sqrt(variance * shrink)
    kept = normal_log_cdf((excess * shrink - beyond) / spread) - normal_log_cdf(-beyond / scale)
    return odds + 0.5 * z * z * shrink + kept


def radius(variance: float, scale: float, alpha: float) -> float:
    """Half width of the two-sided 1 - alpha interval that holds at all looks together; infinite without evidence."""
    prior = scale * scale
    if not math.isfinite(variance):
        return math.inf
    return math.sqrt(variance * (variance + prior) / prior * math.log((variance + prior) / (variance * alpha * alpha)))


def variance_needed(gap: float, scale: float, threshold: float) -> float:
    """The largest variance at which an estimate `gap` above the null reaches a log e-value of `threshold`."""
    return gap * gap * _needed(scale / gap, threshold)


@lru_cache(maxsize=1024)
def _needed(scale: float, threshold: float) -> float:
    """For a gap of 1, by bisection of the logarithm: the e-value falls as the variance grows."""
    low, high = -60.0, 10.0
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if log_e(1.0, math.exp(middle), scale) >= threshold else (low, middle)
    return math.exp(low)
