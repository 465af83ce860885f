"""The kill switch with real gateways: by the store, by the kill file with everything else dead, and rehearsed."""

from __future__ import annotations

import http.client
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from understudy.core.playbook import Stage
from understudy.rollout.publish import read_table

from .conftest import eventually

if TYPE_CHECKING:
    from .conftest import World

pytestmark = pytest.mark.slow


def serving_both(world: World) -> tuple[int, dict[str, int]]:
    """Everything is up and half of the users have the candidate; the gateway's port and the children's ids."""
    world.in_canary()
    _, ready = world.start("up", "--json", "--every", "0.2", wait_for="port")
    eventually(lambda: world.served(ready["port"]).get("new", 0) > 10)
    return ready["port"], ready["children"]


def through_dashboard(world: World, what: str, why: str) -> dict[str, Any]:
    """The same by the control API of the dashboard that `up` started, with the key of the link that it printed."""
    link = eventually(lambda: next((e["dashboard"] for e in world.events if "dashboard" in e), ""))
    url, key = link.split("/enter?key=")
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    connection.request("POST", f"/api/workloads/reply/{what}", json.dumps({"why": why}), headers)
    document: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return document


def test_a_drill_leaves_traffic_as_it_is_and_a_rollback_does_not(world: World) -> None:
    """The drill measures and is journaled; the rollback takes the candidate from everybody, and may be asked twice."""
    port, _ = serving_both(world)
    before = read_table(world.project.paths.routing)
    rehearsed = through_dashboard(world, "drill", "friday, in the browser")
    assert (rehearsed["effective"], rehearsed["workers"]) == (True, 2)
    drill = world.run("rollback", "reply", "--drill", "--why", "friday", "--json")
    assert (drill.code, drill.json["effective"], drill.json["workers"]) == (0, True, 2)
    assert 0 < drill.json["seconds"] < 5
    after = read_table(world.project.paths.routing)
    assert before and after
    assert after.epoch > before.epoch
    assert world.served(port).get("new", 0) > 10
    assert [str(e.kind) for e in world.journal()].count("drilled") == 2

    done = world.run("rollback", "reply", "--why", "users complain", "--by", "bob", "--json")
    assert (done.code, done.json["effective"]) == (0, True)
    assert world.served(port) == {"old": 40}
    state = world.state()
    assert (state.stage, state.ended_by, state.ended_why) == (Stage.ROLLED_BACK, "bob", "users complain")

    again = world.run("rollback", "reply", "--json")
    assert again.code == 0
    assert "nothing to roll back" in again.json["answer"]
    status = world.run("upgrade", "status", "reply", "--json")
    assert (status.code, status.json["serves"]) == (1, {"old": 1.0})
    told = world.run("history", "reply", "--json").json
    assert [c["event"] for c in told["changes"]] == ["exposed", "rolled_back"]
    assert told["changes"][1]["effective_s"] is not None


def test_the_kill_file_works_with_everything_else_dead(world: World) -> None:
    """Controller and committer killed, the store destroyed: one command still takes the candidate from everybody."""
    port, children = serving_both(world)
    world.processes[-1].send_signal(signal.SIGSTOP)  # nobody starts them again
    for name in ("controller", "committer"):
        os.kill(children[name], signal.SIGKILL)
    world.project.paths.store.write_bytes(b"no database any more" * 100)
    done = world.run("rollback", "reply", "--local", "--why", "fire", "--json")
    assert (done.code, done.json["effective"], done.json["workers"]) == (0, True, 2)
    assert done.json["seconds"] < 5
    assert world.served(port) == {"old": 40}
    clicked = through_dashboard(world, "rollback", "fire")
    assert (clicked["effective"], clicked["workers"]) == (True, 2)
    assert clicked["answer"] == "the kill file forces the incumbent"
    plain = world.run("rollback", "reply", "--json")
    assert (plain.code, plain.json["effective"]) == (0, True)
    assert "using the kill file" in plain.err
    world.processes[-1].send_signal(signal.SIGCONT)


def test_a_kill_file_is_journaled_when_the_controller_is_back(world: World) -> None:
    """What was done without the controller is in the journal afterwards, in the name of who did it."""
    port, _ = serving_both(world)
    world.run("rollback", "reply", "--local", "--why", "fire", "--by", "bob")
    eventually(lambda: world.state().over)
    assert (world.state().ended_by, world.state().ended_why) == ("bob", "fire")
    eventually(lambda: not list(world.project.paths.routing.glob("rollback.*")))
    assert world.served(port) == {"old": 40}
