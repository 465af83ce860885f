"""The playbook's table for a regression eval, and the panel's rules for a canary, as tables that are the reference."""

from __future__ import annotations

import pytest

from understudy.core.evidence import Stratum, Sums
from understudy.core.playbook import Outcome, Verdict
from understudy.gates.gate import STANDARD, configured
from understudy.gates.paired import PairedCase, compare
from understudy.gates.panel import judge

SIZES = {"fat": 600, "thin": 120}


def suite(fat: tuple[float, float], thin: tuple[float, float]) -> list[PairedCase]:
    cases = []
    for name, (old, new) in (("fat", fat), ("thin", thin)):
        n = SIZES[name]
        cases += [PairedCase(f"{name}{i:04}", (name,), (float(i < n * old),), (float(i < n * new),)) for i in range(n)]
    return cases


#   slice fat      slice thin     critical  tuning over   outcome
EVAL = [
    ((0.80, 0.80), (0.80, 0.80), "", False, Outcome.PROCEED),  # the same everywhere
    ((0.80, 0.90), (0.80, 0.90), "", False, Outcome.PROCEED),  # better everywhere
    ((0.80, 0.90), (0.80, 0.60), "", False, Outcome.CAUTION),  # better overall, one slice lost
    ((0.80, 0.90), (0.80, 0.60), "thin", False, Outcome.RETUNE),  # ... and that slice is critical
    ((0.80, 0.60), (0.80, 0.80), "", False, Outcome.RETUNE),  # worse overall
    ((0.80, 0.60), (0.80, 0.60), "", True, Outcome.STOP),  # ... and prompt work is used up
    ((0.80, 0.90), (0.80, 0.60), "thin", True, Outcome.STOP),
    ((0.80, 0.79), (0.80, 0.80), "", False, Outcome.PROCEED),  # a loss within the margin
    ((0.80, 0.90), (0.80, 0.60), "", True, Outcome.CAUTION),  # caution needs no prompt work
]


@pytest.mark.parametrize(("fat", "thin", "critical", "exhausted", "outcome"), EVAL)
def test_eval_outcomes(fat, thin, critical, exhausted, outcome):
    """Each row of the playbook's table gives its outcome."""
    result = compare(suite(fat, thin), critical_slices=[critical] if critical else [], tuning_exhausted=exhausted)
    assert result.outcome is outcome


def traffic(metric, n, candidate, incumbent):
    rows = []
    for arm, count, rate in (("candidate", n, candidate), ("incumbent", 3 * n, incumbent)):
        for bucket in range(200):
            here = count // 200
            total = float(round(here * rate * (bucket + 1)) - round(here * rate * bucket))
            rows.append(Sums(metric, Stratum("canary", 0, 0), arm, "", bucket, here, total, total, here))
    return rows


OPTIONAL = configured("satisfaction", must_have_data=False)

#   quality              errors                 satisfaction         verdict
CANARY = [
    ((40_000, 0.85, 0.85), (40_000, 0.01, 0.01), None, Verdict.PASS),
    ((40_000, 0.85, 0.85), None, None, Verdict.INCONCLUSIVE),  # errors are not measured
    (None, None, None, Verdict.INCONCLUSIVE),  # nothing is measured
    ((400, 0.85, 0.85), (40_000, 0.01, 0.01), None, Verdict.INCONCLUSIVE),  # too little quality
    ((40_000, 0.75, 0.85), (40_000, 0.01, 0.01), None, Verdict.FAIL),
    ((40_000, 0.95, 0.85), (40_000, 0.03, 0.01), None, Verdict.FAIL),  # better answers, more errors
    ((40_000, 0.85, 0.85), (40_000, 0.01, 0.01), (40_000, 0.60, 0.80), Verdict.FAIL),
    ((40_000, 0.85, 0.85), (40_000, 0.01, 0.01), (200, 0.80, 0.80), Verdict.PASS),  # optional, undecided
    ((40_000, 0.843, 0.85), (40_000, 0.01, 0.01), None, Verdict.PASS),  # a loss within the margin
]


@pytest.mark.parametrize(("quality", "errors", "satisfaction", "verdict"), CANARY)
def test_canary_verdicts(quality, errors, satisfaction, verdict):
    """Each row of the panel's rules gives its verdict."""
    rows = []
    for metric, given in (("quality", quality), ("errors", errors), ("satisfaction", satisfaction)):
        rows += traffic(metric, *given) if given else []
    panel = judge([STANDARD["quality"], STANDARD["errors"], OPTIONAL], rows)
    assert panel.verdict is verdict, panel.sentence
