"""Stage 1: is the candidate at least as good on every slice we measure? From an eval result to the playbook's answer.

Running the eval is the controller's business, comparing the answers is `gates.paired`'s.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from understudy.core.evidence import Finding
from understudy.core.playbook import Decision, Outcome, Stage, Verdict
from understudy.stages.assessment import Assessment, hold


class Result(NamedTuple):
    """What this stage needs to know of an eval."""

    outcome: Outcome
    failed: tuple[str, ...]
    """Slices that failed and may be waived."""
    critical: tuple[str, ...]
    """Critical slices and must-pass cases that failed."""
    summary: str
    needed: tuple[str, ...] = ()
    """What would decide an inconclusive eval."""


REGRESSION = "regression"
"""The kind of finding a failed slice makes."""


def prepare(suites: int, workload: str) -> Assessment:
    """Before stage 1: there must be a suite before the upgrade begins."""
    if suites == 0:
        return hold(
            "An upgrade waits until there is something to measure it with.",
            f"an eval suite: name one under workloads.{workload}.suites",
            person=("an eval suite",),
        )
    return Assessment(
        Decision.ADVANCE, Verdict.PASS, f"{suites} suite{'' if suites == 1 else 's'} to measure with.", to=Stage.REGRESS
    )


def findings(result: Result) -> tuple[Finding, ...]:
    """The failed slices as findings: these are what a waiver may name."""
    return tuple(Finding(REGRESSION, slice_, f"slice {slice_} regressed in the eval", {}) for slice_ in result.failed)


def assess(result: Result | None, waived: Collection[str], running: str = "") -> Assessment:
    """The playbook's table. `result` is None where no eval of the present suites, thresholds, variants and
    code exists; `running` says what is being done about that."""
    if result is None:
        return hold(
            running or "The eval of the present suites and variants has not been run.",
            "an eval result for exactly these suites, thresholds and variants",
        )
    match result.outcome:
        case Outcome.PROCEED:
            return Assessment(Decision.ADVANCE, Verdict.PASS, result.summary, to=Stage.SHADOW)
        case Outcome.CAUTION:
            return _caution(result, waived)
        case Outcome.RETUNE:
            return Assessment(
                Decision.ADVANCE, Verdict.FAIL, result.summary, to=Stage.RETUNE, findings=findings(result)
            )
        case Outcome.STOP:
            return Assessment(Decision.STOP, Verdict.FAIL, result.summary, to=Stage.BLOCKED, findings=findings(result))
        case Outcome.INCONCLUSIVE:
            missing = result.needed or ("more cases, or more repeats of each",)
            return hold(f"The eval cannot tell: {result.summary}", *missing, person=missing)


def _caution(result: Result, waived: Collection[str]) -> Assessment:
    if result.critical:
        named = ", ".join(result.critical)
        return Assessment(
            Decision.ADVANCE,
            Verdict.FAIL,
            f"{result.summary} What failed is critical and cannot be waived: {named}.",
            to=Stage.RETUNE,
            findings=findings(result),
        )
    open_slices = [slice_ for slice_ in result.failed if slice_ not in waived]
    if open_slices:
        waivers = tuple(f"a waiver for slice {slice_} (owner, reason, expiry)" for slice_ in open_slices)
        return hold(
            f"{result.summary} Slices that failed go on only with a waiver or a better prompt.",
            *waivers,
            person=waivers,
            verdict=Verdict.FAIL,
            findings=findings(result),
        )
    return Assessment(
        Decision.ADVANCE,
        Verdict.PASS,
        f"{result.summary} Waived and tracked from here: {', '.join(result.failed)}.",
        to=Stage.SHADOW,
    )
