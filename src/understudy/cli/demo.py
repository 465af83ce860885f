"""`understudy demo`: three upgrades with live traffic, offline and unconfigured, in under a minute."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.output import errors_shown, out, plain, print_json, table
from understudy.core.errors import CannotMeasure

if TYPE_CHECKING:
    from understudy.demo.report import Moment, Report

app = typer.Typer(add_completion=False, rich_markup_mode=None)

COLOURS = {"rolled back": "red", "aborted": "yellow", "fault": "red", "retired": "green", "retune": "yellow"}


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Option("--out", "-o", help="Empty or new folder for the project and the evidence.")
    ] = Path("understudy-demo"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document at the end.")] = False,
) -> None:
    """Watch three upgrades go through the five stages, with live traffic through real gateway workers.

    One is re-tuned and takes over, one is stopped in shadow, one breaks in canary and is rolled back by itself.
    Everything runs on this machine: a simulated provider, gateway, committer, controller, and their users. Exit code 0
    when all three ended as told, 1 when one did not, 3 when it could not be played to the end.
    """
    with errors_shown(as_json):
        report = asyncio.run(_play(folder, as_json))
        if as_json:
            print_json(report.as_dict())
        else:
            _curtain(report)
        raise typer.Exit(0 if report.as_meant else 1)


async def _play(folder: Path, as_json: bool) -> Report:
    """Play it; a SIGTERM ends it like Ctrl-C, with every process it started."""
    from understudy.demo.play import play

    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await play(folder, (lambda moment: None) if as_json else _line)
    except asyncio.CancelledError:
        raise CannotMeasure("the demonstration was stopped", remedy=f"remove {folder}, then run it again") from None


def _line(moment: Moment) -> None:
    """One moment as it happens."""
    from rich.text import Text

    text = Text(f"{moment.at:5.1f} s  ", style="dim")
    text.append(f"{moment.workload:<15}", style="cyan")
    text.append(f"{moment.what:<12}", style=COLOURS.get(moment.what, "bold"))
    text.append(plain(moment.sentence), style="default")
    out().print(text)


def _curtain(report: Report) -> None:
    """The table at the end, what it means, and what to do next."""
    from understudy.demo.report import next_commands, rows

    console = out()
    console.print()
    heads = ["", *(act.scene.workload for act in report.acts)]
    console.print(table("What each stage saw", heads, rows(report)))
    for act in report.acts:
        if act.rollback:
            figures = ", ".join(
                f"{name.replace('_', ' ').removesuffix(' s')} {s} s" for name, s in act.rollback.items()
            )
            console.print(f"{act.scene.workload}: {figures}", markup=False)
    failed = sum(seen.failed for seen in report.users.values())
    total = sum(seen.answered for seen in report.users.values())
    console.print(f"{total:,} answers to users, {failed} failed, in {report.seconds:.0f} s", markup=False)
    console.print(f"\nThe evidence is in {report.folder}/evidence. Look deeper in {report.folder}:", markup=False)
    for command in next_commands():
        console.print(f"  {command}", markup=False)
    console.print("Then bring your own workload: understudy init", markup=False)
