"""Stage 4: do live metrics agree with the eval as real users see it? From the gates' verdict to the next step.

The verdict is `gates.panel`'s. Here: a failing gate rolls back, missing evidence holds, and a pass promotes only
when the step was held long enough and every worker has been serving it.
"""

from __future__ import annotations

from collections.abc import Sequence

from understudy.core.evidence import Finding
from understudy.core.lasting import lasting
from understudy.core.playbook import PARTS_PER_MILLION, Decision, Stage, Verdict
from understudy.stages.assessment import Assessment, Judgement, hold

UNDECIDED = "undecided"


def assess(
    judgement: Judgement | None,
    *,
    share: int,
    held_s: float,
    hold_s: float,
    max_wait_s: float,
    waiting_for: Sequence[str],
    sign_offs: Sequence[str] = (),
    manual: bool = False,
    promoted: bool = False,
) -> Assessment:
    """Decide on canary evidence at a `share` in parts per million.

    `waiting_for` names workers that do not serve this step yet, `sign_offs` slices that a person has yet to approve.
    With `manual`, a pass waits until somebody has `promoted`. At 100 % nobody is left to compare with: the step ends
    when its hold is over and no gate fails.
    """
    if judgement is None:
        return hold("The gates have not looked yet.", "a first reading of the ledger")
    details, found = judgement.details, judgement.findings
    if judgement.verdict is Verdict.FAIL:
        return Assessment(Decision.ROLL_BACK, Verdict.FAIL, judgement.sentence, findings=found, details=details)
    last = share == PARTS_PER_MILLION
    person = list(judgement.person)
    missing = [f"an acknowledgement by worker {worker}" for worker in waiting_for]
    if held_s < hold_s:
        missing.append(f"{lasting(hold_s - held_s)} more of the {lasting(hold_s)} at this step")
    if judgement.verdict is Verdict.INCONCLUSIVE and not last:
        missing += judgement.missing or ("more evidence",)
        if held_s > max_wait_s:
            sentence = f"undecided after {lasting(held_s)} at {share / 10_000:g} %: a person has to look"
            found = (*found, Finding(UNDECIDED, "", sentence, {"held_s": held_s}))
            person.append(sentence)
    approvals = [f"an approval of {subject}" for subject in sign_offs]
    if not missing:  # before that nobody waits for them
        person += approvals
    missing += approvals
    verdict = Verdict.INCONCLUSIVE if missing else Verdict.PASS
    if not missing and manual and not promoted:
        missing.append("`understudy upgrade promote`, as this workload asks for a person's word")
        person.append(missing[-1])
    if missing:
        return hold(
            judgement.sentence, *missing, verdict=verdict, findings=found, details=details, person=tuple(person)
        )
    return Assessment(
        Decision.ADVANCE,
        Verdict.PASS,
        judgement.sentence,
        to=Stage.SOAK if last else Stage.CANARY,
        findings=found,
        details=details,
    )
