"""The table of lifetimes, and what a project puts over it."""

from __future__ import annotations

from datetime import date

import pytest

from understudy.config.schema import ModelSection
from understudy.registry.lifetimes import Lifetime, Registry, Retirement, public
from understudy.registry.naming import Promise


def test_every_date_names_its_source_and_the_day_it_was_read() -> None:
    for lifetime in public().values():
        for each in lifetime.retirements:
            assert each.source.startswith("https://")
            assert each.read is not None
            assert lifetime.released is None or lifetime.released < each.day
            assert lifetime.deprecated is None or lifetime.deprecated <= each.day


def test_an_announced_day_outranks_an_earliest_one_and_the_earlier_of_two_is_planned_on() -> None:
    days = [
        Retirement(date(2026, 9, 29), "not_before", "a", None),
        Retirement(date(2026, 12, 2), "announced", "b", None),
        Retirement(date(2026, 11, 30), "announced", "c", None),
    ]
    assert Lifetime("m", retirements=tuple(days)).retirement == days[2]
    assert Lifetime("m", retirements=tuple(days[:1])).retirement == days[0]
    assert Lifetime("m").retirement is None


def test_an_earliest_day_that_has_passed_is_no_shutdown() -> None:
    earliest = Retirement(date(2026, 1, 1), "not_before", "", None)
    assert not earliest.passed(date(2026, 2, 1))
    assert earliest._replace(kind="announced").passed(date(2026, 1, 1))
    assert not earliest._replace(kind="announced").passed(date(2025, 12, 31))


@pytest.mark.parametrize("name", ["claude-opus-4-20250514", "anthropic/claude-opus-4-20250514"])
def test_a_maker_s_dates_are_found_through_a_router_and_not_on_another_host(name: str) -> None:
    found = Registry().look_up(name).lifetime
    assert found is not None
    assert found.replacement == "claude-opus-4-8"
    assert Registry().look_up("anthropic.claude-opus-4-20250514-v1:0").lifetime is None
    assert Registry().look_up(name, "azure").lifetime is None


def test_a_project_declares_what_no_page_says() -> None:
    declared = {
        "chat-prod": ModelSection(exact=True, retires="2027-03-01", source="contract 17"),
        "gpt-4o-2024-08-06": ModelSection(retires="2027-06-30", earliest=True),
        "claude-opus-5": ModelSection(exact=False),
    }
    registry = Registry(declared)
    chat = registry.look_up("chat-prod", "azure")
    assert chat.declared
    assert chat.naming.promise is Promise.EXACT
    assert "contract 17" in chat.naming.reason
    assert chat.lifetime is not None
    assert chat.lifetime.retirement == Retirement(date(2027, 3, 1), "announced", "contract 17", None)
    four = registry.look_up("gpt-4o-2024-08-06").lifetime
    assert four is not None
    assert four.retirement is not None
    assert (four.retirement.day, four.retirement.kind) == (date(2027, 6, 30), "not_before")
    assert four.deprecated == date(2026, 10, 14)
    assert registry.look_up("claude-opus-5").naming.promise is Promise.ALIAS
    assert Registry().look_up("chat-prod").lifetime is None
