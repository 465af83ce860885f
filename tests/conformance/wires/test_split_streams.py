"""Wherever a stream is cut on its way, the readers say the same of it: a corpus of four dialects, cut everywhere."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.wires.base import Answer, Endpoint, StreamReader
from understudy.wires.registry import wire

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.stream"))


def reader_for(path: Path) -> StreamReader:
    """Files are named <wire>.<endpoint>--<what>.stream."""
    name, _, endpoint = path.name.partition("--")[0].partition(".")
    return wire(name).reader(Endpoint(name, endpoint, "", ""))


def said(path: Path, pieces: list[bytes]) -> tuple[Answer, bool, bool]:
    reader = reader_for(path)
    for piece in pieces:
        reader.feed(piece)
    return reader.answer(), reader.done, reader.content_seen


def cut(data: bytes, *at: int) -> list[bytes]:
    edges = [0, *sorted(at), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("path", CORPUS, ids=lambda p: p.stem)
def test_whole(path: Path) -> None:
    """A stream in one piece says what its golden file says."""
    golden = msgspec.convert(json.loads(path.with_suffix(".json").read_text()), Answer)
    assert said(path, [path.read_bytes()])[0] == golden


@pytest.mark.parametrize("path", CORPUS, ids=lambda p: p.stem)
def test_every_single_cut(path: Path) -> None:
    """One cut, at every byte, changes nothing."""
    data = path.read_bytes()
    whole = said(path, [data])
    different = [at for at in range(len(data) + 1) if said(path, cut(data, at)) != whole]
    assert different == []


@pytest.mark.parametrize("path", CORPUS, ids=lambda p: p.stem)
def test_two_close_cuts(path: Path) -> None:
    """A piece of one to four bytes, at every place, changes nothing."""
    data = path.read_bytes()
    whole = said(path, [data])
    pairs = ((at, at + width) for at in range(len(data)) for width in (1, 2, 3, 4))
    assert [pair for pair in pairs if said(path, cut(data, *pair)) != whole] == []


@pytest.mark.parametrize("path", CORPUS, ids=lambda p: p.stem)
def test_byte_by_byte(path: Path) -> None:
    """A stream that arrives one byte at a time says the same."""
    data = path.read_bytes()
    assert said(path, [data[i : i + 1] for i in range(len(data))]) == said(path, [data])


@pytest.mark.parametrize("path", CORPUS, ids=lambda p: p.stem)
@settings(derandomize=True, max_examples=150, deadline=None)
@given(data=st.data())
def test_many_cuts(path: Path, data: st.DataObject) -> None:
    """Two to six cuts anywhere, empty pieces included, change nothing."""
    stream = path.read_bytes()
    at = data.draw(st.lists(st.integers(0, len(stream)), min_size=2, max_size=6))
    assert said(path, cut(stream, *at)) == said(path, [stream])


def test_a_reader_that_decodes_each_piece_is_caught() -> None:
    """The cuts are able to find the classic defect: text decoded piece by piece breaks inside a character."""
    data = next(p for p in CORPUS if p.stem.endswith("completions--text")).read_bytes()
    broken = [
        at for at in range(len(data)) if "".join(p.decode(errors="replace") for p in cut(data, at)) != data.decode()
    ]
    assert broken
