"""Live answers are scored by the graders that need nothing but the answer, and only where there is a whole one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from understudy.core.records import Exchange
from understudy.evals.live import QUALITY, live_graders, scored
from understudy.evals.suite import Suite, load_suite

GRADERS = """
  - {name: answer, type: exact}
  - {name: short, type: max_length, characters: 5, weight: 3}
  - {name: kind, type: contains, text: please, weight: 1}
  - {name: plain, type: code_fence, present: false, weight: 0}
"""


def suite(folder: Path, graders: str, score: str = "") -> Suite:
    path = folder / "s.yaml"
    path.write_text(f"suite: s\ncases: [{{id: a, prompt: x, reference: y}}]\ngraders:{graders}\n{score}")
    return load_suite(path)


def exchange(**changes: Any) -> Exchange:
    given: dict[str, Any] = {"answer": "ok", "status": 200, "request": b"{}", **changes}
    return Exchange(exchange="e", workload="w", started_at=0.0, epoch=1, generation="g", **given)


def test_graders_without_a_reference_score_live_answers(tmp_path: Path) -> None:
    """Each under its own name, and their weighted mean as quality; those with weight 0 are reported only."""
    graders = live_graders([suite(tmp_path, GRADERS)])
    assert [grader.label for grader in graders.graders] == ["short", "kind", "plain"]
    scores = {"short": 1.0, "kind": 0.0, "plain": 1.0, QUALITY: 0.75, "invalid_format": 0.0}
    assert graders.scores(exchange(answer="ok")) == scores
    assert graders.scores(exchange(answer="yes, please"))[QUALITY] == 0.25


def test_the_named_score_is_the_quality_where_it_can_be(tmp_path: Path) -> None:
    """A score that needs no reference is the quality; one that does is stood in for by the others with a weight."""
    free = live_graders([suite(tmp_path, GRADERS, "score: plain\n")])
    assert free.scores(exchange(answer="```\nx\n```"))[QUALITY] == 0.0
    bound = live_graders([suite(tmp_path, GRADERS, "score: answer\n")])
    assert bound.scores(exchange(answer="ok"))[QUALITY] == 0.75


def test_without_such_graders_there_is_no_quality(tmp_path: Path) -> None:
    """No number is made up: not 0, not 1, none."""
    only = live_graders([suite(tmp_path, "\n  - {type: exact}")])
    assert only.scores(exchange()) == {}
    reported = live_graders([suite(tmp_path, "\n  - {type: exact}\n  - {type: refusal, weight: 0}")])
    assert reported.scores(exchange()) == {"refusal": 1.0, "refusals": 0.0}


def test_what_gates_count_is_an_event(tmp_path: Path) -> None:
    """A refusal where none is right, none where one is, and a form that a program cannot read."""
    sorry, json = "I'm sorry, but I can't help with that.", '{"a": 1}'
    either = live_graders([suite(tmp_path, "\n  - {type: refusal}\n  - {type: json_valid}")])
    assert {"refusals": 1.0, "invalid_format": 1.0}.items() <= either.scores(exchange(answer=sorry)).items()
    assert {"refusals": 0.0, "invalid_format": 0.0}.items() <= either.scores(exchange(answer=json)).items()
    wanted = live_graders([suite(tmp_path, "\n  - {type: refusal, expected: true}")])
    assert wanted.scores(exchange(answer=sorry)) == {"refusal": 1.0, QUALITY: 1.0, "refusals": 1.0}
    assert wanted.scores(exchange(answer=json))["refusals"] == 0.0


@pytest.mark.parametrize(
    "changes",
    [
        {"status": 500},
        {"status": 0, "error": "connect"},
        {"error": "truncated"},
        {"truncated_content": True},
        {"tool_calls": '[{"name":"f","arguments":"{}"}]', "answer": ""},
        {"answer": "", "request": b""},
    ],
)
def test_what_is_no_whole_answer_is_not_scored(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Failures, cut copies, tool calls and content that was not kept say nothing about quality."""
    graders = live_graders([suite(tmp_path, GRADERS)])
    assert graders.scores(exchange(**changes)) == {}
    assert scored(graders, [exchange(**changes), exchange()]).keys() == {"e"}


def test_an_empty_answer_is_an_answer(tmp_path: Path) -> None:
    """Where content is kept, saying nothing at all is scored as what it is."""
    graders = live_graders([suite(tmp_path, "\n  - {type: min_length, characters: 1}")])
    assert graders.scores(exchange(answer="")) == {"min_length": 0.0, QUALITY: 0.0}
