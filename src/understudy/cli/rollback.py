"""`understudy rollback`: take the candidate away from every user, now; or rehearse that and measure it."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.asking import By, Config, Json, Why, Workload, who
from understudy.cli.output import err, errors_shown, out, plain, print_json, spoken
from understudy.core.errors import EXIT_CANNOT_MEASURE, ConfigError

if TYPE_CHECKING:
    from understudy.config.project import Project
    from understudy.rollout.operate import Effect

app = typer.Typer(add_completion=False)


@app.command()
def rollback(
    workload: Workload,
    local: Annotated[
        bool, typer.Option("--local", help="By the kill file alone: no store, no controller, this machine only.")
    ] = False,
    drill: Annotated[
        bool, typer.Option("--drill", help="A rehearsal: publish and measure, and leave traffic as it is.")
    ] = False,
    why: Why = "",
    by: By = "",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for every worker's word.")] = 10.0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Serve everybody the incumbent, wait until every live worker has acknowledged, and say how long it took.

    It publishes by itself and needs no running controller; where the control store cannot be used either, it falls
    back to the kill file. Exit code 3 where a worker did not acknowledge in time.
    """
    with errors_shown(as_json):
        if local:
            effect = asyncio.run(_local(_routing(config), workload, who(by), why, timeout))
        else:
            from understudy.config.project import open_project

            effect = asyncio.run(_flip(open_project(config), workload, who(by), why, drill=drill, timeout=timeout))
        document = {"workload": workload, "drill": drill, **effect.as_dict(), "at": time.time()}
        print_json(document) if as_json else _print(document)
        if not document["effective"] and document["workers"]:
            raise typer.Exit(EXIT_CANNOT_MEASURE)


async def _flip(project: Project, workload: str, by: str, why: str, *, drill: bool, timeout: float) -> Effect:
    from understudy.rollout import operate
    from understudy.rollout.store.base import StoreUnavailable
    from understudy.wiring import control

    project.workload(workload)
    try:
        async with control(project) as (store, board):
            if drill:
                return await operate.drill(project, store, board, workload, by, why, timeout_s=timeout)
            return await operate.roll_back(project, store, board, workload, by, why, timeout_s=timeout)
    except StoreUnavailable as error:
        if drill:
            raise
        err().print(plain(f"{error.message}; using the kill file"), markup=False)
        several = project.store().file is None
        return await _local(project.paths.routing, workload, by, why, timeout, one_of_several=several)


async def _local(
    routing: Path, workload: str, by: str, why: str, timeout: float, *, one_of_several: bool = False
) -> Effect:
    from understudy.rollout import operate

    reason = why or "rollback --local"
    return await operate.kill(routing, workload, by, reason, one_of_several=one_of_several, timeout_s=timeout)


def _routing(config: Path | None) -> Path:
    """The folder gateways read, also where the configuration is broken: then it is where it is by default."""
    from understudy.config.project import find, open_project

    try:
        return open_project(config).paths.routing
    except ConfigError:
        folder = find(config, os.environ).parent / ".understudy" / "routing"
        if not folder.is_dir():
            raise
        return folder


def _print(document: dict[str, Any]) -> None:
    console = out()
    event, colon, why = document["answer"].partition(": ")
    console.print(f"{spoken(event)}{colon}{plain(why)}", markup=False)
    if not document["workers"]:
        console.print("no gateway worker is alive: the next one that starts obeys", style="yellow")
    elif document["effective"]:
        everyone = "the one worker" if document["workers"] == 1 else f"all {document['workers']} workers"
        console.print(f"in effect on {everyone} after {1000 * document['seconds']:.0f} ms")
    else:
        lagging = ", ".join(document["waiting"])
        console.print(f"not acknowledged by {plain(lagging)} after {document['seconds']:.1f} s", style="red")
