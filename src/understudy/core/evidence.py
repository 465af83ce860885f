"""What the ledger hands to the gates: sums that can be added in any order, one row a (stratum, arm, slice, bucket)."""

from __future__ import annotations

from typing import NamedTuple

BUCKETS = 256
"""Analysis buckets a unit can fall in; drawn with a salt of their own, so they are independent of the arm."""

ALL_SLICES = ""
"""The slice name of the aggregate over all traffic."""


class Stratum(NamedTuple):
    """What is compared with what: both arms within one cycle of one step of one stage.

    Adding up over a ramp first and comparing afterwards is Simpson's paradox (99.9 % false rollbacks, simulated).
    """

    stage: str
    step: int
    period: int
    """floor(started_at / cycle_s)."""


class Sums(NamedTuple):
    """Sums of one metric over one analysis bucket; rows with equal keys add up.

    For a mean and an exceedance `n` counts values and `total` adds them (an exceedance is 0 or 1); for a count `n` is
    the number of units seen and `total` that of units with an event. `units` is the number of distinct units, 0 where
    nobody counted them.
    """

    metric: str
    stratum: Stratum
    arm: str
    slice: str
    """"key=value", or ALL_SLICES."""
    bucket: int
    n: int
    total: float
    squares: float
    units: int = 0


class Finding(NamedTuple):
    """Something a person should know about an upgrade, in a sentence, with the slice and figures it speaks of."""

    kind: str
    slice: str
    sentence: str
    figures: dict[str, float]
