"""The sentences a product owner reads: one a gate, one for all of them. Decides nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from understudy.core.lasting import lasting
from understudy.core.playbook import Verdict
from understudy.core.signed import signed
from understudy.gates.gate import Gate, GateVerdict


def amount(gate: Gate, value: float) -> str:
    """A difference in the metric's own unit: points for shares and scores, per cent for logarithms."""
    match scale_of(gate):
        case "percent":
            return f"{signed(100 * math.expm1(value), '.1f')} %"
        case "points":
            return f"{signed(100 * value, '.2f')} points"
        case _:
            return signed(value, ".4g")


def scale_of(gate: Gate) -> str:
    """What a difference is counted in: "percent" for logarithms, "points" for shares and scores, else "unit"."""
    if gate.kind == "log_mean":
        return "percent"
    return "points" if gate.events or (gate.margin is not None and gate.margin <= 0.2) else "unit"


def level(gate: Gate, value: float) -> str:
    """The metric itself, for one arm."""
    if gate.kind == "log_mean":
        return f"{math.exp(value):.4g}"
    return f"{100 * value:.2f} %" if gate.events else f"{value:.4g}"


def _seen(gate: Gate, old: float, new: float, n: int) -> str:
    if gate.kind == "exceedance":
        beyond = f"{level(gate, old)} of the incumbent's and {level(gate, new)} of the candidate's {n:,} values"
        return f"{beyond} are beyond what used to be the incumbent's"
    return f"{level(gate, old)} with the incumbent, {level(gate, new)} with the candidate, over {n:,} of its values"


def gate_sentence(
    gate: Gate,
    name: str,
    verdict: Verdict,
    *,
    levels: tuple[float, float],
    interval: tuple[float, float, float],
    tolerated: float,
    n: int,
    missing: Sequence[str],
) -> str:
    """What one gate found; `levels` are incumbent and candidate, `interval` low, estimate and high."""
    where = f"{gate.metric} in {name}" if name else gate.metric
    old, new = levels
    if not (math.isfinite(old) and math.isfinite(new)):
        return f"{where}: nothing to compare yet ({'; '.join(missing) or 'no data'})."
    low, estimate, high = interval
    seen = _seen(gate, old, new, n)
    span = f" ({amount(gate, estimate)}; between {amount(gate, low)} and {amount(gate, high)})"
    if not (math.isfinite(low) and math.isfinite(high)):
        span = f" ({amount(gate, estimate)}, no telling how far off)"
    match verdict:
        case Verdict.FAIL:
            return f"{where}: worse. {seen}{span}."
        case Verdict.PASS:
            limit = amount(gate, tolerated).lstrip("+")
            return f"{where}: no more than {limit} worse. {seen}{span}."
        case _:
            return f"{where}: undecided. {seen}{span}. Missing: {'; '.join(missing)}."


def panel_sentence(verdict: Verdict, gates: Sequence[GateVerdict], decidable_in_s: float | None) -> str:
    """What all gates found together."""
    match verdict:
        case Verdict.FAIL:
            return " ".join(gate.sentence for gate in gates if gate.verdict is Verdict.FAIL)
        case Verdict.PASS:
            passed = sum(gate.required for gate in gates)
            return f"All {passed} required gates pass."
        case _:
            waiting = [gate for gate in gates if gate.required and gate.verdict is not Verdict.PASS]
            names = ", ".join(f"{g.metric} in {g.slice}" if g.slice else g.metric for g in waiting[:5])
            when = "" if decidable_in_s is None else f"; about {lasting(decidable_in_s)} more at the present traffic"
            return f"No gate fails, {len(waiting)} of {sum(g.required for g in gates)} are undecided: {names}{when}."
