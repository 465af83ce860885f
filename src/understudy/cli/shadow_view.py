"""How a shadow report looks in a terminal: findings first, then the figures they come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from understudy.cli.output import plain, table
from understudy.core.lasting import lasting

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

SHOWN = 600
"""Characters of an answer in an example; --json has more."""
BEFORE = ("draft", "regress", "retune", "shadow")


def show(console: Console, found: Mapping[str, Any]) -> None:
    """Print the document of `understudy shadow report --json` for a person."""
    from rich.table import Table
    from rich.text import Text

    head = Text(f"{plain(found['workload'])}", style="bold")
    head.append(f"  {plain(found['incumbent'])} to {plain(found['candidate'])}", style="not bold")
    head.append(f"  ({plain(found['upgrade'])}, {plain(found['stage'])})", style="not bold")
    console.print(head)
    facts = Table.grid(padding=(0, 2, 0, 0))
    for label, said in _facts(found):
        facts.add_row(label, Text(plain(said)))
    console.print(facts)
    console.print()
    _findings(console, found["workload"], found["findings"])
    _tables(console, found)


def _tables(console: Console, found: Mapping[str, Any]) -> None:
    """All traffic, then each slice with a finding; the others are named. One slice alone where it was asked for."""
    slices = list(dict.fromkeys(row["slice"] for row in found["rows"]))
    drifted = {finding["slice"] for finding in found["findings"]}
    shown = [name for name in slices if name in {"", *drifted}] or slices
    columns: list[str | tuple[str, str]] = ["feature", ("incumbent", "right"), ("candidate", "right")]
    columns += [("change", "right"), ("95 % interval", "right"), ("pairs", "right")]
    for name in shown:
        made = table(plain(name or "all traffic"), columns, [_row(r) for r in found["rows"] if r["slice"] == name])
        made.title_style = "bold"
        for column in made.columns[1:]:
            column.no_wrap = True
        console.print(made)
    if any(row["flagged"] and row["slice"] in shown for row in found["rows"]):
        console.print("✗ drifted: more than chance explains, and enough for somebody to notice", style="dim")
    rest = [name for name in slices if name not in shown]
    if rest:
        console.print(plain(f"Compared too, see one with --slice: {', '.join(rest)}"), markup=False)


def _facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    coverage, clock = found["coverage"], found["clock"]
    share = 100 * coverage["copies"] / coverage["served"] if coverage["served"] else 0.0
    lost = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in coverage["lost"].items())
    least, most = lasting(clock["min_s"]), lasting(clock["max_s"])
    if clock["running"]:
        held = lasting(clock["held_s"]) if clock["held_s"] is not None else "an unknown time"
        time = f"{held} at full coverage; at least {least}, at most {most}"
    elif found["stage"] in BEFORE:
        time = "not started: it runs from full coverage on"
    else:
        time = "the stage is behind; copies are still compared"
    thin = ", ".join(f"{name} ({count})" for name, count in found["thin"].items())
    facts = [
        ("clock", time),
        (
            "coverage",
            f"{coverage['copies']:,} copies of {coverage['served']:,} served ({share:.0f} %)"
            + (f"; lost: {lost}" if lost else ""),
        ),
        ("pairs", f"{found['pairs']:,} compared" + (f"; too thin to tell: {thin}" if thin else "")),
    ]
    if found["slices_not_kept"]:
        facts.append(("slices", f"too many values; {found['slices_not_kept']:,} counts went to all traffic only"))
    return facts


def _findings(console: Console, workload: str, findings: list[dict[str, Any]]) -> None:
    if not findings:
        console.print("Nothing a user would notice.", style="green")
        return
    count = len(findings)
    console.print("1 finding" if count == 1 else f"{count} findings", style="bold")
    for number, finding in enumerate(findings, start=1):
        waived = "  (waived)" if finding["waived"] else ""
        sentence = finding["sentence"]
        console.print(f"{number}. {plain(sentence[:1].upper() + sentence[1:])}.{waived}", markup=False)
        for example in finding["examples"]:
            console.print(_side_by_side(example))
    if any(finding["examples"] for finding in findings):
        command = f"understudy suite from-ledger {workload} --exchange ID"
        console.print(plain(f"Make one of these an eval case: {command}"), markup=False)


def _side_by_side(example: Mapping[str, Any]) -> RenderableType:
    from rich import box
    from rich.padding import Padding
    from rich.table import Table

    where = ", ".join(f"{key}={value}" for key, value in example["slices"].items())
    made = Table(box=box.SQUARE, expand=True, title_justify="left", title_style="dim", show_lines=False)
    made.title = plain(f"{example['exchange']}  {where}")
    for heading in ("incumbent, served", "candidate, never served"):
        made.add_column(heading, ratio=1, overflow="fold")
    made.add_row(_text(example["incumbent"]), _text(example["candidate"]))
    return Padding(made, (0, 0, 1, 3))


def _text(answer: str) -> Text:
    from rich.text import Text

    if not answer:
        return Text("(no text)", style="dim")
    return Text(plain(answer[:SHOWN])) + Text("…" if len(answer) > SHOWN else "", style="dim")


def _row(row: Mapping[str, Any]) -> list[object]:
    from rich.text import Text

    from understudy.drift.figures import cells

    feature, *figures = cells(row)
    mark = "✗ " if row["flagged"] else "  "
    return [Text(plain(cell), style="bold red" if row["flagged"] else "") for cell in (mark + feature, *figures)]
