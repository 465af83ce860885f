"""What people are told: from every kind of event, and from what goes on too long. With planted ends of each rule."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from understudy.alerts.alert import Kind as About
from understudy.alerts.alert import Severity
from understudy.core.playbook import DAY
from understudy.core.variant import Variant
from understudy.rollout.alerting import TOLD_FOR_S, Limits, Standing, happened, standing
from understudy.rollout.fold import UpgradeState, fold
from understudy.rollout.journal import GENESIS, Draft, Event, seal
from understudy.rollout.machine import Kind

STARTED = {
    "workload": "reply", "incumbent": Variant("old", "p", "m1").as_dict(),
    "candidate": Variant("new", "p", "m2").as_dict(), "salt": "s", "profile": "interactive",
}  # fmt: skip
EVALUATED = {"id": "e", "binding": "e", "failed": [], "critical": [], "summary": "s", "needed": [], "document": "d"}
LIMITS = Limits(drill_s=7 * DAY, deadline_s=30 * DAY)
QUIET = Standing(None, (), None, None, date(2026, 3, 1))
TO_CANARY: list[tuple[Kind, dict[str, Any]]] = [
    (Kind.OPENED, {}), (Kind.CLEARED, {}), (Kind.CLOCK_STARTED, {}), (Kind.EXPOSED, {"share": 10_000, "judged": 4}),
]  # fmt: skip


def journal(*told: tuple[Kind, dict[str, Any]], at: float = 100.0) -> list[Event]:
    events: list[Event] = []
    for seq, (kind, data) in enumerate([(Kind.STARTED, STARTED), *told], start=1):
        previous = events[-1].hash if events else GENESIS
        draft = Draft(kind, "controller", f"because of {kind}", data)
        events.append(seal(draft, upgrade="u1", seq=seq, at=at + seq, epoch=seq, previous=previous))
    return events


def canary() -> UpgradeState:
    return fold(journal(*TO_CANARY))


def finding(kind: str) -> dict[str, Any]:
    return {"findings": [{"kind": kind, "slice": "", "sentence": "x", "figures": {}}]}


OPENED = (Kind.OPENED, {})
CASES: list[tuple[list[tuple[Kind, dict[str, Any]]], set[About], Severity | None]] = [
    ([OPENED], set(), None),
    ([OPENED, (Kind.EVALUATED, {**EVALUATED, "outcome": "proceed"})], set(), None),
    ([OPENED, (Kind.EVALUATED, {**EVALUATED, "outcome": "caution"})], {About.GATE_FAILED}, Severity.WARNING),
    ([OPENED, (Kind.EVALUATED, {**EVALUATED, "outcome": "retune"})], {About.GATE_FAILED}, Severity.WARNING),
    ([OPENED, (Kind.BLOCKED, {})], {About.GATE_FAILED}, Severity.WARNING),
    ([OPENED, (Kind.ABORTED, {})], set(), None),
    ([*TO_CANARY, (Kind.JUDGED, {"verdict": "pass"})], set(), None),
    ([*TO_CANARY, (Kind.JUDGED, {"verdict": "fail"})], {About.GATE_FAILED}, Severity.WARNING),
    ([*TO_CANARY, (Kind.ROLLED_BACK, {"trigger": "operator"})], {About.ROLLED_BACK}, Severity.HIGH),
    ([*TO_CANARY, (Kind.ROLLED_BACK, {"trigger": "kill_file"})], {About.ROLLED_BACK}, Severity.HIGH),
    ([*TO_CANARY, (Kind.ROLLED_BACK, {"trigger": "breaker"})], {About.ROLLED_BACK, About.BREAKER_OPEN}, Severity.HIGH),
    ([*TO_CANARY, (Kind.ROLLED_BACK, {"trigger": "gate"})], {About.ROLLED_BACK, About.GATE_FAILED}, Severity.HIGH),
    ([*TO_CANARY, (Kind.ROLLED_BACK, {"trigger": "slow_tail"})], {About.ROLLED_BACK, About.GATE_FAILED}, Severity.HIGH),
    ([*TO_CANARY, (Kind.RESTED, {"until": 9_999.0})], {About.BUDGET_SPENT}, Severity.WARNING),
    ([*TO_CANARY, (Kind.RESTED, {"until": 1.0})], set(), None),
    ([*TO_CANARY, (Kind.NOTED, finding("incumbent_down"))], {About.INCUMBENT_DOWN}, Severity.HIGH),
    ([*TO_CANARY, (Kind.NOTED, finding("length"))], set(), None),
]


@pytest.mark.parametrize(("told", "about", "severity"), CASES)
def test_what_an_event_is_told_as(
    told: list[tuple[Kind, dict[str, Any]]], about: set[About], severity: Severity | None
) -> None:
    """The last event of each journal makes the alert it should, or none; its id is the event's."""
    events = journal(*told)
    found = happened(events, now=200.0)
    if severity is None:
        assert found == []
        return
    (alert,) = found
    assert (set(alert.kinds), alert.severity, alert.id) == (about, severity, f"u1:{events[-1].seq}")
    assert events[-1].why in alert.text and alert.workload == "reply"


def test_who_looks_again_comes_to_the_same_ids() -> None:
    """Alerts do not depend on when they were noticed, until they are history."""
    events = journal(*TO_CANARY, (Kind.ROLLED_BACK, {"trigger": "gate"}))
    assert happened(events, 200.0) == happened(events, 200.0 + TOLD_FOR_S / 2)
    assert happened(events, 200.0 + TOLD_FOR_S) == []


def told(seen: Standing, now: float = 110.0, events: list[Event] | None = None) -> dict[About, Any]:
    events = events or journal(*TO_CANARY)
    return {alert.kinds[0]: alert for alert in standing(fold(events), events, seen, LIMITS, now)}


def test_a_silent_controller() -> None:
    """Half a minute without a look is an alert, one for each silence, and urgent where users are on the candidate."""
    assert told(QUIET._replace(assessed_at=105.0), now=135.0) == {}
    silent = told(QUIET._replace(assessed_at=105.0), now=135.5)[About.CONTROLLER_SILENT]
    assert silent.severity is Severity.HIGH
    assert told(QUIET._replace(assessed_at=105.0), now=500.0)[About.CONTROLLER_SILENT].id == silent.id
    assert told(QUIET._replace(assessed_at=300.0), now=500.0)[About.CONTROLLER_SILENT].id != silent.id
    early = told(QUIET, now=135.5, events=journal(OPENED))[About.CONTROLLER_SILENT]
    assert early.severity is Severity.WARNING


def test_a_lease_that_ran_out() -> None:
    """Only once it has, and only in a canary."""
    seen = QUIET._replace(assessed_at=110.0, lease_until=110.0)
    assert told(seen._replace(lease_until=110.5)) == {}
    assert set(told(seen)) == {About.LEASE_EXPIRED}
    assert told(seen, events=journal(OPENED)) == {}


def test_waiting_for_a_person() -> None:
    """One alert for what is asked in one stage and clock; nobody is called while the upgrade is paused."""
    seen = QUIET._replace(assessed_at=110.0, person=("an approval of refund",))
    first = told(seen)[About.WAITING]
    assert "an approval of refund" in first.text
    assert told(seen, now=115.0)[About.WAITING].id == first.id
    assert told(seen._replace(person=("promote",)))[About.WAITING].id != first.id
    assert told(seen, events=journal(*TO_CANARY, (Kind.PAUSED, {}))) == {}


def test_an_overdue_drill() -> None:
    """A week after users first saw the candidate, or after the last drill; again each week; never before a canary."""
    late = 105.0 + 7 * DAY
    assert told(QUIET._replace(assessed_at=late), now=late) == {}
    over = told(QUIET._replace(assessed_at=late + 1), now=late + 1)[About.DRILL_OVERDUE]
    week = told(QUIET._replace(assessed_at=late + 7 * DAY + 1), now=late + 7 * DAY + 1)[About.DRILL_OVERDUE]
    assert week.id != over.id
    drilled = journal(*TO_CANARY, (Kind.DRILLED, {"seconds": 0.2, "workers": 2, "waiting": []}))
    assert told(QUIET._replace(assessed_at=late + 1), now=late + 1, events=drilled) == {}
    assert told(QUIET._replace(assessed_at=late + 1), now=late + 1, events=journal(OPENED)) == {}


@pytest.mark.parametrize(
    ("day", "step"),
    [(date(2026, 4, 1), ""), (date(2026, 3, 31), "near"), (date(2026, 3, 8), "week"), (date(2026, 3, 1), "over")],
)
def test_a_deadline(day: date, step: str) -> None:
    """Thirty days before, in the last week and when it is over; an unknown one is none."""
    seen = QUIET._replace(assessed_at=110.0, deadline=day)
    found = told(seen)
    assert set(found) == ({About.DEADLINE_NEAR} if step else set())
    if step:
        assert found[About.DEADLINE_NEAR].id.endswith(f"{day}.{step}")
        assert found[About.DEADLINE_NEAR].severity is (Severity.WARNING if step == "near" else Severity.HIGH)
