"""Collects what the pages and the control API show, by the same functions that the commands print from."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Protocol

from understudy.config.project import Project
from understudy.core.errors import CannotMeasure, UnderstudyError
from understudy.dashboard.looking import PATIENT_S, Looked, Looking
from understudy.evals.result import load
from understudy.ledger.projection import project
from understudy.ledger.queries import Ledger
from understudy.rollout.board import Board
from understudy.rollout.compared import compared_again, following
from understudy.rollout.fold import UpgradeState
from understudy.rollout.following import Following
from understudy.rollout.lookback import decided, seen, who_served
from understudy.rollout.sheet import sheet
from understudy.rollout.standing import status_of, upgrade_of
from understudy.rollout.store.base import Store

EXAMPLES = 3
"""Pairs that are shown with each finding."""


class Opened(Protocol):
    """The control store of a project and the folder its gateways read."""

    @property
    def store(self) -> Store: ...

    @property
    def board(self) -> Board: ...


class Facts:
    """One project, opened once; its configuration is read anew where it changes.

    reopen: gives the configuration of now, or raises what is wrong with it.
    changed: is told of another configuration before it is used, and may raise what is wrong with it.
    opening: opens the control store; tried again at each look until it succeeds.
    """

    def __init__(
        self,
        project: Project,
        reopen: Callable[[Project], Project],
        opening: Callable[[Project], AbstractAsyncContextManager[Opened]],
        looking: Looking,
        changed: Callable[[Project], None] = lambda project: None,
    ) -> None:
        self.project = project
        self.problem = ""
        """What is wrong with the configuration; the last good one is used."""
        self.looking = looking
        self._reopen = reopen
        self._opening = opening
        self._changed = changed
        self._opened: Opened | None = None
        self._lock = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._followings: dict[tuple[str, str, float], tuple[Following, threading.Lock]] = {}

    def current(self) -> Project:
        """The project as its file says now, or as it last said without an error."""
        try:
            found = self._reopen(self.project)
            if found is not self.project:
                self._changed(found)
            self.project, self.problem = found, ""
        except UnderstudyError as error:
            self.problem = error.message
        return self.project

    async def control(self) -> Opened:
        """The control store and the board. Raises StoreUnavailable."""
        async with self._lock:
            if self._opened is None:
                self._opened = await self._stack.enter_async_context(self._opening(self.project))
            return self._opened

    async def close(self) -> None:
        await self._stack.aclose()

    async def status(self, workload: str, upgrade: str = "") -> dict[str, Any]:
        """Where a workload stands, with its owner and the slices that wait for a person's word."""
        section = self.project.workload(workload)
        opened = await self.control()
        document = await status_of(self.project, opened.store, opened.board, workload, time.time(), upgrade)
        return {**document, "owner": section.owner, "sign_off": list(section.canary.sign_off)}

    async def state(self, workload: str, upgrade: str = "") -> UpgradeState:
        """Raises CannotMeasure where there was no upgrade yet, UsageError for an unknown one."""
        self.project.workload(workload)
        found = await upgrade_of((await self.control()).store, workload, upgrade)
        if found is None:
            raise CannotMeasure(
                f"workload {workload} has had no upgrade yet",
                remedy=f"begin one with `understudy upgrade start {workload} --candidate VARIANT`",
            )
        return found

    async def changes(self, workload: str, *, everything: bool) -> list[dict[str, Any]]:
        """What was decided, oldest first."""
        self.project.workload(workload)
        return await decided((await self.control()).store, workload, everything=everything)

    def evaluation(self, status: dict[str, Any]) -> dict[str, Any] | None:
        """The regression eval that an upgrade rests on, None for none. Raises CannotMeasure, DataCorrupt."""
        found = status["upgrade"] and status["upgrade"]["eval"]
        return load(self.project.paths.state / found["document"]).as_dict() if found else None

    async def seen(self, workload: str) -> Looked[dict[str, Any]]:
        """What the ledger saw being served, and what evals said."""
        return await self.looking.look(("seen", workload), lambda ledger: seen(ledger, workload), patience_s=PATIENT_S)

    async def figures(self, workload: str, upgrade: str) -> Looked[dict[str, Any]]:
        """Latency, cost and failures of each arm on each slice, of served answers and of shadow copies; and what a
        month of all the traffic costs with each variant.
        """

        def ask(ledger: Ledger) -> dict[str, Any]:
            arms = {
                role: [row._asdict() for row in ledger.by_slice(workload, upgrade=upgrade, role=role)]
                for role in ("served", "shadow")
            }
            return {**arms, "months": [month._asdict() for month in project(ledger.spent(workload))]}

        return await self.looking.look(("figures", workload, upgrade), ask)

    async def shadow(self, state: UpgradeState, slice_: str = "", examples: int = EXAMPLES) -> Looked[dict[str, Any]]:
        """The shadow report of an upgrade."""
        kept = (await (await self.control()).store.read()).progress.get(state.id)
        held_s = kept.held_s if kept and kept.clock == state.clock else None
        fresh = following(state)
        pairs, alone = self._followings.setdefault(
            (state.id, fresh.fingerprint, fresh.since), (fresh, threading.Lock())
        )
        project = self.project

        def ask(ledger: Ledger) -> dict[str, Any]:
            with alone:
                return compared_again(project, ledger, pairs, state, held_s, slice_, examples, time.time())

        key = ("shadow", state.id, fresh.fingerprint, fresh.since, slice_, examples)
        return await self.looking.look(key, ask, long=True)

    async def sheet(self, state: UpgradeState, slice_: str, count: int, turn: int) -> Looked[dict[str, Any]]:
        """Answers to read before signing a slice off."""
        return await self.looking.look(
            ("sheet", state.id, state.candidate.fingerprint, slice_, count, turn),
            lambda ledger: sheet(ledger, state, slice_, count=count, turn=turn),
            patience_s=PATIENT_S,
        )

    async def served(self, workload: str, user: str, when: float) -> Looked[dict[str, Any]]:
        """Which variant answered a user last at or before a time."""
        self.project.workload(workload)
        project = self.project
        return await self.looking.look(
            ("served", workload, user, round(when)),
            lambda ledger: who_served(project, ledger, workload, user, when),
            patience_s=PATIENT_S,
        )
