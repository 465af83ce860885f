"""The simulated model's text: the same everywhere, and each planted fault does what it says and nothing else."""

from __future__ import annotations

import json

import pytest

from understudy.testing.behaviour import Behaviour
from understudy.testing.dialects import Asked, Tool, Turn
from understudy.testing.provider import Answered, Declined, Silent
from understudy.testing.simulated import decide, said
from understudy.testing.writer import CLOSING, KINDS, REFUSAL, kind_of, write

PROMPTS = [f"[{kind}] Something is not right with order {4000 + n}, please help." for kind in KINDS for n in range(40)]
GOOD = Behaviour()
GOLDEN = (
    "Hello, and thank you for writing to us. I understand how annoying this is. I have looked at order 4711. "
    "Your refund is on its way and reaches your account within 5 business days. It goes back to the card you paid "
    "with. You will get an e-mail as soon as the bank confirms it. Kind regards, your support team"
)


def ask(prompt: str, **more: object) -> Asked:
    return Asked(model="m", turns=(Turn("user", prompt),), **more)  # type: ignore[arg-type]


def test_the_text_is_pinned() -> None:
    """Golden: the writer gives these very words, on every machine and version."""
    assert write(ask("I was charged twice for order 4711, please refund."), GOOD, 0) == GOLDEN


def test_models_of_one_voice_say_the_same() -> None:
    """Two models choose their words each for itself, and the same ones where they share a voice."""
    other = [Asked(model="other", turns=(Turn("user", prompt),)) for prompt in PROMPTS]
    alone = [write(asked, GOOD, 0) == write(ask(asked.last_user), GOOD, 0) for asked in other]
    assert 0 < sum(alone) < len(alone) / 2
    voice = Behaviour(voice="desk")
    assert all(write(asked, voice, 0) == write(ask(asked.last_user), voice, 0) for asked in other)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_recognised_and_resolved(kind: str) -> None:
    """A ticket's own words give its kind away, and a model without faults gives that kind's resolution."""
    prompt = f"Please help: {KINDS[kind].words[0]}"
    assert kind_of(prompt) == kind
    assert KINDS[kind].resolution in write(ask(prompt), GOOD, 0)


def test_shorter_answers_keep_the_resolution() -> None:
    """`length` shortens without making the answer wrong."""
    full = [write(ask(p), GOOD, 0) for p in PROMPTS]
    short = [write(ask(p), Behaviour(length=0.3), 0) for p in PROMPTS]
    assert sum(map(len, short)) < 0.8 * sum(map(len, full))
    assert all(KINDS[kind_of(p)].resolution in text for p, text in zip(PROMPTS, short, strict=True))


@pytest.mark.parametrize(
    ("fault", "marker"),
    [(Behaviour(closing=False), CLOSING), (Behaviour(tone="cold"), "thank")],
)
def test_a_switched_fault_removes_only_its_own_part(fault: Behaviour, marker: str) -> None:
    """The closing line goes with `closing`, kindness with `tone`; the resolution stays."""
    for prompt in PROMPTS:
        assert marker in write(ask(prompt), GOOD, 0)
        spoiled = write(ask(prompt), fault, 0)
        assert marker not in spoiled
        assert KINDS[kind_of(prompt)].resolution in spoiled


def test_a_wrong_slice_is_wrong_only_there_and_only_as_often_as_told() -> None:
    """`wrong_slice` hits its share of one kind; the sentence of `wrong_unless` in the system prompt repairs it."""
    fault = Behaviour(wrong_slice="refund", wrong_share=0.5, wrong_unless="Refunds are always granted.")

    def wrong(system: str) -> dict[str, int]:
        count = dict.fromkeys(KINDS, 0)
        for prompt in PROMPTS:
            kind = kind_of(prompt)
            count[kind] += KINDS[kind].wrong in write(ask(prompt, system=system), fault, 0)
        return count

    before = wrong("You are kind.")
    assert 10 <= before.pop("refund") <= 30
    assert not any(before.values())
    assert not any(wrong("You are kind. Refunds are always granted.").values())


@pytest.mark.parametrize(
    ("form", "readable"), [("valid", True), ("single_quotes", False), ("fenced", False), ("broken", False)]
)
def test_json_forms(form: str, readable: bool) -> None:
    """JSON asked for is JSON given, unless a form of spoiled JSON is switched on."""
    for asked in (ask("[refund] help", schema={}), ask("[refund] help", system="Answer in JSON.")):
        text = write(asked, Behaviour(json=form), 0)
        try:
            parsed = json.loads(text)
        except json.JSONDecodeError:
            assert not readable
        else:
            assert readable
            assert parsed["kind"] == "refund"


def test_a_schema_is_filled() -> None:
    """A JSON answer has the properties of the schema that was asked for."""
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["delivery", "refund"]},
            "reply": {"type": "string"},
            "steps": {"type": "array", "items": {"type": "string"}},
            "score": {"type": "integer", "minimum": 3},
            "ok": {"type": "boolean"},
        },
    }
    value = json.loads(write(ask("[refund] help", schema=schema), GOOD, 0))
    assert (value["kind"], value["score"], value["ok"]) == ("refund", 3, True)
    assert KINDS["refund"].resolution in value["reply"]


def test_refusals_come_as_often_as_told() -> None:
    """`refusal_share` refuses about that part of the prompts."""
    refused = sum(write(ask(p), Behaviour(refusal_share=0.25), 0) == REFUSAL for p in PROMPTS)
    assert 0.15 < refused / len(PROMPTS) < 0.35


def test_usage_is_counted_on_what_is_sent() -> None:
    """Output tokens follow the words, the tokenizer and the thinking; effort scales the thinking."""
    plain = said(ask("[refund] help"), GOOD, 0)
    words = len(plain.text.split(" "))
    assert plain.output_tokens == -(-words * 13 // 10)
    dear = said(ask("[refund] help"), Behaviour(tokens_per_word=2.6), 0)
    assert dear.text == plain.text
    assert dear.output_tokens == -(-words * 26 // 10)
    thinking = Behaviour(reasoning_tokens=1000)
    assert said(ask("[refund] help"), thinking, 0).output_tokens == plain.output_tokens + 1000
    assert said(ask("[refund] help", effort="low"), thinking, 0).reasoning_tokens == 300
    assert said(ask("[refund] help", effort="64"), thinking, 0).reasoning_tokens == 64


def test_max_tokens_cuts_the_answer() -> None:
    """An answer that does not fit ends with finish reason length and stays within the limit."""
    cut = said(ask("[refund] help", max_tokens=8), GOOD, 0)
    assert cut.finish == "length"
    assert cut.output_tokens <= 8


def test_tools_are_called_until_they_answered() -> None:
    """A model with tools calls one; once a tool has answered it writes text."""
    tool = Tool("look_up", {"type": "object", "properties": {"order": {"type": "string"}}})
    first = said(ask("[refund] help", tools=(tool,)), GOOD, 0)
    assert first.finish == "tool_calls"
    assert [call.name for call in first.calls] == ["look_up"]
    assert "order" in json.loads(first.calls[0].arguments)
    after = Asked(model="m", turns=(Turn("user", "[refund] help"), Turn("tool", "paid")), tools=(tool,))
    assert said(after, GOOD, 0).finish == "stop"


def test_calls_fail_hang_and_dawdle_as_often_as_told() -> None:
    """Errors, silence and a fat tail come at their shares, by the number of the call."""
    asked = ask("[refund] help")

    def outcomes(behaviour: Behaviour) -> list[object]:
        return [decide(asked, behaviour, 0, number) for number in range(1000)]

    errors = [o for o in outcomes(Behaviour(error_share=0.1, error_status=529)) if isinstance(o, Declined)]
    assert 70 < len(errors) < 130
    assert {error.status for error in errors} == {529}
    assert 70 < sum(isinstance(o, Silent) for o in outcomes(Behaviour(hang_share=0.1))) < 130
    slow = [o for o in outcomes(Behaviour(latency_s=0.01, tail_share=0.02, tail_s=1.0)) if isinstance(o, Answered)]
    assert 5 < sum(o.total_s > 0.5 for o in slow) < 40
    spread = sorted(
        o.total_s for o in outcomes(Behaviour(latency_s=0.1, latency_spread=0.3)) if isinstance(o, Answered)
    )
    assert 0.09 < spread[500] < 0.11
    assert spread[50] < 0.075 < 0.14 < spread[950]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"closin": True}, "nearest is 'closing'"),
        ({"closing": 1}, "must be of type bool"),
        ({"length": "short"}, "must be of type float"),
        ({"error_share": 1.5}, "between 0 and 1"),
        ({"tone": "rude"}, "known tones"),
        ({"latency_s": -1.0}, "cannot be negative"),
    ],
)
def test_a_behaviour_refuses_what_it_cannot_be(changes: dict[str, object], message: str) -> None:
    """A misspelt or impossible fault is an error, never a fault that silently stays off."""
    with pytest.raises(ValueError, match=message):
        GOOD.changed(changes)
