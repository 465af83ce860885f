"""What a configuration is told of its variants and of its pairs of wires."""

from __future__ import annotations

from typing import Any

import pytest

from understudy.core.variant import Reasoning, Variant
from understudy.wires.compat import never_carried, pair_problems, variant_problems
from understudy.wires.registry import NAMES


@pytest.mark.parametrize(
    ("name", "params", "reasoning", "part"),
    [
        ("openai", {}, Reasoning(budget_tokens=2000), "cannot be told"),
        ("openai", {"top_k": 4}, None, "take it out"),
        ("openai", {"model": "x"}, None, "set by the gateway"),
        ("anthropic", {"stop": ["a"]}, None, "write stop_sequences"),
        ("anthropic", {}, Reasoning("minimal"), "choose one of"),
        ("anthropic", {}, Reasoning(budget_tokens=5), "below 1024"),
        ("anthropic", {"max_tokens": 1500}, Reasoning(budget_tokens=2000), "raise max_tokens"),
        ("anthropic", {}, Reasoning("none", 2000), "exclude each other"),
        ("gemini", {"max_tokens": 4}, None, "write maxOutputTokens"),
        ("gemini", {}, Reasoning("max"), "choose one of"),
        ("gemini", {}, Reasoning("low", 2000), "exclude each other"),
        ("openai", {}, Reasoning("enormous"), "choose one of"),
    ],
)
def test_problems(name: str, params: dict[str, Any], reasoning: Reasoning | None, part: str) -> None:
    """A variant its wire cannot express is named with its remedy."""
    problems = variant_problems(name, Variant("v", "p", "m", params=params, reasoning=reasoning))
    assert len(problems) == 1
    assert part in problems[0]


@pytest.mark.parametrize(
    ("name", "params", "reasoning"),
    [
        ("openai", {"temperature": 0, "max_tokens": 5, "x_vendor": 1}, Reasoning("minimal")),
        ("anthropic", {"max_tokens": 5000, "top_k": 3}, Reasoning("high", 2048)),
        ("gemini", {"max_output_tokens": 5, "topK": 3}, Reasoning(budget_tokens=0)),
        ("gemini", {}, None),
    ],
)
def test_no_problems(name: str, params: dict[str, Any], reasoning: Reasoning | None) -> None:
    """A variant in its wire's own words has no problems; params we do not know are the provider's business."""
    assert variant_problems(name, Variant("v", "p", "m", params=params, reasoning=reasoning)) == ()


@pytest.mark.parametrize("source", NAMES)
@pytest.mark.parametrize("target", NAMES)
def test_what_is_never_carried(source: str, target: str) -> None:
    """Between two dialects something is always lost, and it is known beforehand; within one, nothing is."""
    losses = never_carried(source, target)
    assert bool(losses) is (source != target)
    assert all(loss.what and loss.why for loss in losses)


def test_known_losses() -> None:
    """Samples of what the tables must say."""
    assert "seed" in {loss.what for loss in never_carried("openai", "anthropic")}
    assert "cachedContent" in {loss.what for loss in never_carried("gemini", "openai")}
    assert "thinking budget" in {loss.what for loss in never_carried("gemini", "openai")}


def test_thoughts_cannot_be_sent_back_through_another_wire() -> None:
    """A budget on the Anthropic wire needs the app to send thoughts back, which only that wire can."""
    variant = Variant("v", "p", "m", reasoning=Reasoning(budget_tokens=2000))
    assert "set an effort" in pair_problems("openai", "anthropic", variant)[0]
    assert pair_problems("anthropic", "anthropic", variant) == pair_problems("openai", "gemini", variant) == ()
