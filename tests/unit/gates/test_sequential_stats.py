"""Known answers for evidence that may be looked at any time, and for the states that carry it."""

from __future__ import annotations

import json
import math
import random

import pytest
from scipy import integrate

from understudy.gates.stats.betting import Betting, Detector, harm
from understudy.gates.stats.mixture import log_e, radius, variance_needed
from understudy.gates.stats.ratio_grid import RatioGrid, log_e_either_way


def test_one_sided_mixture_published():
    """confseq's one-sided normal mixture: log value at (10, 100) and the bound of level .05 at v = 100."""
    scale = 1 / math.sqrt(15.80063)
    assert log_e(10 / 100, 1 / 100, scale) == pytest.approx(-0.06502391, abs=5e-7)
    assert log_e(27.66071 / 100, 1 / 100, scale) == pytest.approx(math.log(20), abs=1e-6)


def test_two_sided_radius_published():
    """confseq's two-sided bound at v = 100, and gbstats' radii for its tuning of 5000 observations."""
    assert radius(1 / 100, 1 / math.sqrt(12.60056), 0.05) * 100 == pytest.approx(30.35209, abs=1e-4)
    rho = 0.0398400668
    for t, expected in ((100, 0.66943886), (1000, 0.10637547), (10000, 0.03061477)):
        assert radius(1 / t, rho, 0.05) == pytest.approx(expected, abs=1e-8)


def test_two_arms_published():
    """gbstats' sequential interval of 8,500 of 10,000 against 400 of 500 (0.8.0; `make oracles` runs it again)."""
    variance = 0.85 * 0.15 / 10_000 + 0.8 * 0.2 / 500
    half = radius(variance, 0.0398400668 * math.sqrt(variance * 10_500), 0.05)
    assert (0.8 - 0.85) - half == pytest.approx(-0.105912046649, abs=1e-8)
    assert (0.8 - 0.85) + half == pytest.approx(0.005912046649, abs=1e-8)


def test_mixture_is_an_average_of_likelihood_ratios():
    """The closed form is the likelihood ratio averaged over the half-normal prior."""
    variance, scale = 0.0004, 0.04

    def weighted(effect: float, excess: float) -> float:
        prior = math.sqrt(2 / math.pi) / scale * math.exp(-0.5 * (effect / scale) ** 2)
        return prior * math.exp((excess * effect - 0.5 * effect * effect) / variance)

    for excess in (-0.05, 0.0, 0.03, 0.1):
        value, _ = integrate.quad(weighted, 0, 1, args=(excess,), points=[0.02, 0.05, 0.1], limit=500)
        assert log_e(excess, variance, scale) == pytest.approx(math.log(value), abs=1e-6)
        # Cut off below 0.02, and what is left made whole again.
        value, _ = integrate.quad(weighted, 0.02, 1, args=(excess,), points=[0.05, 0.1], limit=500)
        whole = math.erfc(0.02 / scale / math.sqrt(2))
        assert log_e(excess, variance, scale, 0.02) == pytest.approx(math.log(value / whole), abs=1e-6)


def test_variance_needed_is_the_inverse():
    """At the variance that is needed the evidence is just the threshold."""
    for gap, scale, threshold in ((0.02, 0.04, math.log(20)), (0.1, 0.2, math.log(400))):
        assert log_e(gap, variance_needed(gap, scale, threshold), scale) == pytest.approx(threshold, abs=1e-9)


def test_mixture_refuses_no_variance():
    """A variance of zero is a mistake, an infinite one is no evidence."""
    with pytest.raises(ValueError, match="positive"):
        log_e(0.1, 0.0, 0.04)
    assert log_e(0.1, math.inf, 0.04) == 0.0
    assert radius(math.inf, 0.04, 0.05) == math.inf


@pytest.mark.parametrize(
    ("batches", "tolerated", "expected"),
    [
        ([(20, 990, 0.01)], 1.0, 2.410708770335091),
        ([(20, 990, 0.01)], 1.25, 0.4414503148252056),
        ([(5, 100, 0.01), (12, 90, 0.05), (30, 60, 0.25)], 1.0, 4.835255990361812),
    ],
)
def test_ratio_grid_known(batches, tolerated, expected):
    """The grid of 60 ratios, for one share and across stages of a ramp."""
    grid = RatioGrid(tolerated)
    for candidate, incumbent, share in batches:
        grid.add(candidate, incumbent, share)
    assert grid.log_e() == pytest.approx(expected, abs=1e-10)


def test_ratio_grid_near_the_beta_mixture():
    """30 of 100 events at a share of .2: the beta mixture gives .862, the grid another average of the same ratios."""
    value, _ = integrate.quad(lambda t: (t / 0.2) ** 30 * ((1 - t) / 0.8) ** 70 / 0.8, 0.2, 1)
    assert math.log(value) == pytest.approx(0.861990789022433, abs=1e-8)
    grid = RatioGrid()
    grid.add(30, 70, 0.2)
    assert grid.log_e() == pytest.approx(math.log(value), abs=0.6)


def test_design_effect_weakens_evidence():
    """Events in bursts of two are worth half as many."""
    grid, half = RatioGrid(), RatioGrid()
    grid.add(40, 100, 0.2)
    half.add(20, 50, 0.2)
    assert grid.log_e(2.0) == pytest.approx(half.log_e())


def test_ratio_grid_needs_both_arms():
    """A share of 0 or 1 has nothing to compare with."""
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="share"):
            RatioGrid().add(1, 1, share)


def test_either_way_sees_both_directions():
    """The check of a split sees too many and too few alike."""
    assert log_e_either_way(700, 9300, 0.05) > math.log(1000)
    assert log_e_either_way(300, 9700, 0.05) > math.log(1000)
    assert log_e_either_way(500, 9500, 0.05) < 0


def test_lambda_grid_known():
    """The grid of stakes on five values."""
    bets = Betting()
    for x in (0.5, -0.5, 1, -0.2, 0.3):
        bets.add(x)
    assert bets.log_e() == pytest.approx(0.20023877038448834, abs=1e-12)


@pytest.mark.parametrize("x", [1.0001, -1.5, math.nan])
def test_bets_are_bounded(x):
    """A value outside -1 to 1, or none, is refused: it could cost more than the wealth."""
    with pytest.raises(ValueError, match="between -1 and 1"):
        Betting().add(x)


def test_harm_is_scaled_into_bounds():
    """The harm of a pair beyond the margin stays in -1 to 1 and is 0 at the margin."""
    assert harm(1.0, 0.0, 0.02) == pytest.approx(0.98 / 1.02)
    assert harm(0.0, 1.0, 0.02) == -1.0
    assert harm(0.5, 0.48, 0.02) == pytest.approx(0.0)


def test_states_merge_in_any_order_and_through_json():
    """64 shards merged in any order change the evidence by less than 1e-6."""
    draw = random.Random(1)
    bets = [Betting() for _ in range(64)]
    grids = [RatioGrid() for _ in range(64)]
    for i in range(64 * 50):
        bets[i % 64].add(draw.uniform(-1, 1))
        grids[i % 64].add(draw.randrange(3), draw.randrange(40), 0.05)
    values = []
    for seed in range(3):
        order = random.Random(seed).sample(range(64), 64)
        bet, grid = Betting(), RatioGrid()
        for i in order:
            bet = Betting.from_dict(json.loads(json.dumps(bet.merge(bets[i]).as_dict())))
            grid = RatioGrid.from_dict(json.loads(json.dumps(grid.merge(grids[i]).as_dict())))
        values.append((bet.log_e(), grid.log_e()))
    assert max(abs(a - b) for v in values for a, b in zip(v, values[0], strict=True)) < 1e-6


def test_other_versions_are_refused():
    """A state of another version or shape is refused, and grids of different tolerated ratios do not merge."""
    with pytest.raises(ValueError, match="version 9"):
        Betting.from_dict({**Betting().as_dict(), "version": 9})
    with pytest.raises(ValueError, match="version 9"):
        RatioGrid.from_dict({**RatioGrid().as_dict(), "version": 9})
    with pytest.raises(ValueError, match="version 9"):
        Detector.from_dict({**Detector().as_dict(), "version": 9})
    with pytest.raises(ValueError, match="cannot be merged"):
        RatioGrid(1.0).merge(RatioGrid(1.25))


def test_states_are_small():
    """Serialised states stay below 10 KB."""
    bets, grid = Betting(), RatioGrid()
    for i in range(1000):
        bets.add(math.sin(i))
        grid.add(i % 3, i % 7, 0.1)
    assert len(json.dumps(bets.as_dict())) < 10_000
    assert len(json.dumps(grid.as_dict())) < 10_000


def test_detector_recursion():
    """Per stake the value is (value + 1) times the period's growth; before any period it is no alarm."""
    detector = Detector()
    assert not detector.alarm(1.0)
    value = [0.0] * 11
    for xs in ([0.5, -0.1], [1.0, 0.2, 0.3], [-1.0]):
        bets = Betting()
        for x in xs:
            bets.add(x)
        value = [(v + 1.0) * math.exp(w) for v, w in zip(value, bets.wealths, strict=True)]
        detector.step(bets)
        detector = Detector.from_dict(json.loads(json.dumps(detector.as_dict())))
    assert detector.periods == 3
    assert detector.log_value() == pytest.approx(math.log(sum(value) / 11), abs=1e-9)
    assert Detector.from_dict(Detector().as_dict()).periods == 0
