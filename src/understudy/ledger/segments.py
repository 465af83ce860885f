"""Appends records to the segment files of one gateway worker; what the bytes look like is in `frames`.

`append` numbers, encodes and buffers: it never waits for a disk in mode `group`, and no failing disk makes it raise.
A thread writes the buffer and calls fdatasync, so often that no record waits longer than `group_s`. Mode `sync` does so
before `append` returns.

After any write or sync error the segment is sealed and its descriptor never used again: whether the kernel kept those
pages is unknowable. The batch stays in memory and is written anew, under the same numbers, to the next segment; the
reader drops what it saw before. While that goes on the buffer is bounded: records beyond it are dropped, counted in
the tally at once, and named by a Loss record in their place as soon as something can be written again.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from understudy.core.errors import UsageError
from understudy.core.records import Exchange, Loss, Record
from understudy.ledger import frames, sealing
from understudy.ledger.frames import Boot
from understudy.ledger.sealing import Seal
from understudy.ledger.tally import SUFFIX, Count, Tally

Mode = Literal["group", "sync"]
RESERVE_SUFFIX = ".reserve"
RESERVE_BYTES = 64 * 1024
PIECE_BYTES = 4 * 1024 * 1024
"""Written and synced at once; bounds both the copy that joins frames and what an error makes us write again."""
_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class _Gap(NamedTuple):
    """A run of dropped numbers that no Loss record names yet."""

    first: int
    size: int
    why: str


class SegmentWriter:
    """The log of one worker process. Create it after any fork; `append` from one thread or several.

    folder: where the segments of all workers of this machine lie; made if absent.
    worker: a name that stays the same over restarts, of letters, digits, "-" and "_".
    group_s: longest time a record waits for the disk in mode `group`.
    segment_bytes, segment_s: a segment is closed when it is this large or this old.
    max_buffered: bytes kept in memory for a disk that is slow or full.
    seal: encrypts content before it is buffered; None is the one that the environment configures, if it does.

    Raises UsageError where the folder cannot be made, the worker's name cannot be one, or the key is none.
    """

    def __init__(
        self,
        folder: Path,
        worker: str,
        *,
        mode: Mode = "group",
        group_s: float = 0.05,
        segment_bytes: int = 64 * 1024 * 1024,
        segment_s: float = 60.0,
        max_buffered: int = 32 * 1024 * 1024,
        retry_s: float = 0.5,
        seal: Seal | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not frames.WORKER.fullmatch(worker):
            raise UsageError(
                f"{worker!r} cannot name a worker", remedy="use up to 64 letters, digits, hyphens and underscores"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UsageError(
                f"the ledger folder {folder} cannot be made: {error.strerror}",
                remedy="give this user a folder it may write to (`state` in understudy.yaml)",
            ) from error
        self.boot = Boot(worker, f"{time.time_ns():016x}")
        self._folder = folder
        self._mode = mode
        self._group_s, self._retry_s = group_s, retry_s
        self._segment_bytes, self._segment_s = segment_bytes, segment_s
        self._max_buffered = max_buffered
        self._cipher = sealing.configured() if seal is None else seal
        self._clock = clock

        self._lock = threading.Lock()
        """Guards the buffer; held for a few instructions, never over a system call."""
        self._next = 0
        self._pending: list[bytes] = []
        self._buffered = 0
        self._gap: _Gap | None = None

        self._disk = threading.Lock()
        """Guards everything below: one flush at a time."""
        self._tally = Tally()
        self._traced = False
        self._batch: list[bytes] = []
        self._batch_end = 0
        self._descriptor: int | None = None
        self._index = -1
        self._size = 0
        self._opened_at = 0.0

        self._closing = threading.Event()
        self._closed = False
        self._flusher = threading.Thread(target=self._run, name=f"ledger-{worker}", daemon=True)
        self.flush()
        self._flusher.start()

    def append(self, record: Record) -> int:
        """Number a record and see to it that it reaches the disk; returns its sequence number.

        A record that cannot be kept is dropped and counted. Raises RuntimeError after `close`.
        """
        if self._cipher is not None and isinstance(record, Exchange):
            record = self._sealed(self._cipher, record)
        with self._lock:
            if self._closed:
                raise RuntimeError("append to a ledger that was closed")
            seq = self._next
            self._next = seq + 1
            if self._buffered > self._max_buffered:
                self._drop(seq, "disk_full" if self._tally.read().errno in _SPACE else "buffer_full")
            else:
                try:
                    data = frames.encode(seq, record)
                except (UnicodeEncodeError, TypeError, OverflowError):
                    self._drop(seq, "unencodable")
                else:
                    if self._gap is not None:
                        self._name_gap()
                    self._pending.append(data)
                    self._buffered += len(data)
            self._tally.set_appended(seq + 1)
        if self._mode == "sync":
            self.flush()
        return seq

    @staticmethod
    def _sealed(seal: Seal, record: Exchange) -> Exchange:
        """The record with its content encrypted; one that cannot be is left for the encoder to refuse and count."""
        try:
            return seal.seal(record)
        except UnicodeEncodeError:
            return record

    def flush(self) -> bool:
        """Bring everything appended so far to the disk; False where the disk refused, and it will be tried again."""
        with self._disk:
            self._take_batch()
            try:
                self._write_batch()
            except OSError as error:
                self._seal()
                self._tally.set_errno(error.errno or errno.EIO)
                return False
            return True

    def close(self) -> None:
        """Write what is left, on a full disk with the help of the reserve, and release the boot to the committer."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._closing.set()
        self._flusher.join()
        if not self.flush():
            self._last_words()
        with self._disk:
            self._seal()
            self._reserve_path.unlink(missing_ok=True)
            self._tally.close()

    def count(self) -> Count:
        """The counters as they stand: appended, durable, dropped, the last write error."""
        with self._lock:
            return self._tally.read()

    @property
    def untraced(self) -> int:
        """Records that no file will count if this process dies: there was no room for the tally since it began."""
        return 0 if self._traced else self._next

    def trouble(self) -> str:
        """What the disk refuses and what that means for the records, in a sentence; "" where it refuses nothing."""
        refused = self.count().errno
        if not refused:
            return ""
        said = f"the ledger in {self._folder} cannot be written ({os.strerror(refused)}); answers are served, "
        if self._traced:
            return said + "records wait in memory, and those beyond its limit are dropped and counted; free some space"
        return said + "but were this worker killed before there is space, nothing would count its records"

    # What follows runs on the writing thread, in `flush` and in `close`.

    @property
    def _reserve_path(self) -> Path:
        return self._folder / f"{self.boot}{RESERVE_SUFFIX}"

    def _run(self) -> None:
        # Twice in the time a record may wait, as the disk takes its part of it.
        while not self._closing.wait(self._group_s / 2 if self._tally.read().errno == 0 else self._retry_s):
            if self._pending or self._batch or self._gap is not None or not self._tally.on_disk:
                self.flush()

    def _drop(self, seq: int, why: str) -> None:
        gap = self._gap
        if gap is not None and gap.why != why:
            self._name_gap()
            gap = None
        self._gap = _Gap(seq, 1, why) if gap is None else gap._replace(size=gap.size + 1)
        self._tally.add_dropped()

    def _name_gap(self) -> None:
        """Put the Loss record of the dropped run in the place of what it stands for."""
        gap = self._gap
        if gap is not None:
            data = frames.encode(gap.first, Loss(count=gap.size, why=gap.why, at=self._clock()))
            self._pending.append(data)
            self._buffered += len(data)
            self._gap = None

    def _take_batch(self) -> None:
        with self._lock:
            if self._buffered <= self._max_buffered or self._closed:
                self._name_gap()
            self._batch += self._pending
            self._pending = []
            self._batch_end = self._gap.first if self._gap is not None else self._next

    def _write_batch(self) -> None:
        if not self._tally.on_disk:
            self._open_tally()
        while self._batch:
            size, taken = sum(map(len, self._batch)), len(self._batch)  # all of it, where the disk keeps up
            if size > PIECE_BYTES:
                size = taken = 0
            while taken < len(self._batch) and (taken == 0 or size + len(self._batch[taken]) <= PIECE_BYTES):
                size += len(self._batch[taken])
                taken += 1
            self._write_piece(b"".join(self._batch[:taken]))
            del self._batch[:taken]
            with self._lock:
                self._buffered -= size
                self._tally.set_durable(_number(self._batch[0]) if self._batch else self._batch_end)
        self._tally.set_errno(0)

    def _write_piece(self, data: bytes) -> None:
        now = self._clock()
        if self._descriptor is not None and (
            self._size + len(data) > self._segment_bytes or now - self._opened_at > self._segment_s
        ):
            self._seal()
        descriptor = self._open_segment(now) if self._descriptor is None else self._descriptor
        _write_all(descriptor, data)
        os.fdatasync(descriptor)
        self._size += len(data)

    def _open_tally(self) -> None:
        path = self._folder / f"{self.boot}{SUFFIX}"
        self._tally.open(path, self._lock)
        self._traced = True
        descriptor = os.open(self._reserve_path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        finally:
            os.close(descriptor)

    def _open_segment(self, now: float) -> int:
        self._index += 1
        path = self._folder / frames.segment_name(self.boot, self._index)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, frames.MAGIC)
            sync_folder(self._folder)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        self._descriptor, self._size, self._opened_at = descriptor, len(frames.MAGIC), now
        return descriptor

    def _seal(self) -> None:
        """Never use this segment again. What an error left behind the last good byte gives its space back."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        with suppress(OSError):  # the reader stops at the last valid frame and drops what it has seen, in any case
            os.ftruncate(descriptor, self._size)
        with suppress(OSError):  # a late write error: those bytes were synced, or are in the batch still
            os.close(descriptor)

    def _last_words(self) -> None:
        """On a disk that stayed full: give up the reserve, write the records that fit, and a Loss for the rest."""
        self._reserve_path.unlink(missing_ok=True)
        with self._disk:
            self._take_batch()
            kept, size = 0, 0
            while kept < len(self._batch) and size + len(self._batch[kept]) <= RESERVE_BYTES // 2:
                size += len(self._batch[kept])
                kept += 1
            rest = self._batch[kept:]
            self._batch = self._batch[:kept]
            if rest:
                first = _number(rest[0])
                why = "disk_full" if self._tally.read().errno in _SPACE else "io_error"
                loss = Loss(count=self._batch_end - first, why=why, at=self._clock())
                self._batch.append(frames.encode(first, loss))
        self.flush()


def _number(frame: bytes) -> int:
    return int(frames.HEADER.unpack_from(frame)[2])


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = os.write(descriptor, view)  # not within the slice: mypyc evaluates the bounds of some slices twice
        view = view[written:]


def sync_folder(folder: Path) -> None:
    """Have the disk know of files that were made, renamed or removed in a folder. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
