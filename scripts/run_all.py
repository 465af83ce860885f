"""Run the house checks named on the command line, all of them, and report every failure at the end.

python scripts/run_all.py check fast
python scripts/run_all.py built alone rest

A check that passes says one line; the tests of `alone` and `rest` are shown as they run, those that run beside others
when they are over, and the summary comes last. `built` makes the wheel beside the checks; what follows it has its
processes run from there, the path of a request compiled, as people install it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PYTEST = [sys.executable, "-m", "pytest"]
TIMED = {"gateway", "testing", "upstream"}
"""Folders of unit tests whose servers and deadlines live in real time."""
UNIT = sorted(folder.name for folder in (ROOT / "tests" / "unit").iterdir() if folder.is_dir())
COMPUTING = [
    *(f"tests/unit/{name}" for name in UNIT if name not in TIMED and not name.startswith("__")),
    "tests/spec",
    "tests/generative",
    "tests/conformance/ledger",
]
"""Tests that compute and wait for nobody: they take what the others leave of the processors."""
IN_TIME = [f"tests/unit/{name}" for name in UNIT if name in TIMED]
SERVING = [*PYTEST, *(f"--ignore={folder}" for folder in [*COMPUTING, *IN_TIME])]
COMPILED = ROOT / "build" / "compiled"
BESIDE = 19
"""The niceness of what runs beside something that is shown."""


class Check(NamedTuple):
    name: str
    command: list[str]
    beside: bool = False
    """Whether it makes way for the checks of the other lane."""
    shown: bool = False
    compiled: bool = False
    """Whether it is about the product as it is installed, once that is built."""


CHECKS: dict[str, list[list[Check]]] = {
    # By group: lanes, which run at once; the checks of a lane follow each other.
    "check": [
        [
            Check("format", [str(BIN / "ruff"), "format", "--check", "."]),
            Check("lint", [str(BIN / "ruff"), "check", "."]),
            Check("types", [str(BIN / "mypy")]),
            Check("contracts", [str(BIN / "lint-imports"), "--no-cache"]),
            Check("sizes", [sys.executable, "scripts/check_sizes.py"]),
            Check("docs", [sys.executable, "scripts/check_docs.py"]),
        ],
    ],
    "built": [],
    "fast": [[Check("tests", [*PYTEST, "-q", "-n", "2", "-m", "not slow", "tests/unit", "tests/spec"])]],
    # The whole product at work needs both cores: nothing runs with it.
    "alone": [[Check("whole product", [*SERVING, "-m", "alone"], shown=True, compiled=True)]],
    "rest": [
        [
            Check("in time", [*PYTEST, "-q", "-n", "3", *IN_TIME]),
            # Most of these wait for something; the longest begin first, one at a time (see tests/conftest.py).
            Check(
                "serving",
                [*SERVING, "-m", "not alone", "-n", "3", "--dist", "load", "--maxschedchunk", "1", "--durations", "15"],
                shown=True,
                compiled=True,
            ),
        ],
        [
            Check(
                "computing",
                [*PYTEST, "-q", "-n", "2", "--dist", "worksteal", "--durations", "15", *COMPUTING],
                beside=True,
            ),
        ],
    ],
}
CHECKS["built"] = [*CHECKS["check"], [Check("compile", ["make", "--silent", "build/compiled/.made"])]]


class Running(NamedTuple):
    check: Check
    process: subprocess.Popen[bytes]
    said: IO[bytes] | None
    """What it says; None where that is shown as it comes."""
    began: float


def begin(check: Check, environment: Mapping[str, str]) -> Running:
    said = None if check.shown else tempfile.TemporaryFile()  # noqa: SIM115 - read and closed in `end`
    process = subprocess.Popen(
        check.command,
        cwd=ROOT,
        env=environment,
        stdout=said,
        stderr=None if said is None else subprocess.STDOUT,
        start_new_session=check.beside,
    )
    if check.beside:
        make_way(process.pid)
    return Running(check, process, said, time.monotonic())


def make_way(pid: int) -> None:
    """Give a process that leads a session only what others leave. Where the kernel shares by session, its too."""
    os.setpriority(os.PRIO_PROCESS, pid, BESIDE)
    with suppress(OSError):  # there is no such thing, or it may not be set yet: the niceness is all there is then
        Path(f"/proc/{pid}/autogroup").write_text(str(BESIDE))


def end(running: Running) -> bool:
    """Wait for it, say how it went, and whether it went well."""
    code = running.process.wait()
    took = time.monotonic() - running.began
    if running.said is not None:
        with running.said as said:
            said.seek(0)
            if code or running.check.beside:
                print(said.read().decode(errors="replace").rstrip(), flush=True)
    print(f"{'FAIL' if code else 'ok  '} {running.check.name} ({took:.1f} s)", flush=True)
    return code == 0


class Lanes:
    """The lanes of a group at once, each in a thread of its own."""

    def __init__(self, environment: Mapping[str, str], compiled: Mapping[str, str]) -> None:
        self.environments = {False: environment, True: compiled}
        self.begun: list[Running] = []
        self.stopped = False

    def carry_out(self, lanes: list[list[Check]]) -> list[str]:
        """The names of the checks that failed."""
        with ThreadPoolExecutor(len(lanes)) as pool:
            try:
                return [name for failed in pool.map(self._lane, lanes) for name in failed]
            finally:
                self.stopped = True
                for running in self.begun:
                    running.process.terminate()

    def _lane(self, lane: list[Check]) -> list[str]:
        failed = []
        for check in lane:
            if not self.stopped:
                running = begin(check, self.environments[check.compiled])
                self.begun.append(running)
                if not end(running):
                    failed.append(check.name)
        return failed


def main() -> int:
    # The commands of the product are started hundreds of times: what was compiled once is kept.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    compiled = environment | {"PYTHONPATH": str(COMPILED)} if "built" in sys.argv else environment
    failed = [name for group in sys.argv[1:] for name in Lanes(environment, compiled).carry_out(CHECKS[group])]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
