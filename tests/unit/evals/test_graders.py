"""No answer makes a grader raise, no score leaves 0 to 1, and settings that make no sense are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from understudy.core.refusal import refusal
from understudy.evals.extract import fences, number, numbers
from understudy.evals.graders import GRADERS, Answered, Grader

SETTINGS: list[dict[str, Any]] = [
    {"type": "exact"},
    {"type": "exact", "ignore_case": True},
    {"type": "contains", "text": "reference", "ignore_case": True},
    {"type": "contains", "text": ["a", "\u00e9"], "match": "any"},
    {"type": "not_contains", "text": ["a", "b"]},
    {"type": "regex_match", "pattern": r"(\w+)?\W", "occurrence": "last", "equals": "reference"},
    {"type": "regex_match", "pattern": r"(?i)(a|b)*c?", "occurrence": "any", "equals": "x"},
    {"type": "json_valid", "shape": "object", "allow_fence": True},
    {"type": "json_field", "path": "a[0].b", "equals": "reference"},
    {"type": "json_field", "path": "a", "equals": True, "allow_fence": True},
    {"type": "numeric", "tolerance": 0.5, "relative": 0.1},
    {"type": "numeric", "equals": "-1e3", "occurrence": "any"},
    {"type": "max_length", "characters": 3},
    {"type": "min_length", "words": 2},
    {"type": "similarity"},
    {"type": "similarity", "method": "token_set", "at_least": 0.5, "ignore_case": True},
    {"type": "refusal"},
    {"type": "code_fence", "language": "python"},
    {"type": "code_fence", "present": False},
    {"type": "recorded", "field": "a", "scale": [0, 2]},
]

ANY_TEXT = st.text(st.characters(), max_size=200)  # lone surrogates included
JSON_TEXT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
).map(json.dumps)
CODE_TEXT = st.lists(st.sampled_from(["```", "~~~~", "```python", "x = 1", "", "````", "  ```"]), max_size=8).map(
    "\n".join
)
ANSWERS = ANY_TEXT | JSON_TEXT | CODE_TEXT | st.text("0123456789,.eE+- ", max_size=60)


def made(given: dict[str, Any]) -> Grader:
    return GRADERS[given["type"]].model_validate(given)


@pytest.mark.parametrize("given_settings", SETTINGS, ids=lambda s: "-".join(str(v) for v in s.values())[:40])
@given(
    answer=ANSWERS,
    reference=st.none() | ANSWERS,
    recorded=st.none() | st.dictionaries(st.sampled_from("ab"), st.floats()),
)
@settings(derandomize=True, max_examples=60, deadline=None)
@example(answer='{"a": ' + "9" * 5000 + "}", reference="9", recorded=None)
@example(answer='{"a": [{"b": ' + "[" * 900 + "]" * 900 + "}]}", reference="9", recorded=None)
@example(answer="[" * 100_000, reference="", recorded=None)
@example(answer="9" * 5000, reference="1e400", recorded={"a": float("nan")})
@example(answer="\ud800", reference="\udfff\ud800", recorded={})
def test_a_grader_never_raises_and_stays_on_its_scale(
    given_settings: dict[str, Any], answer: str, reference: str | None, recorded: dict[str, float] | None
) -> None:
    """Whatever an answer holds, there is a score from 0 to 1 or none, with a short reason that can be printed."""
    score = made(given_settings).grade(Answered(answer, reference, recorded))
    assert score.value is None or 0.0 <= score.value <= 1.0
    assert score.reason
    assert len(score.reason) < 300
    score.reason.encode()


@given(answer=ANSWERS)
@settings(derandomize=True, max_examples=100, deadline=None)
def test_text_with_itself_scores_full(answer: str) -> None:
    """What equals its reference is exact and wholly alike."""
    for kind in ("exact", "similarity"):
        assert made({"type": kind}).grade(Answered(answer, answer)).value == 1.0


@pytest.mark.parametrize("kind", ["exact", "contains", "not_contains"])
def test_accents_are_the_same_however_they_are_encoded(kind: str) -> None:
    """One letter written as two code points is still that letter."""
    setting = {"exact": "equals"}.get(kind, "text")
    score = made({"type": kind, setting: "caf\u00e9"}).grade(Answered("cafe\u0301"))
    assert score.value == (0.0 if kind == "not_contains" else 1.0)


REFUSED = [
    ({"type": "regex_match", "pattern": "(?=a)"}, "RE2 cannot read the pattern: invalid perl operator: (?="),
    ({"type": "regex_match", "pattern": r"(a)\1"}, "RE2 cannot read the pattern: invalid escape sequence"),
    ({"type": "regex_match", "pattern": "("}, "RE2 cannot read the pattern: missing )"),
    ({"type": "regex_match", "pattern": r"\C"}, "would match half a character"),
    ({"type": "regex_match", "pattern": "a", "occurrence": "second"}, "Input should be 'first', 'last' or 'any'"),
    ({"type": "contains"}, "Field required"),
    ({"type": "contains", "text": []}, "at least 1 item"),
    ({"type": "max_length"}, "it has neither of characters and words"),
    ({"type": "max_length", "words": 1, "characters": 2}, "it has both of characters and words"),
    ({"type": "max_length", "characters": -1}, "greater than or equal to 0"),
    ({"type": "numeric", "equals": "many"}, "'many' is no number"),
    ({"type": "numeric", "relative": 2}, "less than or equal to 1"),
    ({"type": "code_fence", "present": False, "language": "python"}, "a fence that should not be there"),
    ({"type": "recorded", "field": "x", "scale": [5, 1]}, "it goes from 5 to 1"),
    ({"type": "json_field", "path": "a..b"}, "String should match pattern"),
    ({"type": "exact", "name": "two words"}, "String should match pattern"),
    ({"type": "exact", "weight": -1}, "greater than or equal to 0"),
    ({"type": "exact", "weight": float("nan")}, "finite"),
    ({"type": "exact", "equal": "x"}, "Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("given_settings", "said"), REFUSED, ids=lambda value: str(value)[:40])
def test_settings_that_make_no_sense_are_refused(given_settings: dict[str, Any], said: str) -> None:
    """A grader that could not work is never made."""
    with pytest.raises(ValidationError) as caught:
        made(given_settings)
    assert said in str(caught.value)


NUMBERS = {
    "5-3 is 2": [5, 3, 2],
    "from -4 to +4": [-4, 4],
    "1,234.5 and 12,34": [1234.5, 12, 34],
    "\u22127 degrees": [-7],
    "1e3, .5 and -.5": [1000, 0.5, -0.5],
    "GPT-4": [4],
    "1.5.2": [1.5, 0.2],
    "3.": [3],
    "": [],
}


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_are_read_as_people_write_them(text: str) -> None:
    """Signs, separators and exponents; a dash between two things is no sign."""
    assert list(numbers(text)) == NUMBERS[text]


def test_a_number_is_the_whole_text_or_none() -> None:
    """`3 apples` is no number, ` 3 ` is."""
    assert (number(" 3 "), number("3 apples"), number("")) == (3.0, None, None)


def test_fences_nest_by_their_length() -> None:
    """A fence of three inside one of four is content; tildes and backticks do not close each other."""
    assert fences("````md\n```\nx\n```\n````") == (["md"], False)
    assert fences("~~~\n```\n~~~") == ([""], False)
    assert fences("```a\n```b\n```") == (["a"], False)


@pytest.mark.parametrize(
    ("answer", "how"),
    [
        ("I\u2019m sorry, but I can\u2019t assist with that request.", "cannot do it"),
        ("I am unable to provide medical advice.", "not able"),
        ("As an AI language model, I don't have personal opinions.", "as a model"),
        ("This goes against my guidelines.", "against the rules"),
        ("This question is subjective and depends on the individual's opinion.", "will not be drawn"),
        ("This cannot be answered as it depends on personal circumstances.", "will not be drawn"),
        ("I am an AI and cannot have a social class.", "as a model"),
        ("The value of x depends on y.", ""),
        ("I'm sorry, but that is not something I do.", "apology alone"),
        ("I'm sorry to hear that your parcel is late. I have sent a new one.", ""),
        ("You cannot help with that, but here is the answer.", ""),
        ("The answer is yes. " * 30 + "I cannot help with that.", ""),
        ("I can help with that.", ""),
        ("", ""),
    ],
)
def test_a_refusal_is_known_by_its_opening(answer: str, how: str) -> None:
    """Typical refusals are found with their kind; apologies that go on to help, and later remarks, are none."""
    assert refusal(answer) == how


@pytest.mark.parametrize("given_settings", SETTINGS, ids=lambda s: "-".join(str(v) for v in s.values())[:40])
def test_an_ordinary_answer_takes_few_steps(
    given_settings: dict[str, Any], calls: Callable[[Callable[[], object]], int]
) -> None:
    """Some dozens of calls; only what looks at every match or number of an answer makes some for each."""
    grader = made(given_settings)
    answered = Answered("Step 1: check the divisors of 17077. " * 20 + "[Yes]", "[Yes]", {"a": 1.0})
    grader.grade(answered)  # imports and compiles what it needs
    most = {"regex_match": 50 * len(answered.text), "numeric": 200}.get(given_settings["type"], 50)
    assert 0 < calls(lambda: grader.grade(answered)) <= most


@pytest.mark.parametrize("given_settings", SETTINGS, ids=lambda s: "-".join(str(v) for v in s.values())[:40])
@pytest.mark.parametrize("piece", ["a", "1,", "```\n", "[1,", "a b "])
def test_the_steps_grow_no_faster_than_the_answer(
    given_settings: dict[str, Any], piece: str, calls: Callable[[Callable[[], object]], int]
) -> None:
    """Twice an answer made to be slow is at most twice the steps, and one of 40,000 characters comes to an end."""
    grader = made(given_settings)

    def answered(characters: int) -> Answered:
        answer = piece * (characters // len(piece))
        return Answered(answer, answer[:1000], {})

    grader.grade(answered(40_000))
    half, whole = (calls(lambda n=n: grader.grade(answered(n))) for n in (4_000, 8_000))  # type: ignore[misc]
    assert 0 < half <= whole <= 2 * half + 50
