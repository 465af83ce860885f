"""`understudy alerts`: send a test message, see what was sent, and look after a controller that may be dead."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.asking import Config, Json
from understudy.cli.output import errors_shown, facts, out, plain, print_json, spoken
from understudy.core.errors import EXIT_CANNOT_MEASURE, EXIT_FINDING, UsageError

if TYPE_CHECKING:
    from understudy.alerts.alert import Alert
    from understudy.config.project import Project
    from understudy.rollout.store.base import Post

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Who is told what cannot wait: test, list, send.")


@app.command()
def test(
    target: Annotated[str | None, typer.Argument(help="Name of the target; all of them if left out.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Send a test message to the configured targets now, past the outbox.

    Exit code 3 where a target did not take it.
    """
    from understudy.config.project import open_project

    with errors_shown(as_json):
        project = open_project(config)
        names = _named(project, target)
        found = asyncio.run(_tried(project, names))
        if as_json:
            print_json({"targets": found})
        else:
            for one in found:
                said = "took it" if one["sent"] else one["problem"]
                out().print(plain(f"{one['target']}: {said}"), style="green" if one["sent"] else "red", markup=False)
        if not all(one["sent"] for one in found):
            raise typer.Exit(EXIT_CANNOT_MEASURE)


def _named(project: Project, target: str | None) -> list[str]:
    """Raises UsageError where there is no such target, or none at all."""
    from understudy.config.explain import suggest

    known = list(project.config.alerts.targets)
    if not known:
        remedy = "add alerts: {targets: {ops: {form: slack, url: ${NAME}}}} to understudy.yaml"
        raise UsageError("nobody is told anything: there is no target", remedy=remedy)
    if target is not None and target not in known:
        raise UsageError(f"there is no target {target!r}", remedy=suggest(target, known))
    return known if target is None else [target]


async def _tried(project: Project, names: list[str]) -> list[dict[str, Any]]:
    from understudy.alerts.post import post
    from understudy.rollout.outbox import target_of

    now, targets = time.time(), [target_of(project, name) for name in names]
    said = await asyncio.gather(*(post(one, _message(now).as_dict(), now) for one in targets))
    return [
        {"target": name, "sent": not problem, "problem": problem} for name, problem in zip(names, said, strict=True)
    ]


def _message(now: float) -> Alert:
    from understudy.alerts.alert import Alert, Kind, Severity

    text = "This is a test: whoever reads it would be told of a rollback as well."
    return Alert(f"test:{int(now)}", (Kind.TEST,), Severity.INFO, "", "", now, "understudy: a test", text, "")


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--last", min=1, max=10_000, help="How many, the newest first.")] = 20,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show what was sent to whom, what waits, and what was given up.

    Exit code 1 where an alert was given up.
    """
    from understudy.config.project import open_project
    from understudy.rollout.store.base import GIVEN_UP
    from understudy.wiring import control_there

    async def read(project: Project) -> list[Any]:
        async with control_there(project) as opened:
            return [] if opened is None else await opened.store.posts(limit=limit)

    with errors_shown(as_json):
        posts = asyncio.run(read(open_project(config)))
        if as_json:
            print_json({"alerts": [post._asdict() for post in posts]})
        elif not posts:
            out().print("nobody was told anything yet")
        else:
            _print_posts(posts)
        if any(post.state == GIVEN_UP for post in posts):
            raise typer.Exit(EXIT_FINDING)


def _print_posts(posts: list[Post]) -> None:
    """An alert with its time in UTC, and below it a line for each target that it is meant for."""
    from rich.text import Text

    told: dict[str, Text] = {}
    when: dict[str, str] = {}
    for post in posts:
        if post.alert not in told:
            told[post.alert] = Text(plain(post.message["title"]), style="bold")
            when[post.alert] = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(post.at))
        became = f"{post.state}: {post.problem}" if post.problem and post.state != "sent" else post.state
        tried = f", {post.attempts} attempts" if post.attempts > 1 else ""
        told[post.alert].append(f"\n{plain(post.target)} {plain(spoken(became))}{tried}", style="not bold")
    out().print(facts((when[alert], said) for alert, said in told.items()))


@app.command()
def send(
    wait: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for targets.")] = 15.0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Look once whether somebody has to be told, also that no controller looks, and send what waits.

    A dead controller tells nobody: run this from a timer, where the control store can be read. What a controller has
    told already is not told again.

    Exit code 1 where a controller is silent or a lease ran out, 3 where something still waits.
    """
    from understudy.config.project import open_project

    with errors_shown(as_json):
        project = open_project(config)
        _named(project, None)
        found = asyncio.run(_sent(project, wait))
        if as_json:
            print_json(found)
        else:
            why = ": `understudy alerts list` says why" if found["waiting"] else ""
            out().print(f"{found['queued']} new to tell, {found['waiting']} waiting{why}", markup=False)
            for title in found["silent"]:
                out().print(plain(title), style="bold red", markup=False)
        if found["silent"]:
            raise typer.Exit(EXIT_FINDING)
        if found["waiting"]:
            raise typer.Exit(EXIT_CANNOT_MEASURE)


async def _sent(project: Project, wait_s: float) -> dict[str, Any]:
    from understudy.core.errors import DataCorrupt
    from understudy.rollout.outbox import Outbox
    from understudy.wiring import control, deadline_of

    async with control(project) as (store, board):
        outbox = Outbox(store, time.time, deadline_of)
        try:
            published = await board.read()
        except DataCorrupt:
            published = None
        queued = await outbox.look(project, await store.read(), published, time.time())
        await outbox.send(project)
        await outbox.close(wait_s)
        waiting = await store.posts(state="waiting")
        return {"queued": queued, "waiting": len(waiting), "silent": outbox.silent}
