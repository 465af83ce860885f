"""`understudy dashboard`: the pages that show what stands where, and the control API."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.asking import Config, who
from understudy.cli.output import errors_shown, out, plain
from understudy.core.errors import UsageError

if TYPE_CHECKING:
    from understudy.config.project import DashboardUser, Project

app = typer.Typer(add_completion=False)


@app.command()
def dashboard(
    host: Annotated[str | None, typer.Option(help="The address to listen on; of this machine if left out.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="8090 if left out; 0 takes a free one.")] = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line when ready.")] = False,
) -> None:
    """Show every workload in a browser: what serves, what each stage saw; approve, promote, roll back.

    Without users in the configuration it listens on this machine only, and prints a link that signs you in. Beyond this
    machine it needs `dashboard.users`. The same is there as JSON under /api.
    """
    with errors_shown(as_json):
        from understudy.config.project import open_project

        asyncio.run(_serve(open_project(config), host, port, as_json))


async def _serve(project: Project, host: str | None, port: int | None, as_json: bool) -> None:
    import json
    import secrets
    import sys

    from understudy.cli.serving import told_to_stop
    from understudy.config.project import DashboardUser
    from understudy.dashboard.access import Access, hashed
    from understudy.dashboard.app import make_app
    from understudy.dashboard.facts import Facts
    from understudy.dashboard.looking import Looking
    from understudy.dashboard.serving import listen, of_this_machine, serve, url_of
    from understudy.wiring import SWITCH_S, Reopener, control

    wanted = project.config.dashboard
    users = project.dashboard_users()
    # The port that nobody chose is a suggestion: another project may have it.
    strict = port is not None or "port" in wanted.model_fields_set
    listening = listen(host or wanted.host, wanted.port if port is None else port, strict=strict)
    sys.setswitchinterval(SWITCH_S)
    url = url_of(listening)
    if not users and not of_this_machine(listening):
        listening.close()
        raise UsageError(
            f"the dashboard on {host or wanted.host} would be open to anybody who can reach it",
            remedy="name who may open it under dashboard.users, or listen on 127.0.0.1",
        )
    linked: tuple[DashboardUser, ...] = ()
    link = url
    if not users:
        key = secrets.token_urlsafe(24)
        linked = (DashboardUser(who(""), hashed(key), may_act=True),)
        link = f"{url}/enter?key={key}"
    access = Access((*users, *linked), random=lambda: secrets.token_urlsafe(32))
    looking = Looking(project)
    facts = Facts(
        project,
        Reopener(project),
        control,
        looking,
        lambda changed: access.use((*changed.dashboard_users(), *linked)),
    )

    def ready() -> None:
        if as_json:
            document = {"ready": True, "url": url, "link": link}
            sys.stdout.write(json.dumps(document) + "\n")
            sys.stdout.flush()
            return
        said = "open this link, it signs you in" if linked else "sign in with a key of dashboard.users"
        out().print(f"dashboard ready at {plain(link)}", markup=False, soft_wrap=True)
        out().print(f"{said}; Ctrl-C ends it", markup=False)

    await serve(make_app(facts, access, linked=bool(linked)), listening, told_to_stop(), ready)
    if not looking.close():
        # An engine whose thread is left alone complains while Python is taken down. Nothing is written there.
        sys.stdout.flush()
        os._exit(0)
