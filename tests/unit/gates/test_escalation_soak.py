"""Asking again at looks fixed beforehand, and the watch at 100 %."""

from __future__ import annotations

import math
import random

import pytest

from understudy.core.evidence import Stratum, Sums
from understudy.core.playbook import Verdict
from understudy.gates.escalation import SCHEDULE, Rung, carried, compare_at, next_look
from understudy.gates.gate import STANDARD
from understudy.gates.paired import PairedCase
from understudy.gates.soak import RUN_LENGTH, period, tails, watch
from understudy.gates.stats.betting import Detector


def answers(slices, n, old, new, repeats, seed):
    draw = random.Random(seed)
    cases = []
    for name in slices:
        for i in range(n):
            p = draw.betavariate(4, 1)
            scores = [tuple(float(draw.random() < min(1.0, p * level)) for _ in range(repeats)) for level in (old, new)]
            cases.append(PairedCase(f"{name}{i}", (name,), *scores))
    return cases


def test_the_schedule_spends_alpha_once():
    """The looks together spend five per cent, each more repeats than the one before."""
    assert math.fsum(rung.alpha for rung in SCHEDULE) == pytest.approx(0.05)
    assert [rung.repeats for rung in SCHEDULE] == [5, 10, 20]


def test_undecided_slices_are_asked_again():
    """Only cases of undecided slices get more answers, up to the next look's repeats."""
    cases = answers(["a"], 400, 1, 1, 5, 1) + answers(["b"], 12, 1, 1, 5, 2)
    first = compare_at(0, cases, margin=0.05)
    again = next_look(0, cases, first)
    assert again is not None
    assert again.repeats == 10
    assert again.slices == ("b",)
    assert set(again.cases) == {case.case for case in cases if case.slices == ("b",)}


def test_nothing_more_to_ask():
    """A decided eval is not asked again, nor one whose looks are used up, nor slices too small for any verdict."""
    equal = answers(["a"], 600, 1, 1, 5, 3)
    assert next_look(0, equal, compare_at(0, equal, margin=0.05)) is None
    few = answers(["a"], 20, 1, 1, 20, 4)
    assert next_look(2, few, compare_at(2, few)) is None
    tiny = answers(["a"], 600, 1, 1, 5, 3) + answers(["b"], 5, 1, 1, 5, 5)
    assert next_look(0, tiny, compare_at(0, tiny, margin=0.05)) is None
    lost = answers(["a"], 200, 1, 0.5, 5, 6)
    assert next_look(0, lost, compare_at(0, lost)) is None


def test_looks_that_were_not_fixed_are_refused():
    """A fourth look would spend alpha that is not there."""
    with pytest.raises(ValueError, match="fixed beforehand"):
        compare_at(3, answers(["a"], 20, 1, 1, 5, 1))
    assert compare_at(0, answers(["a"], 20, 1, 1, 2, 1), schedule=[Rung(2, 0.05)]).alpha == 0.05


def test_each_slice_may_pass_at_either_look():
    """A slice that passed keeps its pass; a fail at any look stands."""
    good, thin = answers(["a"], 500, 1, 1, 5, 3), answers(["b"], 15, 0.8, 0.8, 5, 8)
    first = compare_at(0, good + thin, margin=0.05)
    more = answers(["b"], 15, 0.8, 0.85, 20, 2)
    second = compare_at(1, good + more, margin=0.05)
    assert first.verdict is Verdict.INCONCLUSIVE
    together = carried(first, second)
    assert together.verdict is Verdict.PASS
    assert next_look(1, good + more, together) is None
    lost = compare_at(1, good + answers(["b"], 60, 1, 0.3, 20, 2), margin=0.05)
    assert carried(first, lost).verdict is carried(lost, first).verdict is Verdict.FAIL
    assert carried(first, first).verdict is Verdict.INCONCLUSIVE


def days(drop, n, count, seed):
    draw = random.Random(seed)
    for _ in range(count):
        yield [(float(draw.random() < 0.85), float(draw.random() < 0.85 - drop)) for _ in range(n)]


def test_the_watch_finds_a_loss_in_days():
    """Ten points lost on sixty golden cases a day are found within two weeks, at about one false alarm a year."""
    delays = []
    for seed in range(20):
        detector = Detector()
        for pairs in days(0.10, 60, 60, seed):
            detector.step(period(pairs))
            if watch(detector).verdict is Verdict.FAIL:
                break
        delays.append(detector.periods)
    assert sum(delays) / len(delays) < 14


def test_the_watch_is_quiet_and_says_so():
    """Half a year of equal answers raises few alarms, and quiet is never a pass."""
    alarms = 0
    for seed in range(20):
        detector = Detector()
        for pairs in days(0.0, 60, 180, 100 + seed):
            detector.step(period(pairs))
            if watch(detector).verdict is Verdict.FAIL:
                alarms += 1
                break
        else:
            quiet = watch(detector)
            assert quiet.verdict is Verdict.INCONCLUSIVE
            assert "180 looks" in quiet.sentence
    # One alarm a year on average is half an alarm in half a year; 20 such years of half give 10 at the very most.
    assert alarms <= 4
    assert RUN_LENGTH == 365.0


def test_a_watch_without_a_look_alarms_nobody():
    """Before the first replay there is nothing to say."""
    assert watch(Detector()).verdict is Verdict.INCONCLUSIVE


def live(metric, stage, arm, cycles, rate, seed, first=0, n=20):
    """One row a cycle and bucket, `n` values each, ones at `rate(cycle)`."""
    draw = random.Random(seed)
    for cycle in range(first, first + cycles):
        for bucket in range(64):
            hits = float(sum(draw.random() < rate(cycle) for _ in range(n)))
            yield Sums(metric, Stratum(stage, 0, cycle), arm, "", bucket, n, hits, hits, n)


ERRORS, SLOW = STANDARD["errors"], STANDARD["latency_p99"]


def soaked(rate, seed=1, *, days=30, **kwargs):
    sums = [*live("latency_p99", "canary", "incumbent", 7, lambda day: 0.01, seed)]
    sums += live("latency_p99", "soak", "candidate", days, rate, seed + 1, first=7)
    return tails([SLOW], sums, **{"closed": 1_000, "matured": 1_000, **kwargs})


def test_a_tail_is_held_against_what_the_incumbent_did():
    """A tail that triples in the third week alarms within days of that, and names the figures."""
    (quiet,) = soaked(lambda day: 0.01)
    assert (quiet.verdict, quiet.cycles) == (Verdict.INCONCLUSIVE, 30)
    assert "latency_p99 holds after 30 cycles" in quiet.sentence
    (late,) = soaked(lambda day: 0.01 if day < 21 else 0.03)
    assert late.verdict is Verdict.FAIL
    assert late.lately == pytest.approx(0.03, abs=0.01)
    assert late.allowed == pytest.approx(late.incumbent + 0.005, abs=1e-9)
    assert "slipped since the candidate took over" in late.sentence
    (early,) = soaked(lambda day: 0.01 if day < 21 else 0.03, days=20)
    assert early.verdict is Verdict.INCONCLUSIVE


def test_only_cycles_that_are_over_are_looked_at():
    """The present cycle is half there, and feedback has to mature."""
    (seen,) = soaked(lambda day: 0.01, closed=20)
    assert seen.cycles == 13
    sums = [*live("satisfaction", "canary", "incumbent", 7, lambda day: 0.8, 1)]
    sums += live("satisfaction", "soak", "candidate", 10, lambda day: 0.8, 2, first=7)
    (rated,) = tails([STANDARD["satisfaction"]], sums, closed=17, matured=10)
    assert rated.cycles == 3


def test_what_has_no_reference_or_no_bounds_is_not_watched():
    """No incumbent in the canary, too few groups of users, or values beyond one: its limit alone guards it."""
    soak = [*live("latency_p99", "soak", "candidate", 5, lambda day: 0.01, 1)]
    assert tails([SLOW], soak, closed=99, matured=99) == []
    before = [row for row in live("latency_p99", "canary", "incumbent", 5, lambda day: 0.01, 1) if row.bucket < 10]
    assert tails([SLOW], before + soak, closed=99, matured=99) == []
    dear = [Sums("cost_usd", Stratum("canary", 0, 0), "incumbent", "", b, 10, 50.0, 250.0, 10) for b in range(64)]
    assert tails([STANDARD["cost_usd"]], dear, closed=99, matured=99) == []
    assert tails([STANDARD["cost"]], [], closed=99, matured=99) == []


def test_lower_and_higher_are_mirrored():
    """Quality that falls alarms as errors that rise do."""
    sums = [*live("quality", "canary", "incumbent", 7, lambda day: 0.9, 1)]
    sums += live("quality", "soak", "candidate", 10, lambda day: 0.7, 2, first=7)
    (fallen,) = tails([STANDARD["quality"]], sums, closed=99, matured=99)
    assert fallen.verdict is Verdict.FAIL
    risen = [*live("quality", "canary", "incumbent", 7, lambda day: 0.7, 1)]
    risen += live("quality", "soak", "candidate", 10, lambda day: 0.9, 2, first=7)
    (better,) = tails([STANDARD["quality"]], risen, closed=99, matured=99)
    assert better.verdict is Verdict.INCONCLUSIVE


def test_the_more_is_watched_the_more_it_takes():
    """All metrics share one false alarm in so many cycles."""
    sums = [*live("latency_p99", "canary", "incumbent", 7, lambda day: 0.01, 1)]
    sums += live("latency_p99", "soak", "candidate", 5, lambda day: 0.01, 2, first=7)
    sums += [row._replace(metric="errors") for row in sums]
    both = tails([SLOW, ERRORS], sums, closed=99, matured=99)
    assert [tail.log_threshold for tail in both] == [pytest.approx(math.log(2 * 365.0))] * 2
