"""Reads the routing table and the kill files beside it, keeps the last good one, and acknowledges what it applied.

Called a few times a second by a worker; decides by `judge` whether a table may replace the present one. Compiling a
table into what the hot path needs is `snapshot`'s work.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from understudy.core.errors import DataCorrupt, UnderstudyError
from understudy.core.routing import HEARTBEAT_FOLDER, KILL_FILE_PREFIX, RoutingTable, decode
from understudy.gateway import identity

BEAT_S = 1.0
"""A heartbeat file is written at least this often, and at once when something changed."""


def judge(current: RoutingTable | None, new: RoutingTable) -> str:
    """ "" where `new` may replace `current`, else the reason why it may not."""
    if current is None or new.generation != current.generation or new.epoch > current.epoch:
        return ""
    if new.epoch < current.epoch:
        return f"epoch {new.epoch} is older than {current.epoch} of the same generation {current.generation}"
    return f"epoch {new.epoch} was published twice, with different content"


class TableReader:
    """One worker's view of the table file. `apply` may raise an UnderstudyError to refuse a table it cannot serve.

    `look` does the reading and may run in a thread; `take` applies what it found and belongs on the loop.
    """

    def __init__(self, path: Path, worker: str, apply: Callable[[RoutingTable], None]) -> None:
        self.path = path
        self.current: RoutingTable | None = None
        self.applied_at = 0.0
        self.status = "no routing table yet"
        self.killed: frozenset[str] = frozenset()
        self._apply = apply
        self._stamp: tuple[int, int, int] | None = None
        self._found: RoutingTable | str | None = None
        self._last_good = path.with_suffix(".good.json")
        self._unsaved: bytes | None = None
        self._data = b""
        self._killed = self.killed
        self._heartbeat = path.parent / HEARTBEAT_FOLDER / f"{worker}.json"
        self._started = identity.started(os.getpid())
        self._worker = worker
        self._last_beat = 0.0
        self._last_content: dict[str, Any] = {}

    def poll(self, now: float) -> None:
        """Look once and take what was found; never raises for what lies in the files."""
        self.look()
        self.take(now)

    def look(self) -> None:
        """Read the kill files, and the table where it changed."""
        self._look_for_kill_files()
        try:
            stat = self.path.stat()
            stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if stamp == self._stamp:
                return
            data = self.path.read_bytes()
        except OSError as error:
            self._stamp = None
            self._found = f"the routing table {self.path} cannot be read: {error.strerror}"
            return
        self._stamp = stamp
        self._data = data
        try:
            self._found = decode(self._parse(data))
        except UnderstudyError as error:
            self._found = error.message

    def take(self, now: float) -> None:
        """Apply what `look` found: a whole new table, or nothing of it."""
        self.killed = self._killed
        found, self._found = self._found, None
        if found is None:
            return
        if isinstance(found, RoutingTable):
            found = self._try(found, now)
        if found == "":
            self.status = "serving"
        else:
            self.status = self._kept(found)

    def _try(self, table: RoutingTable, now: float) -> str:
        """ "" where the table is served now, else why it is not."""
        if table == self.current:
            return ""
        reason = judge(self.current, table)
        if reason:
            return reason
        try:
            self._apply(table)
        except UnderstudyError as error:
            return error.message
        except OSError as error:  # no file descriptor left, a disk that cannot be written: it is tried again
            self._stamp = None
            return f"epoch {table.epoch} cannot be applied now: {error.strerror or error}"
        self.current = table
        self.applied_at = now
        self._unsaved = self._data
        return ""

    def _kept(self, why: str) -> str:
        return why if self.current is None else f"kept epoch {self.current.epoch}: {why}"

    def start(self, now: float) -> None:
        """The first look: where the table cannot be served, by the copy that a worker here last served.

        Raises DataCorrupt where there is neither.
        """
        self.poll(now)
        if self.current is not None:
            return
        why = self.status
        try:
            self._data = self._last_good.read_bytes()
            reason = self._try(decode(self._parse(self._data)), now)
        except (OSError, UnderstudyError) as error:
            reason = str(error)
        if reason:
            raise DataCorrupt(why, remedy="publish the routing table again; there is no earlier copy to serve by")
        self.status = self._kept(why)

    def due(self, now: float, facts: Mapping[str, Any]) -> bool:
        """Whether `beat` has something to write."""
        changed = self._unsaved is not None or self._content(facts) != self._last_content
        return changed or now - self._last_beat >= BEAT_S

    def beat(self, now: float, facts: Mapping[str, Any]) -> None:
        """Acknowledge: write the heartbeat file where it is due. Raises OSError where the folder cannot be written."""
        if not self.due(now, facts):
            return
        content = self._content(facts)
        if self._unsaved is not None:
            replace_file(self._last_good, self._unsaved)
            self._unsaved = None
        self._heartbeat.parent.mkdir(exist_ok=True)
        replace_file(self._heartbeat, json.dumps({**content, "beat_at": now}).encode() + b"\n")
        self._last_beat = now
        self._last_content = content

    def _content(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        current = self.current
        return {
            "worker": self._worker,
            "pid": os.getpid(),
            "machine": identity.machine(),
            "started": self._started,
            "generation": current.generation if current else "",
            "epoch": current.epoch if current else -1,
            "applied_at": self.applied_at,
            "status": self.status,
            "killed": sorted(self.killed),
            **facts,
        }

    def open_elsewhere(self) -> list[tuple[str, str, str]]:
        """Workload, upgrade and reason of every breaker that a worker here opened, this one's former life included."""
        found: list[tuple[str, str, str]] = []
        folder = self._heartbeat.parent
        try:
            names = os.listdir(folder)  # noqa: PTH208 - several times a second, too
        except OSError:
            return found
        for name in names:
            if not name.endswith(".json"):
                continue
            try:
                details = json.loads((folder / name).read_bytes()).get("breaker_details", ())
                found += [(each["workload"], each["upgrade"], each["why"]) for each in details]
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue  # a file that is just being replaced or is none of ours says nothing
        return found

    def step_aside(self) -> None:
        """From now on beat under a name of our own: this worker drains, and its successor has the name."""
        former, self._heartbeat = self._heartbeat, self._heartbeat.with_name(f"{self._worker}-{os.getpid()}.json")
        self._worker = f"{self._worker}-{os.getpid()}"
        if _pid_in(former) == os.getpid():
            former.unlink(missing_ok=True)

    def leave(self) -> None:
        """A worker that ends on purpose takes its heartbeat along: nobody waits for it any more."""
        self._heartbeat.unlink(missing_ok=True)

    def _parse(self, data: bytes) -> Mapping[str, Any]:
        try:
            parsed = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DataCorrupt(f"the routing table {self.path} is no JSON: {error}") from error
        if not isinstance(parsed, dict):
            raise DataCorrupt(f"the routing table {self.path} holds no JSON object")
        return parsed

    def _look_for_kill_files(self) -> None:
        try:
            names = os.listdir(self.path.parent)  # noqa: PTH208 - names are all we need, several times a second
        except OSError:
            return  # what was killed stays killed
        self._killed = frozenset(n[len(KILL_FILE_PREFIX) :] for n in names if n.startswith(KILL_FILE_PREFIX))


def replace_file(file: Path, content: bytes) -> None:
    """Readers see the old content or the new one; workers do not share the temporary file."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(file)


def _pid_in(heartbeat: Path) -> int:
    """The process that wrote a heartbeat, -1 where that cannot be told."""
    try:
        return int(json.loads(heartbeat.read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1
