"""What every grader type says of an answer, as tables. The reference page of the graders is made from these tables."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from understudy.evals.graders import GRADERS, Answered, Score


class Example(NamedTuple):
    settings: dict[str, Any]
    answer: str
    reference: str | None
    score: float | None
    reason: str


BIG = "```\n" + "x" * 20 + "\n```"

TICKET = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": {"type": "integer"}, "kind": {"type": "string", "pattern": "^[a-z]+$"}},
}

EXAMPLES: dict[str, list[Example]] = {
    "exact": [
        Example({}, " Paris\n", "Paris", 1, "equal"),
        Example({}, "paris", "Paris", 0, "says 'paris', wanted 'Paris'"),
        Example({"ignore_case": True}, "PARIS", "Paris", 1, "equal"),
        Example({"equals": "42"}, "42", None, 1, "equal"),
        Example({}, "Paris", None, None, "the case has no reference"),
    ],
    "contains": [
        Example({"text": "Kind regards"}, "Done.\nKind regards", None, 1, "contains it"),
        Example({"text": "reference"}, "It is Paris.", "Paris", 1, "contains it"),
        Example({"text": ["order", "refund"]}, "Your refund is on its way.", None, 0, "lacks 'order'"),
        Example({"text": ["order", "refund"], "match": "any"}, "Your refund is here.", None, 1, "contains it"),
    ],
    "not_contains": [
        Example({"text": ["as an AI", "I cannot"]}, "Of course.", None, 1, "contains none of it"),
        Example({"text": "as an ai", "ignore_case": True}, "As an AI, I …", None, 0, "contains 'as an ai'"),
    ],
    "regex_match": [
        Example({"pattern": r"\d{3}"}, "Room 101", None, 1, "finds '101'"),
        Example({"pattern": r"\d{3}"}, "Room 7", None, 0, "no match"),
        Example(
            {"pattern": r"\[(yes|no)\]", "ignore_case": True, "equals": "reference"},
            "It is [YES].",
            "[Yes]",
            1,
            "finds '[YES]'",
        ),
        Example(
            {"pattern": r"\[(\w+)\]", "equals": "reference"}, "[no] then [yes]", "yes", 0, "finds '[no]', wanted 'yes'"
        ),
        Example(
            {"pattern": r"\[(\w+)\]", "equals": "reference", "occurrence": "last"},
            "[no] then [yes]",
            "yes",
            1,
            "finds '[yes]'",
        ),
    ],
    "json_valid": [
        Example({}, '{"ok": true}', None, 1, "valid JSON"),
        Example({}, "{'ok': True}", None, 0, "no valid JSON: JSON is malformed: object keys must be strings (byte 1)"),
        Example({"shape": "object"}, "[1, 2]", None, 0, "JSON, but no object"),
        Example({"allow_fence": True}, "```json\n[1, 2]\n```", None, 1, "valid JSON"),
    ],
    "json_field": [
        Example({"path": "items[0].price"}, '{"items": [{"price": 3}]}', None, 1, "items[0].price is there"),
        Example(
            {"path": "city", "equals": "reference"}, '{"city": "Rome"}', "Paris", 0, "city is 'Rome', wanted 'Paris'"
        ),
        Example({"path": "n", "equals": "3"}, '{"n": 3.0}', None, 1, "n is '3.0'"),
        Example({"path": "ok", "equals": True}, '{"ok": true}', None, 1, "ok is 'true'"),
        Example({"path": "city"}, '{"town": "Rome"}', None, 0, "nothing at city"),
    ],
    "numeric": [
        Example({}, "12 and 30 make 42.", "42", 1, "says 42"),
        Example({"occurrence": "any"}, "42, not 43", "42", 1, "says 42"),
        Example({"tolerance": 0.5}, "about 1,234.4", "1234", 1, "says 1234.4"),
        Example({"relative": 0.01}, "98", "100", 0, "says 98, wanted 100"),
        Example({}, "none", "42", 0, "no number"),
    ],
    "max_length": [
        Example({"characters": 5}, "short", None, 1, "5 characters"),
        Example({"words": 2}, "one two three", None, 0, "3 words"),
    ],
    "min_length": [
        Example({"words": 2}, "one two", None, 1, "2 words"),
        Example({"characters": 10}, "short", None, 0, "5 characters"),
    ],
    "similarity": [
        Example({"to": "abcd"}, "abcx", None, 0.75, "0.75 alike"),
        Example({"at_least": 0.7}, "abcx", "abcd", 1, "0.75 alike"),
        Example({"to": "red green", "method": "token_set"}, "green red", None, 1, "1.00 alike"),
    ],
    "refusal": [
        Example({}, "Here is your letter.", None, 1, "does not decline"),
        Example({}, "I'm sorry, but I can't help with that.", None, 0, "declines (cannot do it)"),
        Example({"expected": True}, "I must decline.", None, 1, "declines (must decline)"),
    ],
    "code_fence": [
        Example({}, BIG, None, 1, "a fence"),
        Example({"language": "python"}, "```python\nx\n```", None, 1, "a fence"),
        Example({"language": "python"}, "```js\nx\n```", None, 0, "a fence of 'js'"),
        Example({"present": False}, "class Solution: ...", None, 1, "no fence"),
        Example({"present": False}, "```\nx\n```", None, 0, "a fence"),
        Example({}, "```\nnever closed", None, 0, "a fence is not closed"),
    ],
    "recorded": [
        Example({"field": "judge"}, "any", None, 0.5, "judge 0.5"),
        Example({"field": "stars", "scale": [1, 5]}, "any", None, 0.75, "stars 4"),
        Example({"field": "stars"}, "any", None, None, "stars 4 is outside 0 to 1"),
        Example({"field": "other"}, "any", None, None, "the recording has no other"),
    ],
    "json_schema": [
        Example({"schema": TICKET}, '{"id": 7, "kind": "refund"}', None, 1, "fits"),
        Example({"schema": TICKET}, '{"id": "7"}', None, 0, "$.id: '7' is not of type 'integer'"),
        Example({"schema": TICKET}, '{"kind": "refund"}', None, 0, "$: 'id' is a required property"),
        Example({"schema": TICKET}, '{"id": 7, "kind": "Refund"}', None, 0, "$.kind: does not match '^[a-z]+$'"),
        Example({"schema": {"type": "array"}, "allow_fence": True}, "```json\n[]\n```", None, 1, "fits"),
    ],
    "judge": [
        Example(
            {"provider": "p", "model": "m-1", "criteria": "kinder"}, "any", None, 0.5, "better in 50 % of 2 judgements"
        ),
    ],
    "command": [
        Example({"run": ["./grade.py"]}, "any", None, 1, "./grade.py says 1"),
    ],
}
"""By grader type: settings, answer, reference, score and reason. A score of None: this grader cannot score it."""

RECORDED = {"judge": 0.5, "stars": 4.0}
"""Numeric fields of the recording that the `recorded` examples read."""

OUTSIDE = {"judge": Score(0.5, "better in 50 % of 2 judgements"), "command": Score(1.0, "./grade.py says 1")}
"""What was said from outside in the examples of `judge` and `command`."""


@pytest.mark.parametrize(("kind", "example"), [(kind, each) for kind, rows in EXAMPLES.items() for each in rows])
def test_a_grader_says(kind: str, example: Example) -> None:
    """The score and the reason of the table."""
    grader = GRADERS[kind].model_validate({"type": kind, **example.settings})
    recorded = RECORDED if kind == "recorded" else None
    score = grader.grade(Answered(example.answer, example.reference, recorded, OUTSIDE))
    assert score.value == (None if example.score is None else pytest.approx(example.score))
    assert score.reason == example.reason


def test_every_type_has_a_table() -> None:
    """A grader type without examples has no reference either."""
    assert list(EXAMPLES) == list(GRADERS)


REFERENCE_FREE = {
    "exact": [({}, False), ({"equals": "x"}, True)],
    "contains": [({"text": "x"}, True), ({"text": "reference"}, False)],
    "regex_match": [({"pattern": "x"}, True), ({"pattern": "x", "equals": "reference"}, False)],
    "json_field": [({"path": "a"}, True), ({"path": "a", "equals": "reference"}, False)],
    "similarity": [({}, False), ({"to": "x"}, True)],
    "numeric": [({}, False), ({"equals": 3}, True)],
    "refusal": [({}, True)],
    "max_length": [({"words": 3}, True)],
}


@pytest.mark.parametrize(
    ("kind", "settings", "free"), [(k, s, f) for k, rows in REFERENCE_FREE.items() for s, f in rows]
)
def test_a_grader_knows_whether_it_needs_a_reference(kind: str, settings: dict[str, Any], free: bool) -> None:
    """Only graders that need none can score live answers."""
    assert GRADERS[kind].model_validate({"type": kind, **settings}).needs_reference is not free
