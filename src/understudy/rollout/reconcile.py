"""Decides what follows from what was seen: state, observation, policy and wishes to a plan. Pure; `controller` does it.

Level-triggered: a plan depends on what is so now and never on what was done before, so a controller can be killed at
any line and the next tick, of this controller or of another, goes on from the journal. In order of precedence:

1. guards: a kill file, an open breaker: roll back;
2. wishes of people: exits first;
3. the configuration: a changed candidate begins again at the regression eval, before any user has seen it;
4. the stage's own assessment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.core.canonical import digest
from understudy.core.evidence import Finding
from understudy.core.playbook import Decision, Profile, Stage, Step, Verdict
from understudy.rollout import budget, intents
from understudy.rollout.fold import UpgradeState, eval_data, finding_data
from understudy.rollout.gating import HARD_GUARD, SLOW_TAIL
from understudy.rollout.journal import Draft
from understudy.rollout.machine import MOVES, Kind
from understudy.rollout.observation import Observation, Policy
from understudy.rollout.store.base import Handled, Intent
from understudy.stages import canary, regress, retune, shadow, soak
from understudy.stages.assessment import Assessment, hold

CONTROLLER = "controller"
FROZEN = "config_differs"
"""The kind of finding when the file changed under an upgrade that users already see."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write, in one transaction, and what to do beside it; both may be empty."""

    assessment: Assessment
    drafts: tuple[Draft, ...] = ()
    handled: tuple[Handled, ...] = ()
    run_eval: str = ""
    """The binding of an eval to run; running one twice does no harm, its result is filed under this name."""


def decide(state: UpgradeState, seen: Observation, policy: Policy, wishes: Sequence[Intent] = ()) -> Plan:
    """The plan for one active upgrade."""
    assessment = assess(state, seen, policy)
    guard = _guard(state, seen)
    if guard is not None:
        return Plan(assessment, (guard,), tuple(_overruled(wish, guard.why) for wish in wishes))
    if wishes:
        wish = intents.foremost(wishes)
        drafts, handled = intents.grant(state, wish, seen.now, lambda: assess(state, seen, policy, promoted=True))
        return Plan(assessment, drafts, (handled,))
    changed = _configuration(state, seen)
    if changed is not None and changed.kind is Kind.SWITCHED:
        return Plan(assessment, (changed,))
    drafts = _records(state, seen, policy, assessment) + ((changed,) if changed else ())
    wanted = _move(state, policy, assessment)
    return Plan(
        assessment,
        (*drafts, wanted) if wanted else drafts,
        run_eval=_wanted_eval(state, seen),
    )


def _guard(state: UpgradeState, seen: Observation) -> Draft | None:
    """What rolls back whatever else is going on."""
    if seen.kill is not None:
        return Draft(
            Kind.ROLLED_BACK, seen.kill.by, seen.kill.why, {"trigger": "kill_file", "written_at": seen.kill.at}
        )
    if seen.open_breakers and state.exposing:
        workers = ", ".join(seen.open_breakers)
        return Draft(
            Kind.ROLLED_BACK,
            CONTROLLER,
            f"the candidate failed so hard that {workers} cut it off",
            {"trigger": "breaker", "workers": list(seen.open_breakers)},
        )
    return None


def _overruled(wish: Intent, why: str) -> Handled:
    granted = wish.kind in intents.EXITS
    return Handled(wish.id, granted, f"the upgrade is being rolled back: {why}")


def _configuration(state: UpgradeState, seen: Observation) -> Draft | None:
    """A variant that reads differently in the configuration than in the journal."""
    known = {f.kind for f in state.findings}
    candidate, incumbent = seen.configured_candidate, seen.configured_incumbent
    if candidate is not None and candidate.fingerprint != state.candidate.fingerprint:
        if not state.exposing:
            return Draft(
                Kind.SWITCHED,
                "configuration",
                f"{candidate.name} was edited: what was measured was of another variant",
                {"candidate": candidate.as_dict()},
            )
        sentence = f"{candidate.name} was edited; users are served the variant that was evaluated until this ends"
    elif incumbent is not None and incumbent.fingerprint != state.incumbent.fingerprint:
        sentence = f"{incumbent.name} was edited; the incumbent stays as it was until the upgrade ends"
    else:
        return None
    if FROZEN in known:
        return None
    return Draft(Kind.NOTED, CONTROLLER, sentence, {"findings": finding_data([Finding(FROZEN, "", sentence, {})])})


# -- what the stage says


def assess(state: UpgradeState, seen: Observation, policy: Policy, *, promoted: bool = False) -> Assessment:
    """The present stage's assessment; `status` shows it."""
    match state.stage:
        case Stage.DRAFT:
            return regress.prepare(policy.suites, state.workload)
        case Stage.REGRESS:
            return _regress(state, seen)
        case Stage.RETUNE:
            return retune.assess(state.workload, state.eval.summary if state.eval else "")
        case Stage.SHADOW:
            return _shadow(state, seen, policy)
        case Stage.CANARY:
            return _canary(state, seen, policy, promoted or state.promoted_clock == state.clock)
        case Stage.SOAK:
            return _soak(state, seen, policy)
        case Stage.DONE | Stage.BLOCKED | Stage.ROLLED_BACK | Stage.ABORTED:
            return hold(f"The upgrade is over: {state.stage}.", verdict=Verdict.INCONCLUSIVE)


def _regress(state: UpgradeState, seen: Observation) -> Assessment:
    record = seen.eval or state.eval
    if record is None or record.binding != seen.binding:
        return regress.assess(None, (), seen.eval_note)
    result = regress.Result(record.outcome, record.failed, record.critical, record.summary, record.needed)
    # The waivers were given for this eval in stage 1 and are asked for again by a re-run in shadow.
    accepted = [w for w in state.waivers if seen.now < w.expires_at]
    waived = [
        f.slice for f in regress.findings(result) if any(w.covers(w.stage, f.slice, f.kind, seen.now) for w in accepted)
    ]
    return regress.assess(result, waived)


def _shadow(state: UpgradeState, seen: Observation, policy: Policy) -> Assessment:
    again = _regress(state, seen)
    if again.to is not Stage.SHADOW:
        if again.decision is Decision.HOLD:
            missing = again.missing or ("an eval result for exactly these suites, thresholds and variants",)
            return hold(f"The eval this rests on no longer stands. {again.sentence}", *missing, findings=again.findings)
        return again
    evidence = seen.shadow or shadow.Evidence(None, 0, None)
    unwaived = [f for f in evidence.drift or () if not state.waived(f, seen.now)]
    return shadow.assess(
        evidence,
        sample=policy.sample,
        held_s=seen.held_s if state.clock else None,
        min_s=policy.profile.shadow_min_s,
        max_s=policy.profile.shadow_max_s,
        min_pairs=policy.profile.min_units,
        unwaived=unwaived,
    )


def _canary(state: UpgradeState, seen: Observation, policy: Policy, promoted: bool) -> Assessment:
    approved = {a.subject for a in state.approvals}
    acknowledged = seen.acknowledged
    return canary.assess(
        seen.judgement,
        share=state.share,
        held_s=seen.held_s or 0.0,
        hold_s=rung(policy.profile, state.share).hold_s,
        max_wait_s=policy.profile.max_wait_s,
        waiting_for=acknowledged.waiting if acknowledged else ("(no gateway has been heard)",),
        sign_offs=[subject for subject in policy.sign_off if subject not in approved],
        manual=policy.manual,
        promoted=promoted,
    )


def _soak(state: UpgradeState, seen: Observation, policy: Policy) -> Assessment:
    failing = seen.probe.failing_since if seen.probe else None
    return soak.assess(
        seen.judgement,
        held_s=seen.held_s or 0.0,
        soak_s=policy.profile.soak_s,
        retain_s=policy.profile.retain_s,
        probe_failed_for_s=seen.now - failing if failing is not None else 0.0,
        probe_message=seen.probe.message if seen.probe else "",
    )


def rung(profile: Profile, share: int) -> Step:
    """The ladder's step of this share; where an edited ladder has none, the highest one not above it."""
    below = [step for step in profile.ladder if step.share <= share]
    return below[-1] if below else profile.ladder[0]


def next_share(policy: Policy, share: int) -> int:
    """The share of the step after this one. An edited ladder is followed from where the upgrade stands."""
    return next(step.share for step in policy.profile.ladder if step.share > share)


# -- what to write


def _move(state: UpgradeState, policy: Policy, assessment: Assessment) -> Draft | None:
    """The event an assessment asks for, None where it holds or a pause stops it."""
    evidence = {"evidence": digest(assessment.as_dict()), "judged": state.clock}
    findings = {"findings": finding_data(assessment.findings)}
    match assessment.decision:
        case Decision.HOLD:
            return None
        case Decision.ROLL_BACK:
            kinds = [f.kind for f in assessment.findings]
            trigger = next((kind for kind in (HARD_GUARD, SLOW_TAIL) if kind in kinds), "gate")
            return Draft(
                Kind.ROLLED_BACK, CONTROLLER, assessment.sentence, {"trigger": trigger, **evidence, **findings}
            )
        case Decision.ADVANCE | Decision.STOP:
            if state.paused:
                return None
            kind = next(k for k, target in MOVES[state.stage].items() if target is assessment.to)
            data = {**evidence, **(findings if assessment.to is Stage.BLOCKED else {})}
            if assessment.to is Stage.CANARY:
                data["share"] = next_share(policy, state.share)
            return Draft(kind, CONTROLLER, assessment.sentence, data)


def _records(state: UpgradeState, seen: Observation, policy: Policy, assessment: Assessment) -> tuple[Draft, ...]:
    """What was seen for the first time in this tick, apart from any move."""
    drafts: list[Draft] = []
    known_eval = state.eval.id if state.eval else ""
    if state.stage in (Stage.REGRESS, Stage.SHADOW) and seen.eval and seen.eval.id != known_eval:
        drafts.append(Draft(Kind.EVALUATED, CONTROLLER, seen.eval.summary, eval_data(seen.eval)))
    if state.stage is Stage.SHADOW and not state.clock and not state.paused and seen.shadow:
        coverage = seen.shadow.coverage
        if coverage is not None and shadow.starts(coverage, policy.sample):
            drafts.append(Draft(Kind.CLOCK_STARTED, CONTROLLER, coverage.sentence(policy.sample)))
    if state.stage in (Stage.SHADOW, Stage.CANARY):
        rest = budget.record(state, seen.spending, policy.usd_per_day, seen.now, CONTROLLER)
        drafts += [rest] if rest else []
    if state.stage is Stage.CANARY and state.baseline is None and seen.baseline:
        quantiles = {field: list(values) for field, values in seen.baseline.items()}
        why = "the incumbent's quantiles, frozen"
        drafts.append(Draft(Kind.BASELINED, CONTROLLER, why, {"quantiles": quantiles}))
    soaked = state.stage is Stage.SOAK and (seen.held_s or 0.0) >= policy.profile.soak_s
    if soaked and state.soaked_at is None and not state.paused and assessment.decision is not Decision.ROLL_BACK:
        drafts.append(Draft(Kind.SOAKED, CONTROLLER, "the soak window closed with nothing failing"))
    known = {(f.kind, f.slice) for f in state.findings}
    fresh = [f for f in (*assessment.findings, *seen.notes) if (f.kind, f.slice) not in known]
    if fresh:
        why = "; ".join(f.sentence for f in fresh[:5])
        drafts.append(Draft(Kind.NOTED, CONTROLLER, why, {"findings": finding_data(fresh)}))
    if _verdict_is_news(state, assessment.verdict):
        data = {"verdict": str(assessment.verdict), "evidence": digest(assessment.as_dict())}
        drafts.append(Draft(Kind.JUDGED, CONTROLLER, assessment.sentence, data))
    return tuple(drafts)


def _verdict_is_news(state: UpgradeState, verdict: Verdict) -> bool:
    """A step begins inconclusive, that needs no saying; after that every change of mind is kept."""
    if state.stage not in (Stage.SHADOW, Stage.CANARY, Stage.SOAK) or not state.clock:
        return False
    known = state.verdict if state.verdict_clock == state.clock else str(Verdict.INCONCLUSIVE)
    return str(verdict) != known


def _wanted_eval(state: UpgradeState, seen: Observation) -> str:
    """The eval to run now, by its binding; "" for none. A pause starts nothing new."""
    if state.stage not in (Stage.REGRESS, Stage.SHADOW) or state.paused or not seen.binding:
        return ""
    record = seen.eval or state.eval
    return "" if record is not None and record.binding == seen.binding else seen.binding


def sees(evidence_at: float | None, now: float, *, lease_s: float, every_s: float, took_s: float) -> bool:
    """Whether a controller knows what it watches: it has read the evidence within a lease.

    Where readings take long compared with the lease, it is given time for two of them: slow is not blind. A blind
    controller renews no lease and holds no time.
    """
    return evidence_at is not None and now - evidence_at <= max(lease_s, 2 * every_s + took_s)
