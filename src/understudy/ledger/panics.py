"""Keeps off the terminal what the lake's writer prints of its own threads as it fails; the error itself says it better.

On a full disk those threads panic, and the language they are written in prints each panic with a backtrace to the
standard error, whatever becomes of it. What others print meanwhile comes a moment later.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

_ONE_AT_A_TIME = threading.Lock()
_BEGINS = re.compile(r"thread '.*' (\(\d+\) )?panicked at ")
_GOES_ON = re.compile(r"stack backtrace:|note: |\s+\d+: |\s+at |$")
STDERR = 2


@contextmanager
def unprinted() -> Iterator[None]:
    """Where the block raises, panics printed in it are dropped; everything else that was printed is passed on."""
    with _ONE_AT_A_TIME, _somewhere() as caught:
        sys.stderr.flush()
        former = os.dup(STDERR)
        os.dup2(caught.fileno(), STDERR)
        failed = True
        try:
            yield
            failed = False
        finally:
            os.dup2(former, STDERR)
            os.close(former)
            caught.seek(0)
            said = caught.read()
            said = without_panics(said) if failed else said
            while said:
                said = said[os.write(STDERR, said) :]


def without_panics(said: bytes) -> bytes:
    """The lines that are no part of a panic: its first line, its message, and the trace below."""
    kept = []
    lines = iter(said.decode(errors="replace").splitlines(keepends=True))
    in_panic = False
    for line in lines:
        if _BEGINS.match(line):
            in_panic = True
            next(lines, None)  # what it says
        elif not (in_panic and _GOES_ON.match(line)):
            in_panic = False
            kept.append(line)
    return "".join(kept).encode() if any(line.strip() for line in kept) else b""


def _somewhere() -> IO[bytes]:
    """A file that needs no disk, where there is such a thing."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stderr"), "w+b")
    return tempfile.TemporaryFile()
