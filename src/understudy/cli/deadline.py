"""What `understudy plan` and `understudy models` share: the day a model goes, and the plan counted back from it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from understudy.cli.output import plain, table
from understudy.core.errors import UsageError
from understudy.core.lasting import lasting

if TYPE_CHECKING:
    from rich.console import Console

    from understudy.config.project import Project
    from understudy.registry.deadline import DeadlinePlan
    from understudy.registry.lifetimes import Known, Registry


def day(text: str, option: str) -> date:
    """The day that an option names. Raises UsageError for anything else, also for nothing."""
    from understudy.config.durations import Wrong
    from understudy.config.schema import day as checked

    try:
        written = checked(text)
    except Wrong as wrong:
        raise UsageError(f"{option} {wrong}", remedy="write it like 2026-12-11") from None
    if not written:
        raise UsageError(f"{option} {text!r} is no day", remedy="write it like 2026-12-11")
    return date.fromisoformat(written)


def today(text: str) -> date:
    """The day that --today names, or the present one (UTC)."""
    return day(text, "--today") if text else datetime.now(UTC).date()


def registry(project: Project) -> Registry:
    """The public facts with what the project declares under `models:`."""
    from understudy.registry.lifetimes import Registry

    return Registry(project.config.models)


def known(project: Project, facts: Registry, workload: str, variant: str) -> Known:
    """What is known of the model of a variant, as its provider serves it."""
    from understudy.registry.hosting import platform

    section = project.workload(workload).variants[variant]
    return facts.look_up(section.model, platform(project.config, section.provider))


def age(now: date) -> str:
    """How old the dates are that come with this version, and where one's own go."""
    from understudy.registry.lifetimes import FRESH_DAYS, looked_up

    days = (now - looked_up()).days
    own = "Yours go under `models:` in understudy.yaml."
    if days > FRESH_DAYS:
        return (
            f"The public dates were last looked up on {looked_up()}, {days} days ago, and may have changed since: "
            f"install a newer Understudy, or look at the providers' pages. {own}"
        )
    return f"The public dates were last looked up on {looked_up()}. {own}"


def planned(project: Project, workload: str, deadline: date, now: date, preparation_s: float) -> DeadlinePlan:
    """The plan of a workload's upgrade, with its own profile or the compressed one."""
    from understudy.core.playbook import PROFILES
    from understudy.registry.deadline import plan_backwards

    return plan_backwards(project.profile(workload), PROFILES["forced"], deadline, now, preparation_s)


def verdict(found: dict[str, Any]) -> str:
    """The verdict of a plan, given as `DeadlinePlan.as_dict` gives it, in a sentence."""
    profile, slack = found["profile"], found["slack_days"]
    match found["verdict"]:
        case "fits":
            return f"Fits with profile {profile}: begin by {found['begin_by']}, {_days(slack)} from now."
        case "shortened":
            return (
                f"Fits with profile {profile} only if the incumbent is kept for less long: "
                f"begin by {found['stages'][0]['begin_by']}, {_days(slack)} from now."
            )
        case "forced":
            return f"Fits only with profile forced: begin by {found['stages'][0]['begin_by']}, {_days(slack)} from now."
        case _:
            return (
                f"Too late by {_days(-slack)}, even with profile {profile}: "
                "ask the provider for more time, or shorten --prompt-work."
            )


def print_plan(console: Console, found: dict[str, Any], why: str) -> None:
    """The plan, the verdict and what it gives up."""
    left = (date.fromisoformat(found["deadline"]) - date.fromisoformat(found["today"])).days
    said = f"in {_days(left)}" if left > 0 else "today" if left == 0 else f"{_days(-left)} ago"
    console.print(plain(f"Without the incumbent from {found['deadline']} on ({said}{f'; {why}' if why else ''})."))
    rows = [
        [stage["stage"], f"{100 * stage['share']:g} %", lasting(stage["least_s"]), stage["begin_by"]]
        for stage in found["stages"]
    ]
    heads: list[str | tuple[str, str]] = ["stage", ("candidate", "right"), ("at least", "right"), ("begin by", "whole")]
    console.print(table(f"counted back, profile {found['profile']}", heads, rows))
    console.print(plain(verdict(found)), style="green" if found["verdict"] == "fits" else "yellow")
    if found["gives_up"]:
        console.print("It gives up:")
        for lost in found["gives_up"]:
            console.print(plain(f"- {lost}"), markup=False)
    console.print("Gates that cannot decide take longer: whatever is left before `begin by` is the slack for that.\n")


def _days(count: float) -> str:
    if count == 1:
        return "1 day"
    return f"{count:,.0f} days" if abs(count) >= 100 else f"{count:.3g} days"
