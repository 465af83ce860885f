"""Memory that the workers of a machine share, and that outlives them: a file of fixed size, mapped.

All of its space is taken when it is opened. A page of a file with holes that is first written when the disk is full
kills the process that writes it; a disk that is full from the beginning costs the sharing instead, and that is said.
"""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path


def mapped(path: Path | None, size: int) -> mmap.mmap:
    """The file's bytes; memory of this process alone where `path` is None or the file cannot have its space."""
    if path is None:
        return mmap.mmap(-1, size)
    try:
        with path.open("a+b") as file:
            if file.seek(0, 2) != size:
                file.truncate(size)
            os.posix_fallocate(file.fileno(), 0, size)
            return mmap.mmap(file.fileno(), size)
    except OSError as error:
        why = error.strerror or type(error).__name__
        sys.stderr.write(f"{path} cannot be shared ({why}): this worker remembers for itself until it ends\n")
        return mmap.mmap(-1, size)
