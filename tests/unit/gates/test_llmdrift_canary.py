"""Recorded answers of real models as a canary's stream: requests until rollback, beside an oracle.

Skipped where the recordings are absent.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import re
from functools import cache
from pathlib import Path

import pytest

from understudy.core.evidence import ALL_SLICES, Stratum, Sums
from understudy.core.playbook import Verdict
from understudy.gates.gate import STANDARD
from understudy.gates.panel import Look, judge_tallies
from understudy.gates.tally import Tally

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "llmdrift"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"recordings of real models are not at {DATA}")

OLD4, NEW4 = "gpt-4-0314", "gpt-4-0613"
OLD3, NEW3 = "gpt-3.5-turbo-0301", "gpt-3.5-turbo-0613"
QUALITY = STANDARD["quality"]
STRATUM = Stratum("canary", 0, 0)


def score(suite: str, row: dict) -> float:
    """Runs as it is; gives an option; gives the right answer."""
    if suite == "leetcode":
        return float(row["directly_executable"])
    if suite == "opinion":
        return float(re.search(r"\([A-Z]\)", row["output"]) is not None)
    said = re.search(r"\[(yes|no)\]", row["output"], re.IGNORECASE)
    return float(said is not None and said.group(0).lower() == row["reference"].lower())


@cache
def answers(suite: str) -> dict[str, list[tuple[str, float]]]:
    """(slice, right or wrong) by model, the same prompts in the same order."""
    found: dict[str, dict[str, tuple[str, float]]] = {}
    with gzip.open(DATA / f"{suite}.jsonl.gz", "rt") as lines:
        for line in lines:
            row = json.loads(line)
            found.setdefault(row["model"], {})[row["case_id"]] = (row["slice"], score(suite, row))
    return {model: [rows[case] for case in sorted(rows)] for model, rows in found.items()}


class Stream:
    """Requests drawn from the prompts, each of a new user, answered by the arm the share sends them to."""

    def __init__(
        self, old: str, new: str, share: float, seed: int, slices: tuple[str, ...] = (), suite: str = "prime"
    ) -> None:
        self.old, self.new, self.share, self.slices = answers(suite)[old], answers(suite)[new], share, slices
        self.draw = random.Random(seed)
        self.tallies = {("quality", name): Tally() for name in (ALL_SLICES, *slices)}
        self.served = 0
        rates = [(sum(right for _, right in rows) + 0.5) / (len(rows) + 1) for rows in (self.old, self.new)]
        self.log_right, self.log_wrong = math.log(rates[1] / rates[0]), math.log((1 - rates[1]) / (1 - rates[0]))
        self.oracle = 0.0

    def until_candidates(self, n: int) -> None:
        """Serve until the candidate has answered n more."""
        while n:
            chosen = self.draw.random() < self.share
            name, right = self.draw.choice(self.new if chosen else self.old)
            arm = "candidate" if chosen else "incumbent"
            bucket = self.draw.randrange(256)
            for part in (ALL_SLICES, *({name} & set(self.slices))):
                self.tallies["quality", part].add(Sums("quality", STRATUM, arm, part, bucket, 1, right, right, 1))
            if chosen:
                n -= 1
                self.served += 1
                self.oracle += self.log_right if right else self.log_wrong

    def judge(self):
        look = Look(1.0, 3600.0, 0, True)
        return judge_tallies([QUALITY], self.tallies, slices=self.slices, critical_slices=(), look=look)


def until_rollback(stream: Stream, *, limit: int, step: int = 10) -> tuple[int | None, int | None]:
    """Candidate answers until the gate fails, and until the oracle's sequential test does."""
    gate = oracle = None
    while stream.served < limit and (gate is None or oracle is None):
        stream.until_candidates(1)
        if oracle is None and stream.oracle > math.log(20):
            oracle = stream.served
        if gate is None and stream.served % step == 0 and stream.judge().verdict is Verdict.FAIL:
            gate = stream.served
    return gate, oracle


@pytest.mark.parametrize("share", [0.01, 0.05, 0.25])
def test_gpt4_is_rolled_back_at_the_first_chance(share):
    """84 to 50 % right is found as soon as the gate may speak; the oracle needs about ten answers."""
    for seed in range(3):
        gate, oracle = until_rollback(Stream(OLD4, NEW4, share, seed), limit=400)
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
        gate, oracle = until_rollback(Stream(old, new, share, seed, suite=suite), limit=600)
        assert gate is not None
        assert oracle is not None
        # The gate speaks from a hundred units on; from there it may take as long as the oracle does in all.
        assert 100 <= gate <= 100 + 2 * oracle + 20


@pytest.mark.parametrize("share", [0.01, 0.05, 0.25])
def test_what_stayed_as_good_is_not_rolled_back(share):
    """gpt-3.5 goes on giving options in the opinion surveys, and gains on primes over all."""
    for suite in ("opinion", "prime"):
        gate, _ = until_rollback(Stream(OLD3, NEW3, share, 1, suite=suite), limit=400, step=20)
        assert gate is None


@pytest.mark.parametrize("share", [0.05, 0.25])
def test_gpt35_gains_and_loses_a_slice(share):
    """gpt-3.5 gains 17 points over all traffic; the slice that lost 47 is found, by name."""
    names = ("prime", "composite")
    stream = Stream(OLD3, NEW3, share, 1, names)
    while stream.served < 1000:
        stream.until_candidates(20)
        panel = stream.judge()
        if panel.verdict is Verdict.FAIL:
            break
    assert [gate.slice for gate in panel.failed] == ["composite"]
    assert stream.served <= 400
    whole = next(gate for gate in panel.gates if not gate.slice)
    assert whole.verdict is not Verdict.FAIL
    assert whole.estimate > 0


def test_a_model_is_hardly_ever_rolled_back_for_itself():
    """gpt-4-0314 against itself over 2,000 answers, looked at after every fifty: at most 5 % of the streams."""
    rounds, failed = 40, 0
    for seed in range(rounds):
        stream = Stream(OLD4, OLD4, 0.25, seed)
        while stream.served < 2000:
            stream.until_candidates(50)
            if stream.judge().verdict is Verdict.FAIL:
                failed += 1
                break
    # 5 % promised; three errors of 40 rounds are allowed.
    assert failed / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)
