"""The regression eval on recorded answers of real models; skipped where the recordings are absent."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from benchmarks.gates.recorded import NEW3, NEW4, OLD3, OLD4, by_case

from understudy.core.playbook import Outcome, Verdict
from understudy.gates.paired import PairedCase, compare

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "llmdrift"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"recordings of real models are not at {DATA}")


def pairs(suite: str, incumbent: str, candidate: str) -> list[PairedCase]:
    old, new = by_case(DATA, suite)[incumbent], by_case(DATA, suite)[candidate]
    return [PairedCase(c, (old[c][0],), (old[c][1],), (new[c][1],)) for c in sorted(old) if c in new]


def verdicts(result) -> dict[str, Verdict]:
    return {row.slice: row.verdict for row in result.slices}


def test_prime_gpt4():
    """gpt-4-0314 to 0613 on prime: 84.0 to 50.2, slice prime lost, composite gained: retune."""
    result = compare(pairs("prime", OLD4, NEW4))
    assert result.outcome is Outcome.RETUNE
    assert (result.aggregate.incumbent, result.aggregate.candidate) == pytest.approx((0.840, 0.502))
    assert result.aggregate.verdict is Verdict.FAIL
    assert verdicts(result) == {"prime": Verdict.FAIL, "composite": Verdict.PASS}


def test_prime_gpt35_hides_a_lost_slice():
    """gpt-3.5-0301 to 0613 gains 17 points while composite loses 47: caution."""
    result = compare(pairs("prime", OLD3, NEW3))
    assert result.outcome is Outcome.CAUTION
    assert (result.aggregate.incumbent, result.aggregate.candidate) == pytest.approx((0.508, 0.681))
    assert verdicts(result) == {"prime": Verdict.PASS, "composite": Verdict.FAIL}


@pytest.mark.parametrize(("old", "new", "expected"), [(OLD4, NEW4, (0.52, 0.10)), (OLD3, NEW3, (0.22, 0.02))])
def test_leetcode(old, new, expected):
    """Fifty problems are enough to see code stop running."""
    result = compare(pairs("leetcode", old, new))
    assert (result.aggregate.incumbent, result.aggregate.candidate) == pytest.approx(expected)
    assert result.outcome is Outcome.RETUNE


def test_opinion():
    """gpt-4 stops giving an option in every wave of more than 3 questions; gpt-3.5 keeps on in all of them."""
    result = compare(pairs("opinion", OLD4, NEW4))
    assert result.outcome is Outcome.RETUNE
    undecided = {name for name, verdict in verdicts(result).items() if verdict is not Verdict.FAIL}
    assert undecided == {"w53"}
    kept = compare(pairs("opinion", OLD3, NEW3))
    assert Verdict.FAIL not in verdicts(kept).values()


@pytest.mark.parametrize("n", [30, 100, 300])
def test_subsamples_decide_the_same(n):
    """Ten random subsamples of 30, 100 and 300 cases all see the lost slices."""
    for seed in range(10):
        draw = random.Random(seed)
        four = compare(draw.sample(pairs("prime", OLD4, NEW4), n))
        assert four.outcome is Outcome.RETUNE
        three = compare(draw.sample(pairs("prime", OLD3, NEW3), n))
        assert verdicts(three)["composite"] is Verdict.FAIL or n == 30
        assert three.outcome in {Outcome.CAUTION, Outcome.INCONCLUSIVE} if n == 30 else Outcome.CAUTION


@pytest.mark.parametrize(
    ("n", "expected"), [(30, Outcome.INCONCLUSIVE), (100, Outcome.INCONCLUSIVE), (1000, Outcome.PROCEED)]
)
def test_a_model_against_itself(n, expected):
    """The same answers on both sides never fail; whether they pass depends on how many there are."""
    cases = random.Random(7).sample(pairs("prime", OLD4, OLD4), n)
    assert compare(cases).outcome is expected


def test_split_halves_fail_no_oftener_than_claimed():
    """gpt-4-0314 paired with itself across random halves: different cases, no difference, at most 5 % false fails."""
    by_slice = {
        name: [s for n, s in by_case(DATA, "prime")[OLD4].values() if n == name] for name in ("prime", "composite")
    }
    fails = 0
    rounds = 200
    for seed in range(rounds):
        draw = random.Random(seed)
        cases = []
        for name, values in by_slice.items():
            shuffled = draw.sample(values, len(values))
            half = len(shuffled) // 2
            cases += [
                PairedCase(f"{name}{i}", (name,), (a,), (b,))
                for i, (a, b) in enumerate(zip(shuffled[:half], shuffled[half : 2 * half], strict=True))
            ]
        fails += compare(cases).verdict is Verdict.FAIL
    # 5 % claimed; 200 rounds give an error of 1.5 points, three of them are allowed.
    assert fails / rounds <= 0.05 + 3 * (0.05 * 0.95 / rounds) ** 0.5
