"""What a month of a workload's traffic costs with each variant, from what its exchanges and shadow copies cost. Pure.

A variant's mean cost an exchange is taken from its own answers, as served and as shadow, and applied to all traffic of
the workload: so a candidate that only ran in shadow is projected to the whole. Where the price of some answers is
unknown the mean is that of the others, and how many they are is said; where all are unknown there is no projection.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

MONTH_S = 30 * 86_400.0


class Spent(NamedTuple):
    """What one variant used in one role, summed; token counts are None where no answer told."""

    role: str
    variant: str
    exchanges: int
    priced: int
    cost_usd: float | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    first_at: float
    last_at: float


class Month(NamedTuple):
    """One variant serving all the traffic of a month. Token figures are means an exchange."""

    variant: str
    exchanges: float
    usd: float | None
    usd_per_exchange: float | None
    input_tokens: float | None
    output_tokens: float | None
    cached_tokens: float | None
    reasoning_tokens: float | None
    seen: int
    """Answers of this variant that the means are from."""
    priced: int
    """Those of them whose cost is known."""


def project(spent: Iterable[Spent]) -> list[Month]:
    """The projection for each variant, the dearest last; empty without served traffic over any time."""
    rows = list(spent)
    served = [row for row in rows if row.role == "served"]
    span = max((row.last_at for row in served), default=0.0) - min((row.first_at for row in served), default=0.0)
    if span <= 0:
        return []
    monthly = sum(row.exchanges for row in served) / span * MONTH_S
    months = [_month(name, [row for row in rows if row.variant == name], monthly) for name in {r.variant for r in rows}]
    return sorted(months, key=lambda month: (month.usd is None, month.usd or 0.0, month.variant))


def _month(variant: str, rows: list[Spent], monthly: float) -> Month:
    seen = sum(row.exchanges for row in rows)
    priced = sum(row.priced for row in rows)
    each = sum(row.cost_usd or 0.0 for row in rows) / priced if priced else None

    def mean(field: str) -> float | None:
        known = [row for row in rows if getattr(row, field) is not None]
        answers = sum(row.exchanges for row in known)
        return sum(getattr(row, field) for row in known) / answers if answers else None

    return Month(
        variant=variant,
        exchanges=monthly,
        usd=None if each is None else each * monthly,
        usd_per_exchange=each,
        input_tokens=mean("input_tokens"),
        output_tokens=mean("output_tokens"),
        cached_tokens=mean("cached_tokens"),
        reasoning_tokens=mean("reasoning_tokens"),
        seen=seen,
        priced=priced,
    )
