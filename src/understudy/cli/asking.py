"""What the commands about an upgrade share: who asks, which workload, where it stands now."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.core.errors import UsageError

if TYPE_CHECKING:
    from understudy.config.project import Project
    from understudy.wiring import Control

Config = Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Workload = Annotated[str, typer.Argument(help="Name of the workload.")]
By = Annotated[str, typer.Option("--by", help="Who asks; your login name if left out.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the journal.")]


def who(by: str) -> str:
    """The name for the journal."""
    return by or getpass.getuser()


def one_workload(project: Project, name: str | None) -> str:
    """The named workload, or the only one there is. Raises UsageError."""
    if name:
        project.workload(name)
        return name
    names = list(project.config.workloads)
    if len(names) == 1:
        return names[0]
    raise UsageError("which workload?", remedy=f"name one of: {', '.join(names)}")


async def status_of(project: Project, control: Control, workload: str) -> dict[str, Any]:
    """The document `upgrade status --json` prints."""
    from understudy.core.errors import DataCorrupt
    from understudy.core.playbook import Stage
    from understudy.rollout.publish import acknowledged
    from understudy.rollout.status import describe

    now = time.time()
    states = await control.store.upgrades(workload)
    unsettled = (await control.store.read()).upgrades
    latest = states[-1] if states else None
    assessment = await control.store.assessment(latest.id) if latest else None
    try:
        table = control.board.read()
    except DataCorrupt:
        table = None
    beats = control.board.heartbeats()
    return describe(
        workload,
        project.workload(workload).incumbent,
        latest,
        now=now,
        profile=project.profile(workload),
        finished=[u for u in unsettled if u.stage is Stage.DONE],
        assessment=assessment,
        table=table,
        acknowledged=acknowledged(beats, table, now) if table else None,
        kill=control.board.kills().get(workload),
    )
