"""Where the routing table hangs for gateways to read: the interface, the folder on disk, and a twin in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from understudy.core.routing import RoutingTable
from understudy.rollout import publish
from understudy.rollout.publish import Heartbeat, Kill, Overtaken, Tripped


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
