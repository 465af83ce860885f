"""Follows a control store from another machine: brings the routing table to the gateways there, and their word back.

The table is written as it was published, byte for byte, when the store tells of it and every few seconds in any case.
While the store is away the last table stays, and the gateways' own rules hold: a canary's lease runs out. What a table
or a silence counts for is decided in `machines`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.core.errors import CannotMeasure, DataCorrupt, Refused
from understudy.core.routing import TABLE_FILE, RoutingTable
from understudy.rollout import machines, publish
from understudy.rollout.machines import Mark
from understudy.rollout.ports import Clock
from understudy.rollout.store.base import Store, StoreUnavailable

REREAD_S = 5.0
"""The table is read at least this often, whatever was heard."""
REPORT_S = 1.0
"""The machine says at least this often how its workers are, and at once when that changed."""
LOOK_S = 0.25
ACKNOWLEDGING_S = 0.01
"""How often the workers' files are looked at: always, and while a table waits for their word."""
IMPATIENT_S = 10.0
"""A worker that has not taken a table for so long is looked at no oftener than the others."""

Listens = Callable[[], bool]
"""Whether the connection on which tables are announced still stands."""


@dataclass
class Follower:
    """One machine. `owner` tells it from another one that uses the same name."""

    machine: str
    owner: str
    folder: Path
    opened: Callable[[], AbstractAsyncContextManager[Store]]
    listening: Callable[[asyncio.Event], AbstractAsyncContextManager[Listens]]
    clock: Clock
    draw: Callable[[], float]
    """From 0 to 1, at random."""
    say: Callable[[str], None]
    problem: str = ""
    """Why the table on offer is not the one here; "" where it is."""
    _table: RoutingTable | None = None
    _written_at: float = 0.0
    _told: dict[str, Any] = field(default_factory=dict)
    _told_at: float = float("-inf")
    _refused_since: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until told to stop; the store may come and go. Raises Refused where another machine has the name."""
        failures = 0
        while not stop.is_set():
            heard = asyncio.Event()
            try:
                async with self.opened() as store, self.listening(heard) as listens:
                    if failures or self._told_at == float("-inf"):
                        self.say("ready" if not failures else "the control store is back")
                    failures = 0
                    await self._attend(store, heard, listens, stop)
                    if stop.is_set():
                        await self._leave(store)
            except StoreUnavailable as error:
                if not failures:
                    self.say(f"problem: {error.message}; the last table stays in force")
                failures += 1
                try:
                    await asyncio.wait_for(stop.wait(), machines.pause_s(failures, self.draw()))
                except TimeoutError:
                    continue

    async def _attend(self, store: Store, heard: asyncio.Event, listens: Listens, stop: asyncio.Event) -> None:
        """Until told to stop, or nothing is announced any more. Raises StoreUnavailable."""
        read_at = float("-inf")
        while not stop.is_set() and listens():
            due = self.clock.monotonic() - read_at >= REREAD_S
            if heard.is_set() or due:
                heard.clear()
                read_at = self.clock.monotonic()
                self._apply(await store.hung())
            waits = await self._tell(store)
            if due:
                await self._clear_kills(store)
            try:
                await asyncio.wait_for(heard.wait(), ACKNOWLEDGING_S if waits else LOOK_S)
            except TimeoutError:
                continue

    def _apply(self, content: bytes | None) -> None:
        """Write the table on offer where it may take the place of the one that is here."""
        problem = ""
        try:
            if content is not None:
                problem = self._take(content)
        except (CannotMeasure, DataCorrupt) as error:
            problem = error.message
        if problem and problem != self.problem:
            self.say(f"problem: {problem}; the last table stays in force")
        self.problem = problem

    def _take(self, content: bytes) -> str:
        """ "" where this table is the one here now, else why it is not. Raises CannotMeasure and DataCorrupt."""
        if self._table is not None and _bytes(self.folder / TABLE_FILE) == content:
            return ""
        offered = publish.parse_table(content, "the routing table in the control store")
        refusal = ""

        def may(local: RoutingTable | None) -> bool:
            nonlocal refusal
            refusal = machines.refuses(_mark(local) if local else None, _mark(offered))
            return not refusal

        if publish.copy_table(self.folder, content, may):
            self._table, self._written_at = offered, self.clock.monotonic()
        return refusal

    async def _tell(self, store: Store) -> bool:
        """Report what the workers say; whether one of them has yet to take the table. Raises Refused."""
        now, mono = self.clock.wall(), self.clock.monotonic()
        beats, kills = publish.heartbeats(self.folder), publish.read_kills(self.folder).values()
        document = machines.report(beats, kills, self.problem, now)
        if document != self._told or mono - self._told_at >= REPORT_S:
            if await store.report(self.machine, self.owner, document, now, lapsed_s=machines.SPEAKS_S):
                self._told, self._told_at, self._refused_since = document, mono, None
            else:
                self._refused(mono)
        waiting = self._table is not None and publish.acknowledged(beats, self._table, now).waiting
        return bool(waiting) and mono - self._written_at < IMPATIENT_S

    def _refused(self, mono: float) -> None:
        self._refused_since = mono if self._refused_since is None else self._refused_since
        if mono - self._refused_since > 2 * machines.SPEAKS_S:
            raise Refused(
                f"another machine follows this control store under the name {self.machine!r}",
                remedy="give each a name of its own: `understudy follow --name NAME`",
            )

    async def _clear_kills(self, store: Store) -> None:
        """Remove kill files that have served, as a controller does on its own machine."""
        kills = publish.read_kills(self.folder)
        if not kills:
            return
        snapshot = await store.read()
        for workload, kill in kills.items():
            under_way = snapshot.active(workload) is not None
            if publish.has_served(kill, self._table, under_way, self.clock.wall()):
                publish.kill_path(self.folder, workload).unlink(missing_ok=True)

    async def _leave(self, store: Store) -> None:
        """Say goodbye, where no worker lives that would go on without anybody to speak for it."""
        now = self.clock.wall()
        if not any(beat.live(now) for beat in publish.heartbeats(self.folder)):
            await store.leave(self.machine, self.owner)


def _mark(table: RoutingTable) -> Mark:
    return Mark(table.generation, table.epoch)


def _bytes(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None
