"""What a plan says can be decided, and rehearsals on made-up traffic."""

from __future__ import annotations

import json
import math
import random

import pytest
from scipy import stats

from understudy.core.evidence import Stratum, Sums
from understudy.core.playbook import DAY, PROFILES, Verdict
from understudy.gates.gate import STANDARD, Gate, configured
from understudy.gates.panel import judge
from understudy.gates.planning import Figures, figures_from, plan_gates
from understudy.gates.simulation import Run, Simulated, binomial, poisson, simulate, upper_limit
from understudy.gates.tally import gather

PROFILE = PROFILES["interactive"]
QUALITY = Figures(mean=0.85, variance=0.1275, per_day=50_000, per_user=2.5, icc=0.05)
ERRORS = Figures(mean=0.01, variance=0.0099, per_day=20_000, icc=0.02)


def rows_of(plan, metric, name=""):
    return [row for row in plan.rows if (row.metric, row.slice) == (metric, name)]


def test_wider_rungs_see_smaller_losses():
    """Every rung with more traffic detects and resolves less, and two points are decided at 25 % only."""
    plan = plan_gates([STANDARD["quality"]], {("quality", ""): QUALITY}, PROFILE)
    rows = rows_of(plan, "quality")
    assert [row.share for row in rows] == [0.01, 0.05, 0.25]
    assert rows[0].resolvable > rows[1].resolvable > rows[2].resolvable
    assert rows[0].detectable > rows[2].detectable >= 0.02
    assert rows[0].resolvable > 0.02 > rows[2].resolvable
    assert all(row.decided_after_s is not None for row in rows)


def test_a_margin_below_the_noise_is_refused_with_the_number():
    """Half a point on a thousand requests a day cannot be told: refused, with what could be."""
    quiet = Figures(0.85, 0.1275, 1000, 1.0, 0.1, users=50_000)
    plan = plan_gates([configured("quality", margin=0.005)], {("quality", ""): quiet}, PROFILE)
    (refusal,) = plan.refusals
    assert refusal.noise > refusal.margin == 0.005
    assert f"{100 * refusal.noise:.3g} points" in refusal.sentence
    assert "cannot be decided" in plan.advice[0]


def test_thin_slices_are_named():
    """A slice that 1 % can never decide is named with what to do instead; it refuses nothing unless critical."""
    figures = {("quality", ""): QUALITY, ("quality", "ticket=rare"): Figures(0.85, 0.1275, 200, 2.5, 0.05)}
    plan = plan_gates([STANDARD["quality"]], figures, PROFILE)
    assert any("ticket=rare" in text and "shadow pairs" in text for text in plan.advice)
    assert plan.refusals == ()
    critical = plan_gates([STANDARD["quality"]], figures, PROFILE, critical_slices=["ticket=rare"])
    assert [refusal.slice for refusal in critical.refusals] == ["ticket=rare"]


def test_too_few_users_on_a_rung():
    """1 % of 4,000 users is forty: the plan says which share would have enough."""
    few = Figures(0.85, 0.1275, 20_000, 5.0, 0.05)
    plan = plan_gates([STANDARD["quality"]], {("quality", ""): few}, PROFILE)
    assert any("about 40 users" in text and "make it 2.5 %" in text for text in plan.advice)
    assert rows_of(plan, "quality")[0].decided_after_s is None


def test_no_traffic_decides_nothing():
    """Without traffic nothing is promised."""
    plan = plan_gates([STANDARD["quality"]], {("quality", ""): Figures(0.85, 0.1275, 0.0, users=1000)}, PROFILE)
    assert all(row.decided_after_s is None and math.isinf(row.detectable) for row in plan.rows)
    assert json.dumps(plan.as_dict(), allow_nan=False)


def test_an_incumbent_without_errors_is_planned_as_it_is_judged():
    """Where the incumbent never erred the plan tells when a candidate without errors passes: the panel does pass it
    then, and not at a quarter of it.
    """
    gate, share = STANDARD["errors"], PROFILE.ladder[0].share / 1e6
    clean = Figures(mean=0.0, variance=0.0, per_day=20_000)
    plan = plan_gates([gate], {("errors", ""): clean}, PROFILE)
    assert plan.refusals == ()
    row = rows_of(plan, "errors")[0]
    assert row.decided_after_s is not None
    assert 0.0 < row.detectable < 0.1

    def verdict(part: float) -> Verdict:
        n = part * clean.per_day * share * row.decided_after_s / DAY
        arms = {"candidate": n, "incumbent": n * (1 - share) / share}
        rows = [
            Sums("errors", Stratum("canary", 0, 0), arm, "", bucket, round(count / 256), 0.0, 0.0, round(count / 256))
            for arm, count in arms.items()
            for bucket in range(256)
        ]
        return judge([gate], rows, step=0, widen=PROFILE.ladder[0].widen).verdict

    assert verdict(1.1) is Verdict.PASS
    assert verdict(0.25) is Verdict.INCONCLUSIVE


def test_nobody_can_lose_more_than_there_is():
    """A share cannot grow by more than what is left of it: such a loss is never planned to be seen."""
    thin = Figures(mean=0.5, variance=0.25, per_day=40, users=4000)
    plan = plan_gates([STANDARD["latency_p50"]], {("latency_p50", ""): thin}, PROFILE)
    assert all(row.detectable <= 0.5 or math.isinf(row.detectable) for row in plan.rows)
    assert any(math.isinf(row.detectable) for row in plan.rows)


def test_users_add_up_over_the_hold():
    """Users who come once are as many a day as there are answers: over a rung they add up, up to all of them."""
    once = Figures(0.85, 0.1275, 2000, 1.0, 0.1, users=60_000)
    assert [once.users_in(days) for days in (0.5, 1.0, 10.0, 100.0)] == [2000, 2000, 20_000, 60_000]
    assert once.design_effect(10.0) == 1.0
    assert Figures(0.85, 0.1275, 2000, 1.0, 0.1).design_effect(10.0) == pytest.approx(1.9)
    rows = rows_of(plan_gates([STANDARD["quality"]], {("quality", ""): once}, PROFILE), "quality")
    assert rows[0].units > 2000 * rows[0].share


def test_times_are_said_as_people_say_them():
    """A profile of seconds is planned in seconds, one of days in days."""
    figures = {("quality", ""): Figures(0.85, 0.1275, 1000, 1.0, 0.1)}
    for name, word in (("demo", " s "), ("interactive", " d ")):
        (refusal,) = plan_gates([configured("quality", margin=0.005)], figures, PROFILES[name]).refusals
        assert word in refusal.sentence


def test_limits_alone_are_not_planned():
    """A gate that only guards a budget compares nothing."""
    assert plan_gates([Gate("cost_usd", limit=0.1)], {("cost_usd", ""): QUALITY}, PROFILE).rows == ()


def test_figures_from_the_ledger():
    """Rates, amounts and clustering are read back from sums; without two values there are none."""
    draw = random.Random(3)
    rows = []
    luck = [draw.betavariate(8, 2) for _ in range(2000)]
    for period in range(5):
        buckets: dict[int, list[float]] = {}
        for user, p in enumerate(luck):
            buckets.setdefault(user % 256, []).extend(float(draw.random() < p) for _ in range(2))
        rows += [
            Sums("quality", Stratum("shadow", -1, period), "incumbent", "", b, len(v), sum(v), sum(v), len(v) // 2)
            for b, v in buckets.items()
        ]
    (tally,) = gather(rows).values()
    figures = figures_from(tally)
    assert figures.mean == pytest.approx(0.8, abs=0.02)
    assert figures.per_day == 4000
    assert figures.per_user == pytest.approx(2.0)
    assert figures.icc == pytest.approx(1 / 11, abs=0.05)
    assert figures_from(gather(rows[:0] or [rows[0]._replace(n=1, total=1, squares=1)])[("quality", "")]) is None


def test_simulation_promotes_the_good_and_stops_the_bad():
    """On a workload with enough traffic equal candidates reach 100 % and bad ones are rolled back."""
    gates = [STANDARD["quality"], STANDARD["errors"]]
    result = simulate(gates, {("quality", ""): QUALITY, ("errors", ""): ERRORS}, PROFILE, 6, random.Random(4))
    assert [run.end for run in result.equal].count("promoted") >= 5
    assert all(run.end == "rolled_back" for _, run in result.worse)
    assert {metric for metric, _ in result.worse} == {"quality", "errors"}
    document = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert document["missed_regressions"]["rate"] == 0.0
    assert document["days_to_full"] >= 10


def test_simulation_is_reproducible_and_needs_figures():
    """One seed gives one table; gates without figures are refused."""
    gates, figures = [STANDARD["quality"]], {("quality", ""): QUALITY}
    first, second = (simulate(gates, figures, PROFILE, 2, random.Random(9)) for _ in range(2))
    assert first == second
    with pytest.raises(ValueError, match="no gate"):
        simulate(gates, {}, PROFILE, 2, random.Random(9))


def test_a_critical_slice_that_cannot_be_decided_holds_the_rehearsal():
    """A step waits for its critical slices: one with hardly any traffic keeps good candidates from 100 %."""
    gates, rare = [STANDARD["quality"]], Figures(0.85, 0.1275, 100, 2.5, 0.05)
    figures = {("quality", ""): QUALITY, ("quality", "ticket=rare"): rare}
    alone = simulate(gates, figures, PROFILE, 2, random.Random(4))
    assert {run.end for run in alone.equal} == {"promoted"}
    watched = simulate(gates, figures, PROFILE, 2, random.Random(4), critical_slices=["ticket=rare"])
    assert {run.end for run in watched.equal} == {"held"}


def test_rates_come_with_their_limit():
    """The upper limit of a simulated rate is Clopper and Pearson's."""
    for hits, n in ((0, 20), (1, 50), (7, 100)):
        expected = stats.binomtest(hits, n).proportion_ci(0.90, "exact").high
        assert upper_limit(hits, n) == pytest.approx(expected, abs=1e-9)
    assert upper_limit(3, 3) == 1.0
    assert upper_limit(0, 0) is None
    empty = Simulated((), ()).as_dict()
    assert empty["false_rollbacks"]["rate"] is None
    assert Simulated((Run("held", 28.0, 5.0),), ()).as_dict()["held_for_a_person"]["equal"] == 1.0


def test_drawn_numbers_have_their_means():
    """Poisson and binomial numbers have the mean and variance they should, on both sides of the shortcut."""
    draw = random.Random(5)
    for mean in (0.3, 12.0, 200.0):
        values = [poisson(mean, draw) for _ in range(4000)]
        assert sum(values) / 4000 == pytest.approx(mean, abs=5 * math.sqrt(mean / 4000))
    for n, p in ((5, 0.9), (40, 0.1), (1000, 0.4), (7, 0.0), (7, 1.0)):
        values = [binomial(n, p, draw) for _ in range(4000)]
        assert sum(values) / 4000 == pytest.approx(n * p, abs=5 * math.sqrt(n * p * (1 - p) / 4000) + 1e-9)
        assert all(0 <= value <= n for value in values)
    assert poisson(0.0, draw) == 0
    assert PROFILE.cycle_s == DAY
