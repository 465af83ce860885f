"""Arranges the documents for the pages: stages as a path, gates by metric with their drawings, figures by arm. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from understudy.core.playbook import QUESTIONS, Stage, Verdict
from understudy.core.signed import signed
from understudy.dashboard import charts
from understudy.dashboard.charts import Exposed
from understudy.dashboard.words import clock, dollars, percent, seconds
from understudy.drift.figures import cells
from understudy.gates.figures import amount, scale_of, unit
from understudy.gates.lines import missing_lines, tail_lines

PATH = tuple(QUESTIONS)
DRIFT = ("feature", "incumbent", "candidate", "change", "between", "n")
REACH = 2.5
"""A drawing of intervals reaches so many times as far as what is tolerated, unless all of them are wider."""


class Stop(NamedTuple):
    """One stage on the path: `state` is done, now, ended, skipped or ahead."""

    stage: str
    question: str
    state: str
    note: str


def path(status: Mapping[str, Any], changes: Sequence[Mapping[str, Any]]) -> list[Stop]:
    """The five stages of an upgrade, with what became of each; `changes` are all events of its journal."""
    upgrade = status["upgrade"]
    seen = [change["stage"] for change in changes]
    here = upgrade["stage"]
    over = upgrade["ended_at"] is not None
    last = next((stage for stage in reversed(seen) if stage in PATH), None) if over else None
    stops = []
    for stage in PATH:
        if stage == here or (stage is Stage.REGRESS and here == Stage.DRAFT):
            state = "now"
        elif here == Stage.DONE:
            state = "done" if stage in seen else "skipped"
        elif stage == last:
            state = "ended"
        elif stage in seen:
            state = "done"
        else:
            reached = here if here in PATH else last
            at = PATH.index(Stage(reached)) if reached else 0
            state = "skipped" if PATH.index(stage) < at else "ahead"
        note = ""
        if stage is Stage.CANARY and state == "now":
            note = percent(upgrade["share"])
        stops.append(Stop(str(stage), QUESTIONS[stage], state, note))
    return stops


class Rung(NamedTuple):
    """A step of the ladder: `state` is done, now or ahead."""

    share: str
    state: str


def ladder(upgrade: Mapping[str, Any]) -> list[Rung]:
    """The ladder of the canary with the present step."""
    here = upgrade["share"]
    return [
        Rung(percent(share), "now" if share == here else "done" if share < here else "ahead")
        for share in upgrade["ladder"]
    ]


class Row(NamedTuple):
    """A comparison as a line of a table, with its drawing."""

    name: str
    verdict: str
    change: str
    between: str
    allowed: str
    n: str
    drawing: Markup
    sentence: str
    critical: bool


class Group(NamedTuple):
    """A metric: over all traffic, and slice by slice."""

    metric: str
    whole: Row | None
    slices: list[Row]
    failing: int
    undecided: int


def gates(assessment: Mapping[str, Any] | None) -> list[Group]:
    """The gates of the latest assessment, by metric; every slice is there."""
    found = assessment["details"].get("gates", ()) if assessment else ()
    groups = []
    for metric in dict.fromkeys(gate["metric"] for gate in found):
        of_metric = [gate for gate in found if gate["metric"] == metric]
        scale = scale_of(found, metric)
        rows = [(gate, _gate(gate, scale, _reach(of_metric))) for gate in of_metric]
        slices = [row for gate, row in rows if gate["slice"]]
        groups.append(
            Group(
                metric,
                next((row for gate, row in rows if not gate["slice"]), None),
                sorted(slices, key=lambda row: (not row.critical, row.name)),
                sum(row.verdict == Verdict.FAIL for row in slices),
                sum(row.verdict == Verdict.INCONCLUSIVE for row in slices),
            )
        )
    return groups


def _reach(gates: Sequence[Mapping[str, Any]]) -> float:
    """How far the drawings of one metric reach, so that all of them have the same scale."""
    allowed = [gate["tolerated"] for gate in gates if gate["tolerated"]]
    bounds = [
        abs(gate[side]) for gate in gates for side in ("low", "high") if gate[side] is not None and not gate["slice"]
    ]
    widest = max([*bounds, *allowed], default=0.0)
    return max(widest, min(allowed) * REACH if allowed else 0.0, 1e-12)


def _gate(gate: Mapping[str, Any], scale: Mapping[str, Any], reach: float) -> Row:
    low, high, estimate, tolerated = gate["low"], gate["high"], gate["estimate"], gate["tolerated"]
    drawing = Markup("")
    if low is not None and high is not None and estimate is not None:
        # Verdicts of former versions do not say which way is better: of theirs only means were better above.
        higher = gate.get("direction", "higher" if gate["kind"] == "mean" else "lower") == "higher"
        bounds = (low, estimate, high) if higher else (-high, -estimate, -low)
        drawing = charts.interval(*bounds, tolerated, reach, gate["sentence"])
    ending = unit(scale)
    return Row(
        gate["slice"] or "all traffic",
        gate["verdict"],
        "-" if estimate is None else amount(scale, estimate) + ending,
        "-" if low is None or high is None else f"{amount(scale, low)} to {amount(scale, high)}",
        "-" if tolerated is None else amount(scale, tolerated).lstrip("+") + ending,
        f"{gate['n']:,}",
        drawing,
        gate["sentence"],
        bool(gate["critical"]),
    )


def evaluation(found: Mapping[str, Any] | None) -> list[Row]:
    """The regression eval: all cases first, then each slice."""
    if found is None:
        return []
    rows = [found["aggregate"], *found["slices"]]
    margins = [row["margin"] for row in rows if row.get("margin")]
    reach = max(
        [*(abs(row[side]) for row in rows for side in ("low", "high") if row[side] is not None), *margins], default=1
    )
    return [_case_row(row, max(reach, 1e-12)) for row in rows]


def _case_row(row: Mapping[str, Any], reach: float) -> Row:
    low, high, difference = row["low"], row["high"], row["difference"]
    name = row["slice"] or "all cases"
    known = low is not None and high is not None and difference is not None
    between = f"{signed(100 * low, '.1f')} to {signed(100 * high, '.1f')}" if known else "-"
    change = f"{signed(100 * difference, '.1f')} pt" if known else "-"
    scores = " to ".join("-" if row[side] is None else f"{100 * row[side]:.1f}" for side in ("incumbent", "candidate"))
    sentence = f"{name}: {scores}, {change}, between {between}, {row['verdict']}"
    drawing = charts.interval(low, difference, high, row["margin"], reach, sentence) if known else Markup("")
    allowed = f"{100 * row['margin']:.2g} pt" if row.get("margin") is not None else "-"
    return Row(name, row["verdict"], change, between, allowed, f"{row['n']:,}", drawing, scores, bool(row["critical"]))


def waits_for(assessment: Mapping[str, Any] | None) -> list[str]:
    """What an upgrade waits for, a line for each kind of thing."""
    if assessment is None:
        return []
    return missing_lines(assessment["missing"], assessment["details"].get("gates", ()))


def tails(assessment: Mapping[str, Any] | None) -> list[str]:
    """What the watch over the cycles of a soak says."""
    return tail_lines(assessment["details"].get("tails", ())) if assessment else []


def exposure(upgrade: Mapping[str, Any], changes: Sequence[Mapping[str, Any]], now: float) -> Markup | None:
    """The candidate's share over time; None where it never had any. `changes` are all events of the journal."""
    steps = [Exposed(upgrade["started_at"], 0.0)]
    for change in changes:
        share = change["share"] if change["event"] not in ("rolled_back", "aborted", "blocked") else 0.0
        if share != steps[-1].share:
            steps.append(Exposed(max(change["at"], steps[-1].at), share))
    if len(steps) == 1:
        return None
    until = max(upgrade["ended_at"] or now, steps[-1].at)
    words = "; ".join(f"{percent(step.share)} from {clock(step.at)}" for step in steps)
    return charts.exposure(
        steps, until, f"Share of the candidate over time: {words}", (clock(steps[0].at), f"{clock(until)} UTC")
    )


class Arm(NamedTuple):
    """One arm on one slice."""

    slice: str
    arm: str
    exchanges: str
    failures: str
    p50: str
    p99: str
    first: str
    cost: str
    drawing: Markup


def arms(rows: Sequence[Mapping[str, Any]]) -> list[Arm]:
    """Latency, cost and failures by slice and arm; all traffic first."""
    ordered = sorted(rows, key=lambda row: (row["slice"] != "", row["slice"], row["arm"] != "incumbent"))
    reach = max([row["latency_p99_s"] for row in rows if row["latency_p99_s"]], default=1.0)
    return [
        Arm(
            row["slice"] or "all traffic",
            row["arm"],
            f"{row['exchanges']:,}",
            f"{row['errors']:,} ({100 * row['errors'] / row['exchanges']:.2g} %)" if row["exchanges"] else "-",
            seconds(row["latency_p50_s"]),
            seconds(row["latency_p99_s"]),
            seconds(row["ttft_p50_s"]),
            # An unknown price is no price: the mean is over the answers whose cost is known.
            dollars(row["cost_usd"] / row["priced"] if row["priced"] and row["cost_usd"] is not None else None),
            _latency(row, reach),
        )
        for row in ordered
    ]


def _latency(row: Mapping[str, Any], reach: float) -> Markup:
    p50, p99 = row["latency_p50_s"], row["latency_p99_s"]
    if p50 is None or p99 is None:
        return Markup("")
    label = f"{row['arm']} on {row['slice'] or 'all traffic'}: half within {seconds(p50)}, 99 % within {seconds(p99)}"
    return charts.latency(p50, p99, reach, row["arm"], label)


def drift(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The rows of a shadow report by slice, all traffic first, as they are written."""
    slices = dict.fromkeys(row["slice"] for row in rows)
    return [
        (
            name or "all traffic",
            [
                {**dict(zip(DRIFT, cells(row), strict=True)), "flagged": row["flagged"]}
                for row in rows
                if row["slice"] == name
            ],
        )
        for name in slices
    ]
