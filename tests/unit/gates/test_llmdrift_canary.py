"""Recorded answers of real models as a canary's stream: requests until rollback, beside an oracle.

Skipped where the recordings are absent.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from benchmarks.gates.recorded import NEW3, NEW4, OLD3, OLD4, Stream, answers, until_rollback

from understudy.core.playbook import Verdict

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "llmdrift"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"recordings of real models are not at {DATA}")


def stream(old, new, share, seed, slices=(), suite="prime"):
    known = answers(DATA, suite)
    return Stream(known[old], known[new], share, seed, slices)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.25])
def test_gpt4_is_rolled_back_at_the_first_chance(share):
    """84 to 50 % right is found as soon as the gate may speak; the oracle needs about ten answers."""
    for seed in range(3):
        gate, oracle = until_rollback(stream(OLD4, NEW4, share, seed), limit=400)
        assert oracle is not None
        assert oracle < 60
        assert gate is not None
        assert 100 <= gate <= 150  # a hundred units are the least any mean is judged on


@pytest.mark.parametrize("share", [0.01, 0.05, 0.25])
@pytest.mark.parametrize(
    ("suite", "old", "new"), [("leetcode", OLD4, NEW4), ("leetcode", OLD3, NEW3), ("opinion", OLD4, NEW4)]
)
def test_what_got_worse_is_rolled_back(suite, old, new, share):
    """Code that no longer runs and questions that are no longer answered, beside what an oracle of both rates needs."""
    for seed in range(2):
        gate, oracle = until_rollback(stream(old, new, share, seed, suite=suite), limit=600)
        assert gate is not None
        assert oracle is not None
        # The gate speaks from a hundred units on; from there it may take as long as the oracle does in all.
        assert 100 <= gate <= 100 + 2 * oracle + 20


@pytest.mark.parametrize("share", [0.01, 0.05, 0.25])
def test_what_stayed_as_good_is_not_rolled_back(share):
    """gpt-3.5 goes on giving options in the opinion surveys, and gains on primes over all."""
    for suite in ("opinion", "prime"):
        gate, _ = until_rollback(stream(OLD3, NEW3, share, 1, suite=suite), limit=400, step=20)
        assert gate is None


@pytest.mark.parametrize("share", [0.05, 0.25])
def test_gpt35_gains_and_loses_a_slice(share):
    """gpt-3.5 gains 17 points over all traffic; the slice that lost 47 is found, by name."""
    names = ("prime", "composite")
    drawn = stream(OLD3, NEW3, share, 1, names)
    while drawn.served < 1000:
        drawn.until_candidates(20)
        panel = drawn.judge()
        if panel.verdict is Verdict.FAIL:
            break
    assert [gate.slice for gate in panel.failed] == ["composite"]
    assert drawn.served <= 400
    whole = next(gate for gate in panel.gates if not gate.slice)
    assert whole.verdict is not Verdict.FAIL
    assert whole.estimate > 0


def test_a_model_is_hardly_ever_rolled_back_for_itself():
    """gpt-4-0314 against itself over 2,000 answers, looked at after every fifty: at most 5 % of the streams."""
    rounds, failed = 40, 0
    for seed in range(rounds):
        drawn = stream(OLD4, OLD4, 0.25, seed)
        while drawn.served < 2000:
            drawn.until_candidates(50)
            if drawn.judge().verdict is Verdict.FAIL:
                failed += 1
                break
    # 5 % promised; three errors of 40 rounds are allowed.
    assert failed / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)
