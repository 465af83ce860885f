"""Drift between real pinned models on their recorded answers (Chen, Zaharia and Zou, arXiv 2307.09009)."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from understudy.drift.differ import accumulate
from understudy.drift.features import learn
from understudy.drift.report import DriftReport, report
from understudy.evals.recordings import read

from .pairs import Pair, Side, swapped

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "data" / "llmdrift"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the recordings are not there: {FOLDER}")


@functools.cache
def answers(suite: str) -> dict[str, dict[str, Side]]:
    """Recorded answers by prompt and model, as sides of a pair."""
    found: dict[str, dict[str, Side]] = {}
    for row in read(FOLDER / f"{suite}.jsonl.gz"):
        number = len(found) if row.prompt not in found else list(found).index(row.prompt)
        found.setdefault(row.prompt, {})[row.model] = Side(
            exchange=f"{row.model}-{number:05}",
            answer=row.output,
            fingerprint=row.model,
            bucket=number % 256,
            slices={"kind": row.slice},
            latency_s=row.latency_s,
            cost_usd=row.cost_usd,
            output_tokens=row.output_tokens,
        )
    return found


def pairs(suite: str, old: str, new: str) -> list[Pair]:
    both = [by_model for by_model in answers(suite).values() if old in by_model and new in by_model]
    return [
        Pair(
            sides[old]._replace(bucket=number % 256),
            sides[new]._replace(fingerprint=f"candidate {new}"),
        )
        for number, sides in enumerate(both)
    ]


def reported(found: list[Pair]) -> DriftReport:
    return report(accumulate(found, learn(pair.served for pair in found)))


def sentences(made: DriftReport) -> dict[tuple[str, str], str]:
    return {(f.kind, f.slice): f.sentence for f in made.findings}


def test_prime_gpt_4_answers_in_four_characters() -> None:
    """gpt-4-0314 reasons over 638 characters on average, gpt-4-0613 answers [No]; that is the first thing to say."""
    made = reported(pairs("prime", "gpt-4-0314", "gpt-4-0613"))
    length = next(row for row in made.rows if (row.slice, row.feature) == ("", "characters"))
    assert made.pairs == 1000
    assert length.flagged
    assert 590 < length.incumbent_mean < 640
    assert length.candidate_mean < 5
    said = sentences(made)
    assert said["length", ""].startswith("answers are 99 % shorter (")
    assert "end with the closing line" in said["closing", ""]
    assert not {kind for kind, _ in said} & {"refusal", "latency", "cost", "tone"}


def test_prime_gpt_3_5_drifts_apart_by_slice() -> None:
    """On primes answers got longer and slower, on composites shorter: the slices are named, each with its direction."""
    said = sentences(reported(pairs("prime", "gpt-3.5-turbo-0301", "gpt-3.5-turbo-0613")))
    assert " % longer (" in said["length", "kind=prime"]
    assert " % shorter (" in said["length", "kind=composite"]
    assert "take 81 % longer" in said["latency", "kind=prime"]
    assert "contain a list" in said["list", "kind=prime"]
    assert "far slower than the incumbent's p99" in said["slow_tail", ""]


def test_opinion_gpt_4_stops_to_pick_an_option() -> None:
    """gpt-4-0314 begins with "(A)."; gpt-4-0613 mostly explains that it has no opinion."""
    made = reported(pairs("opinion", "gpt-4-0314", "gpt-4-0613"))
    first = made.findings[0]
    assert (first.kind, first.slice) == ("refusal", "")
    assert first.figures["incumbent"] < 0.03 < 0.5 < first.figures["candidate"]
    assert any('begin in the usual way ("(a).")' in sentence for sentence in sentences(made).values())


def test_leetcode_code_comes_in_a_fence() -> None:
    """What made the code not directly executable: fences where there were none."""
    said = sentences(reported(pairs("leetcode", "gpt-4-0314", "gpt-4-0613")))
    assert said["code_fence", ""] == "88 % of the answers come in a code fence, 0 % did before"


@pytest.mark.parametrize("model", ["gpt-4-0314", "gpt-4-0613", "gpt-3.5-turbo-0613"])
@pytest.mark.parametrize("suite", ["prime", "opinion", "leetcode"])
def test_a_model_against_itself_gives_no_finding(suite: str, model: str) -> None:
    """Equal answers differ in nothing."""
    assert sentences(reported(pairs(suite, model, model))) == {}


@pytest.mark.slow
def test_models_mixed_at_random_seldom_give_a_finding() -> None:
    """Real answers of two very different models, each pair in random order: no side has anything the other lacks.

    A tenth of such mixtures may find something by chance; 6 of 30 would already be a one in twenty accident.
    """
    found = pairs("prime", "gpt-4-0314", "gpt-4-0613")
    assert sum(bool(sentences(reported(list(swapped(found, seed))))) for seed in range(30)) <= 6
