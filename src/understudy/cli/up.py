"""`understudy up`: gateway, committer, controller and dashboard of a project as children of one supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.asking import Config, Json
from understudy.cli.output import counted, errors_shown
from understudy.cli.serving import Documents, only_one, teller, told_to_stop
from understudy.core.errors import CannotMeasure

if TYPE_CHECKING:
    from understudy.config.project import Project

app = typer.Typer(add_completion=False)

SHORT_LIFE_S = 5.0
"""A child that ends sooner is started again after a pause that doubles each time."""
MAX_PAUSE_S = 10.0
STOP_S = 45.0
"""Longer than the gateway's own time for draining."""


@app.command()
def up(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the gateway; 0 takes a free one.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Gateway workers; one per core if left out.")
    ] = None,
    every: Annotated[float, typer.Option(min=0.05, help="Seconds between two commits, and two turns.")] = 0.5,
    dashboard: Annotated[bool, typer.Option("--dashboard/--no-dashboard", help="With its pages, or without.")] = True,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Run everything one machine needs: gateway, ledger committer, controller, dashboard.

    Where `store` names a database that machines share, it also follows that one.

    A child that is killed is started again, with a growing pause when it keeps failing. Ctrl-C ends them all after
    the requests under way.
    """
    from understudy.config.project import open_project

    with errors_shown(as_json):
        project = open_project(config)
        remedy = "stop that one first, or leave it to it"
        with only_one(project.paths.state / "up.lock", f"`understudy up` of {project.file}", remedy):
            asyncio.run(_run(project, port, workers, every, dashboard, as_json))


@dataclass
class Child:
    """One process that has to be there. `command` is what follows `python -m understudy`."""

    name: str
    command: Sequence[str]
    heard: Callable[[str], None]
    pid: int = 0
    starts: int = 0
    _pause_s: float = field(default=0.0, repr=False)

    async def keep(self, stop: asyncio.Event, say: Callable[[str], None]) -> None:
        """Run it until `stop`, again and again; then end it."""
        while not stop.is_set():
            began = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "understudy",
                *self.command,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,  # a Ctrl-C is ours to pass on, in our order
                preexec_fn=_die_with_parent,
            )
            self.pid = process.pid
            self.starts += 1
            reading = asyncio.create_task(self._read(process))
            ended = asyncio.create_task(process.wait())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await _end(process)
            stopping.cancel()
            code = await ended
            await reading
            if stop.is_set():
                return
            lived = time.monotonic() - began
            self._pause_s = 0.2 if lived >= SHORT_LIFE_S else min(MAX_PAUSE_S, max(0.2, 2 * self._pause_s))
            say(f"{self.name} ended with {code} after {lived:.1f} s; starting it again in {self._pause_s:g} s")
            try:
                await asyncio.wait_for(stop.wait(), self._pause_s)
            except TimeoutError:
                continue

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        async for line in process.stdout:
            self.heard(line.decode(errors="replace").rstrip())


def _die_with_parent() -> None:
    """Have the kernel end this child if the supervisor is killed: nothing is left that nobody looks after."""
    import ctypes

    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


async def _end(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        process.kill()


async def _run(
    project: Project, port: int | None, workers: int | None, every: float, dashboard: bool, as_json: bool
) -> None:
    stop = told_to_stop()
    say = teller(as_json)

    def problem(name: str, document: dict[str, Any]) -> None:
        say("; ".join(filter(None, (f"{name}: {document.get('message', document)}", document.get("remedy", "")))))

    def gateway_said(document: dict[str, Any]) -> None:
        if "url" not in document:
            problem("gateway", document)
        elif as_json:
            said = {"ready": True, "url": document["url"], "port": document["port"]}
            _raw(said | {"pid": os.getpid(), "children": pids()})
        else:
            say(f"gateway ready at {document['url']} ({counted(document['workers'], 'worker')})")

    def controller_said(document: dict[str, Any]) -> None:
        if "event" not in document:
            problem("controller", document)
        else:
            say("controller ready" if document["event"] == "ready" else document["event"])

    def follow_said(document: dict[str, Any]) -> None:
        if "event" not in document:
            problem("follow", document)
        elif document["event"] != "ready":
            say(f"follow: {document['event']}")

    def committer_said(document: dict[str, Any]) -> None:
        if "ready" not in document:
            problem("committer", document)

    def dashboard_said(document: dict[str, Any]) -> None:
        if "link" not in document:
            problem("dashboard", document)
        elif as_json:
            _raw({"dashboard": document["link"]})
        else:
            say(f"dashboard ready at {document['link']}")

    file = ["--config", str(project.file)]
    listen = [*(["--port", str(port)] if port is not None else []), *(["--workers", str(workers)] if workers else [])]
    controller = Child(
        "controller", ["controller", *file, "--every", str(every), "--json"], Documents(controller_said).line
    )
    committer = Child(
        "committer", ["ledger", "commit", *file, "--watch", str(every), "--json"], Documents(committer_said).line
    )
    gateway = Child("gateway", ["gateway", *file, *listen, "--json"], Documents(gateway_said).line)
    follow = Child("follow", ["follow", *file, "--json"], Documents(follow_said).line)
    pages = Child("dashboard", ["dashboard", *file, "--json"], Documents(dashboard_said).line)
    followers = [follow] if project.config.store else []
    last = [gateway, *([pages] if dashboard else [])]
    children = [controller, committer, *followers, *last]

    def pids() -> dict[str, int]:
        return {child.name: child.pid for child in children}

    project.paths.segments.mkdir(parents=True, exist_ok=True)
    tasks = [asyncio.create_task(child.keep(stop, say)) for child in (controller, committer)]
    # The follower ends when the gateway has ended, so that the last word of this machine is that no worker lives.
    drained = asyncio.Event()
    following = [asyncio.create_task(child.keep(drained, say)) for child in followers]
    await _table_there(project.paths.table, stop)
    if not stop.is_set():
        tasks += [asyncio.create_task(child.keep(stop, say)) for child in last]
    await asyncio.gather(*tasks)
    drained.set()
    await asyncio.gather(*following)


def _raw(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


async def _table_there(table: Path, stop: asyncio.Event, patience_s: float = 120.0) -> None:
    """Wait for the controller's first table. Raises CannotMeasure where it writes none."""
    deadline = time.monotonic() + patience_s
    while not table.is_file() and not stop.is_set():
        if time.monotonic() > deadline:
            raise CannotMeasure(f"the controller wrote no table to {table}", remedy="see what it said above")
        await asyncio.sleep(0.05)
