"""Two machines and a controller on one database, as real processes: what is taken away is taken away on both."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.postgres import Cluster

from understudy.core.playbook import Stage
from understudy.core.routing import TABLE_FILE
from understudy.rollout import operate
from understudy.rollout.begin import Request, begin
from understudy.rollout.journal import Draft
from understudy.rollout.machine import Kind
from understudy.rollout.operate import Effect
from understudy.rollout.standing import status_of
from understudy.rollout.store.base import Stale
from understudy.wiring import Control, control

from .conftest import World, eventually, suite

pytestmark = pytest.mark.slow(30)

LEASE_S = 10.0
OLD = {"old": 40}


class Machine(World):
    """A machine with one gateway worker and its follower."""

    port: int
    follower: Any

    def begin(self, name: str) -> None:
        self.name = name
        self.follow()
        eventually((self.routing / TABLE_FILE).is_file)
        self.port = self.start("gateway", "--json", wait_for="url")[1]["port"]

    def follow(self) -> None:
        self.follower = self.start("follow", "--name", self.name, "--json", wait_for="event")[0]

    @property
    def routing(self) -> Path:
        return self.project.paths.routing

    def serves(self) -> dict[str, int]:
        return self.served(self.port)


class Fleet:
    """All of it. `desk` is where somebody types, and where the controller runs."""

    def __init__(self, desk: World, a: Machine, b: Machine) -> None:
        self.desk, self.a, self.b = desk, a, b

    def ask(self, what: Callable[[Control], Any]) -> Any:
        async def asked() -> Any:
            async with control(self.desk.project) as opened:
                return await what(opened)

        return asyncio.run(asked())

    def canary(self, token: str) -> None:
        """An upgrade that serves half of the users on both machines.

        The controller looks at it meanwhile, and may do what is done here.
        """

        async def write(opened: Control) -> None:
            project, (store, board) = self.desk.project, opened
            now = time.time()
            state = await begin(project, store, board, Request("reply", "new", "ada", "", token), now)
            while state.stage is not Stage.CANARY:
                seen = await store.read()
                state = next(each for each in seen.upgrades if each.id == state.id)
                data: dict[str, Any] = {}
                match state.stage:
                    case Stage.DRAFT:
                        kind = Kind.OPENED
                    case Stage.REGRESS:
                        kind = Kind.CLEARED
                    case _:
                        kind = Kind.EXPOSED if state.clock else Kind.CLOCK_STARTED
                        data = {"judged": state.clock, "share": 500_000}
                with suppress(Stale):
                    draft = Draft(kind, "ada", "", data if kind is Kind.EXPOSED else {})
                    state = await store.append(seen.epoch, state.id, [draft], time.time())
            while True:
                table = await board.read()
                said = operate.publish.acknowledged(await board.heartbeats(), table, time.time())
                route = table.workloads["reply"].route
                if route and route.share == 500_000 and route.lease_until and said.effective and said.live == 2:
                    return
                await asyncio.sleep(0.01)

        self.ask(write)

    def roll_back(self, timeout_s: float = 10.0) -> Effect:
        async def back(opened: Control) -> Effect:
            store, board = opened
            return await operate.roll_back(
                self.desk.project, store, board, "reply", "ada", "enough", timeout_s=timeout_s
            )

        found: Effect = self.ask(back)
        return found

    def stage(self) -> Stage:
        return self.desk.state().stage

    def notes(self) -> str:
        async def noted(opened: Control) -> str:
            document = await status_of(self.desk.project, *opened, "reply", time.time())
            return " ".join(document["notes"])

        return str(self.ask(noted))


@pytest.fixture
def fleet(world: World, postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setenv("CONTROL_STORE", postgres.url(postgres.database()))
    written = (tmp_path / "understudy.yaml").read_text().replace("lease: 20s", f"lease: {LEASE_S}s")
    written = written.replace("workers: 2", "workers: 1") + "store: ${CONTROL_STORE}\n"
    folders = [tmp_path / name for name in ("desk", "a", "b")]
    for folder in folders:
        folder.mkdir()
        (folder / "understudy.yaml").write_text(written)
        (folder / "suite.yaml").write_text(suite(3))
    desk, a, b = World(folders[0]), Machine(folders[1]), Machine(folders[2])
    try:
        desk.start("controller", "--json", "--every", "0.3", wait_for="event")
        a.begin("a")
        b.begin("b")
        yield Fleet(desk, a, b)
    finally:
        for each in (desk, a, b):
            each.stop()


def test_a_rollback_reaches_every_machine_or_says_which_it_did_not(fleet: Fleet, postgres: Cluster) -> None:
    """A flip is effective on both machines or not at all; a follower and the database may be killed, and come back."""
    a, b = fleet.a, fleet.b
    fleet.canary("one")
    for each in (a, b):
        assert set(each.serves()) == {"old", "new"}
    eventually(
        lambda: (
            {(each.routing / TABLE_FILE).read_bytes() for each in (a, b)}
            == {fleet.ask(lambda opened: opened.store.hung())}
        )
    )

    effect = fleet.roll_back()
    assert (effect.workers, effect.waiting) == (2, ())
    print(f"rollback to the last worker's word: {effect.seconds:.3f} s")
    assert a.serves() == b.serves() == OLD

    fleet.canary("two")
    os.kill(b.follower.pid, signal.SIGKILL)
    effect = fleet.roll_back(timeout_s=0.5)
    assert a.serves() == OLD
    assert [name for name in effect.waiting if name.startswith("b")] == list(effect.waiting) != []
    assert "new" in b.serves()
    asyncio.run(operate.kill(b.routing, "reply", "bob", "the follower is dead"))
    assert b.serves() == OLD
    eventually(lambda: "b was not heard for" in fleet.notes(), within=20)
    b.follow()
    eventually(lambda: fleet.roll_back().waiting == (), within=20)
    (b.routing / "rollback.reply").unlink()
    eventually(lambda: fleet.ask(lambda opened: opened.board.kills()) == {})
    assert a.serves() == b.serves() == OLD

    fleet.canary("three")
    postgres.stop()
    try:
        asyncio.run(operate.kill(a.routing, "reply", "bob", "the database is dead"))
        assert a.serves() == OLD
        assert "new" in b.serves()
        eventually(lambda: b.serves() == OLD, within=4 * LEASE_S)  # the lease of the canary has run out
    finally:
        postgres.start()
    eventually(lambda: fleet.stage() is Stage.ROLLED_BACK, within=30)  # the kill file of one machine reaches all
    effect = fleet.roll_back()
    assert (effect.workers, effect.waiting) == (2, ())
    (a.routing / "rollback.reply").unlink(missing_ok=True)
    eventually(lambda: a.serves() == b.serves() == OLD)
    assert [e for each in (a, b) for e in each.events if "defect" in json.dumps(e)] == []
