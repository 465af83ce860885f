"""Profiles and ladders."""

from __future__ import annotations

import pytest

from understudy.core.playbook import PROFILES, Profile, Stage, Step, ladder


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
def test_every_profile_rises_to_all_traffic(profile: Profile) -> None:
    """Each rung is higher than the one before, and the last pass is at the gate's own margin."""
    shares = [step.share for step in profile.ladder]
    assert shares == sorted(shares)
    assert shares[-1] == 1_000_000
    assert profile.ladder[-2].widen == 1.0


@pytest.mark.parametrize("shares", [[], [10_000], [50_000, 10_000, 1_000_000], [0, 1_000_000]])
def test_a_ladder_that_does_not_rise_is_refused(shares: list[int]) -> None:
    """No profile can be made that skips back, starts at nothing or never arrives."""
    steps = tuple(Step(share, 1.0) for share in shares)
    with pytest.raises(ValueError, match="must rise"):
        Profile("p", 1, 2, steps, 1, 1)


def test_the_last_rung_below_all_traffic_is_judged_at_the_margin() -> None:
    """Widening is for rungs with another rung between them and everybody."""
    made = ladder([(10_000, 1.0), (50_000, 1.0), (1_000_000, 0.0)])
    assert [step.widen for step in made[:2]] == [5.0, 1.0]
    assert next(step.widen for step in ladder([(10_000, 1.0), (1_000_000, 0.0)])) == 1.0


def test_the_interactive_profile_is_the_playbook() -> None:
    """The durations and the ladder of `interactive` are those of the playbook."""
    profile = PROFILES["interactive"]
    assert [(s.share, s.hold_s / 86400) for s in profile.ladder[:3]] == [(10_000, 1), (50_000, 2), (250_000, 7)]
    assert (profile.shadow_min_s, profile.shadow_max_s) == (7 * 86400, 28 * 86400)
    assert (profile.soak_s, profile.retain_s) == (14 * 86400, 30 * 86400)


def test_only_the_ways_out_are_over() -> None:
    """An upgrade that is over needs a new id to go on."""
    assert {s for s in Stage if s.over} == {Stage.DONE, Stage.BLOCKED, Stage.ROLLED_BACK, Stage.ABORTED}
