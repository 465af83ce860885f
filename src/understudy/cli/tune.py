"""`understudy tune`: put a re-tuned candidate into an upgrade, with old and new side by side, or give up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.asking import By, Config, Json, Why, Workload, who
from understudy.cli.output import errors_shown, out, plain, print_json
from understudy.core.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from understudy.config.project import Project

app = typer.Typer(add_completion=False)


@app.command()
def tune(
    workload: Workload,
    candidate: Annotated[str, typer.Option("--candidate", help="The re-tuned variant to go on with.")] = "",
    begin: Annotated[bool, typer.Option("--begin", help="Stop the shadow and wait for a better prompt.")] = False,
    give_up: Annotated[bool, typer.Option("--give-up", help="End the upgrade: prompt work does not close it.")] = False,
    why: Why = "",
    by: By = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show how the candidate's prompt came about, and change it.

    With --candidate the upgrade goes on with another variant: its eval runs again, and the shadow's clock begins anew.
    Both prompts stay in the journal with what changed and why. With --give-up a finding is filed and the upgrade ends.
    """
    from understudy.config.project import open_project

    with errors_shown(as_json):
        if sum((bool(candidate), begin, give_up)) > 1:
            raise UsageError("--candidate, --begin and --give-up exclude each other", remedy="choose one of them")
        if (candidate or give_up) and not why:
            raise UsageError("a change without a reason is of no use later", remedy="say what changed with --why")
        project = open_project(config)
        project.workload(workload)
        if candidate:
            document = asyncio.run(_switch(project, workload, candidate, who(by), why))
        elif begin or give_up:
            document = asyncio.run(_end(project, workload, who(by), why, give_up=give_up))
        else:
            document = asyncio.run(_shown(project, workload))
        print_json(document) if as_json else _print(out(), document)


async def _switch(project: Project, workload: str, candidate: str, by: str, why: str) -> dict[str, Any]:
    from understudy.rollout.intents import Wish
    from understudy.rollout.operate import Asked, carry_out
    from understudy.wiring import control

    new = project.variant(workload, candidate)
    async with control(project) as (store, board):
        asked = Asked(Wish.SWITCH, by, why, {"candidate": new.as_dict()})
        await carry_out(project, store, board, workload, asked)
    return await _shown(project, workload)


async def _end(project: Project, workload: str, by: str, why: str, *, give_up: bool) -> dict[str, Any]:
    from understudy.core.evidence import Finding
    from understudy.rollout.fold import finding_data
    from understudy.rollout.intents import Wish
    from understudy.rollout.operate import Asked, carry_out
    from understudy.wiring import control

    finding = Finding("gave_up" if give_up else "drift", "", why or "the shadow was stopped to work on the prompt", {})
    wish = Wish.GIVE_UP if give_up else Wish.RETUNE
    async with control(project) as (store, board):
        asked = Asked(wish, by, why, {"findings": finding_data([finding])})
        await carry_out(project, store, board, workload, asked)
    return await _shown(project, workload)


async def _shown(project: Project, workload: str) -> dict[str, Any]:
    """The latest upgrade: what the candidate changes of the incumbent, then every change of the candidate."""
    from understudy.evals.prompts import side_by_side
    from understudy.wiring import control

    async with control(project) as opened:
        states = await opened.store.upgrades(workload)
    if not states:
        return {"workload": workload, "upgrade": None, "stage": None, "changes": [], "findings": []}
    state = states[-1]
    first = state.switches[0].old if state.switches else state.candidate
    pairs = [(state.incumbent, first, state.started_at, state.started_by, state.why)]
    pairs += [(s.old, s.new, s.at, s.by, s.why) for s in state.switches]
    changes = []
    for old, new, at, by, why in pairs:
        both = side_by_side(old, new, why)
        changes.append({"at": at, "by": by, **both.as_dict(), "lines": list(both.lines())})
    return {
        "workload": workload,
        "upgrade": state.id,
        "stage": str(state.stage),
        "candidate": state.candidate.as_dict(),
        "incumbent": state.incumbent.as_dict(),
        "changes": changes,
        "findings": [f._asdict() for f in state.findings],
    }


def _print(console: Console, document: dict[str, Any]) -> None:
    if document["upgrade"] is None:
        console.print(f"{plain(document['workload'])}: no upgrade yet")
        return
    console.print(f"upgrade {plain(document['upgrade'])}, stage {document['stage']}", markup=False)
    for change in document["changes"]:
        for line in change["lines"]:
            console.print(plain(line), markup=False)
    for finding in document["findings"]:
        console.print(f"found: {plain(finding['sentence'])}", markup=False)
