"""What every test may ask for."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType

import pytest


@pytest.fixture
def calls() -> Callable[[Callable[[], object]], int]:
    """Counts the calls, of Python and of C, that some work makes: its cost, the same on every machine."""

    def count(work: Callable[[], object]) -> int:
        made = 0

        def seen(frame: FrameType, event: str, argument: object) -> None:
            nonlocal made
            made += event in ("call", "c_call")

        before, collecting = sys.getprofile(), gc.isenabled()
        gc.disable()  # what other tests left to be collected is not this work's
        sys.setprofile(seen)
        try:
            work()
        finally:
            sys.setprofile(before)
            if collecting:
                gc.enable()
        return made

    return count
