"""Describes what the pairs of a shadow say, as one JSON document that `shadow report` prints and evidence holds."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from understudy.config.explain import suggest
from understudy.config.project import Project
from understudy.core.errors import CannotMeasure, UsageError
from understudy.core.playbook import Stage
from understudy.drift.differ import JOIN
from understudy.drift.report import MIN_PAIRS, DriftReport
from understudy.ledger.queries import Ledger
from understudy.ledger.stores import lake_of
from understudy.rollout.fold import UpgradeState
from understudy.rollout.following import Following, Progress, unseen


def compared(
    project: Project,
    state: UpgradeState,
    held_s: float | None,
    slice_: str,
    examples: int,
    now: float,
    progress: Progress = unseen,
) -> dict[str, Any]:
    """Everything the pairs of an upgrade say, on one slice alone where it is named, with so many examples a finding.

    `held_s` is how long the shadow's clock has run; `progress` is told how many more pairs were read. Raises
    CannotMeasure where there are too few pairs, UsageError for a slice that was not seen.
    """
    with closing(Ledger(lake_of(project))) as ledger:
        return compared_again(project, ledger, following(state), state, held_s, slice_, examples, now, progress)


def following(state: UpgradeState) -> Following:
    """What reads the pairs of an upgrade; kept by whoever compares again and again, so that only new ones are read."""
    return Following(state.workload, state.id, state.candidate.fingerprint, _since(state))


def _since(state: UpgradeState) -> float:
    return (state.clock_at or state.entered_at) if state.stage is Stage.SHADOW else state.started_at


def compared_again(
    project: Project,
    ledger: Ledger,
    pairs: Following,
    state: UpgradeState,
    held_s: float | None,
    slice_: str,
    examples: int,
    now: float,
    progress: Progress = unseen,
) -> dict[str, Any]:
    """The same as `compared`, by a ledger that is open and a reading of pairs that goes on from the last one."""
    in_shadow, since = state.stage is Stage.SHADOW, _since(state)
    coverage = ledger.shadow_coverage(workload=state.workload, upgrade=state.id, since=since)
    drift = pairs.read(ledger, progress)
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
        **_drift(drift, state, slice_, examples, now),
    }


def _enough(drift: DriftReport, state: UpgradeState, slice_: str) -> None:
    """Raises CannotMeasure where there is nothing to report on, and UsageError for a slice that was not seen."""
    if not drift.enough:
        seen = "no pairs" if not drift.pairs else "1 pair" if drift.pairs == 1 else f"{drift.pairs} pairs"
        raise CannotMeasure(
            f"upgrade {state.id} of {state.workload} has {seen} of the candidate {state.candidate.name}, "
            f"{MIN_PAIRS} are the least",
            remedy="let traffic run in shadow; a new candidate begins anew",
        )
    known = {row.slice for row in drift.rows} | set(drift.thin)
    if slice_ and slice_ not in known:
        raise UsageError(f"no pair has the slice {slice_!r}", remedy=suggest(slice_, known - {""}))


def _drift(drift: DriftReport, state: UpgradeState, slice_: str, examples: int, now: float) -> dict[str, Any]:
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
