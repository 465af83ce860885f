from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from understudy.core.errors import DataCorrupt
from understudy.core.routing import RoutingTable, encode
from understudy.gateway.table import TableReader, judge
from understudy.testing.served import route, table


class Place:
    """A folder with a table, and what a reader of it applied."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "table.json"
        self.applied: list[int] = []
        self.refuse = False
        self.trouble: OSError | None = None
        self.reader = TableReader(self.file, "w0", self._apply)
        self.clock = 1000.0

    def _apply(self, new: RoutingTable) -> None:
        if self.refuse:
            raise DataCorrupt("no key here")
        if self.trouble is not None:
            raise self.trouble
        self.applied.append(new.epoch)

    def publish(self, new: RoutingTable | bytes) -> None:
        temporary = self.file.with_suffix(".new")
        temporary.write_bytes(new if isinstance(new, bytes) else encode(new))
        temporary.replace(self.file)

    def poll(self) -> str:
        self.clock += 0.1
        self.reader.poll(self.clock)
        return self.reader.status


def at(epoch: int, generation: str = "g1") -> RoutingTable:
    return table("http://127.0.0.1:1/v1", epoch=epoch, generation=generation, route=route(epoch))


def test_newer_epochs_are_applied_and_older_ones_are_not(tmp_path: Path) -> None:
    """Within a generation the epoch never goes down; another generation starts anew."""
    place = Place(tmp_path)
    assert "cannot be read" in place.poll()
    for new in (at(5), at(3), at(6), at(6), at(1, "g2"), at(2, "g2")):
        place.publish(new)
        place.poll()
    assert place.applied == [5, 6, 1, 2]


def test_the_status_says_why_a_table_was_refused(tmp_path: Path) -> None:
    """An older epoch is refused in a sentence, and the same table again is no news."""
    place = Place(tmp_path)
    place.publish(at(5))
    assert place.poll() == "serving"
    place.publish(at(3))
    assert "kept epoch 5" in place.poll()
    assert "older" in place.reader.status
    place.publish(at(6))
    assert place.poll() == "serving"
    assert judge(at(6), table("http://127.0.0.1:2/v1", epoch=6)) != ""


def test_a_table_cut_anywhere_keeps_the_last_good_one(tmp_path: Path) -> None:
    """Every proper prefix of a table, and every flipped byte tried, is refused whole."""
    place = Place(tmp_path)
    place.publish(at(1))
    place.poll()
    whole = encode(at(2))
    for cut in range(0, len(whole) - 1, 7):
        place.publish(whole[:cut])
        assert place.poll().startswith("kept epoch 1")
    for spot in range(0, len(whole) - 1, 11):
        damaged = bytearray(whole)
        damaged[spot] ^= 1
        place.publish(bytes(damaged))
        assert place.poll().startswith("kept epoch 1")
    assert place.applied == [1]
    place.publish(whole)
    assert place.poll() == "serving"
    assert place.applied == [1, 2]


def test_a_table_that_cannot_be_served_here_is_refused_and_tried_no_more(tmp_path: Path) -> None:
    """What `apply` refuses leaves the last good table in force."""
    place = Place(tmp_path)
    place.publish(at(1))
    place.poll()
    place.refuse = True
    place.publish(at(2))
    assert "no key here" in place.poll()
    assert place.reader.current is not None
    assert place.reader.current.epoch == 1


def test_a_table_that_cannot_be_applied_just_now_is_tried_again(tmp_path: Path) -> None:
    """Without a file descriptor to spare a flip must wait, and must not be forgotten."""
    place = Place(tmp_path)
    place.publish(at(1))
    place.poll()
    place.trouble = OSError(errno.EMFILE, "Too many open files")
    place.publish(at(2))
    assert place.poll() == "kept epoch 1: epoch 2 cannot be applied now: Too many open files"
    place.trouble = None
    assert place.poll() == "serving"
    assert place.applied == [1, 2]


def test_a_table_nested_without_end_is_refused(tmp_path: Path) -> None:
    """It is no table, and nothing that a reader of files may die of."""
    place = Place(tmp_path)
    place.publish(at(1))
    place.poll()
    place.publish(b"[" * 200_000)
    assert place.poll().startswith("kept epoch 1: the routing table")


def test_a_missing_table_keeps_the_last_good_one(tmp_path: Path) -> None:
    """Deleting the file changes nothing but the status."""
    place = Place(tmp_path)
    first = at(1)
    place.publish(first)
    place.poll()
    place.file.unlink()
    assert place.poll().startswith("kept epoch 1")
    place.publish(first)
    assert place.poll() == "serving"
    assert place.applied == [1]


def test_a_start_with_a_damaged_table_serves_by_the_last_good_copy(tmp_path: Path) -> None:
    """A worker that starts while the table is cut serves what was served here before; without a copy it says why."""
    broken = encode(at(5))[:-30]
    first = Place(tmp_path)
    first.publish(broken)
    with pytest.raises(DataCorrupt, match="no JSON"):
        first.reader.start(1.0)
    first.publish(at(4))
    first.reader.start(2.0)
    first.reader.beat(2.0, {})
    second = Place(tmp_path)
    second.publish(broken)
    second.reader.start(3.0)
    assert second.applied == [4]
    assert second.reader.status.startswith("kept epoch 4")


def test_kill_files_come_and_go(tmp_path: Path) -> None:
    """A file rollback.<workload> names a killed workload for as long as it is there, whatever the table."""
    place = Place(tmp_path)
    place.poll()
    (tmp_path / "rollback.chat").touch()
    place.poll()
    assert place.reader.killed == {"chat"}
    (tmp_path / "rollback.chat").unlink()
    place.poll()
    assert place.reader.killed == frozenset()


def test_the_heartbeat_acknowledges_what_was_applied(tmp_path: Path) -> None:
    """It carries generation, epoch, times, process and status, and is written at once when something changed."""
    place = Place(tmp_path)
    place.publish(at(7))
    place.poll()
    place.reader.beat(place.clock, {"breakers": []})
    file = tmp_path / "workers" / "w0.json"
    beat = json.loads(file.read_text())
    assert (beat["generation"], beat["epoch"], beat["pid"], beat["status"]) == ("g1", 7, os.getpid(), "serving")
    assert beat["applied_at"] == beat["beat_at"] == place.clock
    assert beat["breakers"] == []
    place.reader.beat(place.clock + 0.1, {"breakers": []})
    assert json.loads(file.read_text()) == beat
    place.reader.beat(place.clock + 0.2, {"breakers": [{"workload": "chat"}]})
    assert json.loads(file.read_text())["breakers"] == [{"workload": "chat"}]
    place.reader.beat(place.clock + 2.0, {"breakers": [{"workload": "chat"}]})
    assert json.loads(file.read_text())["beat_at"] == place.clock + 2.0


def test_a_worker_that_steps_aside_leaves_the_name_to_its_successor(tmp_path: Path) -> None:
    """The old process beats under a name of its own and takes only that along."""
    place = Place(tmp_path)
    place.publish(at(7))
    place.poll()
    place.reader.beat(place.clock, {})
    place.reader.step_aside()
    place.reader.beat(place.clock + 5, {})
    names = {file.name for file in (tmp_path / "workers").iterdir()}
    assert names == {f"w0-{os.getpid()}.json"}
    place.reader.leave()
    assert list((tmp_path / "workers").iterdir()) == []
