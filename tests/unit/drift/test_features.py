"""What is measured on one answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from understudy.drift.features import Habits, distance, learn, measure
from understudy.drift.form import form, shape, tools
from understudy.drift.text import first_line, last_line, normal, opening, part, sentences
from understudy.drift.tone import tone

from .pairs import Side


def answer(text: str, **fields: Any) -> Side:
    return Side("x", text, "f", **fields)


@pytest.mark.parametrize(
    ("text", "forms"),
    [
        ('{"a": 1}', {"json"}),
        ("[1, 2]", {"json"}),
        ("{'a': 1, 'b': True}", {"single_quotes"}),
        ("[{'a': 'it is'}]", {"single_quotes"}),
        ('```json\n{"a": 1}\n```', {"json", "code_fence"}),
        ("~~~\n{'a': 1}\n~~~", {"single_quotes", "code_fence"}),
        ("| a | b |\n|---|:-:|\n| 1 | 2 |", {"table"}),
        ("- one\n- two", {"list"}),
        ("1. one\n2) two", {"list"}),
        ("- only one", set()),
        ("# Title\ntext", {"heading"}),
        ("[Yes]", set()),
        ("{broken", set()),
        ('{"it": "don\'t, won\'t"', set()),
        ("it's 'quoted' text", set()),
        ("42", set()),
        ("#hashtag", set()),
        ("a | b", set()),
        ("[" * 100_000, set()),
    ],
)
def test_forms_a_parser_depends_on(text: str, forms: set[str]) -> None:
    """JSON is an object or a list; single quotes only count where they are why it is none."""
    assert {name for name, there in form(text).items() if there} == forms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello Ann!\nYour order left.\nKind regards", ("Hello Ann!", "Your order left.", "Kind regards")),
        ("Dear customer, your order left. Kind regards", ("Dear customer,", "your order left.", "Kind regards")),
        ("Thank you for your message: it left.", ("Thank you for your message:", "it left.", "")),
        ("Hi Ann, and thanks for writing. It left.", ("Hi Ann, and thanks for writing.", "It left.", "")),
        ("Your order left.", ("", "Your order left.", "")),
        ("Hi.", ("Hi.", "", "")),
        ("High water is expected.", ("", "High water is expected.", "")),
        ("Kind regards", ("", "", "Kind regards")),
        ("", ("", "", "")),
    ],
)
def test_an_answer_is_taken_apart(text: str, expected: tuple[str, str, str]) -> None:
    """A greeting is known by its words, a closing line by being the incumbent's habit."""
    assert tuple(part(text, {"kind regards"})) == expected


def test_lines_are_compared_without_numbers_and_punctuation() -> None:
    """An order number in a closing line does not make it another line."""
    assert normal("  Case 4711, closed! ") == "case 0, closed"
    assert last_line("It left. See case 12.") == last_line("Done!\nSee case 99") == "see case 0"
    assert last_line("Only one sentence.") == ""
    assert first_line("Hello there. It left.") == ""
    assert first_line("Step 1: look. Then go.") == "step 0: look"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("(A) yes", "(a)"), ("[No]", "[a]"), ('{"name": 1}', '{"a":'), ("12. first", "0."), ("Plain text", ""), ("", "")],
)
def test_the_form_of_the_first_word(text: str, expected: str) -> None:
    """Only what is more than a word is a form."""
    assert opening(text) == expected


def test_habits_are_learned_from_enough_answers() -> None:
    """What a quarter of at least 20 answers share is a habit; failures teach nothing."""
    kind = [answer(f"It left on day {n}. Kind regards", latency_s=1.0 + n / 100, cost_usd=0.1) for n in range(120)]
    other = [answer(f"(A) answer {n}", latency_s=1.0) for n in range(60)]
    failures = [answer("", error="timeout", latency_s=99.0)] * 50
    habits = learn([*kind, *other, *failures])
    assert habits.answers == 180
    assert habits.closings == {"kind regards"}
    assert habits.openings == {"(a)", "it left on day 0"}
    assert habits.latency_p99_s is not None
    assert 2.1 < habits.latency_p99_s < 2.2
    assert learn(kind[:19]).closings == frozenset()
    assert learn(kind[:99]).latency_p99_s is None


def test_tone_counts_per_hundred_words() -> None:
    """Twenty words with two polite ones are ten per hundred; a short text has no tone."""
    text = "Please wait. We are sorry, it might be late! " + "word " * 11
    measured = tone(text)
    assert measured["politeness"] == pytest.approx(5.0)
    assert measured["apology"] == pytest.approx(5.0)
    assert measured["hedging"] == pytest.approx(5.0)
    assert measured["first_person"] == pytest.approx(5.0)
    assert measured["exclamation"] == pytest.approx(5.0)
    assert tone("Please wait, sorry!") == {}


def test_long_words_and_sentences_read_harder() -> None:
    """The reading grade orders texts as a reader would."""
    easy = tone("The cat sat. The dog ran. We saw it all. It was fun.")["reading_grade"]
    hard = tone(
        "Notwithstanding considerable organisational complexity, responsibilities remained "
        "fundamentally indistinguishable throughout the administration."
    )["reading_grade"]
    assert easy < 3 < 15 < hard


def test_a_refusal_has_no_length_and_a_failure_has_nothing() -> None:
    """One thing is said once."""
    refused = measure(answer("I'm sorry, but I can't help with that."), Habits())
    assert refused["refusal"] == 1.0
    assert "characters" not in refused
    assert measure(answer("", error="timeout"), Habits()) == {"failure": 1.0}
    assert measure(answer("busy", status=503), Habits()) == {"failure": 1.0}


def test_length_and_tone_leave_greeting_closing_and_fence_out() -> None:
    """A missing closing line is no shorter answer, a fence no longer one."""
    habits = Habits(closings=frozenset({"kind regards"}))
    full = measure(answer("Hello Ann!\nYour order left the store today.\nKind regards"), habits)
    bare = measure(answer("Your order left the store today."), habits)
    assert full["characters"] == bare["characters"] == 32
    assert (full["greeting"], full["closing"], bare["greeting"], bare["closing"]) == (1, 1, 0, 0)
    assert measure(answer('```json\n{"a": 1}\n```'), habits)["characters"] == len('{"a": 1}')


def test_unknown_is_never_zero() -> None:
    """What the ledger does not know is not measured, and an empty answer is not empty where no content is kept."""
    found = measure(answer("", kept=False), Habits())
    assert not {"cost", "latency", "tokens", "empty"} & set(found)
    assert measure(answer(""), Habits())["empty"] == 1.0


def test_shapes_keep_names_and_types() -> None:
    """The values of arguments are not looked at; arguments as JSON text are read."""
    assert tools('[{"name": "f", "arguments": "{\\"a\\": [1, 2], \\"b\\": {\\"c\\": null}}"}]') == [
        ("f", "{a:[number],b:{c:null}}")
    ]
    assert tools("no json") == tools("{}") == tools("[1]") == []
    assert shape({"b": True, "a": "x"}) == "{a:text,b:truth}"


def test_distance_is_the_share_of_words_that_are_not_shared() -> None:
    """The same words in another order are no distance; repetition counts."""
    assert distance("a b c", "c b a") == 0.0
    assert distance("a b", "c d") == 1.0
    assert distance("a a b", "a b") == pytest.approx(1 / 3)
    assert distance("", "") == 0.0


@settings(derandomize=True, max_examples=150, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("ab1 \n\t{}[]()'\",.:;!?#|-*`~\\é\u2028\ud7ff\x00"), max_size=200),
    st.text(alphabet='{}[]":,a1n ', max_size=60),
)
@example("```" * 50, "[" * 60)
def test_any_answer_can_be_measured(text: str, calls: str) -> None:
    """No answer, however strange, raises; every value is a finite number."""
    side = answer(text, tool_calls=calls, latency_s=0.0, cost_usd=0.0, output_tokens=0)
    found = measure(side, learn([side]))
    assert all(value == value and abs(value) < 1e9 for value in found.values())
    assert "".join(sentences(text)).replace(" ", "") in text.replace(" ", "") or len(sentences(text)) > 1
