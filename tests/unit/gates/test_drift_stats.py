"""Paired drift: clustered tests, flags, excess over self-variation, false discovery and floors."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from understudy.gates.stats.drift import (
    NOTHING,
    PairedSums,
    excess_drift,
    flag,
    flag_drift,
    mean_drift,
    shrunken,
)


def sums_of(values, buckets=None) -> PairedSums:
    sums = PairedSums()
    for i, value in enumerate(values):
        sums.add(i if buckets is None else buckets[i], value)
    return sums


def test_one_pair_a_cluster_is_a_t_test():
    """With one pair a user the test is the paired t test."""
    draw = random.Random(3)
    values = [draw.gauss(-0.1, 0.4) for _ in range(200)]
    drift = mean_drift(sums_of(values), resolution=1e-9)
    expected = stats.ttest_1samp(values, 0.0)
    assert drift.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (drift.low, drift.high) == pytest.approx(tuple(expected.confidence_interval()), rel=1e-6)


def test_clusters_agree_with_statsmodels():
    """With clusters of one size the error is statsmodels' cluster-robust one, times sqrt(C / (C - 1))."""
    draw = np.random.default_rng(4)
    groups = np.repeat(np.arange(40), 15)
    values = draw.normal(0, 0.3, 600) + draw.normal(0, 0.5, 40)[groups]
    drift = mean_drift(sums_of(values, groups), resolution=1e-9)
    fitted = sm.OLS(values, np.ones(600)).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False})
    assert drift.error == pytest.approx(fitted.bse[0] * math.sqrt(40 / 39), rel=1e-9)
    assert drift.p == pytest.approx(2 * stats.t.sf(abs(drift.effect) / drift.error, 39), rel=1e-6)


def test_clusters_of_many_sizes_keep_their_level():
    """With 33 users of uneven size and heavy tails, p below .01 comes in one of hundred cases without drift."""
    draw = np.random.default_rng(7)
    rounds, hits = 2000, 0
    for _ in range(rounds):
        users = draw.integers(0, 33, 100)
        values = draw.standard_t(5, 100) * 0.35 + draw.normal(0, 0.25, 33)[users]
        counts, totals, squares = (np.bincount(users, w, 33) for w in (None, values, values**2))
        sums = PairedSums({u: (int(counts[u]), totals[u], squares[u]) for u in range(33) if counts[u]})
        hits += mean_drift(sums, resolution=0.05).p < 0.01
    assert hits / rounds <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / rounds)


def test_few_clusters_never_shout():
    """Five users cannot give a p-value below one in sixteen, however many pairs they send."""
    values = [0.5 + 0.001 * (i % 3) for i in range(500)]
    drift = mean_drift(sums_of(values, [i % 5 for i in range(500)]), resolution=0.01)
    assert drift.p == pytest.approx(1 / 16)


def test_identical_differences_keep_a_width():
    """Zero variance is no certainty: the interval keeps a width on the scale of what matters."""
    drift = mean_drift(sums_of([0.0] * 50), resolution=0.1)
    assert drift.low < 0 < drift.high
    assert drift.p == pytest.approx(1.0)


def test_too_little_is_nothing():
    """No pair, one pair or one user tells nothing."""
    assert mean_drift(PairedSums(), resolution=0.1) == NOTHING
    assert mean_drift(sums_of([0.3]), resolution=0.1).p == 1.0
    assert mean_drift(sums_of([0.3] * 9, [1] * 9), resolution=0.1).p == 1.0
    assert flag_drift(PairedSums()) == NOTHING


def test_flag_drift_is_mcnemar_and_tango():
    """Independent flags give mid-p McNemar and Tango's interval."""
    values = [1.0] * 12 + [-1.0] * 3 + [0.0] * 185
    drift = flag_drift(sums_of(values))
    assert drift.effect == pytest.approx(9 / 200)
    two_mid = stats.binomtest(12, 15).pvalue - stats.binom.pmf(12, 15, 0.5)
    assert drift.p == pytest.approx(two_mid, rel=1e-9)
    assert drift.low > 0


def test_clustered_flags_are_wider():
    """All new failures from two users are weaker evidence than from twenty."""
    spread = flag_drift(sums_of([1.0] * 20 + [0.0] * 380, [i % 100 for i in range(400)]))
    bunched = flag_drift(sums_of([1.0] * 20 + [0.0] * 380, [i % 2 if i < 20 else i % 100 for i in range(400)]))
    assert bunched.p > 20 * spread.p
    assert bunched.low < spread.low


def test_merge_in_any_order_and_through_json():
    """Shards merged in any order, and read back from JSON, give the same test; another version is refused."""
    draw = random.Random(5)
    values = [(draw.randrange(256), draw.gauss(0, 1)) for _ in range(500)]
    shards = [PairedSums() for _ in range(7)]
    for i, (bucket, value) in enumerate(values):
        shards[i % 7].add(bucket, value)
    results = []
    for seed in range(4):
        merged = PairedSums()
        for shard in random.Random(seed).sample(shards, 7):
            merged = PairedSums.from_dict(json.loads(json.dumps(merged.merge(shard).as_dict())))
        results.append(mean_drift(merged, resolution=0.1).p)
    assert results == pytest.approx([results[0]] * 4, rel=1e-9)
    with pytest.raises(ValueError, match="version 2"):
        PairedSums.from_dict({"version": 2, "buckets": []})


def test_non_finite_differences_are_refused():
    """NaN and infinity never reach the sums."""
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            PairedSums().add(0, value)


def test_excess_over_self_variation():
    """A model that differs from itself as much as from the candidate shows no excess."""
    draw = random.Random(6)
    noise = [abs(draw.gauss(0, 1)) for _ in range(300)]
    again = [abs(draw.gauss(0, 1)) for _ in range(300)]
    far = [abs(draw.gauss(0, 1)) + 0.5 for _ in range(300)]
    own = mean_drift(sums_of(noise), resolution=0.1)
    assert excess_drift(mean_drift(sums_of(again), resolution=0.1), own).p > 0.05
    found = excess_drift(mean_drift(sums_of(far), resolution=0.1), own)
    assert found.p < 0.001
    assert found.low > 0.2
    assert excess_drift(own, NOTHING) == NOTHING


def test_flag_needs_both():
    """A flag needs a small q and an effect beyond the floor."""
    flags = flag([0.001, 0.001, 0.5], [True, False, True], rate=0.1)
    assert [f.flagged for f in flags] == [True, False, False]


def test_shrunken_ranks_by_what_is_known():
    """A large but noisy effect ranks below a sure one; without noise effects stay as they are."""
    sure, noisy = shrunken([0.3, 0.5, 0.0, 0.0], [0.02, 0.6, 0.02, math.inf])[:2]
    assert sure > noisy > 0
    assert shrunken([0.3, -0.2], [0.0, 0.0]) == pytest.approx([0.3, -0.2])
    assert shrunken([0.1], [math.inf]) == [0.0]


def test_false_discovery_rate_on_forty_slices():
    """With 4 of 40 slices 18 % shorter, 100 pairs each: false flags at most 10 %, power at least 90 %."""
    draw = np.random.default_rng(6)
    rates, powers = [], []
    for _ in range(60):
        mu = np.zeros(40)
        mu[:4] = math.log(0.82)
        x = draw.standard_t(5, (40, 100)) * 0.45 / math.sqrt(5 / 3) + mu[:, None]
        drifts = [mean_drift(sums_of(row.tolist()), resolution=0.05) for row in x]
        flags = [f.flagged for f in flag([d.p for d in drifts], [abs(math.expm1(d.effect)) > 0.05 for d in drifts])]
        rates.append(sum(flags[4:]) / max(1, sum(flags)))
        powers.append(sum(flags[:4]) / 4)
    assert np.mean(rates) <= 0.10 + 3 * np.std(rates) / math.sqrt(60)
    assert np.mean(powers) >= 0.9
