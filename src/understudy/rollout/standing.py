"""Reads where a workload stands now: control store, routing table and heartbeats, in one document."""

from __future__ import annotations

from typing import Any

from understudy.config.project import Project
from understudy.core.errors import DataCorrupt, NotThere
from understudy.core.playbook import Stage
from understudy.rollout.board import Board
from understudy.rollout.fold import UpgradeState
from understudy.rollout.publish import acknowledged
from understudy.rollout.status import describe
from understudy.rollout.store.base import Store


async def status_of(
    project: Project, store: Store, board: Board, workload: str, now: float, upgrade: str = ""
) -> dict[str, Any]:
    """The document `upgrade status --json` prints and the dashboard shows, of the latest upgrade or a named one.

    Raises NotThere for an unknown workload or upgrade, StoreUnavailable.
    """
    section = project.workload(workload)
    latest = await upgrade_of(store, workload, upgrade)
    unsettled = (await store.read()).upgrades
    assessment = await store.assessment(latest.id) if latest else None
    try:
        table = await board.read()
    except DataCorrupt:
        table = None
    beats = await board.heartbeats()
    document = describe(
        workload,
        section.incumbent,
        latest,
        now=now,
        profile=project.profile(workload),
        finished=[u for u in unsettled if u.stage is Stage.DONE],
        assessment=assessment,
        table=table,
        acknowledged=acknowledged(beats, table, now) if table else None,
        kill=(await board.kills()).get(workload),
    )
    return document | {"notes": [*document["notes"], *await board.notes()]}


async def upgrade_of(store: Store, workload: str, upgrade: str = "") -> UpgradeState | None:
    """The latest upgrade of a workload, None where there was none yet; or the one of this id. Raises NotThere."""
    states = await store.upgrades(workload)
    found = [state for state in states if upgrade in ("", state.id)]
    if upgrade and not found:
        there = ", ".join(state.id for state in states)
        raise NotThere(
            f"workload {workload} has no upgrade {upgrade!r}",
            remedy=f"there is {there}" if there else "it has had none yet",
        )
    return found[-1] if found else None
