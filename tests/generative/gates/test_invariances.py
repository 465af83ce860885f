"""What no data may change: order, batches, which arm is called which, and data that say nothing."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core.evidence import Stratum, Sums
from understudy.core.playbook import Arm, Outcome, Verdict
from understudy.gates.effect import measure
from understudy.gates.gate import STANDARD, Gate
from understudy.gates.paired import PairedCase, compare
from understudy.gates.panel import judge
from understudy.gates.tally import Tally, gather
from understudy.gates.weighing import harm_evidence, pass_evidence

steady = settings(derandomize=True, max_examples=60, deadline=None)

QUALITY, ERRORS = STANDARD["quality"], STANDARD["errors"]

cells = st.tuples(st.integers(0, 255), st.integers(1, 40), st.floats(0.0, 1.0))


@st.composite
def traffic(draw, metric="quality", strata=3, least=1):
    """Rows of 0/1 values of both arms over a few strata."""
    rows = []
    for period in range(draw(st.integers(1, strata))):
        for arm in Arm:
            for bucket, n, rate in draw(st.lists(cells, min_size=least, max_size=40)):
                total = float(round(n * rate))
                rows.append(Sums(metric, Stratum("canary", 0, period), arm, "", bucket, n, total, total, n))
    return rows


def swapped(rows):
    other = {Arm.INCUMBENT: Arm.CANDIDATE, Arm.CANDIDATE: Arm.INCUMBENT}
    return [row._replace(arm=other[Arm(row.arm)]) for row in rows]


@steady
@given(traffic(), st.randoms(use_true_random=False))
def test_order_and_batches_change_nothing(rows, draw):
    """Rows in another order, each split in two, give the same verdict with the same evidence."""
    split = []
    for row in rows:
        part = draw.randint(0, row.n)
        first = float(draw.randint(max(0, int(row.total) - (row.n - part)), min(part, int(row.total))))
        pieces = [(part, first), (row.n - part, row.total - first)]
        split += [row._replace(n=n, total=t, squares=t, units=0) for n, t in pieces if n]
    draw.shuffle(split)
    whole = judge([QUALITY], [row._replace(units=0) for row in rows], elapsed_s=3600.0).gates[0]
    pieces_too = judge([QUALITY], split, elapsed_s=3600.0).gates[0]
    assert pieces_too.verdict is whole.verdict
    assert math.isclose(pieces_too.log_e, whole.log_e, rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(pieces_too.log_e_pass, whole.log_e_pass, rel_tol=1e-9, abs_tol=1e-9)


@steady
@given(traffic(), st.integers(2, 9))
def test_merged_shards_are_the_whole(rows, shards):
    """Tallies of shards merged are the tally of all rows."""
    parts = [Tally() for _ in range(shards)]
    for i, row in enumerate(rows):
        parts[i % shards].add(row)
    merged = Tally()
    for part in reversed(parts):
        merged = part.merge(merged)
    (whole,) = gather(rows).values()
    first, second = measure(merged, 0.02), measure(whole, 0.02)
    assert math.isclose(first.difference, second.difference, rel_tol=1e-9, abs_tol=1e-12)
    assert first.variance == second.variance or math.isclose(first.variance, second.variance, rel_tol=1e-9)


@steady
@given(traffic(strata=1))
def test_swapped_arms_mirror_a_mean(rows):
    """With the arms exchanged and the direction turned, a loss stays the loss it was."""
    up = judge([QUALITY], rows).gates[0]
    down = judge([replace(QUALITY, direction="lower")], swapped(rows)).gates[0]
    if up.estimate is None:
        assert down.estimate is None
        return
    assert math.isclose(up.estimate, -down.estimate, abs_tol=1e-12)
    assert math.isclose(up.log_e, down.log_e, rel_tol=1e-6, abs_tol=1e-9)


@steady
@given(traffic(), st.integers(1, 60))
def test_traffic_of_one_arm_adds_no_certainty(rows, n):
    """Days on which only one arm was seen change no evidence at all."""
    alone = [Sums("quality", Stratum("canary", 0, 99), Arm.CANDIDATE, "", b, n, 0.0, 0.0, n) for b in range(50)]
    before, after = judge([QUALITY], rows).gates[0], judge([QUALITY], rows + alone).gates[0]
    assert (before.log_e, before.log_e_pass, before.estimate) == (after.log_e, after.log_e_pass, after.estimate)


@steady
@given(traffic(strata=2, least=20), st.integers(1, 6))
def test_data_of_no_effect_prove_no_harm(rows, times):
    """Where the arms do not differ, more of the same never becomes evidence of harm."""
    mirrored = [row._replace(arm=arm) for row in rows for arm in Arm if row.arm is Arm.CANDIDATE]
    more = [row._replace(n=row.n * times, total=row.total * times, squares=row.squares * times) for row in mirrored]
    for gate in (QUALITY, ERRORS):
        data = [row._replace(metric=gate.metric) for row in more]
        verdict = judge([gate], data).gates[0]
        assert verdict.verdict is not Verdict.FAIL
        assert verdict.log_e <= 1e-9


@steady
@given(st.integers(2, 40), st.floats(0.6, 0.99), st.floats(0.0, 0.2), st.integers(2, 5))
def test_evidence_of_a_real_loss_grows_with_the_data(n, level, loss, times):
    """The same proportions over more data are more evidence of harm where there is a loss."""

    def rows(scale):
        data = []
        for bucket in range(100):
            for arm, rate in ((Arm.INCUMBENT, level), (Arm.CANDIDATE, level - loss)):
                total = n * scale * rate
                data.append(Sums("quality", Stratum("canary", 0, 0), arm, "", bucket, n * scale, total, total, 1))
        return data

    def evidence(scale):
        effect = measure(next(iter(gather(rows(scale)).values())), 0.02)
        return harm_evidence(QUALITY, effect, 0.02), effect.difference

    (less, seen), (more, _) = evidence(1), evidence(times)
    if seen <= -0.02 and less > 0:
        assert more >= less - 1e-9


@steady
@given(traffic(), st.floats(0.005, 0.1), st.floats(1.0, 3.0))
def test_a_wider_margin_passes_no_later(rows, margin, factor):
    """What passes at a margin passes at a wider one, at the prior scale of its own."""
    effect = measure(next(iter(gather(rows).values())), margin)
    gate = Gate("quality", margin=margin)
    narrow, wide = pass_evidence(gate, effect, margin), pass_evidence(gate, effect, margin * factor)
    if narrow >= math.log(20):
        assert wide >= math.log(20)


scores = st.sampled_from([0.0, 1.0])


@st.composite
def suites(draw):
    """Right-or-wrong cases of up to four slices, one or several answers each."""
    repeats = draw(st.sampled_from([1, 1, 3]))
    answers = st.lists(scores, min_size=repeats, max_size=repeats).map(tuple)
    rows = draw(st.lists(st.tuples(st.integers(0, 3), answers, answers), min_size=1, max_size=120))
    return [PairedCase(f"{i:03}", (f"s{name}",), old, new) for i, (name, old, new) in enumerate(rows)]


@steady
@given(suites(), st.randoms(use_true_random=False))
def test_the_order_of_cases_changes_nothing(cases, draw):
    """An eval is a set of cases."""
    shuffled = list(cases)
    draw.shuffle(shuffled)
    assert compare(shuffled) == compare(cases)


@steady
@given(suites())
def test_swapped_variants_mirror_the_differences(cases):
    """With the variants exchanged every difference turns its sign and every interval its ends."""
    turned = compare([replace(case, incumbent=case.candidate, candidate=case.incumbent) for case in cases])
    straight = compare(cases)
    for one, other in zip((straight.aggregate, *straight.slices), (turned.aggregate, *turned.slices), strict=True):
        assert math.isclose(one.difference, -other.difference, abs_tol=1e-9)
        assert math.isclose(one.low, -other.high, abs_tol=1e-6)


@steady
@given(suites())
def test_a_variant_against_itself_never_fails(cases):
    """Equal answers fail nothing, whatever the suite."""
    same = compare([replace(case, candidate=case.incumbent) for case in cases])
    assert same.verdict is not Verdict.FAIL
    assert same.outcome in {Outcome.PROCEED, Outcome.INCONCLUSIVE}


@steady
@given(suites())
def test_a_pass_and_a_fail_exclude_each_other(cases):
    """A slice's interval holds its difference, a pass lies above its margin, and no verdict is made below ten cases."""
    result = compare(cases)
    for row in (result.aggregate, *result.slices):
        assert row.low - 1e-9 <= row.difference <= row.high + 1e-9
        if row.verdict is Verdict.PASS:
            assert row.low > -row.margin
        if row.verdict is Verdict.FAIL:
            assert row.difference <= -result.margin + 1e-9
        if row.n < 10:
            assert row.verdict is Verdict.INCONCLUSIVE
        assert (row.needed_cases is not None) == (row.verdict is Verdict.INCONCLUSIVE)
