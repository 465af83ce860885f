"""The benchmark's vectorised estimators are the product's own, number for number."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from understudy.core.evidence import BUCKETS, Stratum, Sums
from understudy.core.playbook import Verdict
from understudy.gates.effect import measure
from understudy.gates.gate import STANDARD
from understudy.gates.guards import HardGuard
from understudy.gates.panel import judge
from understudy.gates.soak import tails
from understudy.gates.stats.betting import Betting, Detector, harm
from understudy.gates.tally import gather

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks.gates import offline, twin  # noqa: E402

RUNS = 12


def fill(seed: int):
    """The same random traffic for the twin, and as rows for the product."""
    draw = np.random.default_rng(seed)
    state = twin.Running(RUNS)
    rows: list[list[Sums]] = [[] for _ in range(RUNS)]
    level = draw.choice([0.02, 0.5, 0.9])
    worse = draw.choice([0.0, 0.08])
    for period in range(4):
        for code, arm, most in ((0, "incumbent", 60), (1, "candidate", 14)):
            counts = draw.integers(0, most, (RUNS, BUCKETS)).astype(float)
            counts[:, 180:] = 0
            if period == 2 and code == 1:
                counts[0] = 0  # a stratum with one arm
            totals = draw.binomial(counts.astype(int), min(1.0, level + worse * code)).astype(float)
            state.add(code, counts, totals)
            for r in range(RUNS):
                rows[r] += [
                    Sums("m", Stratum("canary", 0, period), arm, "", b, int(counts[r, b]), totals[r, b], totals[r, b])
                    for b in range(BUCKETS)
                    if counts[r, b]
                ]
        if period < 3:
            state.close_stratum()
    return state.look(), rows


@pytest.mark.parametrize("seed", range(8))
def test_twin_equals_product(seed):
    """Fails, passes and evidence agree for means and events, over strata, with one arm missing in one of them."""
    look, rows = fill(seed)
    quality, errors = STANDARD["quality"], STANDARD["errors"]
    fails = twin.mean_fails(look, 0.02, 0.05)
    passes = twin.mean_passes(look, 0.02)
    rises = twin.mean_fails(look, 0.02, 0.05, lower=True)
    event_fails, event_passes = twin.events_fail(look, 0.05), twin.events_pass(look, 0.005)
    grid = twin.grid_log_e(look)
    harm_seen = twin.harm_log_e(-look["difference"], look["variance"], 0.02)
    for r in range(RUNS):
        means = [row._replace(metric="quality") for row in rows[r]]
        verdict = judge([quality], means).gates[0]
        assert verdict.estimate == pytest.approx(look["difference"][r], abs=1e-12)
        assert verdict.log_e == pytest.approx(harm_seen[r], abs=1e-9)
        assert (verdict.verdict is Verdict.FAIL) == bool(fails[r])
        assert (verdict.verdict is Verdict.PASS) == bool(passes[r] and not fails[r])
        other = judge([replace(quality, direction="lower")], means).gates[0]
        assert (other.verdict is Verdict.FAIL) == bool(rises[r])
        events = judge([errors], [row._replace(metric="errors") for row in rows[r]]).gates[0]
        assert events.log_e == pytest.approx(grid[r], abs=1e-9)
        assert (events.verdict is Verdict.FAIL) == bool(event_fails[r])
        assert (events.verdict is Verdict.PASS) == bool(event_passes[r] and not event_fails[r])


def test_guard_by_gaps_is_the_guard():
    """The benchmark's shortcut trips the hard guard at the same answer as answer after answer does."""
    draw = np.random.default_rng(3)
    for rate in (0.05, 0.15, 0.3, 0.8):
        for _ in range(20):
            broken = draw.random(300) < rate
            guard, recent, expected = HardGuard(), (), None
            for i, failed in enumerate(broken):
                recent = guard.push(recent, "e" if failed else "")
                if guard.tripped(recent):
                    expected = i + 1
                    break
            assert offline._first_trip(np.flatnonzero(broken), guard, 300) == expected


def test_soak_by_arrays_is_the_detector():
    """The benchmark's wealths over days are the detector's."""
    draw = np.random.default_rng(4)
    detector, wealth = Detector(), np.zeros(11)
    for _ in range(20):
        bets = Betting()
        total = np.zeros(11)
        for old, new in draw.integers(0, 2, (30, 2)):
            bets.add(harm(old, new, 0.02))
            total += np.log1p(np.array(offline.STAKES) * (old - new - 0.02) / 1.02)
        detector.step(bets)
        wealth = (wealth + 1.0) * np.exp(total)
    assert detector.log_value() == pytest.approx(math.log(wealth.mean()), abs=1e-9)


def test_tails_by_arrays_are_the_products():
    """The benchmark's wealths over the cycles of a soak are those of the product, also where a group is silent."""
    draw = np.random.default_rng(5)
    n = draw.poisson(3.0, (12, 256))
    hits = draw.binomial(n, 0.03)
    sums = [
        Sums("latency_p99", Stratum("canary" if day < 7 else "soak", 0, day), arm, "", bucket, k, float(h), float(h), k)
        for day in range(12)
        for arm in (("incumbent",) if day < 7 else ("candidate",))
        for bucket, (k, h) in enumerate(zip(n[day].tolist(), hits[day].tolist(), strict=True))
    ]
    (tail,) = tails([STANDARD["latency_p99"]], sums, closed=99, matured=99)
    with np.errstate(invalid="ignore"):
        means = hits / n
    assert tail.incumbent == pytest.approx(np.nanmean(means[:7]), abs=1e-12)
    wealth = np.zeros((1, 11))
    for day in range(7, 12):
        harm = np.nan_to_num(means[day] - tail.allowed, nan=0.0)[None]
        wealth = offline.tail_step(wealth, harm, np.array(offline.STAKES))
    assert tail.log_value == pytest.approx(math.log(wealth.mean()), abs=1e-9)


def test_unbounded_values_are_the_products():
    """Costs and their logarithms have no ends: the twin's variance is the product's there too."""
    draw = np.random.default_rng(6)
    state, rows = twin.Running(1), []
    for arm, name in enumerate(("incumbent", "candidate")):
        values = draw.normal(-3.0 + 0.05 * arm, 0.8, 400)
        where = draw.integers(0, 256, 400)
        counts, totals = (np.bincount(where, w, 256) for w in (np.ones(400), values))
        squares = np.bincount(where, values**2, 256)
        state.add(arm, counts[None], totals[None], np.array([squares.sum()]))
        rows += [
            Sums("cost", Stratum("canary", 0, 0), name, "", b, int(counts[b]), totals[b], squares[b], int(counts[b]))
            for b in range(256)
            if counts[b]
        ]
    cost = STANDARD["cost"]
    margin = cost.tolerated(math.nan)
    look = state.look(margin)
    effect = measure(gather(rows)["cost", ""], margin)
    assert effect.difference == pytest.approx(look["difference"][0], abs=1e-12)
    assert effect.variance == pytest.approx(look["variance"][0], rel=1e-9)
