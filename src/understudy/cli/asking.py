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
    from understudy.rollout.standing import status_of

    return await status_of(project, control.store, control.board, workload, time.time())
