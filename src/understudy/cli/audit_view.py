"""How the self-audit of `understudy report --audit` is asked for and looks in a terminal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.cli.output import counted, out, plain, print_json, table, waiting

if TYPE_CHECKING:
    from understudy.config.project import Project

MARKS = {"ok": ("✓ ok", "green"), "gap": ("✗ gap", "bold red"), "unknown": ("? unknown", "yellow")}


def audited(config: Path | None, workload: str | None, *, probe: bool, as_json: bool) -> bool:
    """Ask and show; whether there is no gap. Raises UsageError for an unknown workload."""
    from understudy.config.project import open_project

    project = open_project(config)
    if workload is not None:
        project.workload(workload)
    names = [workload] if workload else list(project.config.workloads)
    with waiting("reading configuration and journals"):
        found = _asked(project, names, probe=probe)
    in_order = not any(one["gap"] for one in found)
    if as_json:
        print_json({"in_order": in_order, "workloads": found})
    else:
        for one in found:
            _print(one)
    return in_order


def _asked(project: Project, names: list[str], *, probe: bool) -> list[dict[str, Any]]:
    from understudy.pack.looking import look
    from understudy.pack.selfaudit import as_dict, checks
    from understudy.rollout.board import Folder
    from understudy.wiring import audited as journals
    from understudy.wiring import control_there

    found = journals(project)

    async def asked() -> list[dict[str, Any]]:
        async with control_there(project) as opened:
            store, board = opened or (None, Folder(project.paths.routing))
            return [as_dict(n, checks(await look(project, store, board, n, found, probe=probe))) for n in names]

    return asyncio.run(asked())


def _print(found: dict[str, Any]) -> None:
    from rich.text import Text

    console = out()
    console.print(plain(found["workload"]), style="bold", markup=False)
    for part in dict.fromkeys(one["part"] for one in found["checks"]):
        rows: list[list[object]] = []
        for one in found["checks"]:
            if one["part"] == part:
                word, style = MARKS[one["verdict"]]
                said = Text(plain(one["name"]), style="bold")
                said.append(f"\n{plain(one['seen'])}", style="not bold")
                if one["remedy"]:
                    said.append(f"\ndo: {plain(one['remedy'])}", style="not bold")
                rows.append([Text(word, style), said])
        console.print(table(part, [("", "whole"), "what was seen, and what to do"], rows))
    counts = f"{found['ok']} ok, {counted(found['gap'], 'gap')}, {found['unknown']} unknown"
    console.print(counts, style="red" if found["gap"] else "green")
