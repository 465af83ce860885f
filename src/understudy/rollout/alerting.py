"""Decides what people are told: from the journal what happened, from state and time what goes on too long. Pure.

An alert's id is made of what it is about (an event, a clock, a day), never of when it was noticed: whoever looks again,
after a kill or beside another controller, comes to the same ids, and the outbox knows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from understudy.alerts.alert import Alert, Severity
from understudy.alerts.alert import Kind as About
from understudy.core.canonical import digest
from understudy.core.lasting import lasting
from understudy.core.playbook import DAY, Outcome, Stage, Verdict
from understudy.rollout.fold import UpgradeState, apply
from understudy.rollout.gating import HARD_GUARD, SLOW_TAIL
from understudy.rollout.journal import Event
from understudy.rollout.machine import Kind
from understudy.rollout.status import SILENT_AFTER_S
from understudy.stages.soak import INCUMBENT_DOWN

TOLD_FOR_S = DAY
"""An event that nobody could be told of for so long is history."""


class Standing(NamedTuple):
    """What is so now, apart from the journal. Times are seconds since the epoch, None where there is none."""

    assessed_at: float | None
    """When a controller looked last."""
    person: tuple[str, ...]
    """What only a person can give now."""
    lease_until: float | None
    deadline: date | None
    """The first day without the incumbent's model."""
    today: date


class Limits(NamedTuple):
    """From when on something is worth an alert, in seconds."""

    drill_s: float
    deadline_s: float


def happened(journal: Sequence[Event], now: float) -> list[Alert]:
    """An alert for each event of the last day that people should know."""
    found: list[Alert] = []
    state: UpgradeState | None = None
    for event in journal:
        state = apply(state, event)
        if now - event.at <= TOLD_FOR_S:
            found += [_alert(state, event, *what) for what in _told(event)]
    return found


_What = tuple[tuple[About, ...], Severity, str]


def _told(event: Event) -> Iterable[_What]:
    """What an event is worth telling as: kinds, severity, and the words of the title behind the workload."""
    match event.kind:
        case Kind.ROLLED_BACK:
            trigger = event.data.get("trigger")
            also = {"breaker": (About.BREAKER_OPEN,), "gate": (About.GATE_FAILED,)}
            also |= {HARD_GUARD: (About.GATE_FAILED,), SLOW_TAIL: (About.GATE_FAILED,)}
            yield (About.ROLLED_BACK, *also.get(str(trigger), ())), Severity.HIGH, "rolled back"
        case Kind.JUDGED if event.data["verdict"] == Verdict.FAIL:
            yield (About.GATE_FAILED,), Severity.WARNING, "the verdict is fail"
        case Kind.EVALUATED if event.data["outcome"] in (Outcome.RETUNE, Outcome.STOP, Outcome.CAUTION):
            yield (About.GATE_FAILED,), Severity.WARNING, f"the eval says {event.data['outcome']}"
        case Kind.BLOCKED | Kind.GAVE_UP:
            yield (About.GATE_FAILED,), Severity.WARNING, "the upgrade is blocked"
        case Kind.RESTED if event.data["until"] > event.at:
            yield (About.BUDGET_SPENT,), Severity.WARNING, "the budget for shadow copies is used up"
        case Kind.NOTED if any(finding["kind"] == INCUMBENT_DOWN for finding in event.data.get("findings", ())):
            yield (About.INCUMBENT_DOWN,), Severity.HIGH, "the incumbent does not answer: there is no way back"


def _alert(state: UpgradeState, event: Event, kinds: tuple[About, ...], severity: Severity, said: str) -> Alert:
    names = f"{state.incumbent.name} to {state.candidate.name}"
    return Alert(
        id=f"{event.upgrade}:{event.seq}",
        kinds=kinds,
        severity=severity,
        workload=state.workload,
        upgrade=event.upgrade,
        at=event.at,
        title=f"{state.workload}: {said}",
        text=f"{names}, by {event.by}: {event.why}",
        todo=f"understudy upgrade status {state.workload}",
    )


def standing(state: UpgradeState, journal: Sequence[Event], seen: Standing, limits: Limits, now: float) -> list[Alert]:
    """What goes on with an active upgrade that somebody should know."""
    found = [_waiting(state, seen, now), _silent(state, seen, now), _lease(state, seen, now)]
    found += [_drill(state, journal, limits, now), _deadline(state, seen, limits, now)]
    return [alert for alert in found if alert is not None]


def _waiting(state: UpgradeState, seen: Standing, now: float) -> Alert | None:
    if not seen.person or state.paused:
        return None
    about = digest([str(state.stage), state.clock, sorted(seen.person)])[:12]
    text = f"In {state.stage} nothing moves until somebody gives: {'; '.join(seen.person)}"
    todo = f"understudy upgrade status {state.workload}"
    return _made(state, About.WAITING, Severity.WARNING, about, "waits for a person", text, todo, now)


def _silent(state: UpgradeState, seen: Standing, now: float) -> Alert | None:
    last = max(state.started_at, seen.assessed_at or 0.0)
    if now - last <= SILENT_AFTER_S:
        return None
    text = f"No controller has looked for {lasting(now - last)}: no gate is judged and nothing is rolled back by itself"
    severity = Severity.HIGH if state.exposing else Severity.WARNING
    about = str(int(last))
    return _made(state, About.CONTROLLER_SILENT, severity, about, "no controller looks", text, "understudy up", now)


def _lease(state: UpgradeState, seen: Standing, now: float) -> Alert | None:
    if seen.lease_until is None or seen.lease_until > now or state.stage is not Stage.CANARY:
        return None
    text = f"The lease ran out {lasting(now - seen.lease_until)} ago: gateways serve everybody the incumbent"
    said, about = "the canary's lease ran out", str(int(seen.lease_until))
    return _made(state, About.LEASE_EXPIRED, Severity.HIGH, about, said, text, "understudy up", now)


def _drill(state: UpgradeState, journal: Sequence[Event], limits: Limits, now: float) -> Alert | None:
    if not state.exposing or state.exposed_at is None:
        return None
    held = [event.at for event in journal if event.kind is Kind.DRILLED]
    last = max([state.exposed_at, *held])
    if now - last <= limits.drill_s:
        return None
    since = "ever" if not held else f"for {lasting(now - last)}"
    text = f"No rollback has been rehearsed {since}, and users are on the candidate"
    todo = f"understudy rollback {state.workload} --drill"
    about = f"{int(last)}.{int((now - last) / limits.drill_s)}"
    return _made(state, About.DRILL_OVERDUE, Severity.WARNING, about, "a drill is overdue", text, todo, now)


def _deadline(state: UpgradeState, seen: Standing, limits: Limits, now: float) -> Alert | None:
    """Said once when it comes near, and again in its last week and on its day."""
    if seen.deadline is None:
        return None
    left = (seen.deadline - seen.today).days
    if left * DAY > limits.deadline_s:
        return None
    step = "over" if left <= 0 else "week" if left <= 7 else "near"
    severity = Severity.WARNING if step == "near" else Severity.HIGH
    model = state.incumbent.model
    when = f"in {left} days, on {seen.deadline}" if left > 0 else f"since {seen.deadline}"
    text = f"{model}, the incumbent's model, is gone {when}; the upgrade is in stage {state.stage}"
    todo = f"understudy plan {state.workload}"
    about = f"{seen.deadline}.{step}"
    return _made(state, About.DEADLINE_NEAR, severity, about, "the incumbent is shut down soon", text, todo, now)


def _made(
    state: UpgradeState, kind: About, severity: Severity, about: str, said: str, text: str, todo: str, now: float
) -> Alert:
    return Alert(
        id=f"{state.id}:{kind}:{about}",
        kinds=(kind,),
        severity=severity,
        workload=state.workload,
        upgrade=state.id,
        at=now,
        title=f"{state.workload}: {said}",
        text=text,
        todo=todo,
    )


def person_in(assessment: Mapping[str, Any] | None, state: UpgradeState) -> tuple[str, ...]:
    """What the latest assessment asks a person for, where it is of the present stage and clock."""
    if not assessment or (assessment.get("stage"), assessment.get("clock")) != (str(state.stage), state.clock):
        return ()
    return tuple(assessment.get("person", ()))
