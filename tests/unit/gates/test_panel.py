"""The canary panel's verdicts on traffic made by hand: what fails, what passes, and what is not known."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys

import pytest

from understudy.core.evidence import Stratum, Sums
from understudy.core.playbook import Verdict
from understudy.gates.gate import STANDARD, Gate, GateVerdict, configured, error_budget
from understudy.gates.guards import Assigned
from understudy.gates.panel import SPLIT, Look, judge, judge_tallies
from understudy.gates.tally import gather

QUALITY = STANDARD["quality"]
ERRORS = STANDARD["errors"]


def traffic(metric, candidate, incumbent, rate_candidate, rate_incumbent, *, name="", step=0, period=0, seed=1):
    """Independent 0/1 values spread over the buckets, with exactly these rates."""
    draw = random.Random(f"{metric}{name}{step}{period}{seed}")
    rows = []
    for arm, n, rate in (("candidate", candidate, rate_candidate), ("incumbent", incumbent, rate_incumbent)):
        values = [1.0] * round(n * rate) + [0.0] * (n - round(n * rate))
        draw.shuffle(values)
        buckets: dict[int, list[float]] = {}
        for value in values:
            buckets.setdefault(draw.randrange(256), []).append(value)
        rows += [
            Sums(metric, Stratum("canary", step, period), arm, name, b, len(v), sum(v), sum(v), len(v))
            for b, v in buckets.items()
        ]
    return rows


def one(panel, metric, name="") -> GateVerdict:
    return next(g for g in panel.gates if (g.metric, g.slice) == (metric, name))


def test_hundred_requests_do_not_decide_two_points():
    """After 100 requests neither 2 points nor 6 points worse is a verdict, and the gate says how long it takes."""
    for worse in (0.02, 0.06):
        panel = judge([QUALITY], traffic("quality", 100, 9900, 0.85 - worse, 0.85), elapsed_s=3600.0)
        assert panel.verdict is Verdict.INCONCLUSIVE
        assert one(panel, "quality").decidable_in_s > 3600.0


def test_real_and_large_fails():
    """Five points worse over 3,000 requests is real and large: fail, with a sentence that says so."""
    panel = judge([QUALITY], traffic("quality", 3000, 9000, 0.80, 0.85))
    verdict = one(panel, "quality")
    assert panel.verdict is verdict.verdict is Verdict.FAIL
    assert verdict.log_e > verdict.log_e_needed
    assert verdict.high < 0
    assert "quality: worse" in panel.sentence
    assert "-5.00 points" in panel.sentence


def test_real_but_small_rolls_nothing_back():
    """One point worse, proven over a million requests, is real but within the margin."""
    panel = judge([QUALITY], traffic("quality", 250_000, 750_000, 0.84, 0.85))
    verdict = one(panel, "quality")
    assert verdict.high is not None
    assert verdict.high < 0.0
    assert verdict.verdict is Verdict.PASS


def test_equal_arms_pass_when_there_is_enough():
    """No difference passes at two points once there is enough data, and at ten points much sooner."""
    few = traffic("quality", 500, 9500, 0.85, 0.85)
    assert judge([QUALITY], few).verdict is Verdict.INCONCLUSIVE
    assert judge([QUALITY], few, widen=5.0).verdict is Verdict.PASS
    assert judge([QUALITY], traffic("quality", 12_000, 36_000, 0.85, 0.85)).verdict is Verdict.PASS


def test_lower_is_better():
    """A mean where lower is better fails when it rises."""
    gate = Gate("tokens", "mean", "lower", margin=0.02)
    assert judge([gate], traffic("tokens", 3000, 9000, 0.85, 0.80)).verdict is Verdict.FAIL
    assert judge([gate], traffic("tokens", 3000, 9000, 0.80, 0.85)).verdict is not Verdict.FAIL


def test_errors_fail_early():
    """Errors of five times the rate are found within a few hundred units."""
    panel = judge([ERRORS], traffic("errors", 300, 29_700, 0.05, 0.01))
    assert panel.verdict is Verdict.FAIL
    assert judge([ERRORS], traffic("errors", 300, 29_700, 0.01, 0.01)).verdict is not Verdict.FAIL


def test_errors_pass_by_counting():
    """Equal error rates pass once the candidate has seen enough of them."""
    assert judge([ERRORS], traffic("errors", 2000, 38_000, 0.01, 0.01)).verdict is Verdict.INCONCLUSIVE
    assert judge([ERRORS], traffic("errors", 10_000, 90_000, 0.01, 0.01)).verdict is Verdict.PASS


def test_no_event_is_no_proof_of_none():
    """Hundred units without an error prove no error rate below half a point; three thousand do."""
    assert judge([ERRORS], traffic("errors", 100, 9900, 0.0, 0.0)).verdict is Verdict.INCONCLUSIVE
    assert judge([ERRORS], traffic("errors", 3000, 97_000, 0.0, 0.0)).verdict is Verdict.PASS


def test_perfect_scores_are_no_certainty():
    """Hundred perfect answers prove nothing about two points: one in hundred may be missing by chance."""
    assert judge([QUALITY], traffic("quality", 100, 9900, 1.0, 1.0)).verdict is Verdict.INCONCLUSIVE


def test_wanted_events():
    """Where events are wanted (a share of answers that quote a source), too few of them fail."""
    gate = Gate("quotes", "count", "higher", margin=0.01, relative=0.25)
    assert judge([gate], traffic("quotes", 2000, 18_000, 0.05, 0.10)).verdict is Verdict.FAIL
    assert judge([gate], traffic("quotes", 2000, 18_000, 0.10, 0.05)).verdict is not Verdict.FAIL
    assert judge([gate], traffic("quotes", 20_000, 80_000, 0.10, 0.10)).verdict is Verdict.PASS


@pytest.mark.parametrize(("candidate", "incumbent"), [(0, 5000), (5000, 0)])
def test_one_sided_data_decide_nothing(candidate, incumbent):
    """Without one of the arms nothing is compared, and the gate names the arm."""
    panel = judge([QUALITY], traffic("quality", candidate, incumbent, 0.1, 0.9))
    assert panel.verdict is Verdict.INCONCLUSIVE
    assert ("candidate" if not candidate else "incumbent") in panel.missing[0]


def test_missing_data_hold_only_where_they_must():
    """A metric that must have data holds the step without any; an optional one does not."""
    data = traffic("quality", 12_000, 36_000, 0.85, 0.85)
    optional = STANDARD["satisfaction"]
    assert judge([QUALITY, ERRORS], data).verdict is Verdict.INCONCLUSIVE
    assert judge([QUALITY, optional], data).verdict is Verdict.PASS
    assert judge([QUALITY, configured("satisfaction", critical=True)], data).verdict is Verdict.INCONCLUSIVE
    assert judge([optional], []).verdict is Verdict.INCONCLUSIVE


def test_an_optional_metric_still_fails():
    """Satisfaction may be missing, but where it is there and much worse it rolls back."""
    data = traffic("satisfaction", 4000, 12_000, 0.6, 0.8) + traffic("quality", 12_000, 36_000, 0.85, 0.85)
    assert judge([QUALITY, STANDARD["satisfaction"]], data).verdict is Verdict.FAIL


def test_critical_wins_over_any_improvement():
    """Ten metrics better and one worse: fail."""
    gates = [Gate(f"m{i}", margin=0.02) for i in range(10)]
    data = [row for gate in gates for row in traffic(gate.metric, 3000, 9000, 0.95, 0.85)]
    assert judge([*gates, QUALITY], data + traffic("quality", 3000, 9000, 0.75, 0.85)).verdict is Verdict.FAIL


def test_feedback_waits_for_its_window():
    """Satisfaction says nothing before its window has passed, neither way."""
    for rate in (0.5, 0.8):
        data = traffic("satisfaction", 90_000, 270_000, rate, 0.8)
        gate = configured("satisfaction", must_have_data=True)
        early = judge([gate], data, feedback_matured=False)
        assert early.verdict is Verdict.INCONCLUSIVE
        assert "feedback window" in early.missing[0]
        assert judge([gate], data).verdict is (Verdict.FAIL if rate < 0.8 else Verdict.PASS)


def test_a_step_needs_data_of_its_own():
    """Evidence carries over from rung to rung, but no rung is left on the evidence of the one before alone."""
    before = traffic("quality", 20_000, 60_000, 0.85, 0.85)
    assert judge([QUALITY], before, step=0).verdict is Verdict.PASS
    panel = judge([QUALITY], before, step=1)
    assert panel.verdict is Verdict.INCONCLUSIVE
    assert "at this step" in panel.missing[0]
    after = before + traffic("quality", 200, 600, 0.85, 0.85, step=1, period=1)
    assert judge([QUALITY], after, step=1).verdict is Verdict.PASS


def test_few_users_are_no_crowd():
    """Ten thousand requests of ten users are ten users."""
    rows = []
    for arm, level in (("candidate", 0.6), ("incumbent", 0.85)):
        for bucket in range(10):
            rows.append(Sums("quality", Stratum("canary", 0, 0), arm, "", bucket, 1000, 1000 * level, 1000 * level, 1))
    panel = judge([QUALITY], rows)
    assert panel.verdict is Verdict.INCONCLUSIVE
    assert any("buckets" in text for text in panel.missing)


def test_a_large_minimum_is_met_by_a_large_crowd():
    """Once every analysis bucket is hit, a minimum of 5,000 units is counted in values."""
    gate = configured("quality", min_units=5000)
    assert judge([gate], traffic("quality", 4000, 12_000, 0.7, 0.85)).verdict is Verdict.INCONCLUSIVE
    assert judge([gate], traffic("quality", 6000, 18_000, 0.7, 0.85)).verdict is Verdict.FAIL


def test_verdicts_do_not_depend_on_the_hash_seed():
    """Panel and eval are the same in processes with different string hashes."""
    script = (
        "import json\n"
        "from understudy.core.evidence import Stratum, Sums\n"
        "from understudy.gates.gate import STANDARD\n"
        "from understudy.gates.paired import PairedCase, compare\n"
        "from understudy.gates.panel import judge\n"
        "names = ['a=%d' % i for i in range(9)]\n"
        "rows = [Sums('quality', Stratum('canary', 0, p), arm, s, b, 9, 4.0 + (b + p) % 3, 4.0 + (b + p) % 3, 5)\n"
        "        for s in ['', *names] for p in range(3) for arm in ('candidate', 'incumbent') for b in range(99)]\n"
        "panel = judge([STANDARD['quality']], rows, slices=names, critical_slices=names[:3], elapsed_s=9.0)\n"
        "old, new = ([(float(i % k > 0),) for i in range(99)] for k in (3, 4))\n"
        "cases = [PairedCase(str(i), tuple(names[: i % 9]), old[i], new[i]) for i in range(99)]\n"
        "print(json.dumps([panel.as_dict(), compare(cases, critical_slices=set(names[:4])).as_dict()]))\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "77")
    }
    assert len(said) == 1
    assert "quality" in said.pop()


def test_a_harmed_slice_is_named():
    """The aggregate holds, one slice of eight has lost 30 points: that slice fails, by name."""
    names = [f"ticket={i}" for i in range(8)]
    data = traffic("quality", 8000, 24_000, 0.86, 0.85)
    for name in names:
        data += traffic("quality", 1000, 3000, 0.55 if name == "ticket=3" else 0.88, 0.85, name=name)
    panel = judge([QUALITY], data, slices=names)
    assert panel.verdict is Verdict.FAIL
    assert [gate.slice for gate in panel.failed] == ["ticket=3"]


def test_slices_need_not_pass_unless_critical():
    """A slice too thin to tell holds nothing; a critical one holds the rung that promises the whole margin."""
    data = traffic("quality", 12_000, 36_000, 0.85, 0.85)
    data += traffic("quality", 60, 200, 0.85, 0.85, name="ticket=rare")
    assert judge([QUALITY], data, slices=["ticket=rare"]).verdict is Verdict.PASS
    held = judge([QUALITY], data, slices=["ticket=rare"], critical_slices=["ticket=rare"])
    assert held.verdict is Verdict.INCONCLUSIVE
    assert "ticket=rare" in held.missing[0]
    assert judge([QUALITY], data, critical_slices=["ticket=rare"], widen=5.0).verdict is Verdict.PASS
    assert judge([QUALITY], data, critical_slices=["ticket=gone"]).verdict is Verdict.INCONCLUSIVE


def test_more_slices_need_more_evidence():
    """The same slice among forty quiet ones needs more evidence than alone: one budget for all."""
    quiet = [f"s={i}" for i in range(40)]
    data = traffic("quality", 20_000, 60_000, 0.85, 0.85) + traffic("quality", 450, 1350, 0.77, 0.85, name="s=bad")
    assert judge([QUALITY], data, slices=["s=bad"]).verdict is Verdict.FAIL
    for name in quiet:
        data += traffic("quality", 450, 1350, 0.86, 0.85, name=name)
    assert judge([QUALITY], data, slices=["s=bad", *quiet]).verdict is not Verdict.FAIL


def test_limit_guards_a_budget_without_an_incumbent():
    """An absolute limit on the candidate's own cost holds at 100 % too, where nobody has the incumbent."""
    gate = Gate("cost_usd", "mean", "lower", limit=0.01)
    stratum = Stratum("soak", -1, 0)

    def costs(mean):
        return [
            Sums("cost_usd", stratum, "candidate", "", b, 20, 20 * mean, 20 * (mean**2 + 1e-6), 20) for b in range(256)
        ]

    assert judge([gate], costs(0.02)).verdict is Verdict.FAIL
    assert judge([gate], costs(0.005)).verdict is not Verdict.FAIL


def test_a_pass_needs_the_limit_too():
    """No worse than the incumbent, but over budget: no pass."""
    data = traffic("quality", 12_000, 36_000, 0.85, 0.85)
    over = configured("quality", limit=0.9)
    assert judge([over], data).verdict is not Verdict.PASS
    assert judge([configured("quality", limit=0.5)], data).verdict is Verdict.PASS


def test_impossible_rows_hold_a_pass_but_no_fail():
    """A row that cannot be keeps a gate from passing, and does not save a bad candidate."""
    bad = Sums("quality", Stratum("canary", 0, 0), "candidate", "", 3, 5, math.nan, 1.0, 0)
    fine = traffic("quality", 12_000, 36_000, 0.85, 0.85)
    assert judge([QUALITY], [*fine, bad]).verdict is Verdict.INCONCLUSIVE
    assert judge([QUALITY], [*traffic("quality", 3000, 9000, 0.7, 0.85), bad]).verdict is Verdict.FAIL


def test_a_wrong_split_passes_nothing():
    """Users not split as intended make every comparison doubtful; a proven loss still fails."""
    fine = traffic("quality", 12_000, 36_000, 0.85, 0.85)
    wrong, right = [Assigned(0, 0.05, 9000, 1000)], [Assigned(0, 0.05, 9500, 500)]
    panel = judge([QUALITY], fine, assigned=wrong)
    assert panel.verdict is Verdict.INCONCLUSIVE
    assert one(panel, SPLIT).verdict is Verdict.INCONCLUSIVE
    assert "10.00 % of 10,000 units" in panel.missing[0]
    assert judge([QUALITY], fine, assigned=right).verdict is Verdict.PASS
    assert judge([QUALITY], traffic("quality", 3000, 9000, 0.7, 0.85), assigned=wrong).verdict is Verdict.FAIL


def test_overdue_after_its_max_wait():
    """Undecided beyond its max_wait is for a person, and still no verdict."""
    gate = configured("quality", max_wait_s=86_400.0)
    data = traffic("quality", 150, 450, 0.85, 0.85)
    assert not judge([gate], data, elapsed_s=80_000.0).overdue
    late = judge([gate], data, elapsed_s=90_000.0)
    assert late.overdue
    assert late.verdict is Verdict.INCONCLUSIVE


def test_decidable_in_is_about_right():
    """The time a gate announces is about the time after which an equal candidate passes."""
    rate = 2000
    first = judge([QUALITY], traffic("quality", rate, 3 * rate, 0.85, 0.85), elapsed_s=86_400.0)
    days = first.decidable_in_s / 86_400.0 + 1.0
    n = round(rate * days * 1.1)
    assert judge([QUALITY], traffic("quality", n, 3 * n, 0.85, 0.85)).verdict is Verdict.PASS
    n = round(rate * days * 0.8)
    assert judge([QUALITY], traffic("quality", n, 3 * n, 0.85, 0.85)).verdict is Verdict.INCONCLUSIVE


def test_logarithms_speak_in_per_cent():
    """A mean of logarithms has a relative margin: 20 % dearer fails at 10 %, 5 % dearer does not."""
    gate = STANDARD["cost"]
    draw = random.Random(2)

    def costs(ratio):
        rows = []
        for arm, shift, n in (("candidate", math.log(ratio), 3000), ("incumbent", 0.0, 9000)):
            sums: dict[int, list[float]] = {}
            for _ in range(n):
                sums.setdefault(draw.randrange(256), []).append(draw.gauss(-5.0 + shift, 0.5))
            rows += [
                Sums("cost", Stratum("canary", 0, 0), arm, "", b, len(v), sum(v), sum(x * x for x in v), len(v))
                for b, v in sums.items()
            ]
        return rows

    dear = judge([gate], costs(1.2))
    assert dear.verdict is Verdict.FAIL
    assert "%" in dear.sentence
    assert judge([gate], costs(1.05)).verdict is not Verdict.FAIL


def test_exceedance_says_what_it_counts():
    """A latency gate counts values beyond a frozen quantile, and says so."""
    panel = judge([STANDARD["latency_p95"]], traffic("latency_p95", 3000, 9000, 0.12, 0.05))
    assert panel.verdict is Verdict.FAIL
    assert "12.00 % of the candidate's 3,000 values are beyond" in panel.sentence


def test_json_is_stable_and_finite():
    """The panel is one JSON document without NaN, with the fields that others read."""
    panel = judge([QUALITY, ERRORS], traffic("quality", 10, 30, 0.8, 0.8), slices=["a=b"], elapsed_s=60.0)
    document = json.loads(json.dumps(panel.as_dict(), allow_nan=False))
    assert {"verdict", "sentence", "gates", "missing", "overdue", "decidable_in_s", "bound_to"} <= set(document)
    expected = {"metric", "slice", "verdict", "estimate", "low", "high", "log_e", "units", "clusters", "strata"}
    assert expected | {"missing", "decidable_in_s", "sentence"} <= set(document["gates"][0])


def test_a_verdict_binds_what_it_was_judged_by():
    """Another margin, slice, widening or budget gives another hash; other data do not."""
    base = judge([QUALITY], [])
    assert base.bound_to == judge([QUALITY], traffic("quality", 10, 10, 1.0, 1.0)).bound_to
    others = [
        judge([configured("quality", margin=0.03)], []),
        judge([QUALITY], [], slices=["a=b"]),
        judge([QUALITY], [], widen=2.0),
        judge([QUALITY], [], alpha=0.01),
    ]
    assert len({base.bound_to, *(panel.bound_to for panel in others)}) == 5


def test_error_budget_is_split_by_weight():
    """The rollback error rate is shared out by weight, and every metric has one gate."""
    budget = error_budget([QUALITY, ERRORS, STANDARD["satisfaction"]], 0.05)
    assert sum(budget.values()) == pytest.approx(0.05)
    assert budget["errors"] == pytest.approx(0.05 * 0.02 / 0.04)
    with pytest.raises(ValueError, match="one gate"):
        judge([QUALITY, QUALITY], [])
    with pytest.raises(ValueError, match="at least one gate"):
        judge([], [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"margin": 0.0},
        {"margin": math.nan},
        {"relative": -0.1, "margin": 0.1},
        {},
        {"limit": math.inf},
        {"margin": 0.02, "weight": 0.0},
        {"margin": 0.02, "min_units": 0},
    ],
)
def test_a_gate_that_could_not_decide_is_refused(wrong):
    """Margins, limits, weights and minimum units that make no sense are refused by name."""
    with pytest.raises(ValueError, match="m"):
        Gate("m", **wrong)


def test_configured_gates():
    """A workload's words go over the standard gate; an unknown metric is a mean, higher is better."""
    assert configured("errors", margin=0.01) == Gate("errors", "count", "lower", margin=0.01, weight=0.02)
    assert configured("latency_p99").relative == 0.25
    assert configured("tone", relative=0.1, critical=True).critical
    assert configured("tone").direction == "higher"


def test_the_work_of_a_verdict_grows_with_the_strata_and_not_with_the_traffic(calls):
    """Once sums are merged, twice the strata are at most twice the steps, and thrice the users hardly more."""

    def steps(days, users):
        rows = [row for day in range(days) for row in traffic("quality", users, 3 * users, 0.85, 0.85, period=day)]
        rows += [row for day in range(days) for row in traffic("errors", users, 3 * users, 0.01, 0.01, period=day)]
        tallies = gather(rows)
        look = Look(1.0, 1.0, None, True)
        return calls(lambda: judge_tallies([QUALITY, ERRORS], tallies, slices=(), critical_slices=(), look=look))

    week = steps(7, 1000)
    assert steps(14, 1000) <= 2.1 * week
    assert steps(7, 3000) <= 1.1 * week
