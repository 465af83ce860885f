"""`understudy shadow report`: would users notice the swap? Coverage and clock, findings, and pairs side by side."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.asking import Config, Json, one_workload
from understudy.cli.output import errors_shown, out, print_json
from understudy.core.errors import EXIT_FINDING, EXIT_PASS, CannotMeasure, UsageError

if TYPE_CHECKING:
    from understudy.config.project import Project
    from understudy.drift.report import DriftReport
    from understudy.rollout.fold import UpgradeState

app = typer.Typer(add_completion=False, no_args_is_help=True, help="What paired live answers say about a candidate.")


@app.callback()
def _shadow() -> None:
    """What paired live answers say about a candidate."""


@app.command()
def report(
    workload: Annotated[str | None, typer.Argument(help="Name of the workload, if there are several.")] = None,
    upgrade: Annotated[str, typer.Option("--upgrade", help="Id of an earlier upgrade; the latest if left out.")] = "",
    slice_: Annotated[
        str, typer.Option("--slice", help="Show this slice alone, and what is found on it: ticket=refund.")
    ] = "",
    examples: Annotated[int, typer.Option("--examples", min=0, max=3, help="Pairs to show with each finding.")] = 1,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Compare the candidate's shadow answers with what the incumbent served: length, form, tone, tools, refusals,
    latency and cost, per slice.

    Exit code 1 where there is a finding that nobody has waived, 3 where there are no pairs to compare or too few, 0
    otherwise.
    """
    from understudy.config.project import open_project

    with errors_shown(as_json):
        project = open_project(config)
        name = one_workload(project, workload)
        state, held_s = asyncio.run(_state(project, name, upgrade))
        document = _document(project, state, held_s, slice_, examples)
        if as_json:
            print_json(document)
        else:
            from understudy.cli.shadow_view import show

            show(out(), document)
    sys.exit(EXIT_FINDING if any(not f["waived"] for f in document["findings"]) else EXIT_PASS)


async def _state(project: Project, workload: str, upgrade: str) -> tuple[UpgradeState, float | None]:
    """The upgrade and for how long its clock has run; None where that is not kept any more."""
    from understudy.wiring import control

    begin = f"begin one with `understudy upgrade start {workload} --candidate VARIANT`"
    if not project.paths.store.exists():
        raise CannotMeasure(f"workload {workload} has had no upgrade yet", remedy=begin)
    async with control(project) as opened:
        states = await opened.store.upgrades(workload)
        progress = (await opened.store.read()).progress
    found = [state for state in states if upgrade in ("", state.id)]
    if not states:
        raise CannotMeasure(f"workload {workload} has had no upgrade yet", remedy=begin)
    if not found:
        raise UsageError(
            f"workload {workload} has no upgrade {upgrade!r}", remedy=f"there is {', '.join(s.id for s in states)}"
        )
    state = found[-1]
    kept = progress.get(state.id)
    return state, kept.held_s if kept and kept.clock == state.clock else None


def _document(
    project: Project, state: UpgradeState, held_s: float | None, slice_: str, examples: int
) -> dict[str, Any]:
    from understudy.core.playbook import Stage
    from understudy.ledger.queries import Ledger
    from understudy.ledger.stores import lake_of
    from understudy.rollout.following import Following

    in_shadow = state.stage is Stage.SHADOW
    since = (state.clock_at or state.entered_at) if in_shadow else state.started_at
    ledger = Ledger(lake_of(project))
    try:
        coverage = ledger.shadow_coverage(workload=state.workload, upgrade=state.id, since=since)
        drift = Following(state.workload, state.id, state.candidate.fingerprint, since).read(ledger)
    finally:
        ledger.close()
    _enough(drift, state, slice_)
    profile = project.profile(state.workload)
    return {
        "workload": state.workload,
        "upgrade": state.id,
        "stage": str(state.stage),
        "incumbent": state.incumbent.name,
        "candidate": state.candidate.name,
        "fingerprint": state.candidate.fingerprint,
        "since": since,
        "clock": {
            "running": in_shadow and state.clock_at is not None,
            "held_s": held_s,
            "min_s": profile.shadow_min_s,
            "max_s": profile.shadow_max_s,
        },
        "coverage": {"served": coverage.served, "copies": coverage.copies, "lost": coverage.lost},
        **_drift(drift, state, slice_, examples),
    }


def _enough(drift: DriftReport, state: UpgradeState, slice_: str) -> None:
    """Raises CannotMeasure where there is nothing to report on, and UsageError for a slice that was not seen."""
    from understudy.drift.report import MIN_PAIRS

    if not drift.enough:
        seen = "no pairs" if not drift.pairs else "1 pair" if drift.pairs == 1 else f"{drift.pairs} pairs"
        raise CannotMeasure(
            f"upgrade {state.id} of {state.workload} has {seen} of the candidate {state.candidate.name}, "
            f"{MIN_PAIRS} are the least",
            remedy="let traffic run in shadow; a new candidate begins anew",
        )
    known = {row.slice for row in drift.rows} | set(drift.thin)
    if slice_ and slice_ not in known:
        from understudy.config.explain import suggest

        raise UsageError(f"no pair has the slice {slice_!r}", remedy=suggest(slice_, known - {""}))


def _drift(drift: DriftReport, state: UpgradeState, slice_: str, examples: int) -> dict[str, Any]:
    from understudy.drift.differ import JOIN

    now = time.time()
    return {
        "pairs": drift.pairs,
        "noise_pairs": drift.noise_pairs,
        "findings": [
            {
                "kind": seen.finding.kind,
                "slice": seen.finding.slice,
                "sentence": seen.finding.sentence,
                "figures": seen.finding.figures,
                "waived": state.waived(seen.finding, now),
                "examples": [example._asdict() for example in seen.examples[:examples]],
            }
            for seen in drift.seen
            if not slice_ or seen.finding.slice in ("", slice_, *slice_.split(JOIN))
        ],
        "rows": [row.as_dict() for row in drift.rows if slice_ in ("", row.slice)],
        "thin": dict(drift.thin),
        "slices_not_kept": drift.slices_not_kept,
    }
