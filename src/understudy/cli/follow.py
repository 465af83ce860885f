"""`understudy follow`: bring the routing table of a shared control store to the gateways of this machine."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.asking import Config, Json
from understudy.cli.output import errors_shown
from understudy.cli.serving import teller, told_to_stop
from understudy.core.errors import UsageError

if TYPE_CHECKING:
    from understudy.config.project import Project

app = typer.Typer(add_completion=False)


@app.command()
def follow(
    name: Annotated[str, typer.Option("--name", help="What this machine is called; its host name if left out.")] = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Bring the routing table to this machine's gateways, and their word back to the control store.

    For each machine with a gateway, where `store` in understudy.yaml names a database; `understudy up` runs it by
    itself. Safe to kill at any time: gateways go on with the last table, and a canary's lease runs out. While it is
    silent no flip counts as effective.
    """
    from understudy.config.project import open_project

    with errors_shown(as_json):
        project = open_project(config)
        if project.store().file is not None:
            raise UsageError(
                "there is nothing to follow: the control store is a file of this machine, and its gateways read what "
                "the controller writes beside it",
                remedy="machines that share one name a database: store: postgresql://USER@HOST/DATABASE",
            )
        asyncio.run(_serve(project, name or socket.gethostname(), as_json))


async def _serve(project: Project, name: str, as_json: bool) -> None:
    from understudy.wiring import follower

    await follower(project, name, teller(as_json)).run(told_to_stop())
