"""`understudy ledger`: bring segments into the lake, and account for every record."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.asking import one_workload
from understudy.cli.output import counted, err, errors_shown, out, plain, print_json, table, waiting
from understudy.core.errors import EXIT_FINDING
from understudy.core.moment import moment
from understudy.core.signed import signed

if TYPE_CHECKING:
    from understudy.config.project import Project
    from understudy.ledger.lake import Table
    from understudy.ledger.pricebook import Entry, Listed
    from understudy.ledger.projection import Month

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The log of exchanges, pairs and feedback.")

Config = Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def commit(
    config: Config = None,
    watch: Annotated[
        float | None, typer.Option("--watch", min=0.05, help="Go on for ever, with this many seconds in between.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring what the gateways wrote, and what was decided, into the lake, each record once. One committer runs per
    machine.

    With --watch it takes over changed prices and retention while it runs, and goes on with the last good ones where a
    file is wrong. It first prints one line of JSON saying that it is ready, and stops at SIGTERM or SIGINT.
    """
    from understudy.config.project import open_project
    from understudy.ledger.stores import lake_of
    from understudy.wiring import Filing, Supplying, committer_of

    with errors_shown(as_json):
        project = open_project(config)
        paths = project.paths
        filing = Filing(project)
        with committer_of(project) as committer:
            if watch is not None:
                ready = {
                    "ready": True,
                    "pid": os.getpid(),
                    "segments": str(paths.segments),
                    "lake": lake_of(project).where,
                }
                sys.stdout.write(json.dumps(ready) + "\n")
                sys.stdout.flush()
                supplying = Supplying(project, committer)

                def turn() -> None:
                    committer.run_once()
                    filing()
                    supplying()

                _watch(turn, watch)
                return
            done = committer.run_once()
            decisions = filing()
        if as_json:
            print_json({**done._asdict(), "decisions": decisions})
        else:
            lost = f", {done.lost} counted as lost" if done.lost else ""
            decided = f", {decisions} decisions" if decisions else ""
            out().print(f"committed {done.exchanges} exchanges and {done.feedback} feedback{decided}{lost}")


def _watch(commit: Callable[[], object], seconds: float) -> None:
    """Commit until told to stop. A lake that cannot be reached is said once and tried again: the segments wait."""
    from understudy.core.errors import UnderstudyError

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    said = ""
    while True:
        last = stop.is_set()
        try:
            commit()
            said = ""
        except UnderstudyError as error:
            if str(error) != said:
                err().print(plain(f"error: {error}"), markup=False)
            said = str(error)
        if last:
            return
        stop.wait(seconds)


@app.command()
def verify(config: Config = None, as_json: AsJson = False) -> None:
    """Account for every record ever numbered: committed, waiting, counted as lost, or missing; and for every decision.

    Decisions are held against their chain of hashes and against the ledger's copy of them.

    Exit code 1 where a record is missing that nobody counted, is there twice, or bytes are damaged, and where a
    decision was changed, cut off or written anew.
    """
    from understudy.config.project import open_project
    from understudy.ledger.stores import lake_of
    from understudy.ledger.verify import verify as account
    from understudy.wiring import audited

    with errors_shown(as_json):
        project = open_project(config)
        with waiting("reading segments, ledger and journals"):
            found = account(project.paths.segments, lake_of(project))
            decided = audited(project)
        in_order = found.in_order and not decided.broken
        document = {**found.as_dict(), "in_order": in_order, "decisions": decided._asdict()}
        if as_json:
            print_json(document)
        else:
            _print_verification(document)
        if not in_order:
            raise typer.Exit(EXIT_FINDING)


@app.command()
def cost(
    workload: Annotated[str | None, typer.Argument(help="Name of the workload, if there are several.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="From traffic of this time on; all if left out.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Project what a month costs with each variant, from what its answers, served and as shadow, cost so far.

    Tokens are means an exchange; `priced` says how many of the answers have a known cost, `thought` are
    reasoning tokens, which are part of `out`; `cached` are part of `in`.

    Exit code 3 where there was no traffic to project from.
    """
    from understudy.config.project import open_project
    from understudy.core.errors import CannotMeasure
    from understudy.ledger.projection import project as by_month
    from understudy.ledger.queries import Ledger
    from understudy.ledger.stores import lake_of

    with errors_shown(as_json):
        project = open_project(config)
        name = one_workload(project, workload)
        begin = None if since is None else moment(since)
        with waiting("asking the ledger"), closing(Ledger(lake_of(project))) as ledger:
            months = by_month(ledger.spent(name, since=begin))
        if not months:
            raise CannotMeasure(
                f"the ledger has no traffic of {name} to project from",
                remedy="let the gateway serve for a while; `understudy ledger commit` brings it in",
            )
        if as_json:
            print_json({"workload": name, "months": [month._asdict() for month in months]})
        else:
            _print_months(name, project.workload(name).incumbent, months)


@app.command()
def prices(
    accept: Annotated[
        list[str] | None, typer.Option("--accept", help="Use the waiting price of this model; may be given again.")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show the prices of the public list that costs are made with, and accept one that moved by more than half.

    Until somebody does, costs go on at the former price, and their source says `(held)`. Prices under `prices` in
    understudy.yaml come before all of these.

    Exit code 1 where a price waits.
    """
    from understudy.config.project import open_project
    from understudy.ledger.pricebook import PriceBook

    with errors_shown(as_json):
        book = PriceBook(open_project(config).paths.prices)
        for entry in book.accept(accept or []):
            if not as_json:
                out().print(plain(f"{entry.model}: the new price is used from now on"), markup=False)
        entries = book.entries()
        if as_json:
            print_json({"prices": [_price(entry) for entry in entries]})
        elif entries:
            columns: list[str | tuple[str, str]] = ["model", ("input", "right"), ("cached", "right")]
            columns += [("output", "right"), "since", "waiting"]
            out().print(table(plain("US$ for a million tokens"), columns, [_price_row(entry) for entry in entries]))
        else:
            out().print("no price of the public list was used yet")
        if any(entry.waiting is not None for entry in entries):
            raise typer.Exit(EXIT_FINDING)


def _price(entry: Entry) -> dict[str, Any]:
    def shown(price: Listed) -> dict[str, Any]:
        return {**price._asdict(), "tiers": [tier._asdict() for tier in price.tiers]}

    waiting = None if entry.waiting is None else shown(entry.waiting)
    return {"model": entry.model, **shown(entry.used), "waiting": waiting}


def _price_row(entry: Entry) -> list[object]:
    """Of the lowest tier; --json has all."""
    used = entry.used.tiers[-1]
    new = "-"
    if entry.waiting is not None:
        tier = entry.waiting.tiers[-1]
        new = f"{tier.input:g}, {tier.cached:g}, {tier.output:g} of {entry.waiting.source}"
    return [entry.model, f"{used.input:g}", f"{used.cached:g}", f"{used.output:g}", entry.used.as_of, new]


def _print_months(workload: str, incumbent: str, months: list[Month]) -> None:
    before = next((month.usd for month in months if month.variant == incumbent), None)
    rows = []
    for month in months:
        change = "-"
        if before and month.usd is not None and month.variant != incumbent:
            change = f"{signed((month.usd / before - 1) * 100, '.0f')} %"
        usd = "unknown" if month.usd is None else f"{month.usd:,.0f}" if month.usd >= 1_000 else f"{month.usd:,.2f}"
        each = "-" if month.usd_per_exchange is None else f"{month.usd_per_exchange * 1_000:.4f}"
        tokens = (month.input_tokens, month.cached_tokens, month.output_tokens, month.reasoning_tokens)
        known = "all" if month.priced == month.seen else f"{100 * month.priced / month.seen:.0f} %"
        rows.append([month.variant, usd, change, each, *("-" if t is None else f"{t:,.0f}" for t in tokens), known])
    figures = ("month", "change", "1,000", "in", "cached", "out", "thought", "priced")
    columns: list[str | tuple[str, str]] = [("variant", "whole"), *((name, "right") for name in figures)]
    out().print(
        table(
            plain(f"{workload}: US$ for a month of {months[0].exchanges:,.0f} exchanges, and for 1,000 of them"),
            columns,
            rows,
        )
    )


@app.command()
def erase(
    unit: Annotated[str, typer.Option("--unit", "--user", help="Whose records to remove, as requests name them.")],
    workload: Annotated[str | None, typer.Option("--workload", "-w", help="In this workload alone.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Remove everything kept of one unit: in segments, in the lake, in suites, recordings and answers made from its
    exchanges.

    Says what was removed. Exit code 1 where files are left that mention the unit and that only a person can edit: the
    control store, prompts, notes beside the configuration. Segments of other machines are out of reach: run it on
    each. Exports that were carried elsewhere are yours.
    """
    from understudy.config.project import open_project
    from understudy.ledger.erase import erase as remove
    from understudy.ledger.stores import lake_of
    from understudy.wiring import mentions

    with errors_shown(as_json):
        project = open_project(config)
        paths, store = project.paths, project.store().file
        if workload is not None:
            project.workload(workload)
        done = remove(
            project.kept_as(unit),
            segments=paths.segments,
            lake=lake_of(project),
            workload=workload,
            derived=[paths.evals, *([store] if store is not None else []), *_made_from_traffic(project)],
            elsewhere=lambda names: asyncio.run(mentions(project, names)),
        )
        if as_json:
            print_json(done._asdict())
        else:
            rows = [[name.replace("_", " "), value] for name, value in done._asdict().items() if isinstance(value, int)]
            out().print(table("removed", ["what", ("how many", "right")], rows))
            if not any(value for _, value in rows) and not done.lines:
                out().print(plain(f"nothing is kept of {unit!r}: check the name, as requests give it"), markup=False)
            for path, count in done.lines.items():
                out().print(plain(f"{count} lines removed from {path}"), markup=False)
            for path in done.mentioned:
                out().print(plain(f"edit by hand, it mentions the unit: {path}"), markup=False)
        if done.mentioned:
            raise typer.Exit(EXIT_FINDING)


@app.command()
def expire(
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep", help="How long to keep a table, like exchanges=90d; may be given again. Else `retention`."
        ),
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Remove what is older than a table is kept: exchanges (with their content), feedback, scores.

    The committer does this by itself, once an hour, as `retention` in understudy.yaml says.
    """
    from understudy.config.project import open_project
    from understudy.core.errors import UsageError
    from understudy.ledger.retention import expire as remove
    from understudy.ledger.stores import lake_of
    from understudy.wiring import retention_of

    with errors_shown(as_json):
        project = open_project(config)
        asked = dict(_kept(text) for text in keep or ()) or retention_of(project)
        if not asked:
            raise UsageError(
                "nothing says how long a table is kept",
                remedy="write retention: {exchanges: 90d} into understudy.yaml, or --keep exchanges=90d",
            )
        removed = remove(asked, segments=project.paths.segments, lake=lake_of(project), now=time.time())
        if as_json:
            print_json({str(table_): count for table_, count in removed.items()})
        else:
            for table_, count in removed.items():
                out().print(f"{count} rows of {table_} removed")


def _made_from_traffic(project: Project) -> list[Path]:
    """Where cases of live traffic may be: folders of suites, and the suites that lie in the project's own folder."""
    suites = {suite for name in project.config.workloads for suite in project.suites(name)}
    folders = {suite.parent for suite in suites} | {project.root / "suites", project.root / "recordings"}
    return sorted({folder for folder in folders if folder != project.root} | set(project.root.glob("*.*")))


def _kept(text: str) -> tuple[Table, float]:
    """ "exchanges=90d" as table and seconds. Raises UsageError."""
    from understudy.config.durations import seconds
    from understudy.core.errors import UsageError
    from understudy.ledger.lake import Table

    name, _, length = text.partition("=")
    remedy = "write a table and a time, like exchanges=90d"
    if name not in set(Table):
        tables = ", ".join(Table)
        raise UsageError(f"--keep {text}: there is no table {name!r}", remedy=f"{remedy}; there is {tables}")
    try:
        return Table(name), seconds(length)
    except ValueError as error:
        raise UsageError(f"--keep {text}: {error}", remedy=remedy) from None


@app.command()
def export(
    to: Annotated[Path, typer.Argument(help="File to write: .jsonl, .jsonl.gz or .parquet.")],
    workload: Annotated[str | None, typer.Option("--workload", "-w", help="Of this workload alone.")] = None,
    unit: Annotated[str | None, typer.Option("--unit", "--user", help="Of this unit alone.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="From this time on, like 2026-03-01 or 2026-03-01T09:30Z.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Before this time.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write exchanges with their feedback and scores to a file."""
    from understudy.config.project import open_project
    from understudy.ledger.export import export as write
    from understudy.ledger.stores import lake_of

    with errors_shown(as_json):
        project = open_project(config)
        if workload is not None:
            project.workload(workload)
        count = write(
            to,
            lake=lake_of(project),
            workload=workload,
            unit=None if unit is None else project.kept_as(unit),
            since=None if since is None else moment(since),
            until=None if until is None else moment(until),
        )
        if as_json:
            print_json({"file": str(to), "exchanges": count})
        else:
            out().print(plain(f"{count:,} exchanges in {to}"), markup=False)


def _print_verification(found: dict[str, Any]) -> None:
    figures = ("given", "committed", "waiting", "lost", "uncounted")
    columns: list[str | tuple[str, str]] = ["worker", "boot", *((name, "right") for name in figures)]
    rows = [
        [b["worker"], b["boot"], b["given"], b["committed"], b["waiting"], sum(b["lost"].values()), b["uncounted"]]
        for b in found["boots"]
    ]
    out().print(table("", columns, rows))
    for why, count in found["lost"].items():
        out().print(plain(f"{count:,} counted as lost: {why}"), markup=False)
    for name in ("uncounted", "duplicates", "damaged"):
        if found[name]:
            out().print(plain(f"{found[name]:,} {name}"), style="bold red", markup=False)
    for sentence in found["decisions"]["broken"]:
        out().print(plain(sentence), style="bold red", markup=False)
    if found["in_order"]:
        out().print(f"every one of {found['given']:,} numbers is accounted for")
        decided = found["decisions"]
        if decided["decisions"]:
            upgrades = counted(decided["upgrades"], "upgrade")
            told = f"all {decided['decisions']:,} decisions of {upgrades} follow from each other"
            out().print(f"{told}; the ledger has a copy of {decided['copied']:,}")
