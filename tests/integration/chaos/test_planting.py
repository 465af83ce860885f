"""Planting itself: a defect whose place in the gateway is gone is an error, never a gateway without its defect."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.chaos import sabotage
from benchmarks.chaos.world import BUG, REPO, world

PLANTED = Path(sabotage.__file__).parent / "planted"


def test_a_place_that_is_gone_is_an_error() -> None:
    """A renamed method is not silently left as it is."""
    with pytest.raises(AttributeError):
        sabotage.replace(sabotage, "no_such_place", lambda former: former)


def test_the_place_of_every_defect_is_there() -> None:
    """Each is planted in a process of its own kind, one after another; what was renamed is named."""
    code = (
        "import collections, traceback\n"
        "from benchmarks.chaos.sabotage import DEFECTS\n"
        "for name, plant in DEFECTS.items():\n"
        "    try: plant(collections.defaultdict(dict))\n"
        "    except Exception as error: print(name, repr(error))\n"
    )
    path = os.pathsep.join((str(REPO / "src"), str(REPO)))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_gateway_whose_defect_cannot_be_planted_does_not_start(workers: int) -> None:
    """Neither the short worker nor the real command runs without the defect it was to have."""

    async def run() -> None:
        async with world(workers=workers):
            raise AssertionError("it started")

    former = BUG.set("no_such_defect")
    try:
        with pytest.raises(RuntimeError, match="did not start"):
            asyncio.run(run())
    finally:
        BUG.reset(former)


def test_what_python_forgives_ends_the_process_here() -> None:
    """An error while planting in `sitecustomize` is no warning: the process is over, and says why."""
    path = os.pathsep.join((str(PLANTED), str(REPO / "src"), str(REPO)))
    environment = {**os.environ, "PYTHONPATH": path, "CHAOS_BUG": "no_such_defect"}
    done = subprocess.run(
        [sys.executable, "-c", "print('on')"], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stdout) == (97, "")
    assert "no_such_defect" in done.stderr
