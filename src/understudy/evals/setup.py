"""Prepares a regression eval from a project: which variants, suites, limits and prices; runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from understudy.config.project import Project, shown_path
from understudy.core.errors import UsageError
from understudy.core.slices import meant
from understudy.core.variant import Variant
from understudy.evals.filing import Keep
from understudy.evals.graders import Command
from understudy.evals.price import pricing
from understudy.evals.result import DEFAULT_MARGIN, Thresholds
from understudy.evals.runner import DEFAULT_CONCURRENCY, DEFAULT_REPEATS, Job
from understudy.evals.scoring import Price
from understudy.evals.suite import Suite, load_suite, select
from understudy.ledger.lake import EvalScore
from understudy.ledger.pricebook import PriceBook
from understudy.ledger.prices import Price as OwnPrice

QUALITY = "quality"
"""The gate whose margin is the eval's."""


def prepare(
    project: Project,
    workload: str,
    *,
    candidate: str,
    incumbent: str = "",
    suites: Sequence[Path] = (),
    slices: Sequence[str] = (),
    repeats: int = DEFAULT_REPEATS,
    escalate: bool = True,
    concurrency: int = DEFAULT_CONCURRENCY,
    fresh: bool = False,
    tuning_exhausted: bool = False,
) -> Job:
    """The job for `runner.run`. Without `incumbent` it is the serving variant, without `suites` the workload's own.

    Raises UsageError for a name that is not there, a workload without suite, and a candidate that is the serving
    variant itself unless `incumbent` asks for that; ConfigError for what is wrong in a suite.
    """
    old, new = _variants(project, workload, incumbent, candidate)
    chosen = select(load_suites(project, workload, suites), slices)
    return Job(
        workload=workload,
        incumbent=old,
        candidate=new,
        providers=project.providers(),
        suites=chosen,
        repeats=repeats,
        escalate=escalate,
        concurrency=concurrency,
        thresholds=thresholds(project, workload, chosen),
        tuning_exhausted=tuning_exhausted,
        fresh=fresh,
    )


def load_suites(project: Project, workload: str, named: Sequence[Path] = ()) -> list[Suite]:
    """The suites that are named, else the workload's own. Raises UsageError where there are none."""
    paths = list(named) or project.suites(workload)
    if not paths:
        raise UsageError(
            f"workload {workload} has no suite: an upgrade without an eval has no first stage",
            remedy="write one and name it under `suites:`, or with --suite",
        )
    suites = [load_suite(path, shown_as=shown_path(path.absolute())) for path in paths]
    for suite in suites:
        for grader in suite.graders:
            if isinstance(grader, Command) and not project.config.command_graders:
                raise UsageError(
                    f"{suite.file}: the grader {grader.label} runs the program {grader.run[0]!r}, and programs are off",
                    remedy="read the suite, then write `command_graders: true` at the top of understudy.yaml",
                )
    return suites


def thresholds(project: Project, workload: str, suites: Sequence[Suite]) -> Thresholds:
    """The margin of the gate `quality`, and the workload's critical slices as these suites name them.

    A critical slice that no suite has stays, so that it fails for want of cases; unless the suites were cut down to
    slices on purpose.
    """
    gates = project.workload(workload).gates
    quality = gates.metrics.get(QUALITY)
    margin = quality.absolute_margin if quality else None
    cut_to = {name for suite in suites for name in suite.filtered}
    present = cut_to or {name for suite in suites for name in suite.slices}
    critical = {found for name in gates.critical for found in meant(name, present) or ([] if cut_to else [name])}
    return Thresholds(margin=DEFAULT_MARGIN if margin is None else margin, critical_slices=tuple(sorted(critical)))


def prices(project: Project) -> Price:
    """How answers are priced: the project's own prices, then the public list."""
    sections = project.config.prices
    own = {model: OwnPrice(one.input, one.output, one.cached_input) for model, one in sections.items()}
    return pricing(own, PriceBook(project.paths.prices, keep=False))


def keeping(project: Project) -> Keep | None:
    """Where the scores of an eval are kept: the project's ledger; None where the plain install has none."""
    if find_spec("deltalake") is None:
        return None

    def keep(rows: Sequence[EvalScore]) -> None:
        from understudy.ledger.queries import Ledger
        from understudy.ledger.stores import lake_of

        ledger = Ledger(lake_of(project))
        try:
            ledger.add_eval_scores(rows)
        finally:
            ledger.close()

    return keep


def _variants(project: Project, workload: str, incumbent: str, candidate: str) -> tuple[Variant, Variant]:
    serving = project.workload(workload).incumbent
    old, new = project.variant(workload, incumbent or serving), project.variant(workload, candidate)
    if not incumbent and new.fingerprint == old.fingerprint:
        raise UsageError(
            f"{candidate} is {serving}, the incumbent of {workload}: there is nothing to compare"
            if candidate != serving
            else f"{candidate} is the incumbent of {workload}: there is nothing to compare",
            remedy=f"name another candidate, or add --incumbent {serving} to see how much of a difference is noise",
        )
    return old, new
