"""The terminal view: what a row says, how the intervals are drawn, and that no text can steer the terminal."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from understudy.cli.eval_view import show
from understudy.core.variant import Reasoning, Variant
from understudy.evals.prompts import side_by_side
from understudy.evals.result import Bound, EvalResult, Thresholds, Usage
from understudy.evals.scoring import Example, Measure
from understudy.gates.paired import PairedCase, compare

OLD = Variant("old", "p", "m-1", params={"temperature": 0})
NEW = Variant("new", "p", "m-2", "Be brief.", reasoning=Reasoning("low"))


def result(**changes: Any) -> EvalResult:
    cases = [
        PairedCase(f"c{n}", ("even" if n % 2 == 0 else "odd",), (1.0,), (float(n % 2 == 0),), False) for n in range(200)
    ]
    given: dict[str, Any] = {
        "workload": "w",
        "incumbent": OLD,
        "candidate": NEW,
        "comparison": compare(cases, critical_slices=("odd",)),
        "measures": (
            Measure("characters", 638.0, 4.0, 200),
            Measure("output_tokens", 100.0, 300.0, 200),
            Measure("latency_p50_s", 0.5, 0.25, 200, "measured"),
            Measure("latency_p95_s", 20.0, 22.0, 200, "measured"),
            Measure("cost_usd", None, None, 0),
        ),
        "examples": (Example("c1", ("odd",), "Is it?", "Yes", "\x1b[2Jno\u202e", "equal", "says 'no'"),),
        "usage": Usage(400, 0, 0, {}),
        "repeats": 1,
        "repetitive": False,
        "bound": Bound({"s": "x"}, (), "t", OLD.fingerprint, NEW.fingerprint, "0"),
        "thresholds": Thresholds(),
        "cases": {"s": 200},
        "notes": (),
        "finished_at": 0.0,
        **changes,
    }
    return EvalResult(**given)


def shown(found: EvalResult, width: int) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=width, highlight=False), found, side_by_side(OLD, NEW, "terse"))
    return stream.getvalue()


@pytest.mark.parametrize("width", [36, 56, 70, 76, 100])
def test_slice_change_and_verdict_are_whole_at_any_width(width: int) -> None:
    """A terminal cut in two loses figures, never which slice it is and what is said of it."""
    lines = shown(result(), width).splitlines()
    first = next(n for n, line in enumerate(lines) if "verdict" in line)
    last = next(n for n, line in enumerate(lines) if line.split()[:1] == ["even"])
    assert ("interval" in lines[first], "incumbent" in lines[first]) == (width >= 56, width >= 76)
    assert not any("…" in line or len(line) > width for line in lines[first : last + 1])
    assert lines[last].split()[-2:] == ["✓", "pass"]


def test_a_narrow_terminal_gets_the_figures_and_a_wide_one_the_picture() -> None:
    """Both show scores, difference, interval and verdict; from 100 columns on the interval is drawn as well."""
    narrow, wide = shown(result(), 80), shown(result(), 140)
    for text in (narrow, wide):
        rows = [line.split() for line in text.splitlines()]
        assert ["odd", "critical", "100", "100.0", "0.0", "-100.0", "-100.0", "to", "-94.7", "✗", "fail"] in [
            [cell for cell in row if set(cell) - set("━●│")] for row in rows
        ]
    assert "●" not in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    undecided = compare([PairedCase(f"c{n}", ("w45",), (1.0,), (float(n > 0),), False) for n in range(1000)])
    unclear = shown(result(comparison=undecided, examples=()), 80)
    assert max(map(len, unclear.splitlines())) <= 80
    odd = next(line for line in wide.splitlines() if line.startswith(" odd "))
    axis = next(line for line in wide.splitlines() if "-100" in line and "+100" in line)
    assert odd.index("●") == axis.index("-100")
    assert odd.index("│") == axis.index("-100") + 12


def test_what_else_changed_is_shown_in_its_own_units() -> None:
    """Great changes as factors, small ones in percent, and what nobody knows as unknown."""
    text = shown(result(), 80)
    for words in ("638          4   ÷ 160", "100        300   x 3.0", "500 ms     250 ms   -50 %", "+10 %"):
        assert words in text
    assert "cost, mean" in text
    assert "unknown" in text


def test_prompt_reason_and_next_step_are_shown() -> None:
    """The change of the prompt with its reason, the outcome, and the command that comes next."""
    text = shown(result(), 100)
    assert "why: terse" in text
    assert "+ Be brief." in text
    assert "effort low" in text
    said = " ".join(text.split())  # however the lines are broken
    assert "understudy tune w --search --candidate new; or" in said
    assert said.endswith("write new anew with another prompt: understudy eval w --candidate NEW")


def test_each_way_to_go_on_has_a_line_of_its_own() -> None:
    """A command that is broken in two by the width of a terminal cannot be typed as it stands."""
    lines = shown(result(), 120).splitlines()
    assert "Try to close the gap: understudy tune w --search --candidate new; or" in lines
    assert "write new anew with another prompt: understudy eval w --candidate NEW" in lines


def test_answers_cannot_steer_the_terminal() -> None:
    """Control and bidirectional characters of a model's answer are shown as replaced."""
    text = shown(result(), 80)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "�" in text


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ((1.0, 1.0), "On to shadow: understudy upgrade start w --candidate new"),
        ((1.0, 0.0), "Try to close the gap"),
    ],
)
def test_the_next_step_follows_the_outcome(scores: tuple[float, float], words: str) -> None:
    """Each outcome names what a person does now."""
    cases = [PairedCase(f"c{n}", (), (scores[0],), (scores[1],), False) for n in range(200)]
    assert words in result(comparison=compare(cases)).next_step
    stopped = result(comparison=compare(cases, tuning_exhausted=True)).next_step
    assert ("stay with the incumbent" in stopped) is (scores[1] == 0.0)


def test_an_undecided_eval_says_what_would_decide_it() -> None:
    """With repeats as a way out only where answers vary."""
    few = compare([PairedCase(f"c{n}", (), (1.0,), (1.0,), False) for n in range(20)])
    undecided = result(comparison=few)
    assert undecided.needs == (
        "the aggregate: about 737 cases instead of 20, or --repeats 37, to tell a loss of 2 points",
    )
    assert undecided.needs[0] in undecided.next_step
    assert f"  - {undecided.needs[0]}" in shown(undecided, 140)
    in_vain = replace(undecided, repetitive=True)
    assert "--repeats" not in in_vain.next_step
    assert "these variants repeat themselves" in in_vain.next_step
    assert "these variants repeat themselves" in shown(in_vain, 140)


def test_a_slice_that_is_too_small_or_leans_says_so() -> None:
    """Below the least number of cases there is no verdict; where a loss shows, more cases than there are."""
    cases = [PairedCase(f"c{n}", ("few",) if n < 3 else (), (1.0,), (1.0,), False) for n in range(200)]
    assert "few: at least 10 cases, it has 3" in result(comparison=compare(cases)).needs
    leaning = [PairedCase(f"c{n}", ("s",), (1.0,), (float(n >= 3),), False) for n in range(114)]
    assert any(need.startswith("s: more than its 114 cases") for need in result(comparison=compare(leaning)).needs)
