"""The only module that knows every concrete adapter: it puts the parts of each process together."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from understudy.config.project import Project, StoreAddress, open_project
from understudy.core.errors import UnderstudyError
from understudy.rollout.board import Board, Folder, Shared
from understudy.rollout.store.base import Store

if TYPE_CHECKING:
    from understudy.ledger.committer import Committer
    from understudy.ledger.lake import Decision, Table
    from understudy.ledger.pricebook import PriceBook
    from understudy.ledger.prices import Prices
    from understudy.rollout.audit import Audit
    from understudy.rollout.controller import Controller, Turn
    from understudy.rollout.fold import UpgradeState
    from understudy.rollout.follow import Follower
    from understudy.rollout.store.sql import SqlStore

EVERY_S = 0.5
"""Pause between two turns of a controller."""
SWITCH_S = 0.0005
"""How long one thread of a controller may keep the others waiting."""


class Control(NamedTuple):
    """The control store of a project, and where its gateways are told."""

    store: Store
    board: Board


@asynccontextmanager
async def control(project: Project) -> AsyncIterator[Control]:
    """Open the control store, made where it is not there yet. Raises StoreUnavailable, and ConfigError as
    `Project.store` does.
    """
    address = project.store()
    store = await _opened(address)
    folder = project.paths.routing
    try:
        yield Control(store, Folder(folder) if address.file is not None else Shared(store, folder, time.time))
    finally:
        await store.close()


@asynccontextmanager
async def control_there(project: Project) -> AsyncIterator[Control | None]:
    """The control store where one was ever made, else None: looking makes none. Raises as `control` does."""
    if not await _is_there(project.store()):
        yield None
        return
    async with control(project) as opened:
        yield opened


async def _opened(address: StoreAddress) -> SqlStore:
    if address.file is not None:
        from understudy.rollout.store import sqlite

        return await sqlite.open_store(address.file)
    from understudy.rollout.store import postgres

    return await postgres.open_store(address)


async def _is_there(address: StoreAddress) -> bool:
    if address.file is not None:
        return address.file.exists()
    from understudy.rollout.store import postgres

    return await postgres.is_there(address)


def follower(project: Project, name: str, say: Callable[[str], None]) -> Follower:
    """What keeps this machine in step with the control store that several share."""
    from understudy.gateway import identity
    from understudy.rollout.follow import Follower
    from understudy.rollout.ports import RealClock
    from understudy.rollout.store import postgres

    address, folder = project.store(), project.paths.routing

    @asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        store = await postgres.open_store(address)
        try:
            yield store
        finally:
            await store.close()

    return Follower(
        machine=name,
        owner=f"{identity.machine()} {folder.resolve()}",
        folder=folder,
        opened=opened,
        listening=lambda heard: postgres.listening(address, heard),
        clock=RealClock(),
        draw=random.random,
        say=say,
    )


@asynccontextmanager
async def controller(project: Project, name: str = "controller") -> AsyncIterator[Controller]:
    """A controller on the project's own store, ledger, suites and providers."""
    from understudy.ledger.stores import lake_of
    from understudy.rollout.controller import Controller
    from understudy.rollout.evaluation import EvalRuns
    from understudy.rollout.evidence import LedgerEvidence
    from understudy.rollout.outbox import Outbox
    from understudy.rollout.ports import RealClock
    from understudy.rollout.probing import IncumbentProber

    # A reading of the ledger keeps the interpreter busy in a thread; a turn crosses to the store's thread and back some
    # fifty times, and would wait a whole switch interval each time.
    sys.setswitchinterval(SWITCH_S)
    evidence = LedgerEvidence(lake_of(project))
    async with control(project) as (store, board):
        made = Controller(
            project=project,
            reopen=Reopener(project),
            store=store,
            board=board,
            evidence=evidence,
            evals=EvalRuns(),
            prober=IncumbentProber(),
            clock=RealClock(),
            name=name,
            alerts=Outbox(store, time.time, deadline_of),
        )
        try:
            yield made
        finally:
            await made.close()
            await asyncio.to_thread(evidence.close)


def deadline_of(project: Project, state: UpgradeState) -> date | None:
    """The first day without the incumbent's model, by the project's own word or the public pages; None: unknown."""
    from understudy.registry.hosting import last_day

    return last_day(project.config, state.incumbent)


def committer_of(project: Project) -> Committer:
    """The committer of a project. Raises Refused where another committer drains these segments."""
    from understudy.ledger.committer import Committer
    from understudy.ledger.pricebook import PriceBook
    from understudy.ledger.stores import lake_of

    prices = prices_of(project, PriceBook(project.paths.prices))
    return Committer(project.paths.segments, lake_of(project), prices=prices, keep_s=retention_of(project))


def prices_of(project: Project, book: PriceBook) -> Prices:
    """The project's own prices, then those of the list that the book agrees to."""
    from understudy.ledger.prices import Price, Prices

    written = project.config.prices
    own = {model: Price(one.input, one.output, one.cached_input, one.as_of) for model, one in written.items()}
    return Prices(own, book)


class Supplying:
    """A committer that runs for months, with the prices and the retention that the configuration says now."""

    def __init__(self, project: Project, committer: Committer) -> None:
        from understudy.ledger.pricebook import PriceBook

        self._project = project
        self._committer = committer
        self._reopen = Reopener(project)
        self._book = PriceBook(project.paths.prices)
        committer.use(prices_of(project, self._book), retention_of(project))

    def __call__(self) -> None:
        """Hand over what changed. Raises what is wrong with the configuration or the price book, each time; the
        committer goes on with the last good one.
        """
        found = self._reopen(self._project)
        if found is not self._project:
            self._committer.use(prices_of(found, self._book), retention_of(found))
            self._project = found
        self._book.changed()
        if self._book.problem is not None:
            raise self._book.problem


class Filing:
    """Copies what was decided from the control store into the ledger. It looks where the journals have grown since, and
    no oftener than every `every_s` seconds.
    """

    def __init__(self, project: Project, *, every_s: float = 2.0) -> None:
        from understudy.ledger.decisions import Decisions
        from understudy.ledger.stores import lake_of

        self._project = project
        self._file = project.store().file
        self._decisions = Decisions(lake_of(project))
        self._every_s = every_s
        self._due = 0.0
        self._stamp = (0, 0)
        self._events = -1

    def __call__(self) -> int:
        """File what is new; returns how many. Raises StoreUnavailable, CannotMeasure, and Refused where another process
        files at the same time; call again then. Not within a running loop.
        """
        stamp = _seen(self._file) if self._file is not None else (0, 0)
        unwritten = self._file is not None and stamp == self._stamp
        if unwritten or time.monotonic() < self._due:
            return 0
        events, entries = asyncio.run(_grown(self._project, self._events))
        filed = self._decisions.file(entries) if entries else 0
        self._stamp, self._events, self._due = stamp, events, time.monotonic() + self._every_s
        return filed


async def _grown(project: Project, known: int) -> tuple[int, list[Decision]]:
    """How many events there are, and all of them where it is another number than the known one."""
    async with control_there(project) as opened:
        events = await opened.store.events() if opened is not None else 0
        return events, (await opened.store.entries())[1] if opened is not None and events != known else []


async def journals_of(project: Project) -> tuple[list[str], list[Decision]]:
    """The ids of all upgrades, and all events as they stand; none where there is no store yet.

    Raises StoreUnavailable.
    """
    async with control_there(project) as opened:
        return ([], []) if opened is None else await opened.store.entries()


async def mentions(project: Project, names: Sequence[str]) -> list[str]:
    """What in a database of a control store mentions one of the names; a store in a file is searched as files are.

    Raises StoreUnavailable.
    """
    address = project.store()
    if address.file is not None or not await _is_there(address):
        return []
    wanted = [f'"{name}"' for name in names]
    store = await _opened(address)
    try:
        texts = await store.texts()
    finally:
        await store.close()
    found = dict.fromkeys(where for where, text in texts if any(name in text for name in wanted))
    return [f"{address.shown}: {where}" for where in found]


def audited(project: Project) -> Audit:
    """Holds the journals against their chains of hashes and against the ledger's copy of them.

    Raises StoreUnavailable, and CannotMeasure where the copy cannot be read.
    """
    from understudy.ledger.decisions import Decisions
    from understudy.ledger.stores import lake_of
    from understudy.rollout.audit import audit

    # The copies are read first: what is decided and copied meanwhile is then no difference.
    copies = Decisions(lake_of(project)).filed()
    upgrades, entries = asyncio.run(journals_of(project))
    return audit(upgrades, entries, copies)


def retention_of(project: Project) -> dict[Table, float]:
    """How long each table is kept that is not kept for ever, in seconds."""
    from understudy.ledger.lake import Table

    said = project.config.retention.model_dump()
    return {Table(name): seconds for name, seconds in said.items() if seconds is not None}


@dataclass
class Reopener:
    """Reads the configuration anew when one of its files has changed; raises what is wrong with it every time."""

    project: Project
    _stamp: tuple[tuple[str, int, int], ...] = ()
    _problem: UnderstudyError | None = None

    def __post_init__(self) -> None:
        self._stamp = _stamp(self.project)

    def __call__(self, project: Project) -> Project:
        """The configuration as it was last read without an error, whether or not `project` is that one."""
        stamp = _stamp(self.project)
        if stamp != self._stamp:
            self._stamp, self._problem = stamp, None
            try:
                self.project = open_project(project.file, project.environment)
                self._stamp = _stamp(self.project)
            except UnderstudyError as error:
                self._problem = error
        if self._problem is not None:
            raise self._problem
        return self.project


def _stamp(project: Project) -> tuple[tuple[str, int, int], ...]:
    """What tells that a file of the configuration was written: the YAML and every prompt file it names."""
    files = {project.file}
    for section in project.config.workloads.values():
        prompts = (v.system_prompt for v in section.variants.values())
        files |= {project.root / prompt for prompt in prompts if prompt and not prompt.startswith("text:")}
        files |= {project.root / suite for suite in section.suites}
    return tuple(sorted((str(file), *_seen(file)) for file in files))


def _seen(file: Path) -> tuple[int, int]:
    try:
        stat = file.stat()
    except OSError:
        return (0, 0)
    return (stat.st_mtime_ns, stat.st_size)


@dataclass
class ControllerProcess:
    """Committer and controller of one project within this process, turn by turn, as the demo and tests drive them.

        async with running(project) as process:
            while not stop.is_set():
                await process.tick()
                await asyncio.sleep(0.25)

    A tick first commits what gateways have written to their segments, then lets the controller look and act once.
    Gateways run beside it as their own processes: `understudy gateway --config FILE`, to be started after the first
    tick, which writes the first routing table. Everything a person does goes through the store, by the command line
    or by `rollout.operate` on `process.store` and `process.board`, at any time and from any process. There may be
    one committer per machine: pass `commit=False` where `understudy ledger commit --watch` runs already.
    """

    controller: Controller
    committer: Committer | None
    supplying: Supplying | None
    filing: Filing
    turns: list[Turn] = field(default_factory=list)
    """The turns in which something was written or said."""

    @property
    def store(self) -> Store:
        return self.controller.store

    @property
    def board(self) -> Board:
        return self.controller.board

    async def tick(self) -> Turn:
        """Commit, then one turn. Raises StoreUnavailable, and CannotMeasure where the lake cannot be reached."""
        problems: tuple[str, ...] = ()
        if self.committer is not None and self.supplying is not None:
            await asyncio.to_thread(self.committer.run_once)
            await asyncio.to_thread(self.filing)
            try:
                self.supplying()
            except UnderstudyError as error:
                problems = (error.message,)
        turn = await self.controller.turn()
        turn = replace(turn, problems=tuple(dict.fromkeys((*turn.problems, *problems))))
        if turn.written or turn.problems:
            self.turns.append(turn)
        return turn


@asynccontextmanager
async def running(project: Project, *, commit: bool = True) -> AsyncIterator[ControllerProcess]:
    """A `ControllerProcess`. Raises Refused where another committer drains these segments."""
    committer: Committer | None = None
    if commit:
        project.paths.segments.mkdir(parents=True, exist_ok=True)
        committer = committer_of(project)
    try:
        async with controller(project) as made:
            supplying = None if committer is None else Supplying(project, committer)
            yield ControllerProcess(made, committer, supplying, Filing(project))
    finally:
        if committer is not None:
            await asyncio.to_thread(committer.close)


async def run_controller(
    made: Controller, stop: asyncio.Event, say: Callable[[str], None], *, every_s: float = EVERY_S
) -> None:
    """Turn after turn until told to stop. What goes wrong is said once and tried again: no restart is needed."""
    said: tuple[str, ...] = ()
    while not stop.is_set():
        try:
            turn = await made.turn()
            problems = turn.problems
            for line in turn.written:
                say(line)
        except UnderstudyError as error:
            problems = (error.message,)
        if problems != said:
            for problem in problems:
                say(f"problem: {problem}")
        said = problems
        try:
            await asyncio.wait_for(stop.wait(), every_s)
        except TimeoutError:
            continue
