"""Stage 3: would users notice the swap? From paired live answers to a decision; what drifted is `drift`'s to say.

The clock starts when the asked share of the traffic is shadowed, and not at the first copy; another candidate begins
it anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from understudy.core.evidence import Finding
from understudy.core.lasting import lasting
from understudy.core.playbook import PARTS_PER_MILLION, Decision, Stage, Verdict
from understudy.stages.assessment import Assessment, hold

FULL = 0.95
"""Copies made of copies asked for, from which on coverage counts as full: a few are always lost to limits."""
ENOUGH = 20
"""Served requests below which coverage is not judged."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the traffic was copied: eligible requests served, copies that were answered, losses by reason."""

    served: int
    copies: int
    lost: Mapping[str, int] = field(default_factory=dict)

    def full(self, sample: int) -> bool:
        """Whether the asked share (parts per million) was copied."""
        return self.served >= ENOUGH and self.copies >= FULL * self.served * sample / PARTS_PER_MILLION

    def sentence(self, sample: int) -> str:
        part = "" if sample == PARTS_PER_MILLION else f", where {sample / 10_000:g} % are to be copied"
        lost = ", ".join(f"{n:,} {why.replace('_', ' ')}" for why, n in sorted(self.lost.items()) if n)
        return f"{self.copies:,} copies of {self.served:,} served{part}{f'; lost: {lost}' if lost else ''}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What this stage looks at. `drift` is None where there is no report yet."""

    coverage: Coverage | None
    pairs: int
    drift: Sequence[Finding] | None
    details: Mapping[str, Any] = field(default_factory=dict)


def starts(coverage: Coverage | None, sample: int) -> bool:
    """Whether the clock may start now."""
    return coverage is not None and coverage.full(sample)


def assess(
    evidence: Evidence,
    *,
    sample: int,
    held_s: float | None,
    min_s: float,
    max_s: float,
    min_pairs: int,
    unwaived: Sequence[Finding],
) -> Assessment:
    """Decide on shadow evidence. `held_s` is None before the clock has started.

    Drift becomes a finding when the time, the coverage and the pairs that were asked for are there, and not before:
    its tests are made for one look, and a look a minute at growing data would find something in two equal models.
    Until then what shows is named in the sentence. A finding holds the upgrade for a person, who waives it or
    re-tunes; at the end of the longest shadow it stops the upgrade. Missing evidence only ever holds.
    """
    coverage, found = evidence.coverage, tuple(evidence.drift or ())
    details = dict(evidence.details)
    if held_s is None:
        now = coverage.sentence(sample) if coverage else "no traffic seen yet"
        return hold(f"The clock has not started: {now}.", "full shadow coverage", details=details)
    missing: list[str] = []
    if held_s < min_s:
        missing.append(f"{lasting(min_s - held_s)} more of the {lasting(min_s)} in shadow")
    if coverage is None or not coverage.full(sample):
        missing.append(f"coverage ({coverage.sentence(sample) if coverage else 'not measured'})")
    if evidence.drift is None or evidence.pairs < min_pairs:
        missing.append(f"{max(min_pairs - evidence.pairs, 1)} more pairs to compare")
    if missing:
        return hold(_so_far(found), *missing, details=details)
    if unwaived:
        names = ", ".join(f"{f.slice or 'all'}/{f.kind}" for f in unwaived)
        if held_s >= max_s:
            return Assessment(
                Decision.STOP,
                Verdict.FAIL,
                f"After {lasting(max_s)} in shadow users would still notice: {names}.",
                to=Stage.BLOCKED,
                findings=found,
                details=details,
            )
        wish = f"a waiver, or a re-tuned candidate, for {names}"
        said = "Users would notice the swap."
        return hold(said, wish, verdict=Verdict.FAIL, findings=found, details=details, person=(wish,))
    said = "Users would notice only what was accepted" if found else "Nothing that users would notice"
    return Assessment(
        Decision.ADVANCE,
        Verdict.PASS,
        f"{said}, in {evidence.pairs:,} pairs over {lasting(held_s)}.",
        to=Stage.CANARY,
        findings=found,
        details=details,
    )


def _so_far(found: Sequence[Finding]) -> str:
    if not found:
        return "Nothing a user would notice so far."
    return f"Users might notice so far: {'; '.join(f.sentence for f in found[:3])}."
