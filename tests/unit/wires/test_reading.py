"""What is kept of an answer as it streams by: its text up to a limit, in little memory, and counts that can be true."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from understudy.wires.reading import Text
from understudy.wires.registry import wire


def test_a_text_comes_back_as_it_was_said() -> None:
    """Letters of one to four bytes, and halves of a pair that some providers send, survive being kept."""
    text = Text()
    for part in ("a", "ß", "語", "🎭", "\ud83c", ""):
        text.add(part)
    assert (text.value(), text.truncated) == ("aß語🎭\ud83c", False)


@pytest.mark.parametrize(("limit", "kept"), [(0, ""), (1, "a"), (2, "a"), (3, "aß"), (4, "aß"), (6, "aß"), (7, "aß🎭")])
def test_the_limit_cuts_between_letters(limit: int, kept: str) -> None:
    """A letter that does not fit whole is left out, and so is everything after it."""
    text = Text(limit)
    text.add("aß🎭")
    text.add("b" if limit < 7 else "")
    assert (text.value(), text.truncated) == (kept, limit < 7)


def test_an_emoji_does_not_make_the_other_letters_larger() -> None:
    """A text of Latin letters with one emoji takes about a byte a letter, not four."""
    tracemalloc.start()
    try:
        text = Text()
        text.add("🎭")
        for _ in range(10_000):
            text.add("ten lette ")
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 1.5 * 100_000


@pytest.mark.parametrize("wire_name", ["openai", "anthropic", "gemini"])
def test_a_count_that_nobody_can_have_counted_is_unknown(wire_name: str) -> None:
    """No ledger could hold it, and the whole record would be lost with it."""
    wild = 10**30
    told: dict[str, tuple[str, dict[str, object]]] = {
        "openai": ("/v1/chat/completions", {"usage": {"prompt_tokens": wild, "completion_tokens": 2}, "choices": []}),
        "anthropic": ("/v1/messages", {"usage": {"input_tokens": wild, "output_tokens": 2}, "content": []}),
        "gemini": (
            "/v1beta/models/m:generateContent",
            {"usageMetadata": {"promptTokenCount": wild, "candidatesTokenCount": 2}, "candidates": []},
        ),
    }
    path, body = told[wire_name]
    endpoint = wire(wire_name).endpoint("POST", path)
    assert endpoint
    found = wire(wire_name).read(endpoint, 200, json.dumps(body).encode()).usage
    assert (found.input_tokens, found.output_tokens) == (None, 2)
