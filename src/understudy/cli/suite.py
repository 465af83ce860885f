"""`understudy suite`: eval cases from live traffic."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.asking import Config, Json, Workload
from understudy.cli.output import errors_shown, out, plain, print_json, progress
from understudy.core.errors import CannotMeasure, UsageError
from understudy.core.moment import moment

if TYPE_CHECKING:
    from understudy.ledger.answers import Answer
    from understudy.ledger.sampling import Sampled

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Eval cases from live traffic.")

DAYS = 7
DRAWN = 500_000
"""Exchanges whose slices are looked at; a longer time is drawn from evenly."""
READ = 20_000
"""Exchanges whose content is read at most, in search of questions that differ."""
BATCH = 2_000
"""Exchanges whose content is read first; then as many again, until the cases are found."""


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
    to: Annotated[Path | None, typer.Option("--out", "--to", help="File to write or add to.")] = None,
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
    from understudy.ledger.sampling import in_turn, sample, write
    from understudy.ledger.stores import lake_of

    with errors_shown(as_json):
        project = open_project(config)
        section = project.workload(workload)
        key = next(iter(section.slice_by), None) if by == "slice" else by
        if key is not None and key not in section.slice_by:
            known = ", ".join(section.slice_by) or "none"
            raise UsageError(f"{workload} is not cut by {key!r}", remedy=f"its slice keys: {known}")
        ledger = Ledger(lake_of(project))
        found: list[Answer] = []
        cases: list[Sampled] = []
        try:
            redactor = Redactor(project.config.privacy.patterns)
            wanted = list(dict.fromkeys(exchange or ()))
            if wanted:
                found += ledger.exchanges(workload=workload, only=wanted)
                cases = sample(found, len(wanted), by=key, seed=seed, redactor=redactor)
            else:
                begin = time.time() - DAYS * 86_400 if since is None else moment(since)
                asked = ledger.asked(
                    workload=workload,
                    variant=section.incumbent,
                    since=begin,
                    most=DRAWN,
                    turn=zlib.crc32(seed.encode()),
                )
                names = in_turn(asked, by=key, seed=seed)[:READ]
                with progress("reading", len(names)) as advance:
                    upto = 0
                    while upto < len(names) and len(cases) < n:
                        batch = names[upto : max(BATCH, 2 * upto)]  # twice as many each time: all are drawn from anew
                        found += ledger.exchanges(workload=workload, only=batch)
                        upto += len(batch)
                        advance(len(batch))
                        cases = sample(found, n, by=key, seed=seed, redactor=redactor)
        finally:
            ledger.close()
        if not cases:
            raise _nothing(wanted)
        path = to or project.root / "suites" / f"{workload}-from-ledger.yaml"
        added = write(path, f"{workload}-from-ledger", cases)
        few = len(wanted or range(n)) - len(cases)
        if as_json:
            print_json({"file": str(path), "cases": len(cases), "added": added, "read": len(found)})
        else:
            text = f"{added} cases added to {path}; review each, then name it under `suites:`"
            out().print(plain(text), markup=False)
            if few:
                rest = f"the other {len(found) - len(cases):,} of {len(found):,} exchanges that were read"
                why = f"{few} fewer than asked for: {rest} repeat a question, are more than text, or failed"
                out().print(why, markup=False, highlight=False)


def _nothing(wanted: Sequence[str]) -> CannotMeasure:
    said = "no exchange of the incumbent with a plain question and a whole answer was found"
    if wanted:
        remedy = "take ids as `shadow report` and the header x-understudy-exchange of an answer name them"
        return CannotMeasure(f"{', '.join(wanted)}: {said}", remedy=remedy)
    remedy = "see that the workload keeps content (`content: redacted`), and that there was traffic"
    return CannotMeasure(said, remedy=remedy)
