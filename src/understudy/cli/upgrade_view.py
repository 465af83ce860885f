"""How the status of an upgrade looks in a terminal, once or watched. The document comes from `rollout.status`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from understudy.cli.asking import status_of
from understudy.cli.gates_view import gates_table
from understudy.cli.output import out, plain, spoken
from understudy.core.errors import EXIT_FINDING, EXIT_PASS
from understudy.core.playbook import Decision, Stage, Verdict
from understudy.gates.lines import missing_lines, tail_lines

if TYPE_CHECKING:
    from rich.console import Console, Group

    from understudy.config.project import Project

FINDINGS = 8
"""Findings that are shown one by one."""
STAGES = (Stage.REGRESS, Stage.RETUNE, Stage.SHADOW, Stage.CANARY, Stage.SOAK, Stage.DONE)


def exit_code(document: Mapping[str, Any]) -> int:
    """1 where the upgrade ended without success, or a failing eval or verdict waits for a person."""
    upgrade = document["upgrade"]
    if upgrade is None:
        return EXIT_PASS
    failed = upgrade["stage"] in (Stage.RETUNE, Stage.BLOCKED, Stage.ROLLED_BACK, Stage.ABORTED)
    assessment = upgrade["assessment"] or {}
    return EXIT_FINDING if failed or assessment.get("verdict") == Verdict.FAIL else EXIT_PASS


WATCH_S = 0.5
"""Seconds between two looks of a watch."""


def show(console: Console, document: Mapping[str, Any], now: float) -> None:
    """Print the status as it is at `now`, in seconds since the epoch."""
    console.print(rendered(document, now))


async def watching(project: Project, workload: str) -> dict[str, Any]:
    """Show the status until the upgrade is over or somebody interrupts; returns the last one. A terminal sees it
    change in place; what is read by a program or kept in a file gets it again at each change of stage or share.
    """
    from rich.live import Live

    from understudy.wiring import control

    console = out()
    async with control(project) as opened:
        document = await status_of(project, opened, workload)
        if not console.is_terminal:
            show(console, document, time.time())
            while _under_way(document):
                await asyncio.sleep(WATCH_S)
                before, document = document, await status_of(project, opened, workload)
                if _place(document) != _place(before):
                    show(console, document, time.time())
            return document
        with Live(rendered(document, time.time()), console=console, auto_refresh=False) as live:
            while _under_way(document):
                await asyncio.sleep(WATCH_S)
                document = await status_of(project, opened, workload)
                live.update(rendered(document, time.time()), refresh=True)
    return document


def _under_way(document: Mapping[str, Any]) -> bool:
    return document["upgrade"] is not None and document["upgrade"]["ended_at"] is None


def _place(document: Mapping[str, Any]) -> tuple[object, object]:
    return document["upgrade"]["stage"], document["serves"]


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
    head.append(f"  ({upgrade['id']}, profile {upgrade['profile']}, begun {_ago(upgrade['started_at'], now)} ago)")
    lines = [head, _path(upgrade), Text(f"serves {serves}")]
    exposure = document["exposure"]
    if exposure["epoch"] is not None:
        said = {True: "in effect on every worker", False: "not on every worker yet", None: "no worker alive"}
        lines.append(Text(f"table  epoch {exposure['epoch']}, {said[exposure['effective']]} ({exposure['workers']})"))
    if upgrade["ended_at"] is not None:
        style = "green" if upgrade["stage"] == Stage.DONE else "red"
        why = f": {plain(upgrade['ended_why'])}" if upgrade["ended_why"] else ""
        lines.append(Text(f"{spoken(upgrade['stage'])} by {plain(upgrade['ended_by'])}{why}", style))
    if upgrade["assessment"] is not None:
        lines += _assessed(upgrade["assessment"], upgrade["tracked"])
    lines += _judged(upgrade)
    return lines


def _assessed(assessment: Mapping[str, Any], tracked: Sequence[str]) -> list[Any]:
    """What is decided now, on what verdict, what is missing, and the gates behind it."""
    from rich.text import Text

    verdict = assessment["verdict"]
    style = {Verdict.PASS: "green", Verdict.FAIL: "red"}.get(verdict, "")
    # A hold without a verdict says all there is to say; a verdict beside it is news.
    beside = "" if verdict == Verdict.INCONCLUSIVE else f", {verdict} so far"
    decision = f"{spoken(assessment.get('decision') or Decision.HOLD)}{beside}"
    gates = assessment["details"].get("gates", ())
    missing = missing_lines(assessment["missing"], gates)
    return [
        Text(f"{decision}: {plain(assessment['sentence'])}", style=style),
        *(Text(f"  missing: {plain(text)}") for text in missing),
        *gates_table(gates, tracked),
        *(Text(plain(line), style="dim") for line in tail_lines(assessment["details"].get("tails", ()))),
    ]


def _path(upgrade: Mapping[str, Any]) -> Any:
    """The stages in a row, the present one marked."""
    from rich.text import Text

    text = Text()
    for stage in STAGES:
        if stage is Stage.RETUNE and upgrade["stage"] != stage:
            continue  # a stage of its own only for those that need it
        here = upgrade["stage"] == stage or (stage is Stage.REGRESS and upgrade["stage"] == "draft")
        name = upgrade["stage"] if here else str(stage)
        if here and stage is Stage.CANARY:
            name += f" {100 * upgrade['share']:g} %"
        text.append(f"{'' if stage is STAGES[0] else ' > '}")
        text.append(f"[{name}]" if here else name, style="bold reverse" if here else "dim")
    if upgrade["paused"]:
        text.append("  paused", style="yellow")
    return text


def _judged(upgrade: Mapping[str, Any]) -> list[Any]:
    from rich.text import Text

    lines: list[Any] = []
    assessment = upgrade["assessment"]
    said = assessment["sentence"] if assessment else ""
    if upgrade["eval"] and upgrade["eval"]["summary"] != said:
        lines.append(Text(f"eval   {upgrade['eval']['outcome']}: {plain(upgrade['eval']['summary'])}"))
    for waiver in upgrade["waivers"]:
        lines.append(Text(f"waiver {plain(waiver['subject'])} by {plain(waiver['owner'])}: {plain(waiver['reason'])}"))
    for approval in upgrade["approvals"]:
        lines.append(Text(f"signed {plain(approval['subject'])} by {plain(approval['by'])}"))
    for switch in upgrade["switches"]:
        names = f"{plain(switch['old']['name'])} to {plain(switch['new']['name'])}"
        lines.append(Text(f"tuned  {names} by {plain(switch['by'])}: {plain(switch['why'])}"))
    findings = upgrade["findings"]
    lines += [Text(f"found  {plain(finding['sentence'])}", style="yellow") for finding in findings[:FINDINGS]]
    if len(findings) > FINDINGS:
        rest = f"found  {len(findings) - FINDINGS} more: `understudy shadow report`, or --json"
        lines.append(Text(rest, style="yellow"))
    return lines


def _ago(at: float, now: float) -> str:
    from understudy.core.lasting import lasting

    return lasting(max(0.0, now - at))
