"""The form in which every stage answers: what to do, where to, why, and what is missing. Says nothing about how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from understudy.core.evidence import Finding
from understudy.core.playbook import Decision, Stage, Verdict


@dataclass(frozen=True, slots=True)
class Assessment:
    """One look at one stage.

    `to` is the stage that follows where `decision` is ADVANCE or STOP. `missing` names, one sentence each, what
    would let the upgrade advance; `details` are the figures behind it, as JSON.
    """

    decision: Decision
    verdict: Verdict
    sentence: str
    to: Stage | None = None
    missing: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    person: tuple[str, ...] = ()
    """What only a person can give; until then nothing moves by itself."""

    def as_dict(self) -> dict[str, Any]:
        """As the store keeps it and `--json` shows it."""
        return {
            "decision": str(self.decision),
            "verdict": str(self.verdict),
            "sentence": self.sentence,
            "to": str(self.to) if self.to else None,
            "missing": list(self.missing),
            "findings": [f._asdict() for f in self.findings],
            "details": dict(self.details),
            "person": list(self.person),
        }


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the gates say together: the verdict, a sentence, what they lack, and their figures."""

    verdict: Verdict
    sentence: str
    missing: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    person: tuple[str, ...] = ()
    """What only a person can give."""


def hold(
    sentence: str,
    *missing: str,
    verdict: Verdict = Verdict.INCONCLUSIVE,
    findings: tuple[Finding, ...] = (),
    details: Mapping[str, Any] | None = None,
    person: tuple[str, ...] = (),
) -> Assessment:
    """Stay where we are."""
    return Assessment(
        Decision.HOLD, verdict, sentence, missing=missing, findings=findings, details=dict(details or {}), person=person
    )
