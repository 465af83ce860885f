"""`understudy upgrade`: begin an upgrade, see where it stands, and say what a person has to say about it."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.asking import By, Config, Json, Why, Workload, one_workload, status_of, who
from understudy.cli.output import err, errors_shown, out, plain, print_json
from understudy.core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from understudy.config.project import Project
    from understudy.rollout.intents import Wish

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Begin an upgrade, see where it stands, promote, pause, waive."
)


@app.command()
def start(
    workload: Workload,
    candidate: Annotated[str, typer.Option("--candidate", "--to", help="The variant to move to.")],
    why: Why = "",
    by: By = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Begin an upgrade of WORKLOAD from what it serves now to another variant.

    The controller (`understudy up`) carries it from there: regression eval, shadow, canary, soak.
    """
    from understudy.cli.check import read_suites, refuse_unknown_metrics
    from understudy.config.project import open_project
    from understudy.rollout.begin import Request, begin
    from understudy.wiring import control

    async def run(project: Project) -> dict[str, Any]:
        async with control(project) as (store, board):
            request = Request(workload, candidate, who(by), why, secrets.token_hex(3))
            state = await begin(project, store, board, request, time.time())
            return {
                "upgrade": state.id,
                "workload": workload,
                "incumbent": state.incumbent.name,
                "candidate": state.candidate.name,
                "stage": str(state.stage),
                "profile": state.profile,
            }

    with errors_shown(as_json):
        project = open_project(config)
        refuse_unknown_metrics(
            project, {name: of_it for name, of_it in read_suites(project).items() if name == workload}
        )
        document = asyncio.run(run(project))
        if as_json:
            print_json(document)
            return
        console = out()
        console.print(f"upgrade {plain(document['upgrade'])} begun: ", end="", markup=False)
        console.print(f"{plain(document['incumbent'])} to {plain(document['candidate'])}", markup=False)
        watch = f"understudy upgrade status {plain(workload)} -w"
        console.print(f"next: `understudy up` carries it, `{watch}` shows how it goes", markup=False)


@app.command()
def status(
    workload: Annotated[str | None, typer.Argument(help="Name of the workload, if there are several.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it until it is over.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show where an upgrade stands, what it waits for, and what gateways were told.

    Exit code 1 where it ended without success or a finding waits for a person.
    """
    from understudy.cli.upgrade_view import exit_code, show, watching
    from understudy.config.project import open_project
    from understudy.wiring import control

    async def once(project: Project, name: str) -> dict[str, Any]:
        async with control(project) as opened:
            return await status_of(project, opened, name)

    with errors_shown(as_json):
        try:
            project = open_project(config)
        except ConfigError:
            if not as_json:
                _say_what_stays(config)
            raise
        name = one_workload(project, workload)
        if watch and not as_json:
            document = asyncio.run(watching(project, name))
        else:
            document = asyncio.run(once(project, name))
            if as_json:
                print_json(document)
            else:
                show(out(), document, time.time())
        raise typer.Exit(exit_code(document))


def _say_what_stays(config: Path | None) -> None:
    """A broken configuration changes nothing for those who are served: say so where a table is in force."""
    import os

    from understudy.config.project import find
    from understudy.rollout.publish import read_table

    table = read_table(find(config, os.environ).parent / ".understudy" / "routing")
    if table is not None:
        err().print(f"gateways go on with the last good configuration (epoch {table.epoch})", style="yellow")


def _wish(
    workload: str, wish: Wish, by: str, why: str, data: dict[str, Any], config: Path | None, as_json: bool
) -> None:
    """Ask for something, print the answer."""
    from understudy.config.project import open_project
    from understudy.rollout.operate import Asked, carry_out
    from understudy.wiring import control

    async def run(project: Project) -> dict[str, Any]:
        project.workload(workload)
        async with control(project) as (store, board):
            state, answer = await carry_out(project, store, board, workload, Asked(wish, who(by), why, data))
            return {"upgrade": state.id, "workload": workload, "stage": str(state.stage), "answer": answer}

    with errors_shown(as_json):
        document = asyncio.run(run(open_project(config)))
        if as_json:
            print_json(document)
        else:
            stage = "" if document["answer"] == document["stage"] else f" (stage {document['stage']})"
            out().print(f"{plain(document['answer'])}{stage}", markup=False)


@app.command()
def promote(workload: Workload, why: Why = "", by: By = "", config: Config = None, as_json: Json = False) -> None:
    """Widen the canary by one step. Refused, with what is missing, unless its verdict is a pass."""
    from understudy.rollout.intents import Wish

    _wish(workload, Wish.PROMOTE, by, why, {}, config, as_json)


@app.command()
def pause(workload: Workload, why: Why = "", by: By = "", config: Config = None, as_json: Json = False) -> None:
    """Stop all moves forward. Guards and rollback stay armed, and users stay where they are."""
    from understudy.rollout.intents import Wish

    _wish(workload, Wish.PAUSE, by, why, {}, config, as_json)


@app.command()
def resume(workload: Workload, why: Why = "", by: By = "", config: Config = None, as_json: Json = False) -> None:
    """Lift a pause."""
    from understudy.rollout.intents import Wish

    _wish(workload, Wish.RESUME, by, why, {}, config, as_json)


@app.command()
def abort(workload: Workload, why: Why = "", by: By = "", config: Config = None, as_json: Json = False) -> None:
    """End the upgrade; everybody is served the incumbent."""
    from understudy.rollout.intents import Wish

    _wish(workload, Wish.ABORT, by, why, {}, config, as_json)


@app.command()
def approve(
    workload: Workload,
    subject: Annotated[str, typer.Argument(help="The slice that was looked at, or `all`.")],
    why: Why = "",
    by: By = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Sign off a slice: a person has read the candidate's answers and stands for them."""
    from understudy.rollout.intents import Wish

    _wish(workload, Wish.APPROVE, by, why, {"subject": subject}, config, as_json)


@app.command()
def waive(
    workload: Workload,
    subject: Annotated[str, typer.Argument(help="A failed slice, or SLICE/KIND for one finding; `all` for no slice.")],
    owner: Annotated[str, typer.Option("--owner", help="Who answers for it.")],
    reason: Annotated[str, typer.Option("--reason", "--why", help="Why it is acceptable.")],
    until: Annotated[str, typer.Option("--until", help="How long it holds, like 14d, or the last day: 2026-12-24.")],
    by: By = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Accept a failed slice or a finding, in somebody's name and for a time. A critical slice cannot be waived."""
    from understudy.rollout.intents import Wish, expiry

    with errors_shown(as_json):
        data = {"subject": subject, "owner": owner, "expires_at": expiry(until, time.time())}
    _wish(workload, Wish.WAIVE, by, reason, data, config, as_json)
