"""How the figures of a gate are written, for terminals and pages alike. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

FINE_SCALE = 0.2
"""Up to this margin a mean is taken for a score from 0 to 1 and shown in points, as the sentences do."""


def amount(gate: Mapping[str, Any], value: float) -> str:
    """A difference without its unit."""
    match unit(gate):
        case " %":
            return f"{100 * math.expm1(value):+.1f}"
        case " pt":
            return f"{100 * value:+.2f}"
        case _:
            return f"{value:+.3g}"


def unit(gate: Mapping[str, Any]) -> str:
    """Points for shares and scores, per cent for means of logarithms, none for the rest."""
    if gate["kind"] == "log_mean":
        return " %"
    scored = gate["tolerated"] is not None and gate["tolerated"] <= FINE_SCALE
    return " pt" if gate["kind"] in ("count", "exceedance") or scored else ""
