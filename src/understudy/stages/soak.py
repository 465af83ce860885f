"""Stage 5: do slow tails appear at 100 %? can we still go back? Decides when the incumbent may retire."""

from __future__ import annotations

from understudy.core.evidence import Finding
from understudy.core.lasting import lasting
from understudy.core.playbook import Decision, Stage, Verdict
from understudy.stages.assessment import Assessment, Judgement, hold

INCUMBENT_DOWN = "incumbent_down"


def assess(
    judgement: Judgement | None,
    *,
    held_s: float,
    soak_s: float,
    retain_s: float,
    probe_failed_for_s: float,
    probe_message: str,
) -> Assessment:
    """Decide on a day of the soak. The incumbent stays callable until `retain_s`, however clean the soak was.

    An incumbent that does not answer is no reason to roll back, but one to wake somebody: there is no way back.
    """
    found = judgement.findings if judgement else ()
    details = judgement.details if judgement else {}
    if judgement is not None and judgement.verdict is Verdict.FAIL:
        return Assessment(Decision.ROLL_BACK, Verdict.FAIL, judgement.sentence, findings=found, details=details)
    missing: list[str] = []
    if probe_failed_for_s > 0:
        sentence = f"the incumbent has not answered for {lasting(probe_failed_for_s)}: {probe_message}"
        found = (*found, Finding(INCUMBENT_DOWN, "", sentence, {"failed_for_s": probe_failed_for_s}))
        missing.append("an incumbent that answers, so that a rollback would work")
    if held_s < soak_s:
        missing.append(f"{lasting(soak_s - held_s)} more of the {lasting(soak_s)} soak")
    if held_s < retain_s:
        missing.append(f"{lasting(retain_s - held_s)} more of the {lasting(retain_s)} the incumbent is kept callable")
    if judgement is None:
        missing.append("a first reading of the ledger")
    if missing:
        word = "Soaked clean" if held_s >= soak_s else "Soaking at 100 %"
        return hold(f"{word}; the incumbent is kept.", *missing, findings=found, details=details)
    return Assessment(
        Decision.ADVANCE,
        Verdict.PASS,
        f"Soaked for {lasting(held_s)} and nothing failed; the incumbent may retire.",
        to=Stage.DONE,
        findings=found,
        details=details,
    )
