"""The pure parts: watched time, what a table says, which metrics judge, what a history tells, the chain of hashes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from understudy.config.schema import GatesSection, WorkloadSection
from understudy.core.errors import DataCorrupt
from understudy.core.evidence import ALL_SLICES, Stratum, Sums
from understudy.core.playbook import PROFILES, Stage, Verdict
from understudy.core.routing import Provider, check_meaning
from understudy.core.variant import Variant
from understudy.gates.panel import judge
from understudy.registry.inventory import Tier
from understudy.rollout import gating, history, table
from understudy.rollout.dwell import skipped, watched
from understudy.rollout.fold import UpgradeState, fold
from understudy.rollout.journal import GENESIS, Draft, Event, seal, verify
from understudy.rollout.machine import Kind
from understudy.rollout.status import describe
from understudy.rollout.store.base import Progress, Publication
from understudy.rollout.tiers import standings

OLD, NEW = Variant("old", "p", "1"), Variant("new", "p", "2")
PROFILE = PROFILES["interactive"]


def journal(*drafts: Draft, workload: str = "reply", upgrade: str = "u1") -> list[Event]:
    """A journal that begins an upgrade from old to new and goes on with these; a second passes with each event."""
    data = {
        "workload": workload,
        "incumbent": OLD.as_dict(),
        "candidate": NEW.as_dict(),
        "salt": "s",
        "profile": "interactive",
    }
    events: list[Event] = []
    previous = GENESIS
    for number, draft in enumerate((Draft(Kind.STARTED, "ada", "", data), *drafts), start=1):
        event = seal(draft, upgrade=upgrade, seq=number, at=float(number), epoch=number, previous=previous)
        events.append(event)
        previous = event.hash
    return events


TO_CANARY = (
    Draft(Kind.OPENED, "c", ""),
    Draft(Kind.CLEARED, "c", ""),
    Draft(Kind.CLOCK_STARTED, "c", ""),
    Draft(Kind.EXPOSED, "c", "no drift", {"judged": 4, "share": 10_000, "evidence": "e1"}),
)
TO_DONE = (
    *TO_CANARY,
    Draft(Kind.WIDENED, "c", "all pass", {"judged": 5, "share": 1_000_000}),
    Draft(Kind.TAKEN_OVER, "c", "", {"judged": 6}),
    Draft(Kind.RETIRED, "c", "", {"judged": 7}),
)


# -- dwell


@pytest.mark.parametrize(
    ("before", "now", "elapsed", "held"),
    [
        (None, 100.0, 5.0, 0.0),
        (Progress("u", 3, 10.0, 95.0), 100.0, 5.0, 15.0),
        (Progress("u", 3, 10.0, 95.0), 100.0, 2.0, 12.0),  # another controller watched the rest
        (Progress("u", 3, 10.0, 95.0), 100.0, None, 15.0),  # the first turn after a restart
        (Progress("u", 3, 10.0, 0.0), 1e6, None, 70.0),  # nobody watched for days
        (Progress("u", 3, 10.0, 95.0), 172_900.0, 5.0, 15.0),  # the wall clock jumped ahead
        (Progress("u", 3, 10.0, 200.0), 100.0, 5.0, 10.0),  # and back
        (Progress("u", 2, 99.0, 95.0), 100.0, 5.0, 0.0),  # another step's clock
    ],
)
def test_only_watched_time_counts(before: Progress | None, now: float, elapsed: float | None, held: float) -> None:
    """Never more than a lease at once, than the monotonic clock says, or than nobody else has counted."""
    after = watched(before, upgrade="u", clock=3, now=now, elapsed_s=elapsed, limit_s=60.0)
    assert (after.clock, after.held_s) == (3, held)


def test_time_not_in_effect_is_passed_over() -> None:
    """What was not served is not held, and cannot be claimed later."""
    after = skipped(Progress("u", 3, 10.0, 95.0), upgrade="u", clock=3, now=150.0)
    assert after == Progress("u", 3, 10.0, 150.0)


# -- the table


def sources(**variants: Variant) -> table.Sources:
    section = WorkloadSection.model_validate(
        {"incumbent": "old", "variants": {n: {"provider": v.provider, "model": v.model} for n, v in variants.items()}}
    )
    return table.Sources(
        workloads={"reply": section},
        variants={"reply": variants},
        providers={"p": Provider("p", "openai", "http://127.0.0.1:1/v1")},
    )


def built(*states: UpgradeState, **variants: Variant) -> table.RoutingTable:
    made = table.build(
        sources(**(variants or {"old": OLD, "new": NEW})), states, generation="g", epoch=1, issued_at=0.0, leases={}
    )
    check_meaning(made)
    return made


@pytest.mark.parametrize(
    ("drafts", "stage", "share", "shadowed", "leased"),
    [
        ((), None, 0, False, False),
        (TO_CANARY[:1], None, 0, False, False),
        (TO_CANARY[:2], "shadow", 0, True, False),
        (TO_CANARY, "canary", 10_000, True, True),
        (TO_DONE[:-1], "soak", 1_000_000, False, False),
        ((*TO_CANARY, Draft(Kind.ROLLED_BACK, "c", "")), None, 0, False, False),
        ((*TO_CANARY, Draft(Kind.ABORTED, "c", "")), None, 0, False, False),
        (TO_DONE, None, 0, False, False),
    ],
)
def test_a_route_for_each_stage(
    drafts: tuple[Draft, ...], stage: str | None, share: int, shadowed: bool, leased: bool
) -> None:
    """Shadow and canary are copied, a canary is leased, the soak is neither, and what is over has no route."""
    route = built(fold(journal(*drafts))).workloads["reply"].route
    if stage is None:
        assert route is None
        return
    assert route is not None
    assert (route.stage, route.share) == (stage, share)
    assert (route.shadow is not None, route.lease_until is not None) == (shadowed, leased)


def test_an_unleased_canary_is_served_to_nobody() -> None:
    """Without a living controller's lease the route says that it has run out."""
    route = built(fold(journal(*TO_CANARY))).workloads["reply"].route
    assert route is not None
    assert route.lease_until == 0.0


def test_the_journals_variants_are_served_while_it_lasts() -> None:
    """An edited file reaches no user by itself."""
    edited = replace(NEW, system_prompt="other")
    made = built(fold(journal(*TO_CANARY)), old=replace(OLD, model="9"), new=edited)
    assert made.workloads["reply"].variants["new"] == NEW
    assert made.workloads["reply"].variants["old"] == OLD


def test_two_active_upgrades_are_refused() -> None:
    """S1 is checked again where it would hurt."""
    with pytest.raises(DataCorrupt, match="2 active"):
        built(fold(journal(*TO_CANARY)), fold(journal(*TO_CANARY, upgrade="u2")))


def test_finished_upgrades_are_followed_in_a_row() -> None:
    """What is served follows the chain of takeovers from the configured incumbent, and no other."""
    done = fold(journal(*TO_DONE))
    assert table.serving("old", "reply", [done]) == ("new", NEW)
    assert table.serving("new", "reply", [done]) == ("new", None)
    assert table.serving("third", "reply", [done]) == ("third", None)
    assert table.serving("old", "elsewhere", [done]) == ("old", None)


def test_leases_and_epochs_do_not_make_another_table() -> None:
    """Two tables that route alike have one digest."""
    state = fold(journal(*TO_CANARY))
    one = table.build(sources(old=OLD, new=NEW), [state], generation="g", epoch=1, issued_at=0.0, leases={"u1": 5.0})
    two = table.build(sources(old=OLD, new=NEW), [state], generation="h", epoch=9, issued_at=7.0, leases={"u1": 9.0})
    other = table.build(sources(old=OLD, new=NEW), [], generation="g", epoch=1, issued_at=0.0, leases={})
    assert table.same(one, two)
    assert table.content_digest(one) == table.content_digest(two)
    assert not table.same(one, other)
    assert table.leases_of(two) == {"u1": 9.0}


# -- which metrics judge


def gates(**sections: object) -> GatesSection:
    return GatesSection.model_validate(sections)


def names(found: list[gating.Metric]) -> list[str]:
    return [metric.gate.metric for metric in found]


def test_the_metrics_of_a_workload_without_a_word() -> None:
    """Errors, frozen latency and cost; quality as soon as something can grade live answers."""
    found = gating.metrics(gates(), PROFILE, (), {"latency_s": (0.5, 1.0, 2.0), "ttft_s": (0.1, 0.2, 0.3)})
    assert names(found) == ["errors", "latency_p50", "latency_p95", "latency_p99", "cost"]
    assert [m.spec.threshold for m in found] == [None, 0.5, 1.0, 2.0, None]
    assert [m.gate.required for m in found] == [True, True, True, True, False]
    graded = gating.metrics(gates(), PROFILE, ("quality",), {})
    assert names(graded) == ["errors", "quality", "cost"]
    assert graded[1].spec.source == "grader:quality"


def test_what_the_configuration_names_must_have_data() -> None:
    """A named metric holds without data; its margin, source and limit are as written."""
    found = gating.metrics(
        gates(
            cost={"margin": "5%"},
            satisfaction={"margin": "0.5pt"},
            tone={"source": "grader:tone", "margin": "0.1", "direction": "higher"},
            ttft={"margin": "20%"},
        ),
        PROFILE,
        (),
        {"ttft_s": (0.1, 0.2, 0.3)},
    )
    by_name = {m.gate.metric: m for m in found}
    assert sorted(by_name) == ["cost", "errors", "satisfaction", "tone", "ttft_p50", "ttft_p95", "ttft_p99"]
    assert by_name["cost"].gate.relative == 0.05
    assert by_name["cost"].gate.required
    assert by_name["satisfaction"].gate.margin == 0.005
    assert by_name["satisfaction"].gate.feedback
    assert by_name["satisfaction"].spec.source == "feedback:satisfaction"
    assert by_name["tone"].spec.source == "grader:tone"
    assert by_name["ttft_p50"].gate.relative == 0.2


def sums(
    arm: str, n: int, events: int, *, stage: str = "canary", slice_: str = ALL_SLICES, step: int = 0
) -> list[Sums]:
    """Units with an error, spread over 64 buckets."""
    rows = []
    for bucket in range(64):
        size = n // 64 + (bucket < n % 64)
        bad = events // 64 + (bucket < events % 64)
        rows.append(Sums("errors", Stratum(stage, step, 0), arm, slice_, bucket, size, bad, bad, size))
    return rows


def test_a_soak_is_held_against_what_the_incumbent_did() -> None:
    """At 100 % the limit is the incumbent's mean in the canary and the margin; it fails beyond and not below."""
    (errors,) = [m.gate for m in gating.metrics(gates(), PROFILE, (), {}) if m.gate.metric == "errors"]
    before = sums("incumbent", 6_400, 64)
    (limit,) = gating.remembered([errors], before)
    assert limit.limit == pytest.approx(0.01 + errors.tolerated(0.01))
    for events, verdict in ((640, Verdict.FAIL), (60, Verdict.PASS)):
        panel = judge([limit], sums("candidate", 6_400, events, stage="soak"))
        assert (panel.verdict is Verdict.FAIL) == (verdict is Verdict.FAIL)
    assert gating.remembered([errors], sums("incumbent", 10, 1)) == []


def test_a_tracked_slice_that_fails_live_waits_for_a_person() -> None:
    """What went on with a waiver is not rolled back for what was accepted, unless it is critical."""
    (errors,) = [m.gate for m in gating.metrics(gates(), PROFILE, (), {}) if m.gate.metric == "errors"]
    rows = sums("incumbent", 64_000, 640) + sums("candidate", 64_000, 640)
    rows += sums("incumbent", 3_200, 32, slice_="t=a") + sums("candidate", 3_200, 640, slice_="t=a")
    panel = judge([errors], rows, slices=["t=a"], step=0)
    assert [(g.slice, g.verdict) for g in panel.failed] == [("t=a", Verdict.FAIL)]
    assert gating.judgement(panel, (), (), ()).verdict is Verdict.FAIL
    held = gating.judgement(panel, ("t=a",), (), ())
    assert held.verdict is Verdict.INCONCLUSIVE
    assert [f.kind for f in held.findings] == [gating.TRACKED]
    assert "t=a" in held.missing[0]
    assert gating.judgement(panel, ("t=a",), (), ("t=a",)).verdict is Verdict.PASS
    assert gating.judgement(panel, ("t=a",), ("t=a",), ("t=a",)).verdict is Verdict.FAIL


# -- what is told


def test_every_change_of_exposure_is_told_once() -> None:
    """S12: each has who, why, evidence, epoch and hash; records are left out unless they are asked for."""
    events = journal(*TO_CANARY, Draft(Kind.NOTED, "c", "", {}), Draft(Kind.ROLLED_BACK, "bob", "fire"))
    told = history.changes([events], [Publication(6, 0.0, "c", "", "", 0.2), Publication(8, 0.0, "c", "", "", 0.1)])
    assert [(c["event"], c["share"], c["by"], c["epoch"]) for c in told] == [
        ("exposed", 0.01, "c", 5),
        ("rolled_back", 0.0, "bob", 7),
    ]
    assert [c["effective_s"] for c in told] == [0.2, 0.1]
    assert told[0]["evidence"] == "e1"
    assert len(history.changes([events], [], everything=True)) == len(events)


def test_the_status_says_what_to_do() -> None:
    """A takeover the file does not know, a silent controller, and no gateway each get a sentence."""
    done = fold(journal(*TO_DONE))
    document = describe(
        "reply",
        "old",
        done,
        now=100.0,
        profile=PROFILE,
        finished=[done],
        assessment=None,
        table=None,
        acknowledged=None,
        kill=None,
    )
    assert document["serves"] == {"new": 1.0}
    assert document["notes"] == ["new has taken over: write `incumbent: new` into the configuration"]
    running = describe(
        "reply",
        "old",
        fold(journal(*TO_CANARY)),
        now=100.0,
        profile=PROFILE,
        finished=[],
        assessment=None,
        table=None,
        acknowledged=None,
        kill=None,
    )
    assert running["serves"] == {"new": 0.01, "old": 0.99}
    assert [note.split(":")[0] for note in running["notes"]] == [
        "no controller has looked for 95 s",
        "no gateway worker is alive",
    ]


# -- the chain


@pytest.mark.parametrize(
    "spoil",
    [
        lambda events: [*events[:2], *events[3:]],
        lambda events: [events[1], events[0], *events[2:]],
        lambda events: [replace(events[0], why="other"), *events[1:]],
        lambda events: [*events[:-1], replace(events[-1], epoch=99)],
        lambda events: [*events[:-1], replace(events[-1], data={"share": 1})],
        lambda events: events[1:],
    ],
)
def test_a_journal_that_was_changed_is_found_out(spoil: object) -> None:
    """An event that is missing, moved or edited breaks the chain."""
    events = journal(*TO_CANARY)
    assert verify(events) == events[-1].hash
    with pytest.raises(DataCorrupt):
        verify(spoil(events))  # type: ignore[operator]


def test_a_state_knows_its_stage() -> None:
    """The fold of a journal is where it left off."""
    state = fold(journal(*TO_CANARY))
    assert (state.stage, state.step, state.share, state.clock) == (Stage.CANARY, 0, 10_000, 5)
    assert (state.entered_at, state.exposed_at, state.clock_at) == (5.0, 5.0, 5.0)


# -- tiers


@pytest.mark.parametrize(
    ("drafts", "configured", "now", "tiers"),
    [
        (TO_CANARY[:2], "old", 10.0, {"old": Tier.PRODUCTION}),
        (TO_CANARY, "old", 10.0, {"old": Tier.PRODUCTION, "new": Tier.CANARY}),
        (TO_DONE[:-1], "old", 10.0, {"old": Tier.FALLBACK, "new": Tier.PRODUCTION}),
        (TO_DONE, "old", 10.0, {"old": Tier.FALLBACK, "new": Tier.PRODUCTION}),
        (TO_DONE, "new", 10.0, {"old": Tier.FALLBACK, "new": Tier.PRODUCTION}),
        (TO_DONE, "new", 1e4, {"new": Tier.PRODUCTION}),  # kept for as long as was asked
        ((*TO_CANARY, Draft(Kind.ROLLED_BACK, "c", "")), "old", 10.0, {"old": Tier.PRODUCTION}),
    ],
)
def test_a_variant_is_what_the_journal_made_of_it(
    drafts: tuple[Draft, ...], configured: str, now: float, tiers: dict[str, Tier]
) -> None:
    found = standings(configured, "reply", [journal(*drafts)], now, retain_s=1000.0)
    assert {name: standing.tier for name, standing in found.items()} == tiers


def test_the_last_eval_and_the_first_user_are_told() -> None:
    data = {"id": "e1", "binding": "b", "outcome": "proceed", "failed": [], "critical": [], "summary": "", "needed": []}
    evaluated = Draft(Kind.EVALUATED, "c", "", {**data, "document": "evals/e1.json"})
    exposed = Draft(Kind.EXPOSED, "c", "", {"judged": 5, "share": 10_000, "evidence": "e1"})
    events = journal(TO_CANARY[0], evaluated, *TO_CANARY[1:3], exposed)
    found = standings("old", "reply", [events], 10.0, retain_s=1000.0)
    assert (found["new"].tested, found["new"].tested_at, found["new"].canary_since) == ("proceed", 3.0, 6.0)
    assert (found["old"].share, found["new"].share) == (0.99, 0.01)
    assert standings("old", "other", [events], 10.0, retain_s=1000.0)["old"].tier is Tier.PRODUCTION
