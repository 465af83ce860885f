"""Keeps Python from looking for cycles of garbage while very many objects are made that form none.

Over a million records that search takes longer than the records; over the sums of a few days, longer than a tick.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """For the whole process, until the one who began it is done; may be nested."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
