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

    def read(self) -> RoutingTable | None:
        """The published table, None where there is none. Raises DataCorrupt."""
        ...

    def epoch(self) -> int:
        """The published epoch even of a table that fails its checks, 0 where there is none."""
        ...

    def write(self, table: RoutingTable) -> None:
        """Publish durably. Raises Overtaken where this epoch or a later one is there."""
        ...

    def heartbeats(self) -> list[Heartbeat]: ...

    def kills(self) -> dict[str, Kill]: ...

    def remove_kill(self, workload: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Folder:
    """The real one: a folder that gateways poll."""

    path: Path

    def read(self) -> RoutingTable | None:
        return publish.read_table(self.path)

    def epoch(self) -> int:
        return publish.published_epoch(self.path)

    def write(self, table: RoutingTable) -> None:
        publish.write_table(self.path, table)

    def heartbeats(self) -> list[Heartbeat]:
        return publish.heartbeats(self.path)

    def kills(self) -> dict[str, Kill]:
        return publish.read_kills(self.path)

    def remove_kill(self, workload: str) -> None:
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

    def read(self) -> RoutingTable | None:
        return self.tables[-1] if self.tables else None

    def epoch(self) -> int:
        return self.tables[-1].epoch if self.tables else 0

    def write(self, table: RoutingTable) -> None:
        if self.ordered and self.epoch() >= table.epoch:
            raise Overtaken(f"epoch {table.epoch} after {self.epoch()}")
        self.tables.append(table)

    def heartbeats(self) -> list[Heartbeat]:
        generation = self.tables[-1].generation if self.tables else ""
        return [
            Heartbeat(
                worker,
                pid=0,
                generation=generation,
                epoch=-1 if worker in self.lagging else self.epoch(),
                at=self.now(),
                open_breakers=self.open_breakers,
                killed=tuple(self.killed),
            )
            for worker in self.workers
        ]

    def kills(self) -> dict[str, Kill]:
        return dict(self.killed)

    def remove_kill(self, workload: str) -> None:
        self.killed.pop(workload, None)
