"""What every test may ask for."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from types import FrameType

import pytest
from hypothesis import HealthCheck, settings
from tests.postgres import REQUIRED, Cluster, programs

# How long an example takes says something about the machine, not about the property.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that say how many seconds they take begin first, the longest before all: none of them is left to run alone
    at the end. The others stay in order.
    """

    def seconds(item: pytest.Item) -> float:
        return max((mark.args[0] for mark in item.iter_markers("slow") if mark.args), default=0)

    items.sort(key=seconds, reverse=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL server. Without one installed its tests are skipped, and say so; where it is required they fail."""
    found = programs()
    if found is None:
        missing = "no PostgreSQL: apt-get install postgresql"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{missing} ({REQUIRED} is set)")
        pytest.skip(missing)
    cluster = Cluster(found)
    try:
        yield cluster
    finally:
        cluster.remove()


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
