"""What the segment writer promises: numbers without holes, whole records, losses counted, closed files left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.core.errors import UsageError
from understudy.core.records import Exchange, Feedback, Loss, Record
from understudy.ledger import frames, tally
from understudy.ledger.segments import SegmentWriter


def exchange(number: int, answer: str = "fine") -> Exchange:
    return Exchange(
        exchange=f"x-{number:06d}", workload="reply", started_at=1_700_000_000.0 + number, epoch=1, generation="g",
        slices={"ticket": "billing"}, answer=answer,
    )  # fmt: skip


def read_all(folder: Path) -> list[tuple[int, Record]]:
    """Every record on disk by number, as a reader sees them: the first copy of a number counts."""
    found: list[tuple[int, Record]] = []
    expected = 0
    for path in sorted(folder.glob("*.seg")):
        for frame in frames.scan(path.read_bytes()):
            if frame.seq < expected:
                continue
            record = frames.decode(frame.payload)
            found.append((frame.seq, record))
            expected = frame.seq + frames.width(record)
    return found


def test_records_come_back_in_order_under_the_numbers_they_were_given(tmp_path: Path) -> None:
    """What is appended is read back, each record under the number `append` returned."""
    writer = SegmentWriter(tmp_path, "w0")
    sent = [exchange(n) for n in range(200)] + [Feedback(exchange="x-000001", name="thumb", value=1.0, at=2.0)]
    numbers = [writer.append(record) for record in sent]
    writer.close()
    assert numbers == list(range(201))
    assert read_all(tmp_path) == list(zip(numbers, sent, strict=True))


def test_flushing_needs_no_call(tmp_path: Path) -> None:
    """In mode group a record is on disk a moment after append, without flush or close."""
    writer = SegmentWriter(tmp_path, "w0", group_s=0.01)
    writer.append(exchange(1))
    while writer.count().durable < 1:
        assert writer.count().errno == 0
    assert len(read_all(tmp_path)) == 1
    writer.close()


def test_sync_mode_is_durable_when_append_returns(tmp_path: Path) -> None:
    """In mode sync nothing is in memory alone once append has returned."""
    writer = SegmentWriter(tmp_path, "w0", mode="sync", group_s=60)
    for n in range(5):
        writer.append(exchange(n))
        assert len(read_all(tmp_path)) == n + 1
        assert writer.count().durable == n + 1
    writer.close()


def test_segments_rotate_by_size_and_by_age(tmp_path: Path) -> None:
    """A segment grows neither beyond its size nor beyond its age; numbers go on across segments."""
    now = [1_000.0]
    writer = SegmentWriter(tmp_path, "w0", mode="sync", segment_bytes=2_000, segment_s=60, clock=lambda: now[0])
    for n in range(20):
        writer.append(exchange(n, answer="a" * 300))
    by_size = list(tmp_path.glob("*.seg"))
    assert len(by_size) > 3
    assert all(path.stat().st_size <= 2_000 for path in by_size)
    now[0] += 61
    writer.append(exchange(20, answer=""))
    writer.close()
    assert len(list(tmp_path.glob("*.seg"))) == len(by_size) + 1
    assert [seq for seq, _ in read_all(tmp_path)] == list(range(21))


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    """Segments, tally and reserve hold what users wrote: nobody else may read them."""
    folder = tmp_path / "segments"
    writer = SegmentWriter(folder, "w0", mode="sync")
    writer.append(exchange(1))
    assert folder.stat().st_mode & 0o077 == 0
    assert len(list(folder.iterdir())) == 3
    assert [path.name for path in folder.iterdir() if path.stat().st_mode & 0o177] == []
    writer.close()


def test_a_record_that_cannot_be_encoded_is_counted_in_its_place(tmp_path: Path) -> None:
    """A lone surrogate does not reach the disk, and a Loss takes over its number."""
    writer = SegmentWriter(tmp_path, "w0")
    for text in ("a", "\ud800", "\udfff", "b"):
        writer.append(exchange(1, answer=text))
    writer.close()
    found = read_all(tmp_path)
    assert [seq for seq, _ in found] == [0, 1, 3]
    loss = found[1][1]
    assert isinstance(loss, Loss)
    assert (loss.count, loss.why) == (2, "unencodable")
    assert writer.count().dropped == 2


def test_a_full_buffer_drops_whole_records_and_says_how_many(tmp_path: Path) -> None:
    """Memory is bounded: beyond it records are dropped, and the numbers still add up."""
    writer = SegmentWriter(tmp_path, "w0", group_s=60, max_buffered=10_000)
    for n in range(100):
        writer.append(exchange(n, answer="a" * 1_000))
    assert writer.count().dropped > 0
    assert writer.flush()
    writer.append(exchange(100))
    writer.close()
    found = read_all(tmp_path)
    losses = [record for _, record in found if isinstance(record, Loss)]
    assert sum(loss.count for loss in losses) == writer.count().dropped
    assert sum(frames.width(record) for _, record in found) == 101
    assert {loss.why for loss in losses} == {"buffer_full"}


def test_a_tally_is_held_while_its_writer_lives(tmp_path: Path) -> None:
    """A reader can tell a living writer from a dead one."""
    writer = SegmentWriter(tmp_path, "w0")
    (path,) = tmp_path.glob("*.tally")
    assert tally.is_held(path)
    writer.append(exchange(1))
    read = tally.read(path)
    assert read is not None
    assert read.appended == 1
    writer.close()
    assert not tally.is_held(path)
    closed = tally.read(path)
    assert closed is not None
    assert closed.closed


def test_append_after_close_is_an_error_of_the_caller(tmp_path: Path) -> None:
    """Nothing is dropped in silence after close."""
    writer = SegmentWriter(tmp_path, "w0")
    writer.close()
    writer.close()
    with pytest.raises(RuntimeError):
        writer.append(exchange(1))


@pytest.mark.parametrize("worker", ["", "a/b", "a.b", "../x", "w" * 65])
def test_a_worker_name_that_is_no_file_name_is_refused(tmp_path: Path, worker: str) -> None:
    """A worker's name cannot lead out of the folder."""
    with pytest.raises(UsageError):
        SegmentWriter(tmp_path, worker)


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    """The message names the folder and what to do."""
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(UsageError, match="cannot be made"):
        SegmentWriter(blocker / "segments", "w0")
