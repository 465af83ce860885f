"""The text of a snapshot file holds any answer, and survives what editors, Git and hooks do to text."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from understudy.snapshots.stored import Broken, Said, Snapshot, decode, encode, escaped, read, said, shown, unescaped

TEXTS = st.text(
    st.one_of(
        st.characters(categories=["L", "N", "P", "Z", "S"]),
        st.sampled_from("\\\n\r\t \x1b\x00\x0b\x0c\x85\u2028\u202e\u200b\ufeff\ud800\U000e0001é👩‍🚒-_u{}"),
    ),
    max_size=60,
)
CALLS = st.lists(
    st.fixed_dictionaries({"name": TEXTS, "arguments": st.one_of(TEXTS, st.dictionaries(TEXTS, st.integers()))}),
    max_size=3,
)


@given(TEXTS)
@example("")
@example("\n")
@example("ends with a line\n\n")
@example("\\--- tool calls\n{}")
@example("\x1b[31mred\x1b[0m\r\n")
@example("long " * 20_000)
def test_any_text_comes_back(text: str) -> None:
    """What is written is read again, and is text that shows everything in it."""
    written = escaped(text)
    assert unescaped(written) == text
    written.encode()
    lines = written.split("\n")
    assert lines[-1]
    assert all(not line[-1:].isspace() for line in lines)
    assert all(character == "\t" or ord(character) >= 32 for line in lines for character in line)
    assert "\x1b" not in written and "\u202e" not in written and len(written.splitlines()) == len(lines)


@given(TEXTS, CALLS, st.text(max_size=20).filter(lambda label: "\n" not in label and label))
def test_a_file_comes_back(text: str, calls: list[object], label: str) -> None:
    """A whole file is read again as it was, also with the line ends of another system, or cut at its end."""
    # A name with half a character in it cannot be JSON that a provider sent.
    tools = json.dumps(calls) if calls else ""
    snapshot = Snapshot(said(text, tools), label, "test_a[x]", "m", "v", "f" * 16, "a" * 16, "stop", "2026-01-31")
    written = encode(snapshot)
    assert decode(written) == snapshot
    assert decode(written.replace("\n", "\r\n")) == snapshot
    assert decode("\ufeff" + written) == snapshot
    assert decode(written.removesuffix("\n")) == snapshot
    assert read(shown(snapshot.said)) == snapshot.said


def test_two_answers_are_two_files() -> None:
    """Planted near misses: what looks alike is told apart."""
    near = ["a", "a ", "a\n", "a\r", "a\\r", "a\\_", "a\u200b", " a"]
    assert len({escaped(text) for text in near}) == len(near)
    assert shown(Said("a")) != shown(said("a", '[{"name": "f", "arguments": {}}]'))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not begin with"),
        ("understudy snapshot 2\nlabel: m\ntest: t\n\\--- answer\na\n", "does not begin with"),
        ("understudy snapshot 1\nlabel: m\n\\--- answer\na\n", "does not say its test"),
        ("understudy snapshot 1\nlabel: m\nhue: red\n\\--- answer\na\n", "line 3 is none of"),
        ("understudy snapshot 1\nlabel: m\ntest: t\n\\--- answer\na\\b\n", "begins no escape"),
        ("understudy snapshot 1\nlabel: m\ntest: t\n\\--- answer\na\\u{999999}\n", "there is no character"),
        ("understudy snapshot 1\nlabel: m\ntest: t\n\\--- answer\na\n\\--- tool calls\n{\n", "no JSON"),
        ("understudy snapshot 1\n<<<<<<< HEAD\nlabel: m\n\\--- answer\na\n", "line 2 is none of"),
    ],
)
def test_a_broken_file_is_said_to_be_broken(text: str, words: str) -> None:
    """What a merge or an editor left is no snapshot, and is never taken for an empty one."""
    with pytest.raises(Broken, match=words):
        decode(text)
