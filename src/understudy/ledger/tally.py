"""The tally of a boot: a few counters in a mapped file that outlives kill -9, so that no loss goes uncounted.

The writer bumps `appended` before it answers for a record, long before the record is on disk. Whoever finds the boot
over compares it with what is on disk: the difference is exactly what was lost. Its blocks are allocated when it is
made, so it can be written on a full disk. An exclusive lock on it is held as long as the writer lives.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import NamedTuple

MAGIC = int.from_bytes(b"USTALLY1", "little")
SIZE = 4096
_MAGIC, _APPENDED, _DURABLE, _DROPPED, _ERRNO, _CLOSED, _FIELDS = range(7)
SUFFIX = ".tally"


class Count(NamedTuple):
    """What a tally says. `appended` is the next sequence number; `errno` is that of a write error not yet over."""

    appended: int
    durable: int
    dropped: int
    errno: int
    closed: bool


class Tally:
    """The counters of a living writer. Until `open` succeeds they are kept in memory alone."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._map: mmap.mmap | None = None
        self._fields = memoryview(bytearray(8 * _FIELDS)).cast("Q")
        self._fields[_MAGIC] = MAGIC

    @property
    def on_disk(self) -> bool:
        return self._map is not None

    def open(self, path: Path, lock: AbstractContextManager[object]) -> None:
        """Make and lock the file, then move the counters into it while holding `lock`.

        Raises OSError; the counters then stay where they are.
        """
        # Under another name until it is locked: a reader must never find the tally of a living writer unlocked.
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(descriptor, 0, SIZE)
            mapped = mmap.mmap(descriptor, SIZE)
            mapped[: 8 * _FIELDS] = self._fields.tobytes()
            mapped.flush()
            os.fsync(descriptor)
            fresh.rename(path)
        except OSError:
            os.close(descriptor)
            fresh.unlink(missing_ok=True)
            raise
        with lock:
            mapped[: 8 * _FIELDS] = self._fields.tobytes()
            self._descriptor, self._map = descriptor, mapped
            self._fields = memoryview(mapped).cast("Q")

    def set_appended(self, value: int) -> None:
        self._fields[_APPENDED] = value

    def set_durable(self, value: int) -> None:
        self._fields[_DURABLE] = value

    def add_dropped(self) -> None:
        self._fields[_DROPPED] += 1

    def set_errno(self, value: int) -> None:
        self._fields[_ERRNO] = value

    def read(self) -> Count:
        return _count(self._fields)

    def close(self) -> None:
        """Say that nothing more comes, and let go of the lock."""
        self._fields[_CLOSED] = 1
        if self._map is None or self._descriptor is None:
            return
        last = bytearray(self._fields[:_FIELDS])
        self._fields.release()
        self._fields = memoryview(last).cast("Q")
        with suppress(OSError):  # the counters are in the page cache already; only a power cut could still lose them
            self._map.flush()
        self._map.close()
        os.close(self._descriptor)
        self._map = self._descriptor = None


def read(path: Path) -> Count | None:
    """The counters in a tally file; None where there is no whole one."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(data) < 8 * _FIELDS:
        return None
    fields = memoryview(data[: 8 * _FIELDS]).cast("Q")
    return _count(fields) if fields[_MAGIC] == MAGIC else None


def is_held(path: Path) -> bool:
    """True while the writer that made this tally lives."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _count(fields: memoryview) -> Count:
    return Count(
        appended=fields[_APPENDED],
        durable=fields[_DURABLE],
        dropped=fields[_DROPPED],
        errno=fields[_ERRNO],
        closed=bool(fields[_CLOSED]),
    )
