"""The commands of an upgrade as a person types them, with their exit codes, without and with a controller."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from understudy.core.playbook import Stage

from .conftest import eventually, suite

if TYPE_CHECKING:
    from .conftest import World

pytestmark = pytest.mark.slow


def test_what_a_person_gets_wrong(world: World) -> None:
    """Each mistake has its exit code, a message with the value, and a remedy."""
    for arguments, said in (
        (("upgrade", "start", "repl", "--candidate", "new"), "repl"),
        (("upgrade", "start", "reply", "--candidate", "nw"), "nw"),
        (("upgrade", "start", "reply", "--candidate", "old"), "old"),
        (("upgrade", "pause", "reply"), "no upgrade under way"),
        (("upgrade", "promote", "reply"), "no upgrade under way"),
        (("upgrade", "waive", "reply", "a", "--owner", "eve", "--reason", "x", "--until", "soon"), "soon"),
        (("tune", "reply", "--candidate", "newer"), "reason"),
        (("rollback", "nothing"), "nothing"),
        (("history", "nothing"), "nothing"),
    ):
        done = world.run(*arguments, "--json")
        assert (done.code, done.err) == (2, ""), arguments
        assert said in done.json["message"], done.json
        assert done.json["remedy"], done.json
    none = world.run("upgrade", "status", "--json")
    assert (none.code, none.json["upgrade"], none.json["serves"]) == (0, None, {"old": 1.0})


def test_an_upgrade_by_hand(world: World) -> None:
    """Start, one turn of a controller at a time, pause, resume, tune and abort, all without a running process."""
    started = world.run("upgrade", "start", "reply", "--to", "new", "--why", "cheaper", "--by", "ada", "--json")
    assert (started.code, started.json["incumbent"], started.json["candidate"]) == (0, "old", "new")
    twice = world.run("upgrade", "start", "reply", "--candidate", "newer", "--json")
    assert (twice.code, twice.json["error"]) == (2, "Refused")
    turn = world.run("controller", "--once", "--json")
    assert turn.json["written"] == [f"{started.json['upgrade']} opened"]
    assert world.run("upgrade", "pause", "reply", "--why", "lunch").code == 0
    shown = world.run("upgrade", "status", "reply")
    assert "paused" in shown.out
    assert world.run("upgrade", "resume", "reply").code == 0
    tuned = world.run("tune", "reply", "--candidate", "newer", "--why", "asks for speed", "--json")
    assert tuned.code == 0
    assert [change["why"] for change in tuned.json["changes"]] == ["cheaper", "asks for speed"]
    assert "+ Be kind and quick." in [line.strip() for line in tuned.json["changes"][1]["lines"]]
    early = world.run("upgrade", "promote", "reply", "--json")
    assert early.code == 3
    assert "no controller answered" in early.json["message"]
    aborted = world.run("upgrade", "abort", "reply", "--why", "enough", "--json")
    assert (aborted.code, aborted.json["stage"]) == (0, "aborted")
    ended = world.run("upgrade", "status", "reply", "--json")
    assert (ended.code, ended.json["upgrade"]["ended_why"]) == (1, "enough")


@pytest.mark.parametrize("model", [{"latency_s": 0.15}])
def test_a_controller_killed_in_mid_eval_goes_on_where_it_was(world: World, model: dict[str, Any]) -> None:
    """kill -9 during the eval: the next controller asks only what is missing, and every event is there once."""
    (world.folder / "suite.yaml").write_text(suite(240))
    world.run("upgrade", "start", "reply", "--candidate", "new")
    first, _ = world.start("controller", "--json", wait_for="event")
    answers = world.project.paths.evals / "reply" / "answers"
    eventually(lambda: answers.is_dir() and sum(f.stat().st_size for f in answers.iterdir()) > 20_000)
    os.kill(first.pid, signal.SIGKILL)
    first.wait(60)
    assert world.state().stage is Stage.REGRESS
    kept = sum(f.stat().st_size for f in answers.iterdir())
    world.start("controller", "--json", wait_for="event")
    state = eventually(lambda: world.state() if world.state().stage is Stage.SHADOW else None, within=180)
    kinds = [str(event.kind) for event in world.journal()]
    assert kinds == ["started", "opened", "evaluated", "cleared"]
    assert kept > 20_000
    assert state.eval is not None
    usage = json.loads((world.project.paths.state / state.eval.document).read_text())["usage"]
    assert usage["kept"] > 0


def test_two_controllers_and_a_person_at_once(world: World) -> None:
    """Two controller processes and an impatient operator: one journal, each event once, the last word obeyed."""
    (world.folder / "suite.yaml").write_text(suite(240))
    world.run("upgrade", "start", "reply", "--candidate", "new")
    for _ in range(2):
        world.start("controller", "--json", "--every", "0.05", wait_for="event")
    eventually(lambda: world.state().stage is Stage.SHADOW, within=180)
    for number in range(5):
        assert world.run("upgrade", "pause" if number % 2 == 0 else "resume", "reply").code == 0
    assert world.run("upgrade", "abort", "reply", "--why", "done").code == 0
    time.sleep(0.5)
    kinds = [str(event.kind) for event in world.journal()]
    assert kinds[-1] == "aborted"
    assert [k for k in kinds if k in ("opened", "evaluated", "cleared")] == ["opened", "evaluated", "cleared"]
    assert kinds.count("paused") == 3
    assert [event for event in world.events if "problem" in event.get("event", "")] == []
