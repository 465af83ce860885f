"""How the figures of a comparison are written, for terminals and pages alike. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.core.lasting import lasting
from understudy.core.signed import signed
from understudy.drift.catalogue import FEATURES, Kind


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Feature, both values, the change with its interval, and the pairs, of a row as `Row.as_dict` gives it."""
    feature = FEATURES[row["feature"]]
    old, new = (_value(row["feature"], feature.kind is Kind.FLAG, row[side]) for side in ("incumbent", "candidate"))
    unit = {Kind.RATIO: (100.0, " %"), Kind.FLAG: (100.0, " pt"), Kind.DISTANCE: (100.0, " pt"), Kind.SCORE: (1.0, "")}
    factor, ending = unit[feature.kind]
    change = f"{_signed(row['effect'] * factor)}{ending}"
    between = f"{_signed(row['low'] * factor)} to {_signed(row['high'] * factor)}"
    return feature.words, old, new, change, between, f"{row['n']:,}"


def _value(name: str, is_rate: bool, value: float) -> str:
    if is_rate:
        return f"{100 * value:.1f} %"
    match name:
        case "latency" | "first_byte":
            return lasting(value)
        case "cost":
            return f"${value:.3g}"
        case "characters" | "words" | "tokens":
            return f"{value:,.0f}"
        case _:
            return f"{value:.2f}"


def _signed(value: float) -> str:
    return signed(value, ",.0f" if abs(value) >= 100 else ".1f")
