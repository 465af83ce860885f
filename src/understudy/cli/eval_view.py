"""How a regression eval looks in a terminal: scores and intervals by slice, what else changed, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from itertools import compress
from typing import TYPE_CHECKING

from understudy.cli.output import plain
from understudy.core.playbook import Outcome, Verdict
from understudy.evals.figures import MEASURES, change, points, signed

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from understudy.cli.fitting import Fitting
    from understudy.evals.prompts import SideBySide
    from understudy.evals.result import EvalResult
    from understudy.evals.scoring import Example, Measure
    from understudy.gates.paired import SliceComparison

_CHART = 25
_NEEDS = 8
_SCALES = (2, 5, 10, 20, 50, 100)
_VERDICTS = {
    Verdict.FAIL: ("✗ fail", "bold red"),
    Verdict.INCONCLUSIVE: ("? inconclusive", "yellow"),
    Verdict.PASS: ("✓ pass", "green"),
}
_ORDER = list(_VERDICTS)
_OUTCOMES = {
    Outcome.PROCEED: "bold green",
    Outcome.CAUTION: "bold yellow",
    Outcome.RETUNE: "bold red",
    Outcome.STOP: "bold red",
    Outcome.INCONCLUSIVE: "bold yellow",
}


def show(console: Console, result: EvalResult, changed: SideBySide) -> None:
    """Print a result. Text that came from models or files is printed as plain text."""
    _heading(console, result)
    console.print(scores(result, console.width))
    console.print(also(result.measures))
    if changed.prompt:
        _prompts(console, changed)
    if result.examples:
        _examples(console, result.examples)
    console.print()
    outcome = result.outcome
    console.print(_joined((outcome.value.upper(), _OUTCOMES[outcome]), (result.comparison.sentence, "")))
    if outcome is Outcome.INCONCLUSIVE:
        _needs(console, result)
    else:
        # A line each: one that is longer than the terminal would break a command in two.
        for step in result.next_steps:
            console.print(plain(step), markup=False)


def scores(result: EvalResult, width: int) -> Table:
    """One row a slice, the aggregate first, then what failed, then what cannot be told; in points of 100. What
    does not fit into `width` columns is left out: first the drawing, then the scores, then the interval.
    """
    drawing, figures, interval = {"drawing"}, {"n", "incumbent", "candidate"}, {"interval"}
    for without in (set(), drawing, drawing | figures):
        made = _scores(result, without)
        if made.least() <= width:
            return made
    return _scores(result, drawing | figures | interval)


def _scores(result: EvalResult, without: Collection[str]) -> Fitting:
    from rich import box
    from rich.text import Text

    from understudy.cli.fitting import Fitting

    comparison = result.comparison
    ordered = sorted(comparison.slices, key=lambda row: (_ORDER.index(row.verdict), _or_zero(row.difference)))
    rows = [comparison.aggregate, *ordered]
    span = _span(rows)
    level = f"{100 * (1 - 2 * comparison.alpha):g} %"
    names = ("slice", "n", "incumbent", "candidate", "change", "interval", "drawing", "verdict")
    headings = {"interval": f"{level} interval", "drawing": _axis(span)}
    shown = [name not in without for name in names]
    made = Fitting(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in compress(names, shown):
        left = name in {"slice", "drawing", "verdict"}
        made.add_column(
            headings.get(name, name), justify="left" if left else "right", no_wrap=name != "slice", overflow="fold"
        )
    for row in rows:
        words, style = _VERDICTS[row.verdict]
        cells: tuple[Text | str, ...] = (
            _name(row),
            f"{row.n:,}",
            points(row.incumbent),
            points(row.candidate),
            signed(row.difference),
            f"{signed(row.low)} to {signed(row.high)}" if row.n else "-",
            _whisker(row, span, style),
            Text(words, style=style),
        )
        made.add_row(*compress(cells, shown), end_section=row is comparison.aggregate and len(rows) > 1)
    return made


def also(measures: Iterable[Measure]) -> Table:
    """Length, latency and cost: never what decides an eval, always what somebody will ask."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    made.add_column("per answer")
    for heading in ("incumbent", "candidate", "change"):
        made.add_column(heading, justify="right", no_wrap=True)
    for measure in measures:
        name, form = MEASURES[measure.name]
        known = measure.incumbent is not None and measure.candidate is not None
        shown = [form(measure.incumbent or 0.0), form(measure.candidate or 0.0)] if known else ["unknown", "unknown"]
        made.add_row(f"{name} ({measure.source})" if measure.source else name, *shown, change(measure.ratio))
    return made


def _heading(console: Console, result: EvalResult) -> None:
    for role, variant in (("incumbent", result.incumbent), ("candidate", result.candidate)):
        made_of = [variant.provider, variant.model]
        made_of += [f"{key} {value}" for key, value in sorted(variant.params.items())]
        if variant.reasoning:
            made_of += [f"{key} {value}" for key, value in variant.reasoning.as_dict().items()]
        made_of += [f"prompt of {len(variant.system_prompt):,} characters"] if variant.system_prompt else []
        console.print(_joined((role, "dim"), (variant.name, "bold"), (" · ".join(made_of), "dim")))
    suites = ", ".join(f"{name} ({count:,} cases)" for name, count in result.cases.items())
    each = _answers(result)
    usage = result.usage
    again = f", {usage.kept:,} kept from before" if usage.kept else ""
    console.print(plain(f"{suites} · {each} · {usage.asked:,} calls{again}"), style="dim", markup=False)


def _answers(result: EvalResult) -> str:
    """How often was asked, and what the looks were that shared alpha."""
    if len(result.looks) < 2:
        return f"{result.repeats} answers to each case" if result.repeats > 1 else "one answer to each case"
    first, *later = result.looks
    again = ", then ".join(f"{look.repeats} to {look.cases:,} cases that could decide what was open" for look in later)
    spent = " + ".join(f"{100 * look.alpha:g} %" for look in result.looks)
    return f"{first.repeats} answers to each case, then {again} (alpha {spent})"


def _needs(console: Console, result: EvalResult) -> None:
    console.print("What would decide it:")
    for need in result.needs[:_NEEDS]:
        console.print(plain(f"  - {need}"), markup=False)
    if len(result.needs) > _NEEDS:
        console.print(f"  - and so on for {len(result.needs) - _NEEDS} more")
    if result.repetitive:
        console.print("More answers to the same cases will not: these variants repeat themselves.")


def _joined(*parts: tuple[str, str]) -> Text:
    """Parts with their styles in one line of text, so that it wraps as one."""
    from rich.text import Text

    return Text("  ").join(Text(plain(text), style=style) for text, style in parts)


def _prompts(console: Console, changed: SideBySide) -> None:
    console.print(f"What changed in the prompt, {plain(changed.before)} to {plain(changed.after)}", style="bold")
    console.print(plain(f"why: {changed.why or 'not recorded'}"), style="dim", markup=False)
    for line in changed.prompt:
        style = {"removed": "red", "added": "green", "gap": "dim", "same": ""}[line.kind]
        console.print(plain(f"  {line}"), style=style, markup=False)


def _examples(console: Console, examples: tuple[Example, ...]) -> None:
    room = max(40, console.width - 14)
    console.print("Cases that the candidate loses", style="bold")
    for example in examples[:3]:
        console.print(plain(f"  {example.case}  {_line(example.asked, room)}"), markup=False)
        console.print(plain(f"    incumbent {_line(example.incumbent, room)}"), style="green", markup=False)
        console.print(plain(f"    candidate {_line(example.candidate, room)}"), style="red", markup=False)
        console.print(plain(f"              {_line(example.candidate_says, room)}"), style="dim", markup=False)


def _line(text: str, room: int) -> str:
    """The end of a text in a line: answers are judged by how they end more often than by how they begin."""
    line = " ".join(text.split())
    half = (room - 3) // 2
    return line if len(line) <= room else f"{line[:half]} … {line[-half:]}"


def _span(rows: Iterable[SliceComparison]) -> int:
    """Points from the middle to the edge of the chart: the least of a few that holds every interval."""
    widest = max((100 * max(abs(row.low), abs(row.high)) for row in rows if row.n), default=100.0)
    return next((scale for scale in _SCALES if widest <= scale), 100)


def _axis(span: int) -> str:
    left, right = f"-{span}", f"+{span}"
    half = _CHART // 2
    return f"{left:<{half}}0{right:>{half}}"


def _whisker(row: SliceComparison, span: int, style: str) -> Text:
    """The interval as a line with the estimate on it; the bar in the middle is no difference at all."""
    from rich.text import Text

    middle = _CHART // 2

    def place(value: float) -> int:
        return max(0, min(_CHART - 1, middle + round(100 * value / span * middle)))

    cells = [" "] * _CHART
    cells[middle] = "│"
    if row.n:
        for index in range(place(row.low), place(row.high) + 1):
            cells[index] = "━"
        cells[place(row.difference)] = "●"
    made = Text("".join(cells), style=style)
    if cells[middle] == "│":
        made.stylize("dim", middle, middle + 1)
    return made


def _name(row: SliceComparison) -> Text:
    from rich.text import Text

    name = Text(plain(row.slice)) if row.slice else Text("aggregate", style="bold")
    return name.append(" critical", style="dim") if row.critical else name


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
