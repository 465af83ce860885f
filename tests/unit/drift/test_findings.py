"""What is found in pairs: each planted defect, and nothing where nothing is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.drift.catalogue import FEATURES
from understudy.drift.differ import MOST_SLICES, accumulate, slice_names
from understudy.drift.features import Habits, learn
from understudy.drift.report import MIN_PAIRS, DriftReport, report
from understudy.testing.behaviour import Behaviour

from .pairs import Pair, Side, pairs, swapped


def reported(found: Iterable[Pair]) -> DriftReport:
    kept = list(found)
    return report(accumulate(kept, learn(pair.served for pair in kept)))


def kinds(made: DriftReport) -> set[tuple[str, str]]:
    return {(finding.kind, finding.slice) for finding in made.findings}


DEFECTS: list[tuple[str, bool, dict[str, Any], set[str]]] = [
    ("shorter answers", False, {"length": 0.5}, {"length"}),
    ("missing closing line", False, {"closing": False}, {"closing"}),
    ("cold tone, without a greeting", False, {"tone": "cold"}, {"tone", "greeting"}),
    ("single-quoted JSON", True, {"json": "single_quotes"}, {"single_quotes"}),
    ("code fence", True, {"json": "fenced"}, {"code_fence"}),
    ("broken JSON", True, {"json": "broken"}, {"json"}),
    ("refusals", False, {"refusal_share": 0.06}, {"refusal"}),
    ("fat p99", False, {"tail_share": 0.04, "tail_s": 6.0}, {"slow_tail"}),
    ("slower throughout", False, {"latency_s": 1.1}, {"latency"}),
    ("errors", False, {"error_share": 0.04}, {"failure"}),
    ("reasoning tokens", False, {"reasoning_tokens": 60}, {"cost"}),
    ("a dearer tokenizer", False, {"tokens_per_word": 1.6}, {"cost"}),
]


@pytest.mark.parametrize(("name", "as_json", "changes", "expected"), DEFECTS, ids=[name for name, *_ in DEFECTS])
def test_each_planted_defect_is_found_and_nothing_else(
    name: str, as_json: bool, changes: Mapping[str, Any], expected: set[str]
) -> None:
    """One defect on all traffic is one finding on all traffic, with a sentence, figures and pairs to look at."""
    made = reported(pairs(300, json=as_json, changes=changes))
    assert kinds(made) == {(kind, "") for kind in expected}
    for seen in made.seen:
        assert seen.finding.sentence
        assert seen.finding.figures["q"] <= 0.10
        assert 1 <= len(seen.examples) <= 3
        assert all(e.incumbent_value != e.candidate_value for e in seen.examples)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("as_json", [False, True])
def test_two_models_without_defects_give_no_finding(seed: int, as_json: bool) -> None:
    """Different wordings of the same behaviour are no drift."""
    assert kinds(reported(pairs(300, seed=seed, json=as_json))) == set()


@pytest.mark.parametrize("changes", [{"closing": False}, {"length": 0.5}, {"latency_s": 1.6}])
def test_a_defect_on_one_slice_is_found_there(changes: dict[str, Any]) -> None:
    """A third of the traffic drifts: the finding names it, and all traffic is not accused."""
    made = reported(pairs(450, changes=changes, only="refund"))
    assert {slice_ for _, slice_ in kinds(made)} == {"ticket=refund"}
    assert "on ticket=refund" in made.findings[0].sentence


def test_a_swap_of_sides_at_random_leaves_nothing_to_find() -> None:
    """The same pairs that show a defect show none once the sides are exchanged at random."""
    found = list(pairs(400, changes={"length": 0.5, "closing": False}))
    assert len(kinds(reported(found))) == 2
    assert kinds(reported(swapped(found, seed=7))) == set()


@pytest.mark.slow
def test_false_findings_stay_below_the_promised_rate() -> None:
    """Of 60 comparisons of two sound models on 100 pairs, with 11 slices each, at most a tenth finds anything."""
    found = sum(bool(kinds(reported(pairs(100, seed=seed, units=60)))) for seed in range(100, 160))
    assert found <= 6


@pytest.mark.slow
def test_answers_18_percent_shorter_are_found_in_100_pairs() -> None:
    """Power on the change the statistics were simulated with: about 8 of 10 with these users' answers."""

    def shorter(seed: int) -> Iterable[Pair]:
        for pair in pairs(100, seed=seed):
            cut = pair.shadow.answer.replace("Kind regards, your support team", "")
            text = cut[: round(len(cut) * 0.82)]
            yield Pair(pair.served, pair.shadow._replace(answer=f"{text} Kind regards, your support team"))

    found = [any(kind == "length" for kind, _ in kinds(reported(shorter(seed)))) for seed in range(30)]
    assert sum(found) >= 24


def test_sentences_are_for_people() -> None:
    """A product owner reads what changed, by how much, where, and from what to what."""
    sentences = [
        f.sentence
        for changes in ({"length": 0.5}, {"closing": False}, {"tail_share": 0.05, "tail_s": 6.0})
        for f in reported(pairs(400, changes=changes, only="refund")).findings
    ]
    assert sentences[0].startswith("answers on ticket=refund are 3")
    assert " % shorter (" in sentences[0]
    assert sentences[1] == (
        '0 % of the answers on ticket=refund end with the closing line ("kind regards, your support team"), '
        "100 % did before"
    )
    assert "of the answers on ticket=refund are far slower than the incumbent's p99 of " in sentences[2]


def test_a_mean_that_goes_the_other_way_is_said_too() -> None:
    """Most answers shorter, a few very long ones: the typical value and the mean disagree, and both are shown."""

    def lopsided() -> Iterable[Pair]:
        for number, pair in enumerate(pairs(300)):
            body = "word " * (20 if number % 10 else 900)
            yield Pair(
                pair.served._replace(answer="word " * 40),
                pair.shadow._replace(answer=body, latency_s=pair.served.latency_s),
            )

    made = reported(lopsided())
    sentence = next(f.sentence for f in made.findings if f.kind == "length")
    assert "shorter" in sentence
    assert "typically; the mean went from 199 characters to" in sentence


def test_thin_slices_are_named_and_not_tested() -> None:
    """A slice with fewer pairs than the floor is listed with its number; a finding needs at least that many."""

    def with_rare() -> Iterable[Pair]:
        for number, pair in enumerate(pairs(200, changes={"closing": False})):
            slices = {"ticket": "rare" if number < MIN_PAIRS - 1 else "usual"}
            yield Pair(pair.served._replace(slices=slices), pair.shadow)

    made = reported(with_rare())
    assert made.thin == {"ticket=rare": MIN_PAIRS - 1}
    assert all(row.slice != "ticket=rare" for row in made.rows)
    few = reported(itertools.islice(pairs(50), MIN_PAIRS - 1))
    assert not few.enough
    assert few.rows == ()
    assert reported([]).pairs == 0


def test_a_failed_copy_counts_as_a_failure_and_as_nothing_else() -> None:
    """A copy that got no answer has no length to compare."""

    def failing() -> Iterable[Pair]:
        for pair in pairs(100):
            yield Pair(pair.served, pair.shadow._replace(answer="", error="timeout", status=0))

    made = reported(failing())
    assert kinds(made) == {("failure", "")}
    assert {row.feature for row in made.rows} == {"failure"}


def test_without_content_tokens_stand_in_for_length() -> None:
    """A workload whose content is off is still watched for length, latency and cost, and not accused of silence."""

    def silent() -> Iterable[Pair]:
        for pair in pairs(200, changes={"length": 0.4}):
            yield Pair(pair.served._replace(answer="", kept=False), pair.shadow._replace(answer="", kept=False))

    made = reported(silent())
    assert kinds(made) == {("length", "")}
    assert "tokens" in made.findings[0].sentence


def test_tools_are_compared_with_the_incumbent_s_own() -> None:
    """A tool nobody used before, or arguments of another shape, are findings of their own."""
    usual = json.dumps([{"name": "find_order", "arguments": {"order": 7}}])
    renamed = json.dumps([{"name": "lookup", "arguments": {"order": 7}}])
    reshaped = json.dumps([{"name": "find_order", "arguments": {"order": "7"}}])

    def calling(calls: str) -> Iterable[Pair]:
        for pair in pairs(120):
            yield Pair(
                pair.served._replace(answer="", tool_calls=usual, output_tokens=9),
                pair.shadow._replace(answer="", tool_calls=calls, output_tokens=9, cost_usd=pair.served.cost_usd),
            )

    assert kinds(reported(calling(usual))) == set()
    assert kinds(reported(calling(renamed))) == {("usual_tools", "")}
    assert kinds(reported(calling(reshaped))) == {("usual_arguments", "")}
    assert ("tool_call", "") in kinds(reported(calling("")))


def test_distance_matters_only_beyond_the_incumbent_s_own() -> None:
    """Other words are no finding unless the incumbent's two answers to one request are closer to each other."""

    def two(noise: bool, apart: str) -> Iterable[Pair]:
        for number in range(80):
            text = f"the answer to question {number} is as it was before and will be"
            other = f"the answer to question {number} is {apart}"
            pair = Pair(
                Side(f"a{number}", text, "old", bucket=number % 50),
                Side(f"b{number}", other, "old" if noise else "new"),
            )
            yield pair

    far, near = "now something else in every single word", "as it was before and will be again"
    swap_only = reported(two(False, far))
    assert "distance" not in {row.feature for row in swap_only.rows}
    with_noise = reported([*two(False, far), *two(True, near)])
    assert (with_noise.pairs, with_noise.noise_pairs) == (80, 80)
    assert ("distance", "") in kinds(with_noise)
    as_far = reported([*two(False, far), *two(True, far)])
    assert ("distance", "") not in kinds(as_far)


@settings(derandomize=True, max_examples=10, deadline=None)
@given(st.permutations(range(40)), st.integers(0, 40))
def test_order_and_division_of_the_work_do_not_matter(order: list[int], cut: int) -> None:
    """Pairs read in any order, in one part or in two, give the same report."""
    found = list(pairs(40, changes={"closing": False}, units=9))
    habits = learn(pair.served for pair in found)
    whole = report(accumulate(found, habits))
    shuffled = [found[index] for index in order]
    merged = accumulate(shuffled[:cut], habits)
    merged.add(shuffled[cut:])
    again = report(merged)
    assert kinds(again) == kinds(whole)
    assert [seen.examples for seen in again.seen] == [seen.examples for seen in whole.seen]
    for mine, theirs in zip(again.rows, whole.rows, strict=True):
        assert (mine.slice, mine.feature, mine.n, mine.flagged) == (
            theirs.slice,
            theirs.feature,
            theirs.n,
            theirs.flagged,
        )
        assert mine.effect == pytest.approx(theirs.effect)


def test_slices_without_end_do_not_fill_the_memory() -> None:
    """A slice value that differs on every request is kept to a limit, and what was left out is counted."""

    def endless() -> Iterable[Pair]:
        for number, pair in enumerate(pairs(MOST_SLICES + 50)):
            yield Pair(pair.served._replace(slices={"user": f"u{number}"}), pair.shadow)

    differ = accumulate(endless(), Habits())
    assert len({name for name, _ in differ.cells}) == MOST_SLICES + 1
    made = report(differ)
    assert made.slices_not_kept == 50
    assert made.pairs == MOST_SLICES + 50


def test_slice_names() -> None:
    """Each slice, and each conjunction of two, whatever the order of the keys."""
    assert list(slice_names({"b": "2", "a": "1", "c": "3"})) == [
        "a=1",
        "b=2",
        "c=3",
        "a=1 & b=2",
        "a=1 & c=3",
        "b=2 & c=3",
    ]
    assert list(slice_names({})) == []


def test_the_report_is_plain_data() -> None:
    """Every figure of a row and of a finding is a finite number, so that it can be kept as JSON."""
    made = reported(pairs(120, changes={"error_share": 0.3, "length": 0.5, "latency_s": 0.0}))
    text = json.dumps([row.as_dict() for row in made.rows], allow_nan=False)
    assert json.loads(text)[0]["slice"] == ""
    json.dumps([finding._asdict() for finding in made.findings], allow_nan=False)


def test_every_explanation_names_a_feature() -> None:
    """A feature is explained by features that exist, and never in a circle."""
    for feature in FEATURES.values():
        for reason in feature.explained_by:
            assert feature.name not in FEATURES[reason].explained_by


@pytest.mark.parametrize(("before", "after", "noticed"), [(0.002, 0.003, False), (0.2, 0.3, True)])
def test_a_wait_nobody_can_feel_is_no_finding(before: float, after: float, noticed: bool) -> None:
    """Half as slow again is drift at 200 ms, and nothing at 2 ms."""
    sides = pairs(300, incumbent=Behaviour(latency_s=before, latency_spread=0.1), changes={"latency_s": after})
    assert bool({"latency", "first_byte", "slow_tail"} & {kind for kind, _ in kinds(reported(sides))}) is noticed
