"""How a panel of gates looks in a terminal: a line a gate, slices only where they matter.

The full evidence of every gate and slice stays in `upgrade status --json`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from understudy.cli.output import plain, table
from understudy.core.playbook import Verdict
from understudy.gates.figures import amount, scale_of, unit

MARKS = {
    Verdict.PASS: ("✓ pass", "green"),
    Verdict.FAIL: ("✗ fail", "bold red"),
    Verdict.INCONCLUSIVE: ("? inconclusive", "yellow"),
}
Gates = Sequence[Mapping[str, Any]]


def gates_table(gates: Gates, tracked: Collection[str]) -> list[Any]:
    """A row for each gate over all traffic, and below it the slices that fail, or that are watched and still open."""
    from rich.text import Text

    if not gates:
        return []
    rows: list[list[object]] = []
    for metric in dict.fromkeys(gate["metric"] for gate in gates):
        of_metric = [gate for gate in gates if gate["metric"] == metric]
        scale = scale_of(gates, metric)
        shown = sorted((gate for gate in of_metric if _worth(gate, tracked)), key=lambda gate: gate["slice"])
        rows += [_row(gate, scale) for gate in shown]
    right = ("change", "between", "allowed", "n")
    columns: list[str | tuple[str, str]] = ["gate", *((name, "right") for name in right), "verdict"]
    lines: list[Any] = [table("", columns, rows)]
    slices = dict.fromkeys(gate["slice"] for gate in gates if gate["slice"])
    if slices:
        lines.append(Text(_about_slices(gates, list(slices), tracked), style="dim"))
    return lines


def _worth(gate: Mapping[str, Any], tracked: Collection[str]) -> bool:
    if not gate["slice"] or gate["verdict"] == Verdict.FAIL:
        return True
    return _watched(gate, tracked) and gate["verdict"] == Verdict.INCONCLUSIVE


def _watched(gate: Mapping[str, Any], tracked: Collection[str]) -> bool:
    """Critical, or accepted with a waiver; a suite calls `refund` what traffic calls `ticket=refund`."""
    return bool(gate["critical"]) or gate["slice"] in tracked or gate["slice"].partition("=")[2] in tracked


def _row(gate: Mapping[str, Any], scale: Mapping[str, Any]) -> list[object]:
    from rich.text import Text

    word, style = MARKS[Verdict(gate["verdict"])]
    name = gate["metric"] if not gate["slice"] else f"  {gate['slice']}{' !' if gate['critical'] else ''}"
    low, high, tolerated = gate["low"], gate["high"], gate["tolerated"]
    between = "-" if low is None or high is None else f"{amount(scale, low)} to {amount(scale, high)}"
    allowed = "-" if tolerated is None else amount(scale, tolerated).lstrip("+") + unit(scale)
    change = "-" if gate["estimate"] is None else amount(scale, gate["estimate"]) + unit(scale)
    return [name, change, between, allowed, f"{gate['n']:,}", Text(word, style)]


def _about_slices(gates: Gates, slices: Sequence[str], tracked: Collection[str]) -> str:
    """What the rows leave out."""
    watched = [name for name in slices if any(g["slice"] == name and _watched(g, tracked) for g in gates)]
    failing = {gate["slice"] for gate in gates if gate["slice"] and gate["verdict"] == Verdict.FAIL}
    passing = [n for n in watched if all(g["verdict"] == Verdict.PASS for g in gates if g["slice"] == n)]
    said = f"{len(slices)} slices, {len(failing) or 'none'} failing"
    if passing:
        said += f"; every gate passes on {', '.join(plain(name) for name in passing)}"
    return f"{said} (each one: --json)"
