"""The regression eval's verdicts, outcomes and refusals on small suites made by hand."""

from __future__ import annotations

import json
import math

import pytest

from understudy.core.playbook import Outcome, Verdict
from understudy.gates.paired import PairedCase, compare


def suite(*parts: tuple[str, int, float, float], repeats: int = 1) -> list[PairedCase]:
    """Cases of (slice, n, share the incumbent gets right, share the candidate gets right), errors not overlapping."""
    cases = []
    for name, n, old, new in parts:
        for i in range(n):
            right = (float(i < round(n * old)), float(n - i <= round(n * new)))
            cases.append(PairedCase(f"{name}-{i}", (name,), (right[0],) * repeats, (right[1],) * repeats))
    return cases


def row(result, name):
    return next(s for s in result.slices if s.slice == name)


def test_equal_models_proceed():
    """Equal answers on enough cases pass every slice."""
    cases = [PairedCase(str(i), ("a" if i % 2 else "b",), (float(i % 5 > 0),), (float(i % 5 > 0),)) for i in range(400)]
    result = compare(cases)
    assert (result.outcome, result.verdict) == (Outcome.PROCEED, Verdict.PASS)
    assert result.needed == ()


def test_aggregate_loss_asks_for_retuning():
    """An aggregate proven worse asks for prompt work, and stops the upgrade once that is used up."""
    cases = suite(("a", 100, 0.9, 0.5), ("b", 100, 0.9, 0.9))
    assert compare(cases).outcome is Outcome.RETUNE
    assert compare(cases).aggregate.verdict is Verdict.FAIL
    assert compare(cases, tuning_exhausted=True).outcome is Outcome.STOP


def test_aggregate_gain_with_one_lost_slice_is_caution():
    """A gain overall does not hide a lost slice: caution, and a critical slice asks for prompt work instead."""
    cases = suite(("thin", 60, 0.95, 0.5), ("fat", 300, 0.5, 0.9))
    result = compare(cases)
    assert (result.outcome, result.verdict) == (Outcome.CAUTION, Verdict.FAIL)
    assert row(result, "thin").verdict is Verdict.FAIL
    assert result.aggregate.difference > 0
    assert compare(cases, critical_slices=["thin"]).outcome is Outcome.RETUNE


def test_lost_slice_with_the_whole_beyond_its_margin_is_no_caution():
    """Caution presumes that the whole is not worse; a whole beyond its margin, even unproven, asks for prompt work."""
    result = compare(suite(("thin", 60, 0.95, 0.6), ("fat", 300, 0.5, 0.52)))
    assert result.aggregate.verdict is not Verdict.FAIL
    assert result.aggregate.difference < -0.02
    assert result.outcome is Outcome.RETUNE


def test_hundred_requests_do_not_decide_two_points():
    """With 100 cases and ordinary disagreement nobody can tell two points: inconclusive, with the number needed."""
    cases = [PairedCase(str(i), (), (float(i % 12 != 0),), (float(i % 12 != 1),)) for i in range(100)]
    result = compare(cases)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.aggregate.needed_cases is not None
    assert result.aggregate.needed_cases > 1000
    assert "cases to tell a loss of 2 points" in result.needed[0]


def test_more_than_two_points_worse_is_no_verdict():
    """Three points worse on thirty cases is noise, and said to be."""
    result = compare(suite(("a", 30, 0.9, 0.87)))
    assert row(result, "a").difference < -0.02
    assert result.verdict is Verdict.INCONCLUSIVE


def test_tiny_slice_never_passes_or_fails():
    """Nine cases show nothing, whichever way they fall."""
    result = compare(suite(("fat", 500, 0.9, 0.9), ("thin", 9, 1.0, 0.0)))
    assert row(result, "thin").verdict is Verdict.INCONCLUSIVE
    assert any("9 scored cases" in sentence for sentence in result.needed)


def test_must_pass_case():
    """A must-pass case the incumbent always gets and the candidate mostly misses fails the eval by itself."""
    base = [PairedCase(str(i), (), (1.0,) * 5, (1.0, 1.0, 1.0, 1.0, float(i % 9 > 0))) for i in range(200)]
    lost = PairedCase("must", (), (1.0,) * 5, (0.0, 0.0, 0.0, 1.0, 1.0), critical=True)
    result = compare([*base, lost])
    assert (result.outcome, result.critical_failures) == (Outcome.RETUNE, ("must",))
    kept = PairedCase("must", (), (1.0,) * 5, (0.0, 0.0, 1.0, 1.0, 1.0), critical=True)
    assert compare([*base, kept]).critical_failures == ()
    never = PairedCase("must", (), (1.0, 0.0, 1.0, 1.0, 1.0), (0.0,) * 5, critical=True)
    assert compare([*base, never]).critical_failures == ()


def test_repeats_decide_a_small_suite():
    """Thirty cases that cannot tell at one answer each can at ten, where the verdict is about these very cases."""

    def case(i: int, repeats: int) -> PairedCase:
        old = tuple(float((i + k) % 6 > 0) for k in range(repeats))
        new = tuple(float((i + k + 3) % 6 > 0) for k in range(repeats))
        return PairedCase(f"{i:03}", ("s",), old, new)

    once = compare([case(i, 1) for i in range(30)])
    often = compare([case(i, 12) for i in range(30)])
    assert row(once, "s").verdict is Verdict.INCONCLUSIVE
    assert row(once, "s").estimand == "population"
    assert row(often, "s").verdict is Verdict.PASS
    assert row(often, "s").estimand == "suite"


def test_cached_repeats_count_once():
    """Repeats that never differ are one answer: they make no verdict surer."""
    once = compare(suite(("a", 40, 0.9, 0.8)))
    cached = compare(suite(("a", 40, 0.9, 0.8), repeats=20))
    assert row(cached, "a").low == row(once, "a").low
    assert row(cached, "a").verdict is row(once, "a").verdict
    assert row(cached, "a").estimand == "population"


def test_suite_variance_is_shrunk():
    """A slice whose few answers happened to agree borrows the suite's noise: its interval has a width."""
    noisy = [PairedCase(f"n{i}", ("noisy",), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0)) for i in range(40)]
    quiet = [PairedCase(f"q{i}", ("quiet",), (1.0,) * 3, (1.0,) * 3) for i in range(12)]
    result = compare([*noisy, *quiet])
    assert row(result, "quiet").high - row(result, "quiet").low > 0.05


def test_graded_scores():
    """Graded scores are compared by a t interval that keeps a width where all differences are equal."""
    cases = [PairedCase(f"{i:03}", (), (0.6 + 0.001 * (i % 7),), (0.6 + 0.001 * (i % 5),)) for i in range(200)]
    result = compare(cases)
    assert result.verdict is Verdict.PASS
    worse = compare([PairedCase(c.case, (), c.incumbent, (c.candidate[0] - 0.3,)) for c in cases])
    assert worse.outcome is Outcome.RETUNE
    flat = compare([PairedCase(str(i), (), (0.5,), (0.5,)) for i in range(20)])
    assert flat.aggregate.low < -0.02 < 0.02 < flat.aggregate.high


def test_unscored_cases_never_help():
    """A case without a score of both variants counts as lost in the bound, so leaving out failures cannot pass."""
    whole = compare(suite(("a", 500, 0.95, 0.95)))
    answers = [PairedCase(f"x{i}", ("a",), (1.0,), (math.nan,)) for i in range(40)]
    cases = [PairedCase(str(i), ("a",), (1.0,), (1.0,)) for i in range(400)]
    assert compare(cases).verdict is Verdict.PASS
    result = compare([*cases, *answers])
    assert result.verdict is Verdict.INCONCLUSIVE
    assert len(result.unmeasured) == 40
    assert row(result, "a").unmeasured == 40
    assert whole.unmeasured == ()


def test_unscored_must_pass_case_holds_the_eval():
    """A must-pass case nobody scored is missing data: no pass."""
    cases = [PairedCase(str(i), (), (1.0,), (1.0,)) for i in range(2000)]
    result = compare([*cases, PairedCase("must", (), (1.0,), (), critical=True)])
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "a must-pass case has no score" in result.needed


def test_critical_slice_without_cases_never_passes():
    """A critical slice that no case belongs to is a row of its own, undecided."""
    cases = [PairedCase(str(i), (), (1.0,), (1.0,)) for i in range(2000)]
    result = compare(cases, critical_slices=["escalations"])
    assert row(result, "escalations").n == 0
    assert result.outcome is Outcome.INCONCLUSIVE


def test_critical_slices_keep_most_of_alpha():
    """A critical slice among many keeps 80 % of alpha to itself; the others share the rest."""
    parts = [(f"s{i:02}", 40, 0.9, 0.9) for i in range(12)]
    cases = suite(("crit", 40, 1.0, 0.87), *parts)
    assert row(compare(cases), "crit").verdict is not Verdict.FAIL
    assert row(compare(cases, critical_slices=["crit"]), "crit").verdict is Verdict.FAIL


@pytest.mark.parametrize("score", [1.2, -0.1])
def test_scores_outside_the_scale_are_refused(score):
    """A score outside 0 to 1 names its case."""
    with pytest.raises(ValueError, match="'odd'"):
        compare([PairedCase("odd", (), (score,), (1.0,))])


def test_refusals():
    """No cases, or one case twice, is refused."""
    with pytest.raises(ValueError, match="at least one case"):
        compare([])
    with pytest.raises(ValueError, match="'a' was given twice"):
        compare([PairedCase("a", (), (1.0,), (1.0,)), PairedCase("a", (), (0.0,), (1.0,))])


def test_nothing_scored_is_inconclusive():
    """A suite none of whose cases could be scored decides nothing and still gives valid JSON."""
    result = compare([PairedCase(str(i), ("s",), (math.nan,), ()) for i in range(20)])
    assert result.outcome is Outcome.INCONCLUSIVE
    document = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert document["aggregate"]["incumbent"] is None


def test_json_has_the_fixed_fields():
    """The fields that others read are there under their fixed names."""
    document = json.loads(json.dumps(compare(suite(("a", 50, 0.9, 0.9))).as_dict(), allow_nan=False))
    assert {"outcome", "verdict", "aggregate", "slices"} <= set(document)
    fixed = {"slice", "n", "incumbent", "candidate", "difference", "low", "high", "verdict"}
    assert fixed <= set(document["slices"][0])
    assert document["slices"][0]["verdict"] in {"pass", "fail", "inconclusive"}
