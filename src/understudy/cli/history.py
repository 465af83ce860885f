"""`understudy history`: which variant served a workload when, and why; from the journal and from the ledger."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.asking import Config, Json, one_workload
from understudy.cli.output import errors_shown, facts, out, plain, print_json, spoken, table, waiting

if TYPE_CHECKING:
    from rich.console import Console

    from understudy.config.project import Project

app = typer.Typer(add_completion=False)
REASON = 240
"""Characters of a reason that are shown whole."""


@app.command()
def history(
    workload: Annotated[str | None, typer.Argument(help="Name of the workload, if there are several.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every event, not only those that change who is served what.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show every change of who is served what: when, by whom, why, under which epoch; what evals said of the variants,
    and what the ledger saw.

    The journal's chain of hashes is checked on the way; exit code 3 where it is broken.
    """
    from understudy.config.project import open_project

    with errors_shown(as_json):
        project = open_project(config)
        name = one_workload(project, workload)
        with waiting("asking the ledger"):
            document = asyncio.run(_collected(project, name, everything=everything))
        print_json(document) if as_json else _print(out(), document)


async def _collected(project: Project, workload: str, *, everything: bool) -> dict[str, Any]:
    from understudy.ledger.queries import Ledger
    from understudy.ledger.stores import lake_of
    from understudy.rollout.lookback import decided, seen
    from understudy.wiring import control

    async with control(project) as opened:
        changes = await decided(opened.store, workload, everything=everything)
    with closing(Ledger(lake_of(project))) as ledger:
        return {"workload": workload, "changes": changes, **await asyncio.to_thread(seen, ledger, workload)}


def _print(console: Console, document: dict[str, Any]) -> None:
    from rich.text import Text

    console.print(
        "what was decided (UTC)" if document["changes"] else "nobody was moved to another variant yet", end=""
    )
    console.print("" if document["changes"] else " (--all shows every event)", markup=False)
    decided = []
    for change in document["changes"]:
        share = f" at {_percent(change['share'])}" if change["share"] else ""
        told = Text(f"{plain(spoken(change['event']))}: {plain(change['variant'] or '')}{share}", style="bold")
        told.append(f", by {plain(change['by'])}\n{plain(_brief(change['why']))}", style="not bold")
        decided.append((_when(change["at"]), told))
    console.print(facts(decided))
    _print_evals(console, document["evals"])
    if not document["served"]:
        console.print(plain("nothing in the ledger yet"), markup=False)
        return
    years = {_when(at)[:4] for s in document["served"] for at in (s["first_at"], s["last_at"])}
    cut = 5 if len(years) == 1 else 0  # the year is in the heading
    masked = any(s["masked"] for s in document["served"])
    seen = []
    for s in document["served"]:
        begin, end = _when(s["first_at"]), _when(s["last_at"])
        stage = f"{s['stage']} {s['step'] + 1}" if s["step"] >= 0 else s["stage"] or "-"
        row = [begin[cut:], end.removeprefix(begin[:11]) if begin[:11] == end[:11] else end[cut:]]
        row += [s["served_variant"], s["model_served"], stage, s["exchanges"], *([s["masked"]] if masked else [])]
        seen.append(row)
    heads: list[str | tuple[str, str]] = [("from", "whole"), ("to", "whole"), "variant", "model", ("stage", "whole")]
    heads += [("answers", "right"), *([("masked", "right")] if masked else [])]
    console.print(table(f"what was served{', ' + years.pop() if cut else ''} (UTC)", heads, seen))


def _print_evals(console: Console, evals: list[dict[str, Any]]) -> None:
    years = {_when(seen["last_at"])[:4] for seen in evals}
    cut = 5 if len(years) == 1 else 0  # the year is in the heading
    rows = []
    for seen in evals:
        score = "-" if seen["score"] is None else f"{100 * seen['score']:.1f}"
        rows.append([_when(seen["last_at"])[cut:], seen["eval"], seen["arm"], seen["variant"], score, seen["cases"]])
        rows[-1].append(seen["answers"])
    if rows:
        heads: list[str | tuple[str, str]] = [("until", "whole"), ("eval", "whole"), ("side", "whole"), "variant"]
        heads += [("score", "right"), ("cases", "right"), ("answers", "right")]
        console.print(table(f"what evals said{', ' + years.pop() if cut else ''} (UTC)", heads, rows))


def _brief(why: str) -> str:
    """A reason, or the first sentence of a long one; --json has all of it."""
    first, _, rest = why.partition(". ")
    return f"{first} ..." if rest and len(why) > REASON else why


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:g} %"
