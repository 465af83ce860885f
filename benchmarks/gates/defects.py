"""Defects to plant in an estimator: the calibration has to turn red over each, or it proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from benchmarks.gates import canaries, offline, traffic, twin

from understudy.core.evidence import BUCKETS
from understudy.gates.escalation import Rung
from understudy.gates.stats.drift import PairedSums


class Defect(NamedTuple):
    plant: Callable[[], None]
    scenario: str
    """What of the calibration must find it."""


def _requests_not_users() -> None:
    """A request's bucket is drawn anew each day, so that a user is many."""
    traffic.buckets = lambda users, rng: rng.integers(0, BUCKETS, users["bucket"].shape)


def _pooled_strata() -> None:
    """All days in one stratum."""
    twin.Running.close_stratum = lambda self: None  # type: ignore[method-assign]


def _evidence_without_a_price() -> None:
    """The likelihood ratio of the best effect, chosen after looking, in place of the mixture."""
    canaries.mean_fails = _best_effect


def _best_effect(look: Any, margin: float, alpha: float, *, lower: bool = False, min_units: int = 100) -> Any:
    worse = look["difference"] if lower else -look["difference"]
    z = worse / np.sqrt(look["variance"])
    return (look["n"] >= min_units) & (worse >= margin) & (0.5 * z * z >= np.log(1 / alpha)) & (z > 0)


def _full_alpha_at_each_look() -> None:
    """Rerun until it is decided, with all of alpha each time."""
    offline.SCHEDULE = tuple(Rung(rung.repeats, 0.1) for rung in offline.SCHEDULE)


def _pairs_not_users() -> None:
    """Drift with every pair a cluster of its own."""
    kept = offline._paired_sums

    def alone(values: Any, who: Any) -> PairedSums:
        return kept(values, np.arange(len(values)) % BUCKETS)

    offline._paired_sums = alone


def _no_correction() -> None:
    """Every slice of an eval tested at all of alpha."""
    from understudy.gates import paired

    paired.holm = lambda values: list(values)


PLANTED = {
    "requests-not-users": Defect(_requests_not_users, "100 users, ICC .1"),
    "pooled-strata": Defect(_pooled_strata, "pooled ramp"),
    "evidence-without-a-price": Defect(_evidence_without_a_price, "a look after every request, 25"),
    "full-alpha-at-each-look": Defect(_full_alpha_at_each_look, "eval reruns"),
    "pairs-not-users": Defect(_pairs_not_users, "drift length, 100 pairs a slice, even"),
    "no-correction": Defect(_no_correction, "eval equal K=5"),
}
