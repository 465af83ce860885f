"""What steers a search: the bar, the budget, the cases that are shown, the way to the best prompt, and the alphas."""

from __future__ import annotations

import pytest

from understudy.core.errors import CannotMeasure
from understudy.core.playbook import Verdict
from understudy.evals.result import Thresholds
from understudy.tuning import lineage, proof
from understudy.tuning.bar import Held, best, standing
from understudy.tuning.budget import Budget, Exhausted
from understudy.tuning.lineage import Tried
from understudy.tuning.sampling import BATCH, LOST, batch


def held(name: str, candidate: float, slice_: str = "a", incumbent: float = 1.0, critical: bool = False) -> Held:
    return Held(name, (slice_,), critical, incumbent, candidate)


def test_a_gain_elsewhere_does_not_pay_for_a_slice_that_lost() -> None:
    """The bar is held on every slice: a better mean with a lost slice does not clear it, and stands below what does."""
    even = [held("1", 1.0), held("2", 0.0, incumbent=0.0), held("3", 1.0, "b")]
    gained = [held("1", 1.0), held("2", 1.0, incumbent=0.0), held("3", 0.0, "b")]
    assert standing(even).clears
    assert not standing(gained).clears
    assert standing(even) > standing(gained)


def test_a_lost_must_pass_case_comes_before_all_else() -> None:
    """A prompt that loses one is worse than any that loses none."""
    loses = [held("1", 0.0, critical=True), *(held(f"x{n}", 1.0, incumbent=0.0) for n in range(9))]
    lags = [held("1", 1.0, critical=True), *(held(f"x{n}", 0.0) for n in range(9))]
    assert standing(lags) > standing(loses)


def test_of_equal_prompts_the_first_is_the_best() -> None:
    """What changes least wins."""
    same = standing([held("1", 0.5)])
    assert best([same, same, same]) == 0


def test_nothing_is_asked_that_the_budget_does_not_hold() -> None:
    """The reserve is kept back, a batch that fits exactly is let through, and one question more is not."""
    budget = Budget(calls=100, reserved=40)
    budget.require(60)
    for _ in range(50):
        budget.add(None, "m")
    budget.require(10)
    with pytest.raises(Exhausted):
        budget.require(11)
    assert budget.unpriced == 50


def test_dollars_are_overrun_by_one_batch_at_most() -> None:
    """The mean price so far projects the next batch and the reserve; an unknown price ends it instead of being 0."""
    budget = Budget(calls=10_000, usd=1.0, reserved=10)
    spent = 0
    with pytest.raises(Exhausted):
        while True:
            budget.require(7)
            for _ in range(7):
                budget.add(0.01, "m")
                spent += 1
    assert 0.7 <= budget.spent_usd <= 1.0 - 10 * 0.01 + 7 * 0.01
    with pytest.raises(CannotMeasure, match="price of nova-9 is unknown"):
        budget.add(None, "nova-9")


def test_the_cases_that_are_shown_are_mostly_lost_ones_of_every_slice() -> None:
    """Each lost case comes before one comes twice, thin slices among the first; a number always gives its batch."""
    cases = [held(f"a{n}", float(n % 4 > 0)) for n in range(40)]
    cases += [held(f"b{n}", float(n > 0), "b") for n in range(40)]
    seen: list[int] = []
    for number in range(3):
        places = batch(cases, number, seed=7)
        assert len(places) == len(set(places)) == BATCH
        assert sum(cases[place].lost for place in places) == LOST
        assert places == batch(cases, number, seed=7)
        seen += [place for place in places if cases[place].lost]
    assert set(seen) == {place for place, each in enumerate(cases) if each.lost}
    assert 40 in seen[:2]


def test_fewer_lost_cases_than_a_batch_has_places_fill_up_with_others() -> None:
    """One lost case, or none at all, is no error; a single case neither."""
    assert len(batch([held("1", 0.0), *(held(f"{n}", 1.0) for n in range(2, 12))], 5, 0)) == BATCH
    assert len(batch([held(f"{n}", 1.0) for n in range(12)], 5, 0)) == BATCH
    assert batch([held("1", 0.0)], 3, 0) == [0]


def test_the_note_names_the_lines_and_the_cases_they_moved() -> None:
    """From the first prompt to the winner, over the prompts between them and no others."""
    first = Tried("Be kind.", None, (held("r1", 0.0, "refund"), held("r2", 0.0, "refund"), held("d1", 1.0, "order")))
    aside = Tried("Be brief.", 0, (held("r1", 0.0, "refund"), held("r2", 0.0, "refund"), held("d1", 0.0, "order")))
    better = Tried("Be kind.\nName the day.", 0, (held("r1", 1.0, "refund"), *first.cases[1:]))
    cases = (better.cases[0], held("r2", 1.0, "refund"), first.cases[2])
    whole = Tried("Be kind.\nName the day.\nName the card.", 2, cases)
    steps = lineage.steps([first, aside, better, whole], 3)
    assert [step.added for step in steps] == [("Name the day.",), ("Name the card.",)]
    assert [dict(step.won) for step in steps] == [{"refund": 1}, {"refund": 1}]
    told = lineage.note(steps, "old", "new")
    assert (
        told[0] == 'told "Name the day.": cases won: refund 1 (such as r1); 33.3 to 66.7 on the cases of the selection.'
    )
    assert lineage.brief(steps) == 'told "Name the day."; told "Name the card."'


def test_all_proofs_on_the_same_cases_keep_to_one_alpha() -> None:
    """However many there are, their alphas add up to less than the one that was given."""
    alphas = [proof.alpha_of(0.05, number) for number in range(1, 50)]
    assert sum(alphas) <= 0.05 + 1e-12
    assert alphas == sorted(alphas, reverse=True)
    assert alphas[0] == pytest.approx(0.04)


def test_a_tie_says_whether_there_are_cases_enough() -> None:
    """60 equal cases prove a slice at the first proof's alpha, 20 do not."""
    from tests.unit.tuning.test_split import case, suite

    limits = Thresholds()
    enough = proof.tie([suite([case(n, "a") for n in range(180)])], limits, 0.04)
    assert enough.verdict is Verdict.PASS
    few = proof.tie([suite([case(n, "a") for n in range(160)] + [case(n, "b") for n in range(200, 220)])], limits, 0.04)
    assert [row.slice for row in few.slices if row.verdict is not Verdict.PASS] == ["b"]
