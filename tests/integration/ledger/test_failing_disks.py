"""Segments on disks that are full, fail, or are slow: nothing raises, nothing is lost uncounted, nothing waits."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from understudy.core.records import Exchange, Loss
from understudy.ledger import panics
from understudy.ledger.reading import BootReader, boots
from understudy.ledger.segments import SegmentWriter
from understudy.ledger.verify import verify

APPENDER = Path(__file__).with_name("appender.py")
STRACE = shutil.which("strace")


def record(number: int, size: int = 2_000) -> Exchange:
    return Exchange(
        exchange=f"x-{number}", workload="reply", started_at=1_700_000_000.0, epoch=1, generation="g", answer="a" * size
    )


def account(folder: Path) -> tuple[list[str], dict[str, int]]:
    """The exchanges that can be read back, in order of their numbers, and the losses by reason."""
    names: list[str] = []
    lost: dict[str, int] = {}
    for boot in boots(folder):
        for row in BootReader(folder, boot).read(limit=10_000_000).rows:
            if isinstance(row.record, Loss):
                lost[row.record.why] = lost.get(row.record.why, 0) + row.record.count
            elif isinstance(row.record, Exchange):
                assert row.record.exchange == f"x-{row.seq}"
                names.append(row.record.exchange)
    return names, lost


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own of a given size; needs the right to mount."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_drops_whole_records_counts_them_and_recovers(tmp_path: Path) -> None:
    """Appending goes on; what was dropped is what is counted; when space comes back so do the records."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        filler = disk / "filler"
        filler.write_bytes(b"f" * 600 * 1024)
        writer = SegmentWriter(disk / "segments", "w0", max_buffered=200_000, retry_s=0.05)
        for number in range(1_000):
            writer.append(record(number))
            if number % 100 == 0:
                time.sleep(0.03)
        full = writer.count()
        assert full.errno != 0
        assert full.dropped > 0
        filler.unlink()
        freed = time.monotonic()
        while writer.count().errno:
            assert time.monotonic() - freed < 60
            time.sleep(0.01)
        assert writer.append(record(1_000)) == 1_000
        writer.close()
        names, lost = account(disk / "segments")
        assert len(names) + sum(lost.values()) == 1_001
        assert sum(lost.values()) == writer.count().dropped
        assert "disk_full" in lost  # a record dropped before the first write failed says buffer_full
        assert names[-1] == "x-1000"


def test_the_reserve_holds_the_last_word_on_a_disk_that_stays_full(tmp_path: Path) -> None:
    """Closed while the disk is full: the marker of the loss is on that disk all the same."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        writer = SegmentWriter(disk / "segments", "w0", max_buffered=400_000, retry_s=0.05)
        filled = (disk / "filler").open("wb")
        with filled:
            os.posix_fallocate(filled.fileno(), 0, shutil.disk_usage(disk).free)
        for number in range(100):
            writer.append(record(number))
        assert not writer.flush()
        writer.close()
        names, lost = account(disk / "segments")
        assert 0 < len(names) < 100
        assert lost == {"disk_full": 100 - len(names)}
        assert writer.count().closed


def test_a_worker_killed_on_a_full_disk_leaves_a_count(tmp_path: Path) -> None:
    """No room for a marker and no time to write one: the tally has the number."""
    with small_disk(tmp_path / "disk", "300k") as disk:
        process = subprocess.Popen(
            [sys.executable, str(APPENDER), str(disk / "segments"), "100000", "--pause", "0.001"],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stderr
        acknowledged = 0
        while acknowledged < 1_500:
            acknowledged = int(process.stderr.readline())
        process.kill()
        rest = process.stderr.read().split()
        process.wait()
        process.stderr.close()
        acknowledged = int(rest[-1]) if rest else acknowledged
        names, lost = account(disk / "segments")
        assert 0 < len(names) < acknowledged
        assert len(names) + sum(lost.values()) >= acknowledged
        assert list(lost) == ["io_error_ENOSPC"]


def test_a_gateway_started_on_a_full_disk_still_counts(tmp_path: Path) -> None:
    """Not even the tally fits: the writer works from memory until there is room."""
    with small_disk(tmp_path / "disk", "200k") as disk:
        (disk / "segments").mkdir()
        with (disk / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, shutil.disk_usage(disk).free)
        writer = SegmentWriter(disk / "segments", "w0", retry_s=0.05)
        for number in range(20):
            writer.append(record(number, 100))
        assert list((disk / "segments").glob("*.seg")) == []
        assert writer.untraced == 20
        assert "nothing would count its records" in writer.trouble()
        (disk / "filler").unlink()
        assert writer.flush()
        assert (writer.untraced, writer.trouble()) == (0, "")
        writer.close()
        assert account(disk / "segments") == ([f"x-{n}" for n in range(20)], {})


def test_a_worker_that_never_had_space_says_what_is_lost_with_it(tmp_path: Path) -> None:
    """The one loss that no file counts: begun on a full disk and ended on it."""
    with small_disk(tmp_path / "disk", "200k") as disk:
        (disk / "segments").mkdir()
        with (disk / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, shutil.disk_usage(disk).free)
        writer = SegmentWriter(disk / "segments", "w0", retry_s=0.05)
        for number in range(20):
            writer.append(record(number, 100))
        writer.close()
        assert list((disk / "segments").iterdir()) == []
        assert writer.untraced == 20


def test_a_limit_on_file_size_is_a_full_disk(tmp_path: Path) -> None:
    """Where nothing can be mounted, the limit of the process does: whole records, counted losses, no exception."""
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
sys.argv = ["appender", {str(tmp_path / "s")!r}, "2000", "--bytes", "2000", "--buffer", "100000"]
import runpy; runpy.run_path({str(APPENDER)!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    names, lost = account(tmp_path / "s")
    assert len(names) + sum(lost.values()) == 2_000


def injected(tmp_path: Path, fault: str, *arguments: str) -> str:
    """Run the appender with a system call made to fail; returns what it said at its end."""
    call = fault.split(":")[0]
    done = subprocess.run(
        [
            str(STRACE), "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", f"trace={call}", "-e", f"inject={fault}",
            sys.executable, str(APPENDER), str(tmp_path / "s"), "--quiet", *arguments,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "INJECTED" in (tmp_path / "trace").read_text() or "DELAYED" in (tmp_path / "trace").read_text()
    return done.stdout


FAULTS = (
    "fdatasync:error=EIO:when=1", "fdatasync:error=EIO:when=3", "fdatasync:error=EIO:when=2+3",
    "write:error=EIO:when=1", "write:error=EIO:when=2",
    "write:error=EROFS:when=2..5", "write:error=ENOSPC:when=3..6", "fsync:error=EIO:when=1",
    "rename:error=EIO:when=1", "fallocate:error=ENOSPC:when=1", "fallocate:error=ENOSPC:when=2",
)  # fmt: skip


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
@pytest.mark.parametrize("fault", FAULTS)
def test_any_write_or_sync_may_fail_once_or_again(tmp_path: Path, fault: str) -> None:
    """The segment is sealed and the batch written anew: every record is there, once, and none is invented."""
    injected(tmp_path, fault, "30", "--pause", "0.01")
    assert account(tmp_path / "s") == ([f"x-{n}" for n in range(30)], {})


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
def test_a_slow_sync_makes_nobody_wait(tmp_path: Path) -> None:
    """fdatasync takes half a second each time: no append takes more than a few milliseconds, and all records arrive."""
    said = injected(tmp_path, "fdatasync:delay_exit=500000", "100", "--pause", "0.01").split()
    assert float(said[said.index("slowest") + 1]) < 100
    assert account(tmp_path / "s") == ([f"x-{n}" for n in range(100)], {})


COMMIT = """
import sys
from pathlib import Path
from understudy.core.errors import CannotMeasure
from understudy.ledger.committer import Committer
with Committer(Path(sys.argv[1]), sys.argv[2]) as committer:
    try:
        print(committer.run_once().exchanges)
    except CannotMeasure as error:
        print(error.message.splitlines()[0])
        print(error.remedy)
"""


def test_a_committer_on_a_full_disk_says_so_in_our_words_and_the_segments_wait(tmp_path: Path) -> None:
    """No panic of the writer's threads on the terminal, no record lost; when there is space all come in, once."""
    segments = tmp_path / "segments"
    writer = SegmentWriter(segments, "w0")
    for number in range(1_000):
        # Random, as what can be compressed would fit.
        writer.append(msgspec.structs.replace(record(number, 0), answer=random.Random(number).randbytes(600).hex()))
    writer.close()
    before = {path.name: path.read_bytes() for path in segments.glob("*.seg")}
    with small_disk(tmp_path / "disk", "200k") as disk:
        command = [sys.executable, "-c", COMMIT, str(segments), str(disk / "lake")]
        for _ in range(2):
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            assert "cannot be written" in done.stdout
            assert "segments" in done.stdout
            assert done.stderr == ""
            assert {path.name: path.read_bytes() for path in segments.glob("*.seg")} == before
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == "1000\n"
        assert verify(segments, disk / "lake").as_dict()["committed"] == 1_000


def test_what_others_print_while_the_lake_fails_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    """Only the panic goes: its head, its message and its trace; and nothing does where nothing failed."""
    panic = "\nthread 'tokio-rt-worker' (27) panicked at a.rs:3:1:\nAlready shut down\nstack backtrace:\n   0: f\n"
    with pytest.raises(ValueError, match="x"), panics.unprinted():
        os.write(2, f"before\n{panic}note: more\nafter\n".encode())
        raise ValueError("x")
    assert capfd.readouterr().err.split() == ["before", "after"]
    with panics.unprinted():
        os.write(2, panic.encode())
    assert capfd.readouterr().err == panic
