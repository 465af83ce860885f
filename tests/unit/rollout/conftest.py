"""A small project on disk, and a rehearsal of it in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from understudy.config.project import Project, open_project
from understudy.core.playbook import Stage
from understudy.rollout.begin import Request, begin
from understudy.rollout.controller import Controller
from understudy.rollout.fold import UpgradeState
from understudy.rollout.rehearsal import Rehearsal
from understudy.rollout.store.base import Handled

CONFIG = """
providers:
  local: {wire: openai, base_url: "http://127.0.0.1:9/v1"}
workloads:
  reply:
    incumbent: old
    variants:
      old: {provider: local, model: model-1, system_prompt: "text:Be kind."}
      new: {provider: local, model: model-2, system_prompt: "text:Be kind."}
      newer: {provider: local, model: model-2, system_prompt: "text:Be kind and short."}
      twin: {provider: local, model: model-1, system_prompt: "text:Be kind."}
    suites: [suite.yaml]
    gates: {critical: [vip]}
    shadow: {min: 100s, max: 1000s}
    canary:
      lease: 50s
      ladder: [{share: 1%, hold: 100s}, {share: 25%, hold: 100s}, {share: 100%, hold: 0s}]
    soak: {duration: 100s, retain: 150s}
  other:
    incumbent: old
    variants:
      old: {provider: local, model: model-1}
      new: {provider: local, model: model-2}
    suites: [suite.yaml]
"""

SUITE = """
suite: reply
cases:
  - {id: one, slice: a, prompt: "1 + 1?", reference: "2"}
graders:
  - {name: answer, type: exact}
score: answer
"""


@dataclass
class Play:
    """A rehearsal with the few moves that the tests make in it."""

    world: Rehearsal
    now: Controller = field(init=False)

    def __post_init__(self) -> None:
        self.now = self.world.controller("controller")

    def run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(what)

    def reconfigure(self, change: Callable[[str], str]) -> None:
        """Edit the configuration file; the next turn sees it."""
        file = self.world.project.file
        file.write_text(change(file.read_text()))
        self.world.project = open_project(file)

    def start(self, candidate: str = "new", token: str = "t1") -> UpgradeState:
        request = Request("reply", candidate, "ada", "cheaper", token)
        world = self.world
        state: UpgradeState = self.run(begin(world.project, world.store, world.board, request, world.clock.wall()))
        return state

    def turn(self, seconds: float = 25.0, times: int = 1) -> UpgradeState:
        for _ in range(times):
            self.world.clock.pass_(seconds)
            self.run(self.now.turn())
        return self.state()

    def until(self, stage: Stage, step: int | None = None, times: int = 60) -> UpgradeState:
        """Let time pass until the upgrade is there."""
        for _ in range(times):
            state = self.turn()
            if state.stage is stage and step in (None, state.step):
                return state
        raise AssertionError(f"never came to {stage} {step}: {self.state().place}, {self.said()}")

    def state(self) -> UpgradeState:
        states: list[UpgradeState] = self.run(self.world.store.upgrades())
        return states[-1]

    def wish(self, kind: str, why: str = "", **data: Any) -> Handled:
        """Ask for something; the next turn answers."""
        store, state = self.world.store, self.state()
        number = self.run(store.submit(state.id, kind, "ada", why, data, self.world.clock.wall()))
        self.turn(1.0)
        answer: Handled | None = self.run(store.answer(number))
        assert answer is not None
        return answer

    def said(self) -> dict[str, Any]:
        """The latest assessment."""
        return dict(self.run(self.world.store.assessment(self.state().id)) or {})

    def kinds(self) -> list[str]:
        return [str(event.kind) for event in self.run(self.world.store.journal(self.state().id))]

    def route(self) -> Any:
        table = self.world.board.newest()
        assert table is not None
        return table.workloads["reply"].route


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "understudy.yaml").write_text(CONFIG)
    (tmp_path / "suite.yaml").write_text(SUITE)
    return open_project(tmp_path / "understudy.yaml")


@pytest.fixture
def play(project: Project) -> Play:
    return Play(Rehearsal(project))
