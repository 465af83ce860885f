"""Paired differences of a fixed sample: McNemar and Tango for right or wrong, moments for scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from understudy.gates.stats.distributions import normal_quantile


class Interval(NamedTuple):
    """Both ends of a confidence interval, in the unit of what was estimated."""

    low: float
    high: float


class McNemar(NamedTuple):
    """p-values of b against c discordant pairs; `one` and `one_mid` are against "not more c than b"."""

    one: float
    one_mid: float
    two: float
    two_mid: float


def _binomial_tail(count: int, least: int) -> tuple[float, float]:
    """P(X >= least) and P(X = least) of a fair coin thrown `count` times."""
    log_total = count * math.log(2.0)
    log_fact = math.lgamma(count + 1)

    def mass(k: int) -> float:
        return math.exp(log_fact - math.lgamma(k + 1) - math.lgamma(count - k + 1) - log_total)

    if least > count:
        return 0.0, 0.0
    if 2 * least <= count:
        return 1.0 - math.fsum(mass(k) for k in range(least)), mass(least)
    return math.fsum(mass(k) for k in range(least, count + 1)), mass(least)


def mcnemar(gained: int, lost: int) -> McNemar:
    """Exact and mid-p McNemar; `gained` pairs only the second got right, `lost` pairs only the first got right.

    Fagerland, Lydersen and Laake 2013. With no discordant pair every p-value is 1.
    """
    count = gained + lost
    if count == 0:
        return McNemar(1.0, 1.0, 1.0, 1.0)
    one, mass = _binomial_tail(count, lost)
    extreme, edge = _binomial_tail(count, max(gained, lost))
    two = min(1.0, 2.0 * extreme)
    return McNemar(one, one - 0.5 * mass, two, 1.0 if gained == lost else two - edge)


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    """The zero of a decreasing function between its brackets, by bisection to the last bits."""
    for _ in range(60):
        middle = 0.5 * (low + high)
        if f(middle) > 0:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def tango(gained: int, lost: int, pairs: int, alpha: float) -> Interval:
    """Score interval of the difference (gained - lost) / pairs, two-sided 1 - alpha (Tango 1998).

    Never empty and never of zero width, also without a single discordant pair. Raises ValueError without pairs.
    """
    if pairs <= 0:
        raise ValueError("a difference needs at least one pair")
    z = normal_quantile(1.0 - alpha / 2.0)

    def statistic(delta: float) -> float:
        b = (2 * pairs - gained + lost) * delta - gained - lost
        root = math.sqrt(max(b * b + 8.0 * pairs * lost * delta * (1.0 - delta), 0.0))
        q = (root - b) / (4.0 * pairs)
        variance = pairs * (2.0 * q + delta * (1.0 - delta))
        excess = gained - lost - pairs * delta
        if variance <= 1e-14:
            return math.copysign(math.inf, excess) if abs(excess) > 1e-9 else 0.0
        return excess / math.sqrt(variance)

    estimate = (gained - lost) / pairs
    edge = 1e-10
    low, high = -1.0, 1.0
    if statistic(-1.0 + edge) >= z and estimate > -1.0:
        low = _root(lambda d: statistic(d) - z, -1.0 + edge, estimate)
    if statistic(1.0 - edge) <= -z and estimate < 1.0:
        high = _root(lambda d: statistic(d) + z, estimate, 1.0 - edge)
    return Interval(low, high)


def sample_size(between: float, within: float, repeats: float, gap: float, *, alpha: float, power: float) -> float:
    """Pairs needed so that a difference `gap` away from the bound is resolved (Miller 2024, power formula).

    `between` is the variance of the cases' true differences, `within` the sum of both arms' variances of one answer.
    One-sided alpha. Infinite where the gap is not positive.
    """
    if gap <= 0:
        return math.inf
    z = normal_quantile(1.0 - alpha) + normal_quantile(power)
    return z * z * (between + within / repeats) / (gap * gap)
