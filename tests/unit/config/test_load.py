"""YAML files: plain data with positions, and everything else refused."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from understudy.config.load import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NODES,
    MAX_PROBLEMS,
    Document,
    load_yaml,
    parse_yaml,
    read_text,
)
from understudy.core.errors import ConfigError, Problem


def problems(text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f.yaml")
    return caught.value.problems


def told(text: str) -> list[tuple[int, int, str]]:
    return [(p.where.line, p.where.column, p.message) for p in problems(text)]


def test_scalars_follow_the_core_schema_of_yaml_1_2() -> None:
    """`on`, dates and times are text; numbers, true, false and null are what they look like."""
    text = """
- [on, yes, 24h, 2025-09-02, "1", 1:30, +, ., e5]
- [0, -7, +3, 0x1F, 0o17, 1.5, .5, 1e3, -2.5E-3]
- [true, FALSE, null, ~, ]
"""
    words, numbers, others = parse_yaml(text, "f").data
    assert words == ["on", "yes", "24h", "2025-09-02", "1", "1:30", "+", ".", "e5"]
    assert numbers == [0, -7, 3, 31, 15, 1.5, 0.5, 1000.0, -0.0025]
    assert others == [True, False, None, None]


def test_every_key_and_value_has_a_position() -> None:
    """Line and column count from 1, and point at the value, its key, or the dash's content."""
    document = parse_yaml("a:\n  - b: 1\n    c: [x, y]\n  - {d: 2}\n", "f.yaml")
    assert document.data == {"a": [{"b": 1, "c": ["x", "y"]}, {"d": 2}]}
    assert str(document.position(("a", 0, "b"))) == "f.yaml:2:8"
    assert str(document.key_position(("a", 0, "c"))) == "f.yaml:3:5"
    assert str(document.position(("a", 0, "c", 1))) == "f.yaml:3:12"
    assert str(document.position(("a", 1, "d"))) == "f.yaml:4:9"


def test_what_is_missing_is_placed_at_its_parent() -> None:
    """A path that leads nowhere gives the key of the nearest entry that exists."""
    document = parse_yaml("a:\n  b: {c: 1}\n", "f.yaml")
    assert str(document.position(("a", "b", "nothing", "here"))) == "f.yaml:2:3"
    assert str(document.position(("z",))) == "f.yaml:1:1"


def test_all_refusals_come_at_once_with_their_places() -> None:
    """Anchors, aliases, tags, merge keys, double keys and ambiguous scalars are refused together."""
    text = "a: &x 1\nb: *x\nc: !!python/object:os.system ls\n<<: {}\nb: 2\n1: 2\nid: 007\nn: .inf\n"
    found = told(text)
    assert [(line, column) for line, column, _ in found] == [
        (1, 4),
        (2, 4),
        (3, 4),
        (4, 1),
        (5, 1),
        (6, 1),
        (7, 5),
        (8, 4),
    ]
    messages = [message for _, _, message in found]
    assert messages[0].startswith("the anchor &x is refused")
    assert messages[1].startswith("the alias *x is refused")
    assert "python/object:os.system is refused" in messages[2]
    assert messages[3].startswith("the merge key <<")
    assert messages[4] == "the key b stands twice in one mapping, first in line 2"
    assert messages[5] == "the key 1 is not text"
    assert messages[6] == "007 may be text or a number"
    assert messages[7] == ".inf is no number that can be kept exactly"
    assert all(problem.remedy for problem in problems(text))


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("a:\n\t- x", (2, 1), "a tab stands where spaces are expected"),
        ("a: b: c", (1, 5), "a second `key: value` begins in one line"),
        ('a: "abc', (1, 8), "a quote is opened and never closed"),
        ("a: [1, 2", (1, 9), "a [ or { is opened and not closed properly"),
        ("a:\n  b: 1\n c: 2", (3, 2), "this line is indented unlike the ones around it"),
        ("a: \x01", (1, 4), "the control character U+0001 is not allowed"),
        ("a: 1\n---\nb: 1", (2, 1), "a second document begins here"),
        ("? [a]\n: 2", (1, 3), "a list or mapping stands where a key is expected"),
        ("# nothing\n", (1, 1), "f.yaml is empty"),
    ],
)
def test_syntax_errors_are_plain_sentences_with_a_place(text: str, where: tuple[int, int], said: str) -> None:
    """The parser's own words do not reach the user where we have better ones."""
    assert told(text) == [(*where, said)]
    assert problems(text)[0].remedy


@pytest.mark.slow
def test_the_number_of_nodes_is_limited() -> None:
    """One more than the limit is refused, the limit itself is not."""
    flat = ",".join("1" for _ in range(MAX_NODES - 1))
    assert len(parse_yaml(f"[{flat}]", "f").data) == MAX_NODES - 1
    assert told(f"[{flat},1]")[0][2] == "more than 100,000 keys and values, the limit"


def test_depth_and_size_are_limited(tmp_path: Path) -> None:
    """One more than the limit is refused, the limit itself is not."""
    assert parse_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH, "f").data
    assert "nested deeper than 32" in told("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))[0][2]
    file = tmp_path / "big.yaml"
    file.write_text("a: " + "x" * (MAX_BYTES - 3))
    assert len(load_yaml(file).data["a"]) == MAX_BYTES - 3
    file.write_text("a: " + "x" * (MAX_BYTES - 2))
    with pytest.raises(ConfigError, match="larger than 1,048,576 bytes"):
        load_yaml(file)


def test_a_bomb_is_refused_before_it_is_built(calls: Callable[[Callable[[], object]], int]) -> None:
    """Nine levels of nine aliases would be 387 million nodes; it costs under 2 MB, and eighteen cost no step more."""

    def bomb(depth: int) -> str:
        levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, depth)]
        return "\n".join(levels)

    tracemalloc.start()
    found = problems(bomb(9))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == MAX_PROBLEMS
    assert peak < 2_000_000
    assert calls(lambda: problems(bomb(18))) <= 1.1 * calls(lambda: problems(bomb(9)))


def test_files_that_are_no_text_are_named_with_the_reason(tmp_path: Path) -> None:
    """Missing, a folder, a pipe, or not UTF-8: one problem, no traceback, and a pipe does not block."""
    with pytest.raises(ConfigError, match="No such file or directory"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is no ordinary file"):
        load_yaml(tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match="is no ordinary file"):
        load_yaml(tmp_path / "pipe.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: 1\nb: caf\u00e9\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml:2:7: byte 0xe9 is not UTF-8"):
        load_yaml(latin)


def test_line_ends_and_byte_order_mark_do_not_change_the_text(tmp_path: Path) -> None:
    """A prompt saved on another system has the same fingerprint."""
    file = tmp_path / "p.md"
    file.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert read_text(file) == "one\ntwo\nthree\n"


def walk(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += walk(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += walk(inner, (*path, index))
    return found


@settings(derandomize=True, max_examples=400, deadline=None)
@given(st.text(alphabet="ab1:-[]{}&*!%@`'\"|>#?,~<.\\\n\t \u00e9\x85\u2028", max_size=40))
@example("*x : 1")
@example("? ")
@example("- - - a: &b\n")
def test_any_text_is_a_document_or_a_config_error(text: str) -> None:
    """No other exception leaves the reader, and every node of what it accepts has a place inside the file."""
    try:
        document = parse_yaml(text, "f")
    except ConfigError as error:
        assert all(p.where.line >= 1 and p.where.column >= 1 and p.message and p.remedy for p in error.problems)
        return
    assert isinstance(document, Document)
    assert set(walk(document.data)) == set(document.places)
