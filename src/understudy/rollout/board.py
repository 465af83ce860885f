"""Where the routing table hangs for gateways to read: a folder on disk, a store that machines share, one in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from understudy.core.routing import RoutingTable, encode
from understudy.rollout import machines, publish
from understudy.rollout.machines import Machine
from understudy.rollout.publish import Heartbeat, Kill, Overtaken, Tripped
from understudy.rollout.store.base import Store


class Board(Protocol):
    """Where tables are published to gateways, and where gateways say what they applied."""

    async def read(self) -> RoutingTable | None:
        """The published table, None where there is none. Raises DataCorrupt."""
        ...

    async def epoch(self) -> int:
        """The published epoch even of a table that fails its checks, 0 where there is none."""
        ...

    async def write(self, table: RoutingTable) -> None:
        """Publish durably. Raises Overtaken where this epoch or a later one is there."""
        ...

    async def heartbeats(self) -> list[Heartbeat]: ...

    async def kills(self) -> dict[str, Kill]: ...

    async def remove_kill(self, workload: str) -> None: ...

    async def notes(self) -> list[str]:
        """What somebody should know of those who read here, a sentence each."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """The real one: a folder that gateways poll."""

    path: Path

    async def read(self) -> RoutingTable | None:
        return publish.read_table(self.path)

    async def epoch(self) -> int:
        return publish.published_epoch(self.path)

    async def write(self, table: RoutingTable) -> None:
        publish.write_table(self.path, table)

    async def heartbeats(self) -> list[Heartbeat]:
        return publish.heartbeats(self.path)

    async def kills(self) -> dict[str, Kill]:
        return publish.read_kills(self.path)

    async def remove_kill(self, workload: str) -> None:
        publish.kill_path(self.path, workload).unlink(missing_ok=True)

    async def notes(self) -> list[str]:
        return []


@dataclass
class Shared:
    """The control store, for machines that each follow it: `follow` brings the table to a machine's folder, and what
    its workers say back. The `folder` is this machine's own, for kill files.
    """

    store: Store
    folder: Path
    now: Callable[[], float]
    """Seconds since the epoch."""
    _known: tuple[bytes, RoutingTable] | None = None

    async def machines(self) -> list[Machine]:
        """All machines that ever followed and did not leave on purpose."""
        now = self.now()
        return [machines.machine(said, now) for said in await self.store.reports(now)]

    async def read(self) -> RoutingTable | None:
        content = await self.store.hung()
        if content is None:
            return None
        if self._known is None or self._known[0] != content:
            self._known = content, publish.parse_table(content, "the routing table in the control store")
        return self._known[1]

    async def epoch(self) -> int:
        """Where the store was restored from an older copy, machines know of higher epochs than it does."""
        content = await self.store.hung()
        heard = [beat.epoch for one in await self.machines() for beat in one.workers]
        return max([publish.epoch_in(content or b""), publish.published_epoch(self.folder), *heard])

    async def write(self, table: RoutingTable) -> None:
        if not await self.store.hang(table.epoch, encode(table)):
            raise Overtaken(f"epoch {table.epoch} comes after another one was published")

    async def heartbeats(self) -> list[Heartbeat]:
        return machines.heartbeats(await self.machines(), self.now())

    async def kills(self) -> dict[str, Kill]:
        return {**machines.kills(await self.machines()), **publish.read_kills(self.folder)}

    async def remove_kill(self, workload: str) -> None:
        """Of this machine; every other removes its own (see `follow`)."""
        publish.kill_path(self.folder, workload).unlink(missing_ok=True)

    async def notes(self) -> list[str]:
        return machines.notes(await self.machines())


@dataclass
class MemoryBoard:
    """Keeps every table it was given, and has workers that apply the newest at once unless they are `lagging`."""

    now: Callable[[], float]
    workers: tuple[str, ...] = ("worker-0", "worker-1")
    tables: list[RoutingTable] = field(default_factory=list)
    killed: dict[str, Kill] = field(default_factory=dict)
    open_breakers: tuple[Tripped, ...] = ()
    lagging: set[str] = field(default_factory=set)
    ordered: bool = True
    """False only in tests that plant the defect of a writer that does not look."""

    def newest(self) -> RoutingTable | None:
        """What `read` returns, for callers without a loop."""
        return self.tables[-1] if self.tables else None

    def reached(self) -> int:
        """What `epoch` returns, for callers without a loop."""
        return self.tables[-1].epoch if self.tables else 0

    async def read(self) -> RoutingTable | None:
        return self.newest()

    async def epoch(self) -> int:
        return self.reached()

    async def write(self, table: RoutingTable) -> None:
        if self.ordered and self.reached() >= table.epoch:
            raise Overtaken(f"epoch {table.epoch} after {self.reached()}")
        self.tables.append(table)

    async def heartbeats(self) -> list[Heartbeat]:
        generation = self.tables[-1].generation if self.tables else ""
        return [
            Heartbeat(
                worker,
                pid=0,
                generation=generation,
                epoch=-1 if worker in self.lagging else self.reached(),
                at=self.now(),
                open_breakers=self.open_breakers,
                killed=tuple(self.killed),
            )
            for worker in self.workers
        ]

    async def kills(self) -> dict[str, Kill]:
        return dict(self.killed)

    async def remove_kill(self, workload: str) -> None:
        self.killed.pop(workload, None)

    async def notes(self) -> list[str]:
        return []
