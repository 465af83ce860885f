"""The self-audit: a workload without a gap, and one planted gap for each check, which finds that one and no other."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from understudy.config.crosscheck import overridden, variant_of
from understudy.config.schema import WorkloadSection
from understudy.core.playbook import DAY, PROFILES
from understudy.core.variant import Variant
from understudy.pack.selfaudit import GAP, OK, UNKNOWN, Seen, checks
from understudy.rollout.journal import GENESIS, Draft, Event, seal
from understudy.rollout.machine import Kind

NOW = 100 * DAY
SECTION: dict[str, Any] = {
    "owner": "support",
    "slice_by": {"ticket": "header:x-ticket"},
    "incumbent": "old",
    "variants": {
        "old": {"provider": "p", "model": "m1", "pin": {"since": "2025-01-01", "why": "passed"}},
        "new": {"provider": "p", "model": "m2"},
    },
    "gates": {"quality": {"margin": "2pt"}},
}
EVALUATED = {"id": "e", "binding": "e", "critical": [], "summary": "s", "needed": [], "document": "d"}


def journal(
    *left_out: Kind,
    outcome: str = "proceed",
    failed: tuple[str, ...] = (),
    waived: tuple[str, ...] = (),
    until: float = 0,
) -> list[Event]:
    """An upgrade that is in its canary's last rung, without some of its events; `taken_over` only where it is asked."""
    variants = {"incumbent": Variant("old", "p", "m1").as_dict(), "candidate": Variant("new", "p", "m2").as_dict()}
    told: list[tuple[Kind, dict[str, Any]]] = [
        (Kind.STARTED, {"workload": "reply", **variants, "salt": "s", "profile": "interactive"}),
        (Kind.OPENED, {}),
        (Kind.EVALUATED, {**EVALUATED, "outcome": outcome, "failed": list(failed)}),
        *((Kind.WAIVED, {"subject": subject, "owner": "Head of Support", "expires_at": until}) for subject in waived),
        (Kind.CLEARED, {}),
        (Kind.CLOCK_STARTED, {}),
        (Kind.EXPOSED, {"share": 1_000_000}),
        (Kind.TAKEN_OVER, {}),
    ]
    events: list[Event] = []
    clock = 0
    for kind, data in told:
        if kind in left_out:
            continue
        seq = len(events) + 1
        draft = Draft(
            kind,
            "controller",
            "30 % cheaper" if kind is Kind.WAIVED else "",
            {**data, "judged": clock} if kind in JUDGING else data,
        )
        previous = events[-1].hash if events else GENESIS
        events.append(seal(draft, upgrade="u1", seq=seq, at=float(seq), epoch=seq, previous=previous))
        if kind in (Kind.STARTED, Kind.OPENED, Kind.CLOCK_STARTED, Kind.EXPOSED, Kind.TAKEN_OVER):
            clock = seq
        elif kind is Kind.CLEARED:
            clock = 0
    return events


JUDGING = (Kind.OPENED, Kind.CLEARED, Kind.EXPOSED, Kind.TAKEN_OVER)


def seen(**section: Any) -> Seen:
    made = WorkloadSection.model_validate({**SECTION, **section})
    return Seen(
        workload="reply",
        section=made,
        profile=overridden(PROFILES["interactive"], made),
        variants={name: variant_of(name, one) for name, one in made.variants.items()},
        suite_slices=["refund", "order"],
        graded_live=True,
        priced={"old": True, "new": True},
        journals=[journal()],
        broken=[],
        drills=[(NOW - DAY, 0.2)],
        alerts=True,
        workers=2,
        probe="",
        retires=date(2027, 1, 1),
        today=date(2026, 3, 1),
        now=NOW,
    )


def verdicts(of: Seen) -> dict[str, str]:
    return {one.name: one.verdict for one in checks(of)}


def test_a_workload_without_a_gap() -> None:
    """Everything is ok but what nobody can see from here."""
    found = verdicts(seen())
    assert {name for name, verdict in found.items() if verdict != OK} == {"the runbook names the step"}
    assert len(found) == 18 and all(one.seen for one in checks(seen()))


def reasoning(**gates: Any) -> dict[str, Any]:
    variants = {**SECTION["variants"], "new": {"provider": "p", "model": "m2", "reasoning": {"effort": "low"}}}
    return {"variants": variants, "gates": {**SECTION["gates"], **gates}}


def edited() -> Seen:
    base = seen()
    return replace(base, variants={**base.variants, "old": replace(base.variants["old"], system_prompt="other")})


def fallen(waived: str, until: float = NOW + DAY) -> Seen:
    """A candidate took over though a slice fell, and one waiver was given."""
    return replace(seen(), journals=[journal(outcome="caution", failed=("refund",), waived=(waived,), until=until)])


SUITE, SLICES, SHADOW = "upgrading without an eval suite", "gating on the aggregate alone", "skipping shadow"
CANARY, FLIP, KEPT = (
    "a canary too short to see anything",
    "a rollback that is a deployment",
    "the old model removed at the cutover",
)
CHEAPER, REASONING = "a lower price bought with quality", "crossing into reasoning without a new price"
DRILL, ANSWERS, PROMPT = (
    "rehearsed in the last week",
    "what we go back to answers",
    "its prompt is the one that was shipped",
)
OUTLIVES, LISTEN = "it outlives the time in which we may go back", "gateways listen"
SHORT = {"ladder": [{"share": "1%", "hold": "23h"}, {"share": "100%", "hold": 0}]}

PLANTED: list[tuple[Callable[[], Seen], dict[str, str]]] = [
    (lambda: replace(seen(), suite_slices=None), {SUITE: GAP, SLICES: GAP}),
    (lambda: replace(seen(), journals=[journal(Kind.EVALUATED)]), {SUITE: GAP}),
    (lambda: replace(seen(), suite_slices=[]), {SLICES: GAP}),
    (lambda: seen(slice_by={}), {SLICES: GAP}),
    (lambda: seen(shadow={"sample": "50%"}), {SHADOW: GAP}),
    (lambda: seen(canary=SHORT), {CANARY: GAP}),
    (lambda: seen(canary={"ladder": [{"share": "100%", "hold": 0}]}), {CANARY: GAP}),
    (lambda: seen(canary={"cycle": "7d"}), {CANARY: GAP}),
    (lambda: replace(seen(), drills=[]), {FLIP: UNKNOWN, DRILL: GAP}),
    (lambda: replace(seen(), drills=[(NOW - 8 * DAY, 0.2)]), {DRILL: GAP}),
    (lambda: replace(seen(), drills=[(NOW - DAY, None)]), {FLIP: UNKNOWN, DRILL: GAP}),
    (lambda: seen(soak={"duration": "7d"}), {KEPT: GAP}),
    (lambda: seen(soak={"retain": "1d"}), {KEPT: GAP}),
    (lambda: replace(seen(), graded_live=False), {CHEAPER: GAP}),
    (lambda: seen(gates={"quality": {"margin": "5pt"}}), {CHEAPER: GAP}),
    (lambda: replace(seen(), journals=[journal(outcome="caution", failed=("refund",))]), {CHEAPER: GAP}),
    (lambda: fallen("refund"), {}),
    (lambda: fallen("refund/regression"), {}),
    (lambda: fallen("order"), {CHEAPER: GAP}),
    (lambda: fallen("refund/tone"), {CHEAPER: GAP}),
    (lambda: fallen("refund", until=NOW - 1), {CHEAPER: GAP}),
    (lambda: replace(was := fallen("refund", until=NOW - 1), journals=[*was.journals, journal()]), {}),
    (lambda: seen(**reasoning()), {REASONING: GAP}),
    (lambda: replace(seen(**reasoning(cost={"limit": 0.01})), priced={"old": True, "new": False}), {REASONING: GAP}),
    (lambda: seen(**reasoning(cost={"limit": 0.01})), {}),
    (lambda: replace(seen(), probe=None), {ANSWERS: UNKNOWN}),
    (lambda: replace(seen(), probe="HTTP status 404"), {ANSWERS: GAP}),
    (edited, {PROMPT: GAP}),
    (lambda: replace(seen(), journals=[]), {PROMPT: UNKNOWN}),
    (lambda: replace(seen(), retires=None), {OUTLIVES: UNKNOWN}),
    (lambda: replace(seen(), retires=date(2026, 3, 20)), {OUTLIVES: GAP}),
    (lambda: replace(seen(), workers=0), {LISTEN: UNKNOWN}),
    (lambda: seen(owner=""), {"somebody owns it": GAP}),
    (lambda: replace(seen(), alerts=False), {"somebody is told of a rollback": GAP}),
    (lambda: replace(seen(), broken=["event 2 was changed"]), {"the journal is as it was decided": GAP}),
]


@pytest.mark.parametrize(("planted", "found"), PLANTED)
def test_a_planted_gap_is_found_and_no_other(planted: Callable[[], Seen], found: dict[str, str]) -> None:
    """Each check sees its own gap; each that is not ok says what to do."""
    made = planted()
    answers = {one.name: one for one in checks(made)}
    expected = {"the runbook names the step": UNKNOWN, **found}
    assert {name: one.verdict for name, one in answers.items() if one.verdict != OK} == expected
    assert all(bool(one.remedy) is (one.verdict != OK) for one in answers.values())


def test_a_shadow_that_was_skipped() -> None:
    """An upgrade whose users saw the candidate before any clock ran."""
    assert verdicts(replace(seen(), journals=[journal(Kind.CLOCK_STARTED)]))[SHADOW] == GAP


def test_an_accepted_loss_is_said_with_who_and_why() -> None:
    """Quality given up for a price is no gap where somebody signed for it, and it is never silent."""
    said = next(one for one in checks(fallen("refund")) if one.name == CHEAPER)
    assert said.verdict == OK and "refund fell, accepted by Head of Support until 1970-04-12: 30 % cheaper" in said.seen


def test_a_pin_without_a_reason() -> None:
    variants = {**SECTION["variants"], "old": {"provider": "p", "model": "m1"}}
    assert verdicts(seen(variants=variants))["it is written down why this model is pinned"] == GAP


def test_every_check_is_on_the_page() -> None:
    """The page on evidence names each check as it is called, in the order in which they are asked, and no other."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "evidence.md").read_text()
    tables = page.partition("## Grade how you upgrade")[2]
    parts = {one.part for one in checks(seen())}
    named = [name for name in re.findall(r"^\| ([^|]+?) \|", tables, re.M) if name not in parts]
    assert named == [one.name for one in checks(seen())]
