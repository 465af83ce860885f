"""`understudy history`: which variant served a workload when, and why; from the journal and from the ledger."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.asking import Config, Json, one_workload
from understudy.cli.output import errors_shown, out, plain, print_json, spoken, table

if TYPE_CHECKING:
    from rich.console import Console

    from understudy.config.project import Project

app = typer.Typer(add_completion=False)


@app.command()
def history(
    workload: Annotated[str | None, typer.Argument(help="Name of the workload, if there are several.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every event, not only those that change who is served what.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show every change of who is served what: when, by whom, why, under which epoch; and what the ledger saw.

    The journal's chain of hashes is checked on the way; exit code 3 where it is broken.
    """
    from understudy.config.project import open_project

    with errors_shown(as_json):
        project = open_project(config)
        name = one_workload(project, workload)
        document = asyncio.run(_collected(project, name, everything=everything))
        print_json(document) if as_json else _print(out(), document)


async def _collected(project: Project, workload: str, *, everything: bool) -> dict[str, Any]:
    from understudy.ledger.queries import Ledger
    from understudy.ledger.stores import lake_of
    from understudy.rollout.history import changes
    from understudy.rollout.history import spans as merged
    from understudy.wiring import control

    async with control(project) as opened:
        states = await opened.store.upgrades(workload)
        journals = [await opened.store.journal(state.id) for state in states]
        publications = await opened.store.publications(limit=10_000)

    def spans() -> list[dict[str, Any]]:
        ledger = Ledger(lake_of(project))
        try:
            return merged(ledger.history(workload))
        finally:
            ledger.close()

    return {
        "workload": workload,
        "changes": changes(journals, publications, everything=everything),
        "served": await asyncio.to_thread(spans),
    }


def _print(console: Console, document: dict[str, Any]) -> None:
    rows = [
        [_when(c["at"]), spoken(c["event"]), _percent(c["share"]), c["variant"] or "", c["by"], _brief(c["why"])]
        for c in document["changes"]
    ]
    columns: list[str | tuple[str, str]] = [("when (UTC)", "whole"), "event", ("share", "right")]
    columns += ["candidate", "by", "why"]
    if rows:
        console.print(table("what was decided", columns, rows))
    else:
        console.print("nobody was moved to another variant yet (--all shows every event)", markup=False)
    if document["served"]:
        seen = [
            [
                _when(s["first_at"]),
                _when(s["last_at"]).removeprefix(_when(s["first_at"])[:11]),
                s["served_variant"],
                s["model_served"],
                f"{s['stage']} {s['step'] + 1}" if s["step"] >= 0 else s["stage"] or "-",
                s["exchanges"],
                s["masked"],
            ]
            for s in document["served"]
        ]
        heads: list[str | tuple[str, str]] = [("from (UTC)", "whole"), ("to", "whole"), "variant", "model"]
        heads += ["stage", ("answers", "right"), ("masked", "right")]
        console.print(table("what was served", heads, seen))
    else:
        console.print(plain("nothing in the ledger yet"), markup=False)


def _brief(why: str) -> str:
    """The first sentence of a reason; --json has all of it."""
    first, _, rest = why.partition(". ")
    return f"{first} ..." if rest else first


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:g} %"
