"""Cases from live traffic: spread over slices, no question twice, nobody's address in them, and a suite that loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from understudy.core.errors import UsageError
from understudy.ledger.answers import Answer
from understudy.ledger.erase import erase
from understudy.ledger.queries import Ledger
from understudy.ledger.redact import Redactor
from understudy.ledger.sampling import conversation, in_turn, sample, write


def asked(text: str) -> bytes:
    return json.dumps({"model": "reply", "messages": [{"role": "user", "content": text}]}).encode()


@pytest.fixture
def answers(fill: Any, make: Any) -> list[Answer]:
    """40 billing questions, 4 login questions, one of them from somebody with an address; failures; repetitions."""
    records = [make(n, slices={"t": "billing"}, request=asked(f"why {'a' * n}?"), answer="so") for n in range(40)]
    records += [make(50 + n, slices={"t": "login"}, request=asked(f"how {'b' * n}?"), answer="so") for n in range(3)]
    records += [make(60, slices={"t": "login"}, request=asked("write to jo@example.org"), answer="to jo@example.org")]
    records += [make(70, request=asked("Why  A?"), answer="so"), make(71, request=asked("why a?"), answer="again")]
    records += [make(80, request=asked("failed?"), answer="x", error="timeout"), make(81, request=b"", answer="x")]
    return list(Ledger(fill(records)).exchanges(workload="reply"))


def test_a_sample_is_spread_over_slices_and_repeats_nothing(answers: list[Answer]) -> None:
    """A small slice gives all it has before a large one fills the rest; the same seed draws the same."""
    chosen = sample(answers, 12, by="t", seed="1", redactor=Redactor())
    slices = [case.slices.get("t") for case in chosen]
    assert (slices.count("login"), len(chosen)) == (4, 12)
    assert sample(answers, 12, by="t", seed="1", redactor=Redactor()) == chosen
    assert sample(answers, 12, by="t", seed="2", redactor=Redactor()) != chosen
    everything = sample(answers, 1_000, by=None, seed="1", redactor=Redactor())
    questions = [case.messages[-1]["content"].casefold().split() for case in everything]
    assert len(questions) == 44
    assert ["failed?"] not in questions
    assert "example.org" not in str(everything)


def test_a_suite_loads_grows_and_forgets(tmp_path: Path, answers: list[Answer]) -> None:
    """The file is a suite; adding is idempotent; erasing a unit takes its cases out; other files are not touched."""
    from understudy.evals.suite import load_suite

    path = tmp_path / "suites" / "s.yaml"
    cases = sample(answers, 10, by=None, seed="1", redactor=Redactor())
    assert write(path, "s", cases[:5]) == 5
    assert write(path, "s", cases) == 5
    assert len(load_suite(path).cases) == 10
    unit = next(a.unit for a in answers if a.exchange == cases[0].id)
    mine = {a.exchange for a in answers if a.unit == unit}
    erased = erase(unit, segments=tmp_path / "segments", lake=tmp_path / "lake", derived=[tmp_path / "suites"])
    assert erased.mentioned == []
    assert {case.id for case in load_suite(path).cases} == {case.id for case in cases} - mine
    other = tmp_path / "own.yaml"
    other.write_text("suite: own\n")
    with pytest.raises(UsageError, match="not made from the ledger"):
        write(other, "s", cases)


def test_nothing_to_sample_makes_no_case(answers: list[Answer]) -> None:
    """Traffic without content makes no suite."""
    assert sample([a for a in answers if not a.request], 5, by=None, seed="1", redactor=Redactor()) == []


def test_a_long_time_is_drawn_from_evenly(fill: Any, make: Any) -> None:
    """Of many exchanges a part is drawn, as much from the end of the time as from its beginning, and none twice;
    failures and other variants' answers are no part of it; another turn draws others.
    """
    records = [make(n, slices={"t": "rare" if n % 100 == 7 else "usual"}) for n in range(4_000)]
    records += [make(4_000 + n, error="timeout") for n in range(50)]
    records += [make(4_100 + n, served_variant="new") for n in range(50)]
    ledger = Ledger(fill(records))
    about = {"workload": "reply", "variant": "old", "since": 0.0}
    assert len(ledger.asked(**about, most=10_000)) == 4_000
    drawn = ledger.asked(**about, most=400, turn=1)
    numbers = [int(each.exchange.removeprefix("x-")) for each in drawn]
    assert 380 <= len(set(numbers)) == len(numbers) <= 420
    assert all(80 <= sum(low <= number < low + 1_000 for number in numbers) <= 120 for low in range(0, 4_000, 1_000))
    assert set(drawn[0].slices) == {"t"}
    other = {each.exchange for each in ledger.asked(**about, most=400, turn=2)}
    assert len(other - {each.exchange for each in drawn}) > 200


def test_each_slice_has_its_turn(fill: Any, make: Any) -> None:
    """Names are looked at slice by slice, so that a rare slice is among the first ones read, wherever it stands."""
    records = [make(n, slices={"t": "rare" if n >= 990 else "usual"}) for n in range(1_000)]
    asked = Ledger(fill(records)).asked(workload="reply", variant="old", since=0.0, most=10_000)
    names = in_turn(asked, by="t", seed="1")
    assert sorted(names) == sorted(each.exchange for each in asked)
    assert sum(name >= "x-000990" for name in names[:20]) == 10
    assert in_turn(asked, by="t", seed="2") != names


def test_exchanges_are_found_by_name(fill: Any, make: Any) -> None:
    """Those of the given names and no others, in order of time."""
    ledger = Ledger(fill([make(n) for n in range(20)]))
    found = ledger.exchanges(workload="reply", only=["x-000012", "x-000003", "x-none"])
    assert [each.exchange for each in found] == ["x-000003", "x-000012"]


_ANSWER = {"role": "model", "parts": [{"text": "r"}]}


@pytest.mark.parametrize(
    ("body", "turns"),
    [
        ({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]}, ["q"]),
        ({"messages": [{"role": "user", "content": [{"text": "a"}, {"type": "text", "text": "b"}]}]}, ["a\nb"]),
        ({"contents": [{"role": "user", "parts": [{"text": "q"}]}, _ANSWER]}, ["q", "r"]),
        ({"input": "q"}, ["q"]),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, []),
        ({"messages": [{"role": "tool", "content": "t"}]}, []),
        ({"messages": ["text"]}, []),
        ([1, 2], []),
        ({}, []),
    ],
)  # fmt: skip
def test_conversations_of_all_dialects_are_read(body: Any, turns: list[str]) -> None:
    """Plain text only: what has pictures or tools is no case."""
    assert [turn["content"] for turn in conversation(json.dumps(body).encode())] == turns
    assert conversation(b"{broken") == []
