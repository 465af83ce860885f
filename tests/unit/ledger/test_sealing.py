"""Content is unreadable on every disk without the key, and whole with it."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from understudy.core.errors import DataCorrupt, UsageError
from understudy.ledger.committer import Committer
from understudy.ledger.export import export
from understudy.ledger.queries import Ledger
from understudy.ledger.sealing import VARIABLE, Seal, configured
from understudy.ledger.segments import SegmentWriter

OLD, NEW = b"o" * 32, b"n" * 32
SECRET = "what the user wrote"


@pytest.fixture
def lake(tmp_path: Path, make: Any) -> Path:
    writer = SegmentWriter(tmp_path / "s", "w0", seal=Seal([OLD]))
    writer.append(make(0, request=SECRET.encode(), answer=SECRET, tool_calls=f'["{SECRET}"]'))
    writer.append(make(1))
    writer.close()
    for path in (tmp_path / "s").iterdir():
        assert SECRET.encode() not in path.read_bytes()
    with Committer(tmp_path / "s", tmp_path / "l") as committer:
        committer.run_once()
    return tmp_path / "l"


def test_content_comes_back_with_the_key(tmp_path: Path, lake: Path) -> None:
    """Also after the key was changed, as long as the old one is kept for reading; empty content is just empty."""
    for keys in ([OLD], [NEW, OLD]):
        first, second = Ledger(lake, seal=Seal(keys)).exchanges(workload="reply")
        assert (first.request, first.answer, first.tool_calls) == (SECRET.encode(), SECRET, f'["{SECRET}"]')
        assert (second.request, second.answer) == (b"", "")
    export(tmp_path / "o.jsonl", lake=lake, seal=Seal([OLD]))
    assert (tmp_path / "o.jsonl").read_text().count(SECRET) == 3


def test_no_key_and_a_wrong_key_are_told_apart(tmp_path: Path, lake: Path) -> None:
    """The message says which variable; figures can be asked for without any key."""
    with pytest.raises(UsageError, match="encrypted"):
        next(Ledger(lake).exchanges(workload="reply"))
    with pytest.raises(DataCorrupt, match=VARIABLE):
        next(Ledger(lake, seal=Seal([NEW])).exchanges(workload="reply"))
    with pytest.raises(UsageError, match="encrypted"):
        export(tmp_path / "o.jsonl", lake=lake)
    assert Ledger(lake).counts("reply")[0].exchanges == 2


def test_a_field_moved_to_another_place_does_not_open(make: Any) -> None:
    """Sealed content is bound to its exchange and its field."""
    seal = Seal([OLD])
    sealed = seal.seal(make(0, answer="a", request=b"r"))
    assert seal.open("x-000000", "answer", sealed.answer.encode()) == b"a"
    for name, field in (("x-000001", "answer"), ("x-000000", "request")):
        with pytest.raises(DataCorrupt):
            seal.open(name, field, sealed.answer.encode())
    assert seal.seal(make(0, answer="a")).answer != sealed.answer


def test_the_key_comes_from_the_environment() -> None:
    """None set: no seal. Not base64, or of another length: refused before anything is written."""
    key = base64.b64encode(os.urandom(32)).decode()
    assert configured({}) is None
    assert configured({VARIABLE: " "}) is None
    assert configured({VARIABLE: f"{key}, {key}"}) is not None
    for bad in ("not base64!", base64.b64encode(b"short").decode()):
        with pytest.raises(UsageError, match=VARIABLE):
            configured({VARIABLE: bad})
