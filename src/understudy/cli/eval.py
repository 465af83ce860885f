"""`understudy eval`: incumbent and candidate on the same cases, per slice, before any user sees the candidate."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.output import err, errors_shown, out, plain, print_json, progress
from understudy.core.errors import EXIT_CANNOT_MEASURE, EXIT_FINDING, EXIT_PASS, CannotMeasure
from understudy.core.playbook import Outcome

if TYPE_CHECKING:
    from understudy.config.project import Project
    from understudy.evals.result import EvalResult
    from understudy.evals.runner import Job

app = typer.Typer(add_completion=False)

EXIT_CODES = {
    Outcome.PROCEED: EXIT_PASS,
    Outcome.CAUTION: EXIT_FINDING,
    Outcome.RETUNE: EXIT_FINDING,
    Outcome.STOP: EXIT_FINDING,
    Outcome.INCONCLUSIVE: EXIT_CANNOT_MEASURE,
}


@app.command("eval")
def eval_(
    workload: Annotated[str, typer.Argument(help="The workload.", show_default=False)],
    candidate: Annotated[str, typer.Option("--candidate", help="The variant to try.", show_default=False)],
    incumbent: Annotated[
        str, typer.Option("--incumbent", help="What it is held against; by default what serves now.")
    ] = "",
    suite: Annotated[
        list[Path] | None, typer.Option("--suite", help="Suite file, instead of the workload's own.")
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Answers to each case by each variant, 5 by default.", show_default=False),
    ] = None,
    escalate: Annotated[
        bool | None,
        typer.Option(
            "--escalate/--once",
            help="Ask undecided slices twice and four times as often; by default where --repeats is not given.",
            show_default=False,
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Calls under way at once.")] = 16,
    slice_: Annotated[
        list[str] | None, typer.Option("--slice", help="Only the cases of this slice, KEY=VALUE or a name.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask everything anew, even what is kept from earlier runs.")
    ] = False,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Ask both variants every case, and say per slice whether the candidate is at least as good.

    Answers are kept: a run that was stopped goes on where it was, and more --repeats ask only for what is missing.
    Variants whose answers do not differ from one time to the next are asked twice only. What is undecided after 5
    answers a case is asked up to 10 and 20 times, at looks that share one error rate; --once leaves it at one look.

    Exit codes: 0 proceed, 1 caution, retune or stop, 2 usage or configuration, 3 inconclusive or could not measure.
    """
    from understudy.config.project import open_project
    from understudy.evals.runner import DEFAULT_REPEATS
    from understudy.evals.setup import prepare

    with errors_shown(as_json):
        project = open_project(config)
        job = prepare(
            project,
            workload,
            candidate=candidate,
            incumbent=incumbent,
            suites=suite or (),
            slices=slice_ or (),
            repeats=repeats or DEFAULT_REPEATS,
            escalate=repeats is None if escalate is None else escalate,
            concurrency=concurrency,
            fresh=fresh,
        )
        job = _unseen(project, job)
        result = _measured(project, job)
        _print(project, result, as_json=as_json)
        sys.exit(EXIT_CODES[result.outcome])


def _unseen(project: Project, job: Job) -> Job:
    """The job without the cases that a search for the candidate's prompt saw, and a word about that."""
    from dataclasses import replace

    from understudy.tuning.unseen import judging

    unseen = replace(job, suites=judging(project.paths.evals, job.workload, job.candidate, job.suites))
    if unseen.cases < job.cases:
        left = f"{job.cases - unseen.cases:,} of {job.cases:,} cases are left out, as its prompt was searched on them"
        err().print(plain(f"note: {job.candidate.name}: {left}"), style="yellow", markup=False)
    return unseen


def _measured(project: Project, job: Job) -> EvalResult:
    """Run the eval and save what it found. Ctrl-C ends it with what was answered kept."""
    from understudy.evals import result as results
    from understudy.evals.runner import run
    from understudy.evals.setup import keeping, prices
    from understudy.upstream.client import Client

    keep = keeping(project)
    if keep is None:
        err().print(
            "note: the scores go into the result's file alone: the ledger comes with pip install 'understudy[all]'",
            style="yellow",
            markup=False,
        )

    async def main() -> EvalResult:
        client = Client(job.providers, project.provider_key)
        try:
            with progress(f"{job.incumbent.name} and {job.candidate.name}", job.questions) as advance:
                return await run(job, client, project.paths.evals, price=prices(project), keep=keep, progress=advance)
        finally:
            await client.close()

    try:
        found = asyncio.run(main())
    except KeyboardInterrupt:
        raise CannotMeasure(
            "stopped", remedy="the same command goes on where this one was: its answers are kept"
        ) from None
    results.save(found, project.paths.evals)
    return found


def _print(project: Project, result: EvalResult, *, as_json: bool) -> None:
    if as_json:
        print_json(result.as_dict())
        return
    from understudy.cli.eval_view import show
    from understudy.evals.prompts import side_by_side

    for note in result.notes:
        err().print(plain(f"note: {note}"), style="yellow", markup=False)
    section = project.workload(result.workload).variants[result.candidate.name]
    show(out(), result, side_by_side(result.incumbent, result.candidate, section.why))
