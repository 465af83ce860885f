"""Writes the routing table and reads what gateways say of it: atomic files, heartbeats, kill files. Decides nothing.

The table is written to a temporary file in the same folder, fsynced, renamed, and the folder fsynced: a reader sees
the old table or the new one, whatever dies in between. A lock keeps a slow writer from putting an older epoch over
a newer one.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from understudy.core.errors import CannotMeasure, DataCorrupt, UnderstudyError
from understudy.core.routing import HEARTBEAT_FOLDER, KILL_FILE_PREFIX, TABLE_FILE, RoutingTable, decode, encode
from understudy.gateway import identity

LOCK_FILE = ".table.lock"
STALE_AFTER_S = 3.0
"""A worker whose heartbeat is older than this is taken for dead: it answers nobody, so nobody waits for it."""


class Overtaken(Exception):
    """A table of this or a higher epoch is there already: read again. Never shown to a user."""


class Tripped(NamedTuple):
    """A breaker that is open: this worker has taken the candidate of an upgrade out of service by itself."""

    workload: str
    upgrade: str
    why: str


class Heartbeat(NamedTuple):
    """What a gateway worker last said of itself; `at` in seconds since the epoch."""

    worker: str
    pid: int
    generation: str
    epoch: int
    at: float
    open_breakers: tuple[Tripped, ...] = ()
    killed: tuple[str, ...] = ()
    """Workloads whose kill file this worker obeys."""
    gone: bool = False
    """Its process is over: known at once on the same machine, else only from its silence."""
    there: bool = False
    """Its process is still there, known on the same machine only: one that is silent may serve all the same."""

    def live(self, now: float) -> bool:
        return self.there or (not self.gone and now - self.at <= STALE_AFTER_S)


def read_table(folder: Path) -> RoutingTable | None:
    """The table that is published now, None where there is none. Raises DataCorrupt for one that was cut or edited."""
    try:
        content = (folder / TABLE_FILE).read_bytes()
    except FileNotFoundError:
        return None
    return parse_table(content, str(folder / TABLE_FILE))


def parse_table(content: bytes, where: str) -> RoutingTable:
    """The table in these bytes. Raises DataCorrupt where they were cut or edited."""
    try:
        data = json.loads(content)
    except ValueError as error:
        raise DataCorrupt(
            f"{where} is no JSON: {error}", remedy="the controller writes it anew; gateways keep theirs"
        ) from error
    return decode(data)


def epoch_in(content: bytes) -> int:
    """The epoch of a table, as far as it can be read at all; 0 where it cannot."""
    try:
        return int(json.loads(content)["epoch"])
    except (ValueError, KeyError, TypeError):
        return 0


def published_epoch(folder: Path) -> int:
    """The epoch of the published table, as far as it can be read at all; 0 where there is none."""
    try:
        return epoch_in((folder / TABLE_FILE).read_bytes())
    except OSError:
        return 0


def write_table(folder: Path, table: RoutingTable) -> None:
    """Publish `table`. Raises Overtaken where a table of this epoch or a later one is there already."""
    with _locked(folder):
        if published_epoch(folder) >= table.epoch:
            raise Overtaken(f"epoch {table.epoch} comes after epoch {published_epoch(folder)} was published")
        _replace(folder / TABLE_FILE, encode(table))


def copy_table(folder: Path, content: bytes, may: Callable[[RoutingTable | None], bool]) -> bool:
    """Put these bytes in the place of the published table where `may` says so of that one (None: there is none, or it
    was cut or edited); whether they are there now. Raises CannotMeasure where the folder cannot be written.
    """
    with _locked(folder):
        try:
            before = read_table(folder)
        except DataCorrupt:
            before = None
        if not may(before):
            return False
        _replace(folder / TABLE_FILE, content)
        return True


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(path: Path, content: bytes) -> None:
    """Put `content` in place of the file, durably and at once."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CannotMeasure(
            f"{path} cannot be written: {error.strerror}", remedy="the table before it stays in force; free the disk"
        ) from error
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def heartbeats(folder: Path) -> list[Heartbeat]:
    """What every worker last said, by name. One whose words cannot be read has acknowledged nothing."""
    found: list[Heartbeat] = []
    for path in sorted((folder / HEARTBEAT_FOLDER).glob("*.json")):
        try:
            written, content = path.stat().st_mtime, path.read_bytes()
        except FileNotFoundError:
            continue  # it left on purpose just now
        try:
            found.append(_heartbeat(path.stem, json.loads(content)))
        except (ValueError, KeyError, TypeError):
            found.append(Heartbeat(path.stem, pid=0, generation="", epoch=-1, at=written))
    return found


def _heartbeat(name: str, data: Mapping[str, Any]) -> Heartbeat:
    process = str(data.get("machine", "")), int(data["pid"]), int(data.get("started", 0))
    return Heartbeat(
        worker=str(data.get("worker", name)),
        pid=int(data["pid"]),
        generation=str(data["generation"]),
        epoch=int(data["epoch"]),
        at=float(data["beat_at"]),
        open_breakers=tuple(Tripped(b["workload"], b["upgrade"], b["why"]) for b in data["breaker_details"]),
        killed=tuple(str(name) for name in data["killed"]),
        gone=identity.gone(*process),
        there=identity.lives(*process),
    )


class Acknowledged(NamedTuple):
    """Whether a table is in effect: in every live worker. `waiting` names the live workers that lag behind."""

    epoch: int
    live: int
    waiting: tuple[str, ...]

    @property
    def effective(self) -> bool:
        """A table nobody reads is not in effect: that is said by `live` being 0, and holds nothing up."""
        return not self.waiting


def acknowledged(beats: list[Heartbeat], table: RoutingTable, now: float) -> Acknowledged:
    """Which live workers have applied `table` or a later one."""
    live = [beat for beat in beats if beat.live(now)]
    waiting = tuple(b.worker for b in live if b.generation != table.generation or b.epoch < table.epoch)
    return Acknowledged(table.epoch, len(live), waiting)


def obeyed(beats: list[Heartbeat], workload: str, now: float) -> Acknowledged:
    """Which live workers obey the kill file of a workload."""
    live = [beat for beat in beats if beat.live(now)]
    return Acknowledged(0, len(live), tuple(b.worker for b in live if workload not in b.killed))


async def until_effective(
    beats: Callable[[], Awaitable[list[Heartbeat]]],
    said: Callable[[list[Heartbeat], float], Acknowledged],
    *,
    timeout_s: float = 10.0,
) -> tuple[Acknowledged, float]:
    """Wait until every live worker has said so or the time is up; returns what is so then, and the seconds waited.

    `beats` gives the heartbeats, `said` reads them: `acknowledged` for a table, `obeyed` for a kill file.
    """
    started = time.monotonic()
    while True:
        state = said(await beats(), time.time())
        waited = time.monotonic() - started
        if state.effective or waited >= timeout_s:
            return state, waited
        await asyncio.sleep(0.01)


class Kill(NamedTuple):
    """A kill file, and who wrote it."""

    workload: str
    by: str
    why: str
    at: float


KILL_KEPT_S = 10.0
"""A kill file stays at least as long as who wrote it waits for every worker's word."""


def has_served(kill: Kill, table: RoutingTable | None, under_way: bool, now: float) -> bool:
    """Whether a kill file is not needed any more: the table serves the incumbent, and no upgrade is under way."""
    route = table.workloads.get(kill.workload) if table else None
    return now >= kill.at + KILL_KEPT_S and route is not None and route.route is None and not under_way


def kill_path(folder: Path, workload: str) -> Path:
    """The kill file of a workload. Raises UnderstudyError for a name that would leave the folder."""
    if "/" in workload or workload in {"", ".", ".."} or "\0" in workload:
        raise UnderstudyError(f"{workload!r} is no name of a workload", remedy="use a name from the configuration")
    return folder / f"{KILL_FILE_PREFIX}{workload}"


def write_kill(folder: Path, kill: Kill) -> Path:
    """Force the incumbent on every gateway that reads this folder, with everything else dead."""
    folder.mkdir(parents=True, exist_ok=True)
    path = kill_path(folder, kill.workload)
    _replace(path, json.dumps({"by": kill.by, "why": kill.why, "at": kill.at}).encode() + b"\n")
    return path


def read_kills(folder: Path) -> dict[str, Kill]:
    """The kill files that are there, by workload. A file counts whatever stands in it: an empty one is enough."""
    kills: dict[str, Kill] = {}
    for path in folder.glob(f"{KILL_FILE_PREFIX}*"):
        workload = path.name.removeprefix(KILL_FILE_PREFIX)
        try:
            data = json.loads(path.read_bytes())
            kills[workload] = Kill(workload, str(data["by"]), str(data["why"]), float(data["at"]))
        except (OSError, ValueError, KeyError, TypeError):
            kills[workload] = Kill(workload, "kill file", f"{path.name} was put there by hand", 0.0)
    return kills
