"""How the figures of a regression eval are written, for terminals and pages alike. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

from understudy.core.signed import signed as with_sign


def points(score: float) -> str:
    """A score in [0, 1] in points of 100."""
    return "-" if math.isnan(score) else f"{100 * score:.1f}"


def signed(value: float) -> str:
    """A difference of two scores in points of 100, with its sign."""
    return "-" if math.isnan(value) else with_sign(100 * value, ".1f")


def change(ratio: float | None) -> str:
    """The candidate's figure over the incumbent's, as people say it."""
    if ratio is None:
        return "-"
    if 0 < ratio < 0.1:
        return f"÷ {1 / ratio:,.0f}"
    return f"x {ratio:,.1f}" if ratio >= 2 else f"{with_sign(100 * (ratio - 1), '.0f')} %"


def _money(value: float) -> str:
    return f"${value:.2f}" if value >= 0.1 else f"${value:.6f}".rstrip("0") if value else "$0"


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 1 else f"{1000 * value:.0f} ms"


def _count(value: float) -> str:
    return f"{value:,.0f}"


MEASURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "characters": ("characters, mean", _count),
    "output_tokens": ("output tokens, mean", _count),
    "latency_p50_s": ("latency, median", _seconds),
    "latency_p95_s": ("latency, 95th percentile", _seconds),
    "cost_usd": ("cost, mean", _money),
}
"""What is measured beside the score: in words, and how a value of it is written."""
