"""What is kept of a text as it streams by: all of it up to a limit, in little memory."""

from __future__ import annotations

import tracemalloc

import pytest

from understudy.wires.reading import Text


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
