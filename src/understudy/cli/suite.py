"""`understudy suite`: eval cases from live traffic."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.asking import Config, Json, Workload
from understudy.cli.moment import moment
from understudy.cli.output import errors_shown, out, plain, print_json
from understudy.core.errors import UsageError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Eval cases from live traffic.")

DAYS = 7
READ = 20_000
"""Exchanges a sample is drawn from at most, the first since --since."""


@app.callback()
def _verbs() -> None:
    """Suites."""


@app.command("from-ledger")
def from_ledger(
    workload: Workload,
    n: Annotated[int, typer.Option("--n", min=1, max=10_000, help="How many cases.")] = 200,
    by: Annotated[
        str | None, typer.Option("--by", help="Slice key to spread the cases over; `slice`: the first.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help=f"From this time on; {DAYS} days back if left out.")
    ] = None,
    exchange: Annotated[
        list[str] | None, typer.Option("--exchange", help="These exchanges and no others, as a report names them.")
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="File to write or add to.")] = None,
    seed: Annotated[str, typer.Option("--seed", help="Another seed draws other cases.")] = "1",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a suite of what users asked and the incumbent answered: spread over slices, no question twice, redacted.

    With --exchange it turns single findings into cases. Review every case before you rely on it. Exit code 3 where
    there is nothing to make one of.
    """
    from understudy.config.project import open_project
    from understudy.ledger.queries import Ledger
    from understudy.ledger.redact import Redactor
    from understudy.ledger.sampling import sample, write
    from understudy.ledger.stores import lake_of

    with errors_shown(as_json):
        project = open_project(config)
        section = project.workload(workload)
        key = next(iter(section.slice_by), None) if by == "slice" else by
        if key is not None and key not in section.slice_by:
            known = ", ".join(section.slice_by) or "none"
            raise UsageError(f"{workload} is not cut by {key!r}", remedy=f"its slice keys: {known}")
        begin = time.time() - DAYS * 86_400 if since is None else moment(since)
        wanted = set(exchange or ())
        ledger = Ledger(lake_of(project))
        try:
            read = ledger.exchanges(workload=workload, since=None if wanted else begin, limit=None if wanted else READ)
            found = [
                each
                for each in read
                if (each.exchange in wanted if wanted else each.served_variant == section.incumbent)
            ]
        finally:
            ledger.close()
        cases = sample(found, len(wanted) or n, by=key, seed=seed, redactor=Redactor(project.config.privacy.patterns))
        path = to or project.root / "suites" / f"{workload}-from-ledger.yaml"
        added = write(path, f"{workload}-from-ledger", cases)
        if as_json:
            print_json({"file": str(path), "cases": len(cases), "added": added})
        else:
            out().print(
                plain(f"{added} cases added to {path}; review each, then name it under `suites:`"), markup=False
            )
