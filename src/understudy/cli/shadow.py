"""`understudy shadow report`: would users notice the swap? Coverage and clock, findings, and pairs side by side."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.asking import Config, Json, one_workload
from understudy.cli.output import errors_shown, out, print_json, progress
from understudy.core.errors import EXIT_FINDING, EXIT_PASS, CannotMeasure, UsageError

if TYPE_CHECKING:
    from understudy.config.project import Project
    from understudy.rollout.fold import UpgradeState

app = typer.Typer(add_completion=False, no_args_is_help=True, help="What paired live answers say about a candidate.")


@app.callback()
def _shadow() -> None:
    """What paired live answers say about a candidate."""


@app.command()
def report(
    workload: Annotated[str | None, typer.Argument(help="Name of the workload, if there are several.")] = None,
    upgrade: Annotated[str, typer.Option("--upgrade", help="Id of an earlier upgrade; the latest if left out.")] = "",
    slice_: Annotated[
        str, typer.Option("--slice", help="Show this slice alone, and what is found on it: ticket=refund.")
    ] = "",
    examples: Annotated[int, typer.Option("--examples", min=0, max=3, help="Pairs to show with each finding.")] = 1,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Compare the candidate's shadow answers with what the incumbent served: length, form, tone, tools, refusals,
    latency and cost, per slice.

    Exit code 1 where there is a finding that nobody has waived, 3 where there are no pairs to compare or too few, 0
    otherwise.
    """
    from understudy.config.project import open_project
    from understudy.rollout.compared import compared

    with errors_shown(as_json):
        project = open_project(config)
        name = one_workload(project, workload)
        state, held_s = asyncio.run(_state(project, name, upgrade))
        with progress("comparing pairs", None) as advance:
            document = compared(project, state, held_s, slice_, examples, time.time(), advance)
        if as_json:
            print_json(document)
        else:
            from understudy.cli.shadow_view import show

            show(out(), document)
    sys.exit(EXIT_FINDING if any(not f["waived"] for f in document["findings"]) else EXIT_PASS)


async def _state(project: Project, workload: str, upgrade: str) -> tuple[UpgradeState, float | None]:
    """The upgrade and for how long its clock has run; None where that is not kept any more."""
    from understudy.wiring import control_there

    begin = f"begin one with `understudy upgrade start {workload} --candidate VARIANT`"
    async with control_there(project) as opened:
        if opened is None:
            raise CannotMeasure(f"workload {workload} has had no upgrade yet", remedy=begin)
        states = await opened.store.upgrades(workload)
        watched = (await opened.store.read()).progress
    found = [state for state in states if upgrade in ("", state.id)]
    if not states:
        raise CannotMeasure(f"workload {workload} has had no upgrade yet", remedy=begin)
    if not found:
        raise UsageError(
            f"workload {workload} has no upgrade {upgrade!r}", remedy=f"there is {', '.join(s.id for s in states)}"
        )
    state = found[-1]
    kept = watched.get(state.id)
    return state, kept.held_s if kept and kept.clock == state.clock else None
