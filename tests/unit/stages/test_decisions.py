"""What each stage decides on which evidence, as tables."""

from __future__ import annotations

import pytest

from understudy.core.evidence import Finding
from understudy.core.lasting import lasting
from understudy.core.playbook import PARTS_PER_MILLION, Decision, Outcome, Stage, Verdict
from understudy.stages import canary, regress, retune, shadow, soak
from understudy.stages.assessment import Judgement

PASS = Judgement(Verdict.PASS, "all pass")
FAIL = Judgement(Verdict.FAIL, "errors doubled")
UNCLEAR = Judgement(Verdict.INCONCLUSIVE, "not decided", ("40 more users",))
DRIFT = Finding("length", "a", "shorter", {})


@pytest.mark.parametrize(
    ("outcome", "failed", "critical", "waived", "decision", "to"),
    [
        (Outcome.PROCEED, (), (), (), Decision.ADVANCE, Stage.SHADOW),
        (Outcome.CAUTION, ("a",), (), (), Decision.HOLD, None),
        (Outcome.CAUTION, ("a", "b"), (), ("a",), Decision.HOLD, None),
        (Outcome.CAUTION, ("a", "b"), (), ("a", "b"), Decision.ADVANCE, Stage.SHADOW),
        (Outcome.CAUTION, ("a",), ("vip",), ("a", "vip"), Decision.ADVANCE, Stage.RETUNE),
        (Outcome.RETUNE, ("a",), (), ("a",), Decision.ADVANCE, Stage.RETUNE),
        (Outcome.STOP, ("a",), (), ("a",), Decision.STOP, Stage.BLOCKED),
        (Outcome.INCONCLUSIVE, (), (), (), Decision.HOLD, None),
    ],
)
def test_regress_follows_the_playbook(
    outcome: Outcome,
    failed: tuple[str, ...],
    critical: tuple[str, ...],
    waived: tuple[str, ...],
    decision: Decision,
    to: Stage | None,
) -> None:
    """The playbook's table, with waivers for what failed and none for what is critical."""
    found = regress.assess(regress.Result(outcome, failed, critical, "said."), waived)
    assert (found.decision, found.to) == (decision, to)
    assert bool(found.missing) == (decision is Decision.HOLD)


def test_regress_without_a_result_holds() -> None:
    """An eval that was not run holds, and says what is being done about it."""
    found = regress.assess(None, (), "The eval is running: 40 answers so far.")
    assert (found.decision, found.verdict) == (Decision.HOLD, Verdict.INCONCLUSIVE)
    assert found.sentence == "The eval is running: 40 answers so far."


def test_retune_never_moves_by_itself() -> None:
    """Only a person brings a better prompt."""
    assert retune.assess("reply", "").decision is Decision.HOLD


FULL = shadow.Coverage(1_000, 960)


@pytest.mark.parametrize(
    ("coverage", "pairs", "drift", "held_s", "decision", "missing"),
    [
        (FULL, 500, (), None, Decision.HOLD, "full shadow coverage"),
        (FULL, 500, (), 99.0, Decision.HOLD, "more of the"),
        (FULL, 500, (), 100.0, Decision.ADVANCE, ""),
        (None, 500, (), 100.0, Decision.HOLD, "coverage"),
        (shadow.Coverage(1_000, 949), 500, (), 100.0, Decision.HOLD, "coverage"),
        (shadow.Coverage(19, 19), 500, (), 100.0, Decision.HOLD, "coverage"),
        (FULL, 99, (), 100.0, Decision.HOLD, "1 more pairs"),
        (FULL, 500, None, 100.0, Decision.HOLD, "more pairs"),
        (FULL, 500, None, 1e9, Decision.HOLD, "more pairs"),
        (FULL, 500, (DRIFT,), 100.0, Decision.HOLD, "a/length"),
        (FULL, 500, (DRIFT,), 999.0, Decision.HOLD, "a/length"),
        (FULL, 500, (DRIFT,), 1_000.0, Decision.STOP, ""),
        (None, 0, None, 1_000.0, Decision.HOLD, "coverage"),
    ],
)
def test_shadow_decides(
    coverage: shadow.Coverage | None,
    pairs: int,
    drift: tuple[Finding, ...] | None,
    held_s: float | None,
    decision: Decision,
    missing: str,
) -> None:
    """Only drift ever stops a shadow; missing evidence holds it, however long it lasts."""
    found = shadow.assess(
        shadow.Evidence(coverage, pairs, drift),
        sample=PARTS_PER_MILLION,
        held_s=held_s,
        min_s=100.0,
        max_s=1_000.0,
        min_pairs=100,
        unwaived=drift or (),
    )
    assert found.decision is decision
    assert any(missing in text for text in found.missing) if missing else not found.missing


def test_drift_is_no_finding_before_its_time() -> None:
    """A look a minute at growing data must not stop what one look at the end would let pass."""
    found = shadow.assess(
        shadow.Evidence(FULL, 500, (DRIFT,)),
        sample=PARTS_PER_MILLION,
        held_s=99.0,
        min_s=100.0,
        max_s=1_000.0,
        min_pairs=100,
        unwaived=(DRIFT,),
    )
    assert (found.decision, found.findings, found.verdict) == (Decision.HOLD, (), Verdict.INCONCLUSIVE)
    assert DRIFT.sentence in found.sentence


def test_shadow_with_all_drift_waived_advances() -> None:
    """Accepted drift stays among the findings and stops nothing."""
    found = shadow.assess(
        shadow.Evidence(FULL, 500, (DRIFT,)),
        sample=PARTS_PER_MILLION,
        held_s=2_000.0,
        min_s=100.0,
        max_s=1_000.0,
        min_pairs=100,
        unwaived=(),
    )
    assert (found.decision, found.to, found.findings) == (Decision.ADVANCE, Stage.CANARY, (DRIFT,))


def test_coverage_is_of_the_share_that_was_asked_for() -> None:
    """A sample of a tenth is full with a tenth copied."""
    assert shadow.Coverage(1_000, 100).full(100_000)
    assert not shadow.Coverage(1_000, 94).full(100_000)
    assert shadow.starts(None, PARTS_PER_MILLION) is False


@pytest.mark.parametrize(
    ("judgement", "share", "held_s", "waiting", "decision", "to"),
    [
        (None, 10_000, 500.0, (), Decision.HOLD, None),
        (PASS, 10_000, 99.0, (), Decision.HOLD, None),
        (PASS, 10_000, 100.0, (), Decision.ADVANCE, Stage.CANARY),
        (PASS, 10_000, 100.0, ("w1",), Decision.HOLD, None),
        (UNCLEAR, 10_000, 1e9, (), Decision.HOLD, None),
        (FAIL, 10_000, 0.0, ("w1",), Decision.ROLL_BACK, None),
        (PASS, PARTS_PER_MILLION, 100.0, (), Decision.ADVANCE, Stage.SOAK),
        (UNCLEAR, PARTS_PER_MILLION, 100.0, (), Decision.ADVANCE, Stage.SOAK),
        (UNCLEAR, PARTS_PER_MILLION, 99.0, (), Decision.HOLD, None),
        (FAIL, PARTS_PER_MILLION, 100.0, (), Decision.ROLL_BACK, None),
        (None, PARTS_PER_MILLION, 100.0, (), Decision.HOLD, None),
    ],
)
def test_canary_decides(
    judgement: Judgement | None,
    share: int,
    held_s: float,
    waiting: tuple[str, ...],
    decision: Decision,
    to: Stage | None,
) -> None:
    """A failure rolls back at once; a pass promotes after its hold, when every worker serves it; else it holds."""
    found = canary.assess(judgement, share=share, held_s=held_s, hold_s=100.0, max_wait_s=1e12, waiting_for=waiting)
    assert (found.decision, found.to) == (decision, to)


@pytest.mark.parametrize(
    ("manual", "promoted", "sign_offs", "decision"),
    [
        (False, False, (), Decision.ADVANCE),
        (True, False, (), Decision.HOLD),
        (True, True, (), Decision.ADVANCE),
        (True, True, ("legal",), Decision.HOLD),
        (False, False, ("legal",), Decision.HOLD),
    ],
)
def test_canary_waits_for_people(manual: bool, promoted: bool, sign_offs: tuple[str, ...], decision: Decision) -> None:
    """A word or a signature that was asked for is waited for."""
    found = canary.assess(
        PASS,
        share=10_000,
        held_s=100.0,
        hold_s=100.0,
        max_wait_s=1e12,
        waiting_for=(),
        manual=manual,
        promoted=promoted,
        sign_offs=sign_offs,
    )
    assert found.decision is decision


def test_an_undecided_canary_calls_a_person() -> None:
    """After the longest wait it still holds, and says so as a finding."""
    found = canary.assess(UNCLEAR, share=10_000, held_s=301.0, hold_s=100.0, max_wait_s=300.0, waiting_for=())
    assert found.decision is Decision.HOLD
    assert [f.kind for f in found.findings] == [canary.UNDECIDED]


@pytest.mark.parametrize(
    ("judgement", "held_s", "down_s", "decision"),
    [
        (PASS, 149.0, 0.0, Decision.HOLD),
        (PASS, 150.0, 0.0, Decision.ADVANCE),
        (UNCLEAR, 150.0, 0.0, Decision.ADVANCE),
        (None, 150.0, 0.0, Decision.HOLD),
        (PASS, 150.0, 60.0, Decision.HOLD),
        (FAIL, 1.0, 60.0, Decision.ROLL_BACK),
    ],
)
def test_soak_decides(judgement: Judgement | None, held_s: float, down_s: float, decision: Decision) -> None:
    """The incumbent retires when both its times are over and it still answers; a failing gate rolls back."""
    found = soak.assess(
        judgement, held_s=held_s, soak_s=100.0, retain_s=150.0, probe_failed_for_s=down_s, probe_message="refused"
    )
    assert found.decision is decision


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.5, "500 ms"),
        (0, "0 s"),
        (3.08, "3.08 s"),
        (90, "90 s"),
        (600, "10 min"),
        (7_200, "2 h"),
        (86_400, "24 h"),
        (1_209_600, "14 d"),
    ],
)
def test_durations_as_people_say_them(seconds: float, said: str) -> None:
    """The largest unit of which there are two."""
    assert lasting(seconds) == said
