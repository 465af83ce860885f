"""Plans counted back from a shutdown."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.playbook import DAY, PROFILES
from understudy.registry.deadline import PREPARATION_S, Fit, plan_backwards, windows

TODAY = date(2026, 11, 21)
OWN, FORCED = PROFILES["interactive"], PROFILES["forced"]


def in_days(days: int) -> date:
    return TODAY + timedelta(days=days)


@pytest.mark.parametrize(
    ("days", "fit"),
    [  # 12 of preparation, 7 of shadow, 10 of canary, 14 of soak, 16 more with the incumbent; forced: 12 + 2 + 4 + 7
        (59, Fit.FITS),
        (58, Fit.SHORTENED),
        (43, Fit.SHORTENED),
        (42, Fit.FORCED),
        (25, Fit.FORCED),
        (24, Fit.TOO_LATE),
        (-3, Fit.TOO_LATE),
    ],
)
def test_the_verdict_turns_on_the_day(days: int, fit: Fit) -> None:
    plan = plan_backwards(OWN, FORCED, in_days(days), TODAY)
    assert plan.fit is fit
    assert (plan.slack_days >= 0) == (fit is not Fit.TOO_LATE)
    assert plan.begin_by == in_days(days - 59)
    assert plan.last_day == in_days(days - 25)


def test_a_compressed_plan_says_what_it_gives_up() -> None:
    assert plan_backwards(OWN, FORCED, in_days(59), TODAY).gives_up == ()
    assert plan_backwards(OWN, FORCED, in_days(30), TODAY).gives_up == FORCED.gives_up
    (lost,) = plan_backwards(OWN, FORCED, in_days(45), TODAY).gives_up
    assert lost == "an incumbent that stays callable for 30 days: it is gone 16 days after 100 %"


def test_prompts_that_are_ready_buy_time() -> None:
    assert plan_backwards(OWN, FORCED, in_days(47), TODAY).fit is Fit.SHORTENED
    assert plan_backwards(OWN, FORCED, in_days(47), TODAY, preparation_s=0).fit is Fit.FITS


PROFILE = st.builds(
    lambda shadow, soak, more, name: replace(
        PROFILES[name], shadow_min_s=shadow, shadow_max_s=2 * shadow + 1, soak_s=soak, retain_s=soak + more
    ),
    *(st.floats(0, 90 * DAY) for _ in range(3)),
    st.sampled_from(sorted(PROFILES)),
)


@given(profile=PROFILE, days=st.integers(-400, 400), work=st.floats(0, 60 * DAY))
def test_stages_follow_each_other_and_end_at_the_deadline(profile: object, days: int, work: float) -> None:
    made = windows(profile, in_days(days), work)  # type: ignore[arg-type]
    begins = [window.begin_by for window in made]
    assert begins == sorted(begins)
    assert begins[-1] <= in_days(days)
    total = sum(
        (timedelta(seconds=window.least_s) for window in made), timedelta()
    )  # in whole microseconds, as planned
    assert timedelta() <= in_days(days) - begins[0] - total < timedelta(days=1)


@given(profile=PROFILE, days=st.integers(-10, 400))
def test_a_later_deadline_never_makes_it_worse(profile: object, days: int) -> None:
    order = [Fit.FITS, Fit.SHORTENED, Fit.FORCED, Fit.TOO_LATE]
    plan = plan_backwards(profile, FORCED, in_days(days), TODAY)  # type: ignore[arg-type]
    later = plan_backwards(profile, FORCED, in_days(days + 1), TODAY)  # type: ignore[arg-type]
    assert order.index(later.fit) <= order.index(plan.fit)
    assert later.last_day == plan.last_day + timedelta(days=1)
    assert (plan.fit is not Fit.TOO_LATE) == (plan.last_day >= TODAY)


def test_the_assumed_preparation_is_the_playbook_s() -> None:
    assert PREPARATION_S == 12 * DAY
