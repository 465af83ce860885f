"""Two locks in the segments folder: one committer a machine; one process at a time changes lake or segments."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from understudy.core.errors import CannotMeasure, Refused

COMMITTER_LOCK = "committer.lock"
LAKE_LOCK = "lake.lock"


def take_committer_lock(segments: Path) -> int:
    """Become the committer of this folder until the descriptor is closed. Raises Refused where another one is,
    CannotMeasure where the folder cannot be written."""
    descriptor = _opened(segments, COMMITTER_LOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise Refused(
            f"another committer (process {holder}) is draining {segments}",
            remedy="leave it to that one; there is one committer a machine",
        ) from None
    with suppress(OSError):  # on a full disk the lock holds all the same, only its holder goes unnamed
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


@contextmanager
def lake_lock(segments: Path) -> Iterator[None]:
    """Change lake and segments alone on this machine; waits for whoever does so now, which takes moments."""
    descriptor = _opened(segments, LAKE_LOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _opened(segments: Path, name: str) -> int:
    try:
        segments.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(segments / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotMeasure(
            f"{segments / name} cannot be opened: {error.strerror}",
            remedy="give this user a folder it may write to, and see that its disk has space",
        ) from error
