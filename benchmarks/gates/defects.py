"""Defects to plant in an estimator: the calibration has to turn red over each, or it proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
    scale: float = 0.2
    """Part of the runs that is enough."""


def _requests_not_users() -> None:
    """A request's bucket is drawn anew each day, so that a user is many."""
    traffic.buckets = lambda users, rng: rng.integers(0, BUCKETS, users["bucket"].shape)


def _pooled_strata() -> None:
    """All days in one stratum."""
    twin.Running.close_stratum = lambda self: None  # type: ignore[method-assign]


def _a_test_for_one_look() -> None:
    """The usual test at 5 %, one-sided, in place of the e-value."""
    canaries.mean_fails = _significant


def _significant(look: Any, margin: float, alpha: float, *, lower: bool = False, min_units: int = 100) -> Any:
    worse = look["difference"] if lower else -look["difference"]
    return (look["n"] >= min_units) & (worse >= margin) & (worse > 1.645 * np.sqrt(look["variance"]))


def _full_alpha_at_each_look() -> None:
    """Rerun until it is decided, each time with all the alpha there is, both sides of it."""
    schedule = tuple(Rung(rung.repeats, 0.1) for rung in offline.SCHEDULE)
    offline.compare_at = partial(offline.compare_at, schedule=schedule)


def _pairs_not_users() -> None:
    """Drift with every pair a cluster of its own."""
    kept = offline._paired_sums

    def alone(values: Any, who: Any) -> PairedSums:
        return kept(values, np.arange(len(values)) % BUCKETS)

    offline._paired_sums = alone


def _no_correction() -> None:
    """Every slice of an eval tested at all of alpha."""
    from understudy.gates import paired

    paired.holm = list  # type: ignore[assignment]


PLANTED = {
    "requests-not-users": Defect(_requests_not_users, "100 users, ICC .1"),
    "pooled-strata": Defect(_pooled_strata, "carried errors"),
    "a-test-for-one-look": Defect(_a_test_for_one_look, "a look after every request, 25"),
    "full-alpha-at-each-look": Defect(_full_alpha_at_each_look, "eval reruns", 0.1),
    "pairs-not-users": Defect(_pairs_not_users, "drift length, 100 pairs a slice, even"),
    "no-correction": Defect(_no_correction, "eval equal K=5"),
}
