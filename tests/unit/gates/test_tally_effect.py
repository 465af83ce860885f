"""From rows of sums to one effect: merging, strata, clustering, and rows that cannot be."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
import statsmodels.api as sm

from understudy.core.evidence import Stratum, Sums
from understudy.core.playbook import Arm
from understudy.gates.effect import NO_EFFECT, distinct, measure, measure_alone
from understudy.gates.tally import Tally, gather


def row(arm, bucket, n, total, *, period=0, squares=None, step=0, units=0, metric="quality", name=""):
    stratum = Stratum("canary", step, period)
    return Sums(metric, stratum, arm, name, bucket, n, total, total if squares is None else squares, units)


def tally_of(rows) -> Tally:
    (tally,) = gather(rows).values()
    return tally


def random_rows(seed, *, periods=3, buckets=60):
    draw = random.Random(seed)
    rows = []
    for period in range(periods):
        for arm, most in (("incumbent", 30), ("candidate", 8)):
            for bucket in range(buckets):
                n = draw.randrange(most)
                if n:
                    rows.append(row(arm, bucket, n, float(draw.randint(0, n)), period=period))
    return rows


def test_one_stratum_agrees_with_statsmodels():
    """In one stratum the clustered variance is statsmodels' with clusters = buckets, times its small corrections."""
    draw = np.random.default_rng(2)
    rows, y, x, groups = [], [], [], []
    for arm, code, size in (("incumbent", 0, 40), ("candidate", 1, 12)):
        for bucket in range(50):
            n = int(draw.integers(1, size))
            p = draw.beta(2, 1)
            values = (draw.random(n) < p).astype(float)
            rows.append(row(arm, bucket, n, values.sum()))
            y += list(values)
            x += [code] * n
            groups += [code * 1000 + bucket] * n
    effect = measure(tally_of(rows), 0.02)
    n_old, n_new = effect.n_incumbent, effect.n_candidate
    expected = 0.0
    for code, n in ((0, n_old), (1, n_new)):
        picked = [i for i, each in enumerate(x) if each == code]
        fitted = sm.OLS([y[i] for i in picked], np.ones(len(picked))).fit(
            cov_type="cluster", cov_kwds={"groups": [groups[i] for i in picked], "use_correction": False}
        )
        expected += fitted.bse[0] ** 2 * 50 / 49 * n / (n - 1)
    means = [np.mean([v for v, code in zip(y, x, strict=True) if code == c]) for c in (0, 1)]
    assert effect.difference == pytest.approx(means[1] - means[0])
    assert effect.variance == pytest.approx(expected, rel=1e-9)
    assert effect.design_effect > 1.2


def test_pooling_a_ramp_is_not_what_happens():
    """Equal arms whose level falls while the share grows: pooled, the candidate looks 4 points worse; here it is 0."""
    rows = []
    for period, (level, share) in enumerate(((0.9, 0.01), (0.86, 0.05), (0.8, 0.25))):
        for bucket in range(100):
            new, old = round(4000 * share), round(4000 * (1 - share))
            rows += [
                row("candidate", bucket, new, new * level, period=period),
                row("incumbent", bucket, old, old * level, period=period),
            ]
    totals = {arm: [sum(r.total for r in rows if r.arm == arm), sum(r.n for r in rows if r.arm == arm)] for arm in Arm}
    pooled = totals["candidate"][0] / totals["candidate"][1] - totals["incumbent"][0] / totals["incumbent"][1]
    assert pooled < -0.04
    assert measure(tally_of(rows), 0.02).difference == pytest.approx(0.0, abs=1e-12)


def test_a_user_over_days_is_one_user():
    """The same buckets unlucky every day give more variance than others each day."""
    same, fresh = [], []
    for period in range(10):
        for bucket in range(100):
            rows = [row("incumbent", bucket, 50, 40.0 + (bucket % 3), period=period)]
            steady = 4.0 + 5.0 * (bucket % 2)
            moving = 4.0 + 5.0 * ((bucket // 2**period) % 2)
            same += [*rows, row("candidate", bucket, 10, steady, period=period)]
            fresh += [*rows, row("candidate", bucket, 10, moving, period=period)]
    one, other = measure(tally_of(same), 0.02), measure(tally_of(fresh), 0.02)
    assert one.variance > 3 * other.variance
    assert one.design_effect > 3 * other.design_effect


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_no_variance_is_no_certainty(level):
    """Hundred values that are all alike leave an error of about one value in hundred."""
    rows = [row(arm, bucket, 1, level) for arm in Arm for bucket in range(100)]
    assert math.sqrt(measure(tally_of(rows), 0.02).variance) == pytest.approx(math.sqrt(2) / 100, rel=0.02)


def test_strata_with_one_arm_do_not_count():
    """A day on which only one arm was seen compares nothing."""
    both = [row(arm, bucket, 5, 4.0) for arm in Arm for bucket in range(50)]
    alone = [row("incumbent", bucket, 5, 1.0, period=1) for bucket in range(50)]
    assert measure(tally_of([*both, *alone]), 0.02) == measure(tally_of(both), 0.02)
    assert measure(tally_of(alone), 0.02) == NO_EFFECT


def test_one_value_a_stratum_has_no_error():
    """Where every stratum has one value an error cannot be known."""
    rows = [row(arm, period, 1, 1.0, period=period) for arm in Arm for period in range(30)]
    assert measure(tally_of(rows), 0.02).variance == math.inf


def test_merge_in_any_order_and_through_json():
    """Rows split over shards, merged in any order and read back from JSON give the same effect."""
    rows = random_rows(3)
    whole = measure(tally_of(rows), 0.02)
    for seed in range(4):
        draw = random.Random(seed)
        shards = [Tally() for _ in range(8)]
        for each in draw.sample(rows, len(rows)):
            shards[draw.randrange(8)].add(each)
        merged = Tally()
        for shard in shards:
            merged = Tally.from_dict(json.loads(json.dumps(merged.merge(shard).as_dict())))
        effect = measure(merged, 0.02)
        assert effect.difference == pytest.approx(whole.difference, abs=1e-12)
        assert effect.variance == pytest.approx(whole.variance, rel=1e-9)
        assert (effect.n_candidate, effect.clusters) == (whole.n_candidate, whole.clusters)


def test_merge_leaves_its_parts_alone():
    """Merging makes a new state; the parts can be merged again."""
    first, second = tally_of(random_rows(4)), tally_of(random_rows(5))
    before = first.as_dict()
    assert first.merge(second).as_dict() == first.merge(second).as_dict()
    assert first.as_dict() == before


def test_a_state_stays_below_ten_kilobytes():
    """One metric, arm and stratum with all buckets full of graded scores is below 10 KB as JSON."""
    draw = random.Random(6)
    tally = Tally()
    for bucket in range(256):
        n = draw.randrange(1, 5000)
        tally.add(row("candidate", bucket, n, n * draw.random(), squares=float(n), units=n))
    (state,) = tally.as_dict()["strata"]
    assert len(json.dumps(state["arms"]["candidate"])) < 10_000


@pytest.mark.parametrize(
    "bad",
    [
        row("candidate", 3, 5, math.nan, squares=1.0),
        row("candidate", 3, 5, math.inf, squares=1.0),
        row("candidate", 3, 5, 1.0, squares=math.nan),
        row("candidate", 3, -1, 1.0),
        row("candidate", 256, 5, 1.0),
        row("candidate", 3, 0, 1.0),
        row("candidate", 3, 5, 5.0, squares=1.0),
        row("candidate", 3, 5, 9.0),
        row("candidate", 3, 5, 1.0, squares=-1.0),
    ],
)
def test_impossible_rows_are_set_aside(bad):
    """A row whose numbers cannot be is counted and changes nothing else."""
    good = random_rows(7)
    tally = tally_of([*good, bad])
    assert tally.unusable == 1
    assert measure(tally, 0.02) == measure(tally_of(good), 0.02)


def test_unknown_arms_are_a_mistake():
    """An arm that is neither is refused, not counted."""
    with pytest.raises(ValueError, match="bystander"):
        gather([row("bystander", 0, 1, 1.0)])


def test_values_of_nobody_are_kept_out():
    """Without a unit there is no bucket: such values are counted beside, not compared."""
    tally = tally_of([row("candidate", -1, 7, 3.0), row("candidate", 1, 2, 1.0)])
    assert (tally.outside, tally.count(Arm.CANDIDATE)) == (7, 2)


def test_distinct_units_from_buckets():
    """Occupied buckets speak for about as many units as fell into them."""
    draw = random.Random(8)
    for units in (10, 100, 400):
        occupied = len({draw.randrange(256) for _ in range(units)})
        assert distinct(occupied) == pytest.approx(units, rel=0.2)
    assert distinct(0) == 0
    assert distinct(256) > 1000


def test_one_arm_by_itself():
    """An absolute limit needs the candidate's own mean, also where the incumbent is gone."""
    rows = [row("candidate", bucket, 4, 2.0, squares=1.5) for bucket in range(64)]
    own = measure_alone(tally_of(rows))
    assert own.mean == pytest.approx(0.5)
    assert own.clusters == 64
    assert 0 < own.variance < 0.01
    assert measure_alone(Tally()).variance == math.inf
    assert measure_alone(tally_of(rows), Arm.INCUMBENT).n == 0
