"""What has to be done about a pin, from what is known of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from understudy.config.schema import ModelSection
from understudy.core.playbook import DAY, PROFILES
from understudy.registry.deadline import plan_backwards
from understudy.registry.inventory import Need, Pinned, Standing, Tier, needs
from understudy.registry.lifetimes import Known, Lifetime, Registry, Retirement
from understudy.registry.naming import classify

TODAY = date(2026, 11, 21)
RETAIN_S = 30 * DAY


def pinned(model: str = "gpt-4o-2024-08-06", tier: Tier = Tier.PRODUCTION, why: str = "passed", **dates: int) -> Pinned:
    """A pin whose model goes in so many days, by announcement (`goes`) or at the earliest (`earliest`)."""
    days = [(dates[name], kind) for name, kind in (("goes", "announced"), ("earliest", "not_before")) if name in dates]
    retirements = tuple(Retirement(TODAY + timedelta(days=left), kind, "https://a", TODAY) for left, kind in days)  # type: ignore[arg-type]
    known = Known(classify(model), Lifetime(model, retirements=retirements, replacement="next"))
    row = Pinned("reply", "v", "p", model, Standing(tier), known, "2026-01-01", why)
    if row.retirement and tier is Tier.PRODUCTION:
        row = replace(row, plan=plan_backwards(PROFILES["interactive"], PROFILES["forced"], row.retirement.day, TODAY))
    return row


def found(row: Pinned) -> dict[str, Need]:
    return {need.kind: need for need in needs(row, TODAY, RETAIN_S)}


def urgent(row: Pinned) -> set[str]:
    return {need.kind for need in found(row).values() if need.urgent}


def test_a_documented_snapshot_with_time_left_needs_nothing_now() -> None:
    row = pinned(goes=200)
    assert urgent(row) == set()
    assert "by 2027-04-11" in found(row)["planned"].what


@pytest.mark.parametrize("tier", list(Tier))
def test_an_alias_in_front_of_users_needs_doing_and_an_experiment_may_float(tier: Tier) -> None:
    assert ("alias" in urgent(pinned("gpt-4o", tier))) == (tier is not Tier.EXPERIMENTAL)
    assert "alias" in found(pinned("gpt-4o", tier))


@pytest.mark.parametrize("tier", list(Tier))
def test_a_model_that_is_gone_needs_doing_in_any_tier(tier: Tier) -> None:
    assert "retired" in urgent(pinned(tier=tier, goes=0))
    assert "retired" not in urgent(pinned(tier=tier, earliest=-5))


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (58, "begin by 2026-12-06, with profile interactive"),
        (43, "begin today, with profile interactive"),
        (30, "with profile forced"),
        (10, "too late by 15 days even for profile forced"),
    ],
)
def test_a_shutdown_too_near_for_the_profile_needs_doing(left: int, said: str) -> None:
    row = pinned(goes=left)
    assert urgent(row) == {"too_near"}
    assert said in found(row)["too_near"].what
    assert "recommends next" in found(row)["too_near"].what


def test_an_earliest_day_is_said_and_fails_no_build() -> None:
    row = pinned(earliest=10)
    assert urgent(row) == set()
    assert "may go from 2026-12-01" in found(row)["too_near"].what


def test_a_way_back_that_ends_within_the_time_it_is_kept_needs_doing() -> None:
    assert "your way back ends in 9 days" in found(pinned(tier=Tier.FALLBACK, goes=9))["fallback_ends"].what
    assert urgent(pinned(tier=Tier.FALLBACK, goes=9)) == {"fallback_ends"}
    assert urgent(pinned(tier=Tier.FALLBACK, goes=30)) == set()


def test_a_pin_in_front_of_users_needs_a_reason() -> None:
    assert urgent(pinned(why="", goes=200)) == {"no_why"}
    assert urgent(pinned(why="", tier=Tier.EXPERIMENTAL)) == set()


def test_a_date_that_nobody_knows_is_said_with_where_to_look() -> None:
    said = found(pinned())["no_date"].what
    assert said.startswith("nobody knows here when gpt-4o-2024-08-06 goes: look at https://developers.openai.com/")
    assert said.endswith("then write retires: under `models:`")
    assert "ask the provider" in found(pinned("our-model"))["no_date"].what
    assert "no_date" not in found(pinned(tier=Tier.EXPERIMENTAL))


def test_on_a_cloud_the_maker_s_dates_do_not_stand_in_for_those_that_nobody_knows() -> None:
    name = "anthropic.claude-opus-4-7"
    said = found(replace(pinned(name), known=Registry().look_up(name)))["no_date"].what
    assert "goes on Amazon Bedrock, where its maker's dates do not hold: look at https://docs.aws.amazon.com/" in said
    azure = replace(pinned("chat-prod"), known=Registry().look_up("chat-prod", "azure"))
    assert "the model behind it (model: gpt-4o-2024-11-20 or the like)" in found(azure)["no_date"].what
    assert "(model: gpt-5-2025-08-07)" in found(replace(azure, served="gpt-5-2025-08-07"))["no_date"].what


@pytest.mark.parametrize(("as_of", "old"), [(61, True), (60, False), (None, False)])
def test_a_date_that_was_said_long_ago_is_to_be_looked_at_again(as_of: int | None, old: bool) -> None:
    """A usual notice is shorter than that; what the project declares itself is its own business."""
    said = None if as_of is None else TODAY - timedelta(days=as_of)
    row = pinned(goes=200)
    assert row.retirement is not None
    retirement = row.retirement._replace(read=said, as_of=said)
    row = replace(row, known=row.known._replace(lifetime=Lifetime("m", retirements=(retirement,)), on="bedrock"))
    assert ("old_date" in found(row)) is old
    assert urgent(row) == set()
    if old:
        assert "on Amazon Bedrock was said 61 days ago: look again at https://docs.aws" in found(row)["old_date"].what


def test_a_bedrock_id_that_cannot_exist_needs_doing() -> None:
    assert urgent(pinned("anthropic.claude-sonnet-4-6-v1:0")) == {"malformed"}


def test_the_row_carries_every_date_with_its_source() -> None:
    row = pinned(goes=40, earliest=10).as_dict(TODAY)
    assert (row["retires"], row["retires_kind"], row["days_left"]) == ("2026-12-31", "announced", 40)
    assert [each["kind"] for each in row["dates"]] == ["announced", "not_before"]
    assert all(each["source"] and each["read"] for each in row["dates"])
    assert row["tier"] == "production"
    assert pinned().as_dict(TODAY)["retires"] is None


def test_answers_of_another_model_than_the_pinned_one_need_doing() -> None:
    exact = pinned(goes=200)
    assert urgent(replace(exact, served="gpt-4o-2024-08-06")) == set()
    assert urgent(replace(exact, served="openai/gpt-4o-2024-08-06")) == set()
    assert urgent(replace(exact, served="gpt-4o-2024-11-20")) == {"served_other"}


def test_a_model_of_google_cloud_answers_by_its_maker_s_name() -> None:
    row = pinned("claude-haiku-4-5@20251001", goes=200)
    row = replace(row, known=Registry().look_up(row.model), served="claude-haiku-4-5-20251001")
    assert "served_other" not in found(row)
    assert "served_other" in found(replace(row, served="claude-haiku-5-5"))


def test_an_alias_and_a_deployment_tell_what_answered() -> None:
    alias = found(replace(pinned("gpt-4o"), served="gpt-4o-2024-11-20"))["alias"].what
    assert alias.endswith("; it last answered as gpt-4o-2024-11-20")
    deployment = replace(pinned("chat-prod"), served="gpt-4o-2024-11-20")
    deployment = replace(deployment, known=Known(classify("chat-prod", "azure"), None))
    assert found(deployment)["unknown"].what.endswith("it last answered as gpt-4o-2024-11-20")
    assert "served_other" not in found(deployment)


@pytest.mark.parametrize(
    ("behind", "served", "other"),
    [
        ("gpt-4o-2024-11-20", "gpt-4o-2024-11-20", False),
        ("gpt-4o-2024-11-20", "gpt-5.1-2025-11-13", True),
        ("gpt-4o-2024-11-20", "", False),
        ("claude-opus-5", "claude-opus-5", False),
        ("claude-haiku-4-5", "claude-haiku-4-5-20251001", False),
    ],
)
def test_a_deployment_that_answers_as_another_model_than_is_declared_needs_doing(
    behind: str, served: str, other: bool
) -> None:
    """Azure moves a Standard deployment to the replacement when its model goes."""
    known = Registry({"chat-prod": ModelSection(model=behind, exact=True)}).look_up("chat-prod", "azure")
    row = replace(pinned("chat-prod"), known=known, served=served)
    assert ("served_other" in urgent(row)) is other
    if other:
        said = f"chat-prod is declared to be {behind}, and {served} answered"
        assert found(row)["served_other"].what.startswith(said)
    assert "served_other" not in urgent(replace(row, standing=Standing(Tier.EXPERIMENTAL)))
