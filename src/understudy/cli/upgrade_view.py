"""How the status of an upgrade looks in a terminal, once or watched. The document comes from `rollout.status`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from understudy.cli.asking import status_of
from understudy.cli.output import out, plain, table
from understudy.core.errors import EXIT_FINDING, EXIT_PASS
from understudy.core.playbook import Stage, Verdict

if TYPE_CHECKING:
    from rich.console import Console, Group

    from understudy.config.project import Project

STAGES = (Stage.REGRESS, Stage.SHADOW, Stage.CANARY, Stage.SOAK, Stage.DONE)


def exit_code(document: Mapping[str, Any]) -> int:
    """1 where the upgrade ended without success, or a failing verdict waits for a person."""
    upgrade = document["upgrade"]
    if upgrade is None:
        return EXIT_PASS
    failed = upgrade["stage"] in (Stage.BLOCKED, Stage.ROLLED_BACK, Stage.ABORTED)
    assessment = upgrade["assessment"] or {}
    return EXIT_FINDING if failed or assessment.get("verdict") == Verdict.FAIL else EXIT_PASS


def show(console: Console, document: Mapping[str, Any], now: float) -> None:
    console.print(rendered(document, now))


async def watching(project: Project, workload: str) -> dict[str, Any]:
    """Show the status until the upgrade is over or somebody interrupts; returns the last one."""
    from rich.live import Live

    from understudy.wiring import control

    async with control(project) as opened:
        document = await status_of(project, opened, workload)
        with Live(rendered(document, time.time()), console=out(), auto_refresh=False) as live:
            while document["upgrade"] is not None and document["upgrade"]["ended_at"] is None:
                await asyncio.sleep(0.5)
                document = await status_of(project, opened, workload)
                live.update(rendered(document, time.time()), refresh=True)
    return document


def rendered(document: Mapping[str, Any], now: float) -> Group:
    """The whole view."""
    from rich.console import Group
    from rich.text import Text

    lines: list[Any] = []
    upgrade = document["upgrade"]
    serves = ", ".join(f"{plain(name)} {100 * share:g} %" for name, share in document["serves"].items())
    if upgrade is None:
        lines.append(Text(f"{plain(document['workload'])}: no upgrade yet; serves {serves}"))
    else:
        lines += _upgrade(upgrade, document, serves, now)
    lines += [Text(f"note: {plain(note)}", style="yellow") for note in document["notes"]]
    return Group(*lines)


def _upgrade(upgrade: Mapping[str, Any], document: Mapping[str, Any], serves: str, now: float) -> list[Any]:
    from rich.text import Text

    head = Text()
    head.append(plain(document["workload"]), style="bold")
    head.append(f"  {plain(upgrade['incumbent']['name'])} to {plain(upgrade['candidate']['name'])}")
    head.append(f"  ({upgrade['id']}, profile {upgrade['profile']}, since {_ago(upgrade['started_at'], now)})")
    lines = [head, _path(upgrade), Text(f"serves {serves}")]
    exposure = document["exposure"]
    if exposure["epoch"] is not None:
        said = {True: "in effect on every worker", False: "not on every worker yet", None: "no worker alive"}
        lines.append(Text(f"table  epoch {exposure['epoch']}, {said[exposure['effective']]} ({exposure['workers']})"))
    if upgrade["ended_at"] is not None:
        style = "green" if upgrade["stage"] == Stage.DONE else "red"
        lines.append(Text(f"{upgrade['stage']} by {plain(upgrade['ended_by'])}: {plain(upgrade['ended_why'])}", style))
    assessment = upgrade["assessment"]
    if assessment is not None:
        style = {"pass": "green", "fail": "red"}.get(assessment["verdict"], "")
        lines.append(Text(f"{assessment['verdict']}: {plain(assessment['sentence'])}", style=style))
        lines += [Text(f"  missing: {plain(text)}") for text in assessment["missing"]]
        lines += _gates(assessment["details"])
    lines += _judged(upgrade)
    return lines


def _path(upgrade: Mapping[str, Any]) -> Any:
    """The stages in a row, the present one marked."""
    from rich.text import Text

    text = Text()
    for stage in STAGES:
        here = upgrade["stage"] == stage or (stage is Stage.REGRESS and upgrade["stage"] in ("draft", "retune"))
        name = upgrade["stage"] if here and stage is Stage.REGRESS else str(stage)
        if here and stage is Stage.CANARY:
            name += f" {100 * upgrade['share']:g} %"
        text.append(f"{'' if stage is STAGES[0] else ' > '}")
        text.append(f"[{name}]" if here else name, style="bold reverse" if here else "dim")
    if upgrade["paused"]:
        text.append("  paused", style="yellow")
    return text


def _gates(details: Mapping[str, Any]) -> list[Any]:
    """All gates over all traffic; of the slices those that fail or may not."""
    worth = [g for g in details.get("gates", ()) if not g["slice"] or g["verdict"] == Verdict.FAIL or g["critical"]]
    rows = [(g["metric"], g["slice"] or "all", g["verdict"], g["sentence"]) for g in worth]
    return [table("", ("gate", "slice", "verdict", "evidence"), rows)] if rows else []


def _judged(upgrade: Mapping[str, Any]) -> list[Any]:
    from rich.text import Text

    lines: list[Any] = []
    if upgrade["eval"]:
        lines.append(Text(f"eval   {upgrade['eval']['outcome']}: {plain(upgrade['eval']['summary'])}"))
    for waiver in upgrade["waivers"]:
        lines.append(Text(f"waiver {plain(waiver['subject'])} by {plain(waiver['owner'])}: {plain(waiver['reason'])}"))
    for approval in upgrade["approvals"]:
        lines.append(Text(f"signed {plain(approval['subject'])} by {plain(approval['by'])}"))
    for switch in upgrade["switches"]:
        names = f"{plain(switch['old']['name'])} to {plain(switch['new']['name'])}"
        lines.append(Text(f"tuned  {names} by {plain(switch['by'])}: {plain(switch['why'])}"))
    lines += [Text(f"found  {plain(finding['sentence'])}", style="yellow") for finding in upgrade["findings"][:20]]
    return lines


def _ago(at: float, now: float) -> str:
    from understudy.stages.assessment import lasting

    return lasting(max(0.0, now - at))
