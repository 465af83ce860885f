"""What a command that runs on says, and what its parent makes of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from understudy.cli.serving import Documents, only_one, teller
from understudy.core.errors import UsageError


def test_an_event_is_a_line_after_the_time_of_day(capsys: pytest.CaptureFixture[str]) -> None:
    teller(as_json=False)("reply: begin\x1b[2J")
    clock, _, event = capsys.readouterr().out.partition(" ")
    assert (len(clock), event) == (8, "reply: begin\ufffd[2J\n")


def test_an_event_as_json_has_its_time_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    teller(as_json=True)("reply: begin")
    said = json.loads(capsys.readouterr().out)
    assert said["event"] == "reply: begin"
    assert said["at"] > 1_700_000_000


def test_documents_come_on_one_line_or_over_several() -> None:
    heard: list[dict[str, Any]] = []
    documents = Documents(heard.append)
    for line in '{"event": 1}\n{\n  "message": "a",\n  "remedy": "b"\n}\n{"event": 2}'.splitlines():
        documents.line(line)
    assert heard == [{"event": 1}, {"message": "a", "remedy": "b"}, {"event": 2}]


def test_what_a_killed_child_did_not_finish_is_left_out() -> None:
    heard: list[dict[str, Any]] = []
    documents = Documents(heard.append)
    for line in ("{", '  "message":', '{"event": 1}'):
        documents.line(line)
    assert heard == [{"event": 1}]


def test_what_runs_already_is_named_with_its_process_and_is_free_again_when_that_ends(tmp_path: Path) -> None:
    lock = tmp_path / "state" / "up.lock"
    with (
        only_one(lock, "`understudy up`", "stop it first"),
        pytest.raises(UsageError, match=rf"`understudy up` runs already \(process {os.getpid()}\)"),
        only_one(lock, "`understudy up`", "stop it first"),
    ):
        pytest.fail("a second one began")
    with only_one(lock, "`understudy up`", "stop it first"):
        pass


def test_where_no_lock_can_be_made_it_runs_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with only_one(tmp_path / "state" / "up.lock", "`understudy up`", "stop it first"):
        pass
