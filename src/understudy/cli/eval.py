"""`understudy eval`: incumbent and candidate on the same cases, per slice, before any user sees the candidate."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.output import err, errors_shown, out, plain, print_json, progress
from understudy.core.errors import EXIT_CANNOT_MEASURE, EXIT_FINDING, EXIT_PASS, CannotMeasure, UsageError
from understudy.core.playbook import Outcome

if TYPE_CHECKING:
    from understudy.config.project import Project
    from understudy.core.variant import Variant
    from understudy.evals.result import EvalResult, Thresholds
    from understudy.evals.runner import Job
    from understudy.evals.suite import Suite

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
    repeats: Annotated[int, typer.Option(min=1, max=100, help="Answers to each case by each variant.")] = 5,
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
    Variants whose answers do not differ from one time to the next are asked twice only.

    Exit codes: 0 proceed, 1 caution, retune or stop, 2 usage or configuration, 3 inconclusive or could not measure.
    """
    from understudy.config.project import open_project
    from understudy.evals.suite import select

    with errors_shown(as_json):
        project = open_project(config)
        old, new = _variants(project, workload, incumbent, candidate)
        suites = select(load_suites(project, workload, suite or []), slice_ or [])
        from understudy.evals.runner import Job

        job = Job(
            workload=workload,
            incumbent=old,
            candidate=new,
            providers=project.providers(),
            suites=suites,
            repeats=repeats,
            concurrency=concurrency,
            thresholds=thresholds(project, workload, slice_ or []),
            fresh=fresh,
        )
        result = _measured(project, job)
        _print(project, result, as_json=as_json)
        sys.exit(EXIT_CODES[result.outcome])


def _variants(project: Project, workload: str, incumbent: str, candidate: str) -> tuple[Variant, Variant]:
    serving = project.workload(workload).incumbent
    new = project.variant(workload, candidate)
    if not incumbent and new == project.variant(workload, serving):
        raise UsageError(
            f"{candidate} is the incumbent of {workload}: there is nothing to compare",
            remedy=f"name another candidate, or add --incumbent {serving} to see how much of a difference is noise",
        )
    return project.variant(workload, incumbent or serving), new


def load_suites(project: Project, workload: str, named: list[Path]) -> list[Suite]:
    """The suites named on the command line, else the workload's own. Raises UsageError where there are none."""
    from understudy.config.project import shown_path
    from understudy.evals.suite import load_suite

    paths = named or project.suites(workload)
    if not paths:
        raise UsageError(
            f"workload {workload} has no suite: an upgrade without an eval has no first stage",
            remedy="write one and name it under `suites:`, or with --suite",
        )
    return [load_suite(path, shown_as=shown_path(path.absolute())) for path in paths]


def thresholds(project: Project, workload: str, only: list[str]) -> Thresholds:
    """The gate's limits: the margin of the gate `quality`, and the critical slices among those that are looked at."""
    from understudy.evals.result import Thresholds

    gates = project.workload(workload).gates
    quality = gates.metrics.get("quality")
    margin = quality.absolute_margin if quality else None
    critical = tuple(sorted(name for name in gates.critical if not only or name in only))
    return (
        Thresholds(critical_slices=critical) if margin is None else Thresholds(margin=margin, critical_slices=critical)
    )


def _measured(project: Project, job: Job) -> EvalResult:
    """Run the eval and save what it found. Ctrl-C ends it with what was answered kept."""
    from understudy.evals import result as results
    from understudy.evals.price import pricing
    from understudy.evals.runner import run
    from understudy.ledger.prices import Price
    from understudy.upstream.client import Client

    own = {
        model: Price(section.input, section.output, section.cached_input)
        for model, section in project.config.prices.items()
    }

    async def main() -> EvalResult:
        client = Client(job.providers, project.provider_key)
        try:
            with progress(f"{job.incumbent.name} and {job.candidate.name}", job.questions) as advance:
                return await run(job, client, project.paths.evals, price=pricing(own), progress=advance)
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
