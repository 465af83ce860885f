"""When shadow copies rest because their budget is spent, and when they go on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from understudy.core.playbook import Stage
from understudy.core.variant import Variant
from understudy.rollout.budget import Spending, midnight, record, sentence
from understudy.rollout.fold import Rest, UpgradeState
from understudy.rollout.machine import Kind, Place

DAY = 86_400.0
NOON = 20_000 * DAY + DAY / 2
STATE = UpgradeState(
    id="u",
    workload="w",
    incumbent=Variant("old", "p", "m1"),
    candidate=Variant("new", "p", "m2"),
    salt="s",
    profile="demo",
    place=Place(Stage.SHADOW),
    started_at=0.0,
    started_by="ada",
    why="",
    entered_at=0.0,
    clock_at=None,
)
RESTING = replace(STATE, rests=(Rest(NOON - 60, midnight(NOON) + DAY, "spent"),))


def spent(usd: float, copies: int = 100, priced: int | None = None, since: float = midnight(NOON)) -> Spending:
    return Spending(since, copies, copies if priced is None else priced, usd)


@pytest.mark.parametrize(
    ("spending", "until_s"),
    [
        (None, None),
        (spent(49.99), None),
        (spent(50.0), DAY / 2),
        (spent(25.0, priced=50), DAY / 2),  # half of the copies have no price: the others stand for them
        (spent(24.0, priced=50), None),
        (spent(0.0, priced=0), 3_600.0),  # nothing is known: an unknown price is never 0
        (spent(0.0, copies=0), None),
        (spent(99.0, since=midnight(NOON) - DAY), None),  # that was yesterday
    ],
)
def test_copies_rest_when_the_budget_of_the_day_is_spent(spending: Spending | None, until_s: float | None) -> None:
    """Until the next midnight UTC; where no price is known, for an hour."""
    draft = record(STATE, spending, 50.0, NOON, "controller")
    if until_s is None:
        assert draft is None
        return
    assert draft is not None
    assert (draft.kind, draft.data["until"]) == (Kind.RESTED, NOON + until_s)
    assert "shadow copies rest until 2024-10-0" in draft.why
    assert record(STATE, spending, None, NOON, "controller") is None  # no budget, no limit


def test_a_rest_is_written_once_and_ends_early_where_there_is_budget_again() -> None:
    """A higher budget, or none at all, wakes the copies; without news they go on resting."""
    assert record(RESTING, spent(50.0), 50.0, NOON, "c") is None
    assert record(RESTING, None, 50.0, NOON, "c") is None
    for budget in (80.0, None):
        draft = record(RESTING, spent(50.0), budget, NOON, "c")
        assert draft is not None
        assert draft.data["until"] == NOON
    over = record(RESTING, spent(90.0), 50.0, NOON + DAY, "c")
    assert over is None  # the rest is over by itself, and what was spent was spent yesterday


def test_the_sentence_says_what_is_not_known() -> None:
    """Guessed and unknown prices are named as such."""
    assert sentence(spent(12.5), 50.0) == "12.50 of 50 USD spent on 100 copies today (UTC)"
    assert sentence(spent(10.0, priced=80), 50.0) == (
        "12.50 of 50 USD spent on 100 copies today (UTC), 20 of unknown price counted at the mean of the others"
    )
    assert "cost is not known" in sentence(spent(0.0, priced=0), 50.0)
