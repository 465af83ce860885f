"""What many tests at once may conclude: Holm and Benjamini-Hochberg on p-values, averages and e-BH on e-values."""

from __future__ import annotations

import math
from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values: comparing them with alpha bounds the chance of any false rejection.

    Valid under any dependence between the tests (Holm 1979).
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [1.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, running)
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (q-values): flagging those <= q bounds the expected share of false flags by q.

    Benjamini and Hochberg 1995; independent or positively dependent tests.
    """
    count = len(p_values)
    order = sorted(range(count), key=p_values.__getitem__, reverse=True)
    adjusted = [1.0] * count
    running = 1.0
    for place, index in enumerate(order):
        running = min(running, p_values[index] * count / (count - place))
        adjusted[index] = running
    return adjusted


def log_mean(log_e_values: Sequence[float]) -> float:
    """log of the arithmetic mean of e-values, itself an e-value for "all the nulls hold", under any dependence."""
    if not log_e_values:
        return 0.0
    top = max(log_e_values)
    if math.isinf(top):
        return top
    return top + math.log(math.fsum(math.exp(value - top) for value in log_e_values) / len(log_e_values))


def e_benjamini_hochberg(log_e_values: Sequence[float], rate: float) -> list[bool]:
    """Which of the nulls to reject, with a false discovery rate of at most `rate` under any dependence.

    Wang and Ramdas 2022: with e-values sorted descending, the largest k with k e_(k) / m >= 1 / rate.
    """
    count = len(log_e_values)
    order = sorted(range(count), key=log_e_values.__getitem__, reverse=True)
    rejected = 0
    for k, index in enumerate(order, start=1):
        if math.log(k / count) + log_e_values[index] >= -math.log(rate):
            rejected = k
    flags = [False] * count
    for index in order[:rejected]:
        flags[index] = True
    return flags
