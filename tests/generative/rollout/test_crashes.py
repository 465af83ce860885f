"""A controller killed before or after every single thing it does to the outside: the next one carries on alike."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from understudy.config.project import Project, open_project
from understudy.core.playbook import Stage
from understudy.rollout.begin import Request, begin
from understudy.rollout.fold import fold
from understudy.rollout.machine import MOVES, Kind
from understudy.rollout.rehearsal import Rehearsal

CONFIG = """
providers:
  local: {wire: openai, base_url: "http://127.0.0.1:9/v1"}
workloads:
  reply:
    incumbent: old
    variants:
      old: {provider: local, model: model-1}
      new: {provider: local, model: model-2}
    suites: [suite.yaml]
    shadow: {min: 100s, max: 1000s}
    canary:
      lease: 50s
      ladder: [{share: 1%, hold: 100s}, {share: 25%, hold: 100s}, {share: 100%, hold: 0s}]
    soak: {duration: 100s, retain: 150s}
"""
SUITE = 'suite: s\ncases: [{id: a, prompt: "?", reference: "!"}]\ngraders: [{name: g, type: exact}]\nscore: g\n'
OUTSIDE = {"append", "bump", "save_progress", "save_assessment", "published", "close_intents", "settle", "write"}
"""What a controller does that outlives it."""


class Killed(BaseException):
    """The process is gone at this very line."""


@dataclass
class Fuse:
    """Counts what is done to the outside, and blows at number `at`, before or after doing it."""

    at: int
    after: bool
    count: int = 0

    def around(self, thing: Any) -> Any:
        fuse = self

        class Fused:
            def __getattr__(self, name: str) -> Any:
                inner = getattr(thing, name)
                return fuse.guard(inner) if name in OUTSIDE else inner

        return Fused()

    def guard(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(inner):

            async def waited(*args: Any, **named: Any) -> Any:
                self.count += 1
                if self.count == self.at and not self.after:
                    raise Killed
                result = await inner(*args, **named)
                if self.count == self.at:
                    raise Killed
                return result

            return waited

        def called(*args: Any, **named: Any) -> Any:
            self.count += 1
            if self.count == self.at and not self.after:
                raise Killed
            result = inner(*args, **named)
            if self.count == self.at:
                raise Killed
            return result

        return called


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("crashes")
    (folder / "understudy.yaml").write_text(CONFIG)
    (folder / "suite.yaml").write_text(SUITE)
    return open_project(Path(folder) / "understudy.yaml")


def carried(project: Project, fuse: Fuse) -> tuple[list[Kind], Rehearsal]:
    """A whole upgrade with one kill in it; the moves its journal tells of."""

    async def run() -> Rehearsal:
        world = Rehearsal(project)
        await begin(project, world.store, world.board, Request("reply", "new", "ada", "", "t"), world.clock.wall())
        controller = world.controller("first")
        controller.store, controller.board = fuse.around(world.store), fuse.around(world.board)
        for _ in range(80):
            world.clock.pass_(25.0)
            try:
                await controller.turn()
            except Killed:
                controller = world.controller("second")
            if (await world.store.upgrades())[0].over:
                break
        await controller.turn()
        return world

    world = asyncio.run(run())
    moves = {kind for row in MOVES.values() for kind in row}
    (state,) = asyncio.run(world.store.upgrades())
    journal = asyncio.run(world.store.journal(state.id))
    assert fold(journal) == state
    assert [t.epoch for t in world.board.tables] == sorted({t.epoch for t in world.board.tables})
    return [event.kind for event in journal if event.kind in moves], world


UNDISTURBED = [
    Kind.OPENED,
    Kind.CLEARED,
    Kind.EXPOSED,
    Kind.WIDENED,
    Kind.WIDENED,
    Kind.TAKEN_OVER,
    Kind.RETIRED,
]


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_effect(project: Project, after: bool) -> None:
    """Whatever was the last thing a controller did, the upgrade takes the same moves, each once, to the same end."""
    spared = Fuse(at=0, after=after)
    moves, world = carried(project, spared)
    assert moves == UNDISTURBED
    assert spared.count > 50
    for number in range(1, spared.count + 1):
        moves, world = carried(project, Fuse(number, after))
        assert moves == UNDISTURBED, f"killed {'after' if after else 'before'} effect {number}"
        table = world.board.newest()
        assert table is not None
        assert (table.workloads["reply"].incumbent, table.workloads["reply"].route) == ("new", None)
        assert asyncio.run(world.store.upgrades())[0].stage is Stage.DONE


def test_the_fuse_blows_where_it_should(project: Project) -> None:
    """The kill is real: an effect before which the controller dies is not done by it."""
    world = Rehearsal(project)
    fuse = Fuse(at=1, after=False)
    with pytest.raises(Killed):
        asyncio.run(fuse.around(world.store).bump(0))
    assert world.store.epoch == 0
    fuse = Fuse(at=1, after=True)
    with pytest.raises(Killed):
        asyncio.run(fuse.around(world.store).bump(0))
    assert world.store.epoch == 1
