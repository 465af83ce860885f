"""`understudy models`: every pinned model, whether its name holds, when it is shut down, and what to do by when."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli import deadline as deadlines
from understudy.cli.asking import Config, Json
from understudy.cli.output import counted, errors_shown, out, plain, print_json, table, waiting
from understudy.core.errors import EXIT_FINDING

if TYPE_CHECKING:
    from rich.console import Console

    from understudy.config.project import Project
    from understudy.registry.inventory import Pinned, Standing

app = typer.Typer(add_completion=False)


@app.command()
def models(
    workload: Annotated[str | None, typer.Argument(help="Only this workload.")] = None,
    today: Annotated[str, typer.Option(help="Look as if it were this day.")] = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show every pinned model: what it is to its workload, whether its name stays one snapshot, since when and why it
    is pinned, when it was tested, when it is shut down, and what to do by when.

    Exit code 1 where something needs doing: a name that may change in front of users, answers of another model than the
    pinned one, a shutdown that has passed or is too near for the workload's profile, a way back that ends too early, a
    pin without a reason.
    """
    from understudy.config.project import open_project
    from understudy.registry.lifetimes import looked_up

    with errors_shown(as_json):
        project = open_project(config)
        now = deadlines.today(today)
        names = [workload] if workload else list(project.config.workloads)
        with waiting("asking journals and ledger"):
            rows = [row for name in names for row in _pinned(project, name, now)]
        document = {
            "today": now.isoformat(),
            "facts_looked_up": looked_up().isoformat(),
            "models": [row.as_dict(now) for row in rows],
        }
        print_json(document) if as_json else _print(out(), rows, now)
    if any(need.urgent for row in rows for need in row.needs):
        sys.exit(EXIT_FINDING)


def _pinned(project: Project, workload: str, now: date) -> list[Pinned]:
    """The models of a workload, those that serve first. Raises UsageError for an unknown workload."""
    from understudy.registry.deadline import PREPARATION_S
    from understudy.registry.inventory import Pinned, Standing, Tier, needs

    section, facts = project.workload(workload), deadlines.registry(project)
    profile = project.profile(workload)
    standing = _standings(project, workload, profile.retain_s)
    served = _served(project, workload)
    rows: list[Pinned] = []
    for name, variant in section.variants.items():
        otherwise = Tier.PRODUCTION if name == section.incumbent and not standing else Tier.EXPERIMENTAL
        pin = variant.pin
        row = Pinned(
            workload=workload,
            variant=name,
            provider=variant.provider,
            model=variant.model,
            standing=standing.get(name, Standing(otherwise)),
            known=deadlines.known(project, facts, workload, name),
            since=pin.since if pin else "",
            why=pin.why if pin else "",
            served=served.get(name, ""),
        )
        if row.standing.tier is Tier.PRODUCTION and row.retirement is not None:
            plan = deadlines.planned(project, workload, row.retirement.day, now, PREPARATION_S)
            row = replace(row, plan=plan)
        rows.append(replace(row, needs=tuple(needs(row, now, profile.retain_s))))
    order = list(Tier)
    return sorted(rows, key=lambda row: order.index(row.standing.tier))


def _standings(project: Project, workload: str, retain_s: float) -> Mapping[str, Standing]:
    """What the control store knows; nothing where there is none yet, or where this install cannot read it."""
    if find_spec("sqlalchemy") is None:
        return {}
    from understudy.rollout.tiers import standings
    from understudy.wiring import control_there

    async def journals() -> list[Any]:
        async with control_there(project) as opened:
            if opened is None:
                return []
            return [await opened.store.journal(state.id) for state in await opened.store.upgrades(workload)]

    found = asyncio.run(journals())
    at = datetime.now(UTC).timestamp()
    return standings(project.workload(workload).incumbent, workload, found, at, retain_s) if found else {}


def _served(project: Project, workload: str) -> dict[str, str]:
    """By variant, as it is configured now, the model that the provider last said it answered with; nothing where the
    ledger lies in no folder of this machine, or this install cannot read it.
    """
    if not project.paths.lake.is_dir() or any(find_spec(each) is None for each in ("deltalake", "duckdb", "ibis")):
        return {}
    from understudy.ledger.queries import Ledger
    from understudy.ledger.stores import lake_of

    marks = {variant.fingerprint: name for name, variant in project.variants(workload).items()}
    ledger = Ledger(lake_of(project))
    try:
        spans = sorted(ledger.history(workload), key=lambda span: span.last_at)
    finally:
        ledger.close()
    own = (span for span in spans if span.model_served and marks.get(span.fingerprint) == span.served_variant)
    return {span.served_variant: span.model_served for span in own}


def _print(console: Console, rows: list[Pinned], now: date) -> None:
    for workload in dict.fromkeys(row.workload for row in rows):
        heads: list[str | tuple[str, str]] = ["variant", ("tier", "whole"), "model", ("name", "whole")]
        heads += [("goes", "whole"), ("days", "right")]
        own = [row for row in rows if row.workload == workload]
        console.print(table(workload, heads, [_cells(row, now) for row in own]))
        for row in own:
            _print_pin(console, row)
        console.print()
    urgent = sum(need.urgent for row in rows for need in row.needs)
    said = f"{counted(urgent, 'thing')} to do" if urgent else "nothing that needs doing now"
    console.print(f"{counted(len(rows), 'model')}, {said}; dates carry their sources in --json.")
    if any(row.retirement and row.retirement.kind == "not_before" for row in rows):
        console.print("A date behind > is the earliest one, not an announcement.")
    console.print(deadlines.age(now))


def _cells(row: Pinned, now: date) -> tuple[object, ...]:
    standing, retirement = row.standing, row.retirement
    share = f" {100 * standing.share:g} %" if standing.share and standing.share < 1 else ""
    goes = "unknown" if retirement is None else f"{'> ' * (retirement.kind == 'not_before')}{retirement.day}"
    left = "-" if retirement is None else retirement.days_left(now)
    name = str(row.known.naming.promise)
    return row.variant, f"{standing.tier}{share}", row.model, name, goes, left


def _print_pin(console: Console, row: Pinned) -> None:
    pinned = f"pinned {row.since or 'at an unknown day'}{f': {row.why}' if row.why else ''}"
    tested = f"; eval {row.standing.tested} on {_day(row.standing.tested_at)}" if row.standing.tested else ""
    canary = f"; users since {_day(row.standing.canary_since)}" if row.standing.canary_since else ""
    if row.since or row.why or tested or canary:
        console.print(plain(f"{row.variant}: {pinned}{tested}{canary}"), markup=False)
    for need in row.needs:
        console.print("to do: " if need.urgent else "note: ", style="bold red" if need.urgent else "yellow", end="")
        console.print(plain(need.what), markup=False)


def _day(at: float | None) -> str:
    return "an unknown day" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
