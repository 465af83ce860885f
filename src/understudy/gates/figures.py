"""How the figures of a gate are written, for terminals and pages alike. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.core.signed import signed

FINE_SCALE = 0.2
"""Up to this margin a mean is taken for a score from 0 to 1 and shown in points, as the sentences do."""


def amount(gate: Mapping[str, Any], value: float) -> str:
    """A difference without its unit."""
    match unit(gate):
        case " %":
            return signed(100 * math.expm1(value), ".1f")
        case " pt":
            return signed(100 * value, ".2f")
        case _:
            return signed(value, ".3g")


def unit(gate: Mapping[str, Any]) -> str:
    """Points for shares and scores, per cent for means of logarithms, none for the rest."""
    if gate["kind"] == "log_mean":
        return " %"
    scored = gate["tolerated"] is not None and gate["tolerated"] <= FINE_SCALE
    return " pt" if gate["kind"] in ("count", "exceedance") or scored else ""


def scale_of(gates: Sequence[Mapping[str, Any]], metric: str) -> Mapping[str, Any]:
    """The gate whose unit all of a metric's have: the one over all traffic, as slices have margins of their own.

    Where that one has no margin yet, the first that has one.
    """
    of_metric = [gate for gate in gates if gate["metric"] == metric]
    return min(of_metric, key=lambda gate: (gate["tolerated"] is None, gate["slice"] != ""))
