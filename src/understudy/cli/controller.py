"""`understudy controller`: carry every upgrade of the project, turn after turn, until told to stop."""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.asking import Config, Json
from understudy.cli.output import errors_shown, out, plain, print_json
from understudy.cli.serving import teller, told_to_stop

if TYPE_CHECKING:
    from understudy.config.project import Project

app = typer.Typer(add_completion=False)


@app.command()
def controller(
    once: Annotated[bool, typer.Option("--once", help="Look and act once, then leave.")] = False,
    reseal: Annotated[
        bool, typer.Option("--reseal", help="Accept a control store that was restored from an older copy.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.05, help="Seconds between two turns.")] = 0.5,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Observe, decide, act: publish the routing table, run evals, judge canaries, roll back.

    Safe to kill at any time, and two of them do no harm. Without one, gateways go on with the last table; a canary's
    lease runs out and users get the incumbent.
    """
    from understudy.config.project import open_project

    with errors_shown(as_json):
        project = open_project(config)
        if reseal:
            epoch = asyncio.run(_reseal(project))
            accepted = f"accepted; the next table has an epoch above {epoch}"
            print_json({"epoch": epoch}) if as_json else out().print(accepted)
            return
        if once:
            document = asyncio.run(_once(project))
            if as_json:
                print_json(document)
            else:
                for line in (*document["written"], *document["problems"]):
                    out().print(plain(line), markup=False)
            return
        asyncio.run(_serve(project, every, as_json))


async def _once(project: Project) -> dict[str, Any]:
    from understudy.wiring import controller

    async with controller(project) as made:
        turn = await made.turn()
        return {
            "epoch": turn.epoch,
            "written": list(turn.written),
            "published": turn.published,
            "problems": list(turn.problems),
        }


async def _reseal(project: Project) -> int:
    from understudy.wiring import control

    async with control(project) as (store, board):
        snapshot = await store.read()
        return await store.reseal(snapshot.epoch, secrets.token_hex(8), await board.epoch())


async def _serve(project: Project, every_s: float, as_json: bool) -> None:
    from understudy.wiring import controller, run_controller

    stop, say = told_to_stop(), teller(as_json)
    async with controller(project, f"controller-{os.getpid()}") as made:
        say("ready")
        await run_controller(made, stop, say, every_s=every_s)
