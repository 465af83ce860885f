"""Files: the table is replaced whole, never by an older one; heartbeats and kill files are read for what they say."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from understudy.core.errors import CannotMeasure, DataCorrupt, UnderstudyError
from understudy.core.routing import HEARTBEAT_FOLDER, TABLE_FILE, RoutingTable
from understudy.gateway.table import TableReader
from understudy.rollout import publish
from understudy.rollout.board import Folder
from understudy.rollout.publish import Heartbeat, Kill, Overtaken


def table(epoch: int, generation: str = "g") -> RoutingTable:
    return RoutingTable(generation, epoch, 1.0, {}, {})


def test_a_table_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """What was published is what is there, and nothing else is left in the folder."""
    publish.write_table(tmp_path / "routing", table(3))
    assert publish.read_table(tmp_path / "routing") == table(3)
    assert publish.published_epoch(tmp_path / "routing") == 3
    names = sorted(path.name for path in (tmp_path / "routing").iterdir())
    assert names == [publish.LOCK_FILE, TABLE_FILE]


@pytest.mark.parametrize("epoch", [2, 3])
def test_an_older_table_never_replaces_a_newer_one(tmp_path: Path, epoch: int) -> None:
    """S2: the writer that was overtaken is told, and the file stays."""
    publish.write_table(tmp_path, table(3))
    with pytest.raises(Overtaken):
        publish.write_table(tmp_path, table(epoch, "other"))
    assert publish.read_table(tmp_path) == table(3)


def test_no_table_is_none() -> None:
    """A folder that is not there has no table and epoch 0."""
    assert publish.read_table(Path("/nonexistent")) is None
    assert publish.published_epoch(Path("/nonexistent")) == 0


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_cut_table_is_told_from_a_whole_one(tmp_path: Path, cut: int) -> None:
    """A file cut in half raises, and its epoch counts as 0 only where it cannot be read at all."""
    publish.write_table(tmp_path, table(3))
    whole = (tmp_path / TABLE_FILE).read_bytes()
    (tmp_path / TABLE_FILE).write_bytes(whole[: len(whole) - cut])
    if cut == 1:  # only the line end
        assert publish.read_table(tmp_path) == table(3)
        return
    with pytest.raises(DataCorrupt):
        publish.read_table(tmp_path)


def test_an_edited_table_still_counts_for_the_epoch(tmp_path: Path) -> None:
    """A table with a wrong checksum is not served, and the next one is issued above it all the same."""
    publish.write_table(tmp_path, table(3))
    data = json.loads((tmp_path / TABLE_FILE).read_bytes())
    (tmp_path / TABLE_FILE).write_text(json.dumps({**data, "epoch": 9}))
    with pytest.raises(DataCorrupt):
        publish.read_table(tmp_path)
    assert publish.published_epoch(tmp_path) == 9


def test_a_folder_that_cannot_be_written_keeps_the_table(tmp_path: Path) -> None:
    """A failed publication says so, and leaves the last good table and no debris."""
    publish.write_table(tmp_path, table(3))
    blocked = tmp_path / f".{TABLE_FILE}.{os.getpid()}"
    blocked.mkdir()
    try:
        with pytest.raises((CannotMeasure, OSError)):
            publish.write_table(tmp_path, table(4))
    finally:
        blocked.rmdir()
    assert publish.read_table(tmp_path) == table(3)


def test_the_gateways_heartbeat_is_understood(tmp_path: Path) -> None:
    """What a worker writes to acknowledge is what the controller reads."""
    publish.write_table(tmp_path, table(3))
    reader = TableReader(tmp_path / TABLE_FILE, "w1", lambda applied: None)
    now = time.time()
    reader.look()
    reader.take(now)
    details = [{"workload": "reply", "upgrade": "u1", "why": "5 failures in a row"}]
    reader.beat(now, {"breakers": ["reply"], "breaker_details": details})
    (beat,) = publish.heartbeats(tmp_path)
    assert (beat.worker, beat.generation, beat.epoch, beat.pid) == ("w1", "g", 3, os.getpid())
    assert beat.live(now + 1)
    silent = beat._replace(there=False)  # as it is known of a worker on another machine
    assert silent.live(now + 1)
    assert not silent.live(now + publish.STALE_AFTER_S + 1)
    assert beat.open_breakers == (publish.Tripped("reply", "u1", "5 failures in a row"),)


def test_a_heartbeat_nobody_can_read_has_acknowledged_nothing(tmp_path: Path) -> None:
    """An unreadable worker holds a flip up instead of being left out."""
    (tmp_path / HEARTBEAT_FOLDER).mkdir()
    (tmp_path / HEARTBEAT_FOLDER / "w9.json").write_text("{")
    beats = publish.heartbeats(tmp_path)
    assert publish.acknowledged(beats, table(1), time.time()).waiting == ("w9",)


def test_a_killed_worker_is_not_waited_for(tmp_path: Path) -> None:
    """A rollback is effective as soon as the living have it, however old their words, however fresh a dead one's."""
    code = (
        "import sys, time; from pathlib import Path; from understudy.gateway.table import TableReader;"
        "reader = TableReader(Path(sys.argv[1]) / 'table.json', 'w9', lambda table: None);"
        "reader.beat(time.time(), {'breaker_details': []}); print(flush=True); input()"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert worker.stdout is not None
    worker.stdout.readline()
    now = publish.heartbeats(tmp_path)[0].at
    assert publish.acknowledged(publish.heartbeats(tmp_path), table(1), now).waiting == ("w9",)
    # Silent for long, and there: kept from a processor or by a disk, and serving by the table it had.
    assert publish.acknowledged(publish.heartbeats(tmp_path), table(1), now + 60).waiting == ("w9",)
    worker.kill()
    worker.communicate()
    said = publish.acknowledged(publish.heartbeats(tmp_path), table(1), now)
    assert (said.live, said.waiting) == (0, ())


def beat(worker: str, epoch: int, at: float = 100.0, generation: str = "g", killed: tuple[str, ...] = ()) -> Heartbeat:
    return Heartbeat(worker, 1, generation, epoch, at, (), killed)


@pytest.mark.parametrize(
    ("beats", "live", "waiting"),
    [
        ([], 0, ()),
        ([beat("a", 5), beat("b", 6)], 2, ()),
        ([beat("a", 5), beat("b", 4)], 2, ("b",)),
        ([beat("a", 5), beat("b", 4, at=90.0)], 1, ()),
        ([beat("a", 9, generation="older")], 1, ("a",)),
    ],
)
def test_a_flip_is_effective_when_every_live_worker_says_so(
    beats: list[Heartbeat], live: int, waiting: tuple[str, ...]
) -> None:
    """The dead are not waited for; another generation's epoch is no acknowledgement."""
    found = publish.acknowledged(beats, table(5), 101.0)
    assert (found.live, found.waiting, found.effective) == (live, waiting, not waiting)


def test_a_kill_file_is_obeyed_worker_by_worker() -> None:
    """Only workers that name the workload among the killed obey."""
    found = publish.obeyed([beat("a", 1, killed=("reply",)), beat("b", 1)], "reply", 101.0)
    assert found.waiting == ("b",)


def test_waiting_ends_with_the_time(tmp_path: Path) -> None:
    """A worker that never acknowledges is named after the timeout, not waited for."""
    (tmp_path / HEARTBEAT_FOLDER).mkdir()
    (tmp_path / HEARTBEAT_FOLDER / "w.json").write_text("{}")
    said, waited = asyncio.run(
        publish.until_effective(
            Folder(tmp_path).heartbeats, lambda b, now: publish.acknowledged(b, table(1), now), timeout_s=0.05
        )
    )
    assert (said.waiting, said.effective) == (("w",), False)
    assert waited >= 0.05


def test_kill_files_of_people_and_programs(tmp_path: Path) -> None:
    """A kill file counts whatever stands in it: an empty one made by hand is enough."""
    publish.write_kill(tmp_path, Kill("reply", "bob", "fire", 12.0))
    (tmp_path / "rollback.other").touch()
    kills = publish.read_kills(tmp_path)
    assert kills["reply"] == Kill("reply", "bob", "fire", 12.0)
    assert kills["other"].by == "kill file"


@pytest.mark.parametrize("name", ["../etc", "a/b", "", "..", "x\0y"])
def test_a_kill_file_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    """A workload's name cannot lead out of the folder."""
    with pytest.raises(UnderstudyError):
        publish.write_kill(tmp_path, Kill(name, "bob", "", 0.0))
