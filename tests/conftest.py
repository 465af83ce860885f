"""What every test may ask for."""

from __future__ import annotations

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

        before = sys.getprofile()
        sys.setprofile(seen)
        try:
            work()
        finally:
            sys.setprofile(before)
        return made

    return count
