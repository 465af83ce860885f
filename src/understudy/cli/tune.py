"""`understudy tune`: put a re-tuned candidate into an upgrade, search for one, see both side by side, or give up."""

from __future__ import annotations

import asyncio
import sys
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
    search: Annotated[bool, typer.Option("--search", help="Search for a better prompt, and prove it.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search that was begun last.")] = False,
    reflect_with: Annotated[
        str, typer.Option("--reflect-with", help="Which model proposes prompts; by default the candidate's own.")
    ] = "",
    calls: Annotated[
        int | None, typer.Option(min=1, help="The most questions of a search, the proof's among them.")
    ] = None,
    usd: Annotated[float | None, typer.Option(min=0.0, help="The most that a search may cost, in US dollars.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed is another search.")] = 0,
    write: Annotated[
        bool, typer.Option("--write", help="Put a prompt that passes into understudy.yaml and the upgrade under way.")
    ] = False,
    why: Why = "",
    by: By = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show how the candidate's prompt came about, and change it.

    With --candidate the upgrade goes on with another variant: its eval runs again, and the shadow's clock begins anew.
    Both prompts stay in the journal with what changed and why. With --give-up a finding is filed and the upgrade ends.

    With --search a model proposes prompts for the candidate (the upgrade's, or the one that --candidate names). They
    are tried on one half of the suites' cases, and the best is held against the incumbent on the other half, once.
    The same command, or --resume, goes on where a search was stopped.

    Exit codes of a search: 0 the gap is closed, 1 it is not, 2 usage or configuration, 3 could not measure.
    """
    from understudy.config.project import open_project

    with errors_shown(as_json):
        if search or resume:
            if begin or give_up:
                raise UsageError("--search excludes --begin and --give-up", remedy="choose one of them")
            from understudy.cli.tune_search import Wanted, searched

            wanted = Wanted(workload, candidate, reflect_with, calls, usd, seed, resume, write, who(by))
            sys.exit(searched(open_project(config), wanted, as_json=as_json))
        if reflect_with or calls is not None or usd is not None or seed or write:
            raise UsageError(
                "--reflect-with, --calls, --usd, --seed and --write belong to a search", remedy="add --search"
            )
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
        if candidate and not as_json:
            watch = f"understudy upgrade status {plain(workload)} -w"
            out().print(f"next: its eval runs again, `{watch}` shows how it goes", markup=False)


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
    """The latest upgrade: what the candidate changes of the incumbent, then every change of the candidate; and what was
    searched."""
    from understudy.evals.prompts import side_by_side
    from understudy.tuning.filing import folder_of, searches
    from understudy.wiring import control

    searched = searches(folder_of(project.paths.evals, workload))
    async with control(project) as opened:
        states = await opened.store.upgrades(workload)
    if not states:
        nothing: dict[str, Any] = {"upgrade": None, "stage": None, "changes": [], "findings": []}
        return {"workload": workload, **nothing, "searches": searched}
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
        "searches": searched,
    }


def _print(console: Console, document: dict[str, Any]) -> None:
    if document["upgrade"] is None:
        console.print(f"{plain(document['workload'])}: no upgrade yet")
        _print_searches(console, document["searches"])
        return
    console.print(f"upgrade {plain(document['upgrade'])}, stage {document['stage']}", markup=False)
    for change in document["changes"]:
        for line in change["lines"]:
            console.print(plain(line), markup=False)
    for finding in document["findings"]:
        console.print(f"found: {plain(finding['sentence'])}", markup=False)
    _print_searches(console, document["searches"])


def _print_searches(console: Console, searches: list[dict[str, Any]]) -> None:
    """One paragraph a search, the latest last."""
    from datetime import UTC, datetime

    for each in searches:
        at = datetime.fromtimestamp(each["started_at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        name, seed = each["candidate"]["name"], each["seed"]
        console.print(plain(f"search {each['id']} for {name}, seed {seed}, begun {at} UTC"), markup=False)
        if each["finished_at"] is None:
            before = "; what it had found before:" if "outcome" in each else ""
            console.print(f"  was stopped: --resume goes on with it{before}", markup=False)
            if not before:
                continue
        console.print(plain(f"  {each['outcome'].upper()}  {each['sentence']}"), markup=False)
        for line in each["wanted"]:
            console.print(plain(f"  {line}"), markup=False)
        if each["words"]:
            console.print(plain(f"  in the words of {each['words_by']}: {each['words']}"), markup=False)
