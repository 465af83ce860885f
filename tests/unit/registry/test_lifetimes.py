"""The table of lifetimes, and what a project puts over it."""

from __future__ import annotations

import json
from datetime import date
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import pytest

from understudy.config.schema import ModelSection
from understudy.registry.clouds import CLOUDS, spellings
from understudy.registry.lifetimes import Lifetime, Registry, Retirement, looked_up, public
from understudy.registry.naming import Promise, classify

TODAY = date(2026, 11, 21)
ROW = {"model", "released", "deprecated", "replacement", "retires"}
DATE = {"date", "kind", "source", "read"}


def faults(row: dict[str, Any]) -> list[str]:
    """What is wrong with a row of lifetimes.json as it is written."""
    found: list[str] = []
    if not ROW <= row.keys() <= ROW | {"on"} or any(
        not DATE <= each.keys() <= DATE | {"as_of"} for each in row["retires"]
    ):
        return ["fields"]
    if row.get("on", "bedrock") not in CLOUDS:
        found.append("no such cloud")
    naming = classify(row["model"])
    if not naming.scheme or naming.malformed:
        found.append("a name that no rule covers is found by nobody")
    if row["model"] != spellings(row["model"], row.get("on", ""))[-1]:
        found.append("a spelling that is looked up by nobody")
    if row.get("on") == "bedrock" and naming.scheme != "bedrock":
        found.append("no id of Bedrock")
    began = [date.fromisoformat(row[name]) for name in ("released", "deprecated") if row[name]]
    if began != sorted(began):
        found.append("deprecated before it was released")
    for each in row["retires"]:
        day, read = date.fromisoformat(each["date"]), date.fromisoformat(each["read"])
        if each["kind"] not in ("announced", "not_before"):
            found.append("kind")
        address = urlsplit(each["source"])
        if address.scheme != "https" or "." not in address.netloc or not address.path:
            found.append("source is no address")
        if any(first > day for first in began):
            found.append("gone before it was released or deprecated")
        if date.fromisoformat(each.get("as_of", each["read"])) > read:
            found.append("a copy younger than its reading")
    return found


def rows() -> list[dict[str, Any]]:
    text = (files("understudy.registry") / "lifetimes.json").read_text(encoding="utf-8")
    written: list[dict[str, Any]] = json.loads(text)["models"]
    return written


def test_every_row_can_be_found_and_every_date_is_ordered_and_names_its_source() -> None:
    assert {f"{row.get('on', '')} {row['model']}": faults(row) for row in rows() if faults(row)} == {}
    assert len(public()) == len(rows())
    assert {row.on for row in public().values()} == {"", "azure", "bedrock", "vertex"}


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ({"on": "aws"}, "no such cloud"),
        ({"model": "our-model"}, "a name that no rule covers is found by nobody"),
        ({"model": "us.anthropic.claude-opus-5"}, "a spelling that is looked up by nobody"),
        ({"model": "claude-opus-5"}, "no id of Bedrock"),
        ({"model": "anthropic.claude-sonnet-4-6-v1:0"}, "a name that no rule covers is found by nobody"),
        ({"released": "2026-06-01"}, "deprecated before it was released"),
        ({"deprecated": "2026-09-01"}, "gone before it was released or deprecated"),
        ({"retires": [{"kind": "soon"}]}, "kind"),
        ({"retires": [{"source": "a colleague"}]}, "source is no address"),
        ({"retires": [{"as_of": "2026-11-22"}]}, "a copy younger than its reading"),
        ({"retires": [{"seen": "2026-11-22"}]}, "fields"),
        ({"gone": "2026-01-01"}, "fields"),
    ],
)
def test_a_fault_that_is_planted_in_a_row_is_found(planted: dict[str, Any], said: str) -> None:
    dates = {"date": "2026-08-01", "kind": "announced", "source": "https://a.b/c", "read": "2026-11-21"}
    good = {"model": "anthropic.claude-opus-5", "on": "bedrock", "released": "2026-01-01", "deprecated": "2026-02-01"}
    good |= {"replacement": ""}
    changed = [dates | each for each in planted.get("retires", [{}])]
    assert faults(good | {"retires": [dates]}) == []
    assert said in faults(good | planted | {"retires": changed})


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
    elsewhere = Registry().look_up("anthropic.claude-opus-4-20250514-v1:0").lifetime
    assert elsewhere is not None
    assert elsewhere.retirements != found.retirements
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


@pytest.mark.parametrize(
    ("name", "platform", "on", "day"),
    [
        ("claude-sonnet-4-20250514", "", "", "2026-06-15"),
        ("anthropic.claude-sonnet-4-20250514-v1:0", "bedrock", "bedrock", "2026-10-14"),
        ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "", "bedrock", "2027-04-08"),
        ("bedrock/us.anthropic.claude-opus-4-1-20250805-v1:0", "", "bedrock", "2027-01-08"),
        (
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-1-20250805-v1:0",
            "",
            "bedrock",
            "2027-01-08",
        ),
        ("gemini-2.5-pro", "", "", "2026-12-01"),
        ("gemini-2.5-pro", "vertex", "vertex", "2027-03-31"),
        ("vertex_ai/gemini-2.5-flash-lite", "", "vertex", "2027-01-28"),
        ("claude-3-5-haiku@20241022", "", "vertex", "2026-07-05"),
        ("claude-opus-4-8", "bedrock", "bedrock", ""),
        ("gpt-4o-2024-11-20", "azure", "azure", ""),
        ("azure/gpt-4o-2024-11-20", "", "azure", ""),
    ],
)
def test_the_dates_of_a_cloud_hold_there_and_no_others(name: str, platform: str, on: str, day: str) -> None:
    known = Registry().look_up(name, platform)
    retirement = known.lifetime.retirement if known.lifetime else None
    assert (known.on, str(retirement.day) if retirement else "") == (on, day)


@pytest.mark.parametrize(
    ("behind", "on", "day"),
    [
        ("gpt-4o-2024-11-20", "azure", "2027-04-14"),
        ("claude-opus-4-1-20250805", "azure", "2026-08-05"),
        ("gpt-4o-2024-11-20", "azure-gov", ""),
        ("gpt-4o-2024-11-20", "", "2027-01-14"),
        ("anthropic.claude-opus-4-1-20250805-v1:0", "", "2027-01-08"),
    ],
)
def test_the_model_behind_a_name_is_declared_and_its_dates_hold_for_the_name(behind: str, on: str, day: str) -> None:
    known = Registry({"chat-prod": ModelSection(model=behind)}).look_up("chat-prod", on)
    assert known.lifetime is not None
    assert known.lifetime.model == behind.removesuffix("-20250805") if day else known.lifetime.model == behind
    assert str(known.lifetime.retirement.day if known.lifetime.retirement else "") == day
    assert known.declared


def test_a_date_is_as_old_as_the_copy_that_was_read() -> None:
    said = Retirement(date(2027, 1, 1), "announced", "https://a", date(2026, 11, 21), date(2026, 9, 2))
    assert said.age_days(TODAY) == 80
    assert said._replace(as_of=None).age_days(TODAY) == 0
    assert said._replace(as_of=None, read=None).age_days(TODAY) is None
    assert looked_up() == max(date.fromisoformat(each["read"]) for row in rows() for each in row["retires"])
