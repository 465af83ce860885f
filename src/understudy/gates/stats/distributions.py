"""Normal and Student t probabilities to double precision, on `math` alone; what they are used for is elsewhere."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_SQRT2 = math.sqrt(2.0)
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_STANDARD = NormalDist()


def normal_cdf(x: float) -> float:
    """P(Z <= x); accurate in the lower tail, where 1 - P would lose all digits."""
    return 0.5 * math.erfc(-x / _SQRT2)


def normal_log_cdf(x: float) -> float:
    """log P(Z <= x), finite far beyond where the probability itself underflows."""
    if x > -25.0:
        return math.log(0.5 * math.erfc(-x / _SQRT2))
    # Asymptotic series of Mills' ratio; at -25 the first term left out is below 1e-8 of the result.
    inverse = 1.0 / (x * x)
    series = 1.0 - inverse * (1.0 - inverse * (3.0 - inverse * (15.0 - 105.0 * inverse)))
    return -0.5 * x * x - _HALF_LOG_2PI - math.log(-x) + math.log(series)


def normal_quantile(p: float) -> float:
    """The x with P(Z <= x) = p. Raises ValueError outside 0 < p < 1."""
    if not 0.0 < p < 1.0:
        raise ValueError(f"a probability must lie between 0 and 1, not {p}")
    return _STANDARD.inv_cdf(p)


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function (DLMF 8.17.22), by the modified Lentz method."""
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        step = 1.0
        for term in (even, odd):
            d = 1.0 + term * d
            c = 1.0 + term / c
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = c if abs(c) > tiny else tiny
            step = c * d
            value *= step
        if abs(step - 1.0) < 1e-15:
            break
    return value


def beta_cdf(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1.0) / (a + b + 2.0):
        return math.exp(log_front) * _beta_fraction(a, b, x) / a
    return 1.0 - math.exp(log_front) * _beta_fraction(b, a, 1.0 - x) / b


def t_cdf(x: float, freedom: float) -> float:
    """P(T <= x) for Student's t. Raises ValueError for freedom <= 0."""
    if freedom <= 0:
        raise ValueError(f"Student's t needs more than 0 degrees of freedom, not {freedom}")
    if math.isinf(x):
        return 1.0 if x > 0 else 0.0
    tail = 0.5 * beta_cdf(freedom / 2.0, 0.5, freedom / (freedom + x * x))
    return 1.0 - tail if x > 0 else tail


@lru_cache(maxsize=4096)
def t_quantile(p: float, freedom: float) -> float:
    """The x with P(T <= x) = p, by bisection in the lower tail. Raises ValueError outside 0 < p < 1."""
    if not 0.0 < p < 1.0:
        raise ValueError(f"a probability must lie between 0 and 1, not {p}")
    if p == 0.5:
        return 0.0
    if p > 0.5:
        return -t_quantile(1.0 - p, freedom)
    low = -1.0
    while t_cdf(low, freedom) > p:
        low *= 2.0
    high = 0.0
    while high - low > 1e-12 * max(1.0, -low):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if t_cdf(middle, freedom) < p else (low, middle)
    return 0.5 * (low + high)
