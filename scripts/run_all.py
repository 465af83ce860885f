"""Run the house checks named on the command line, all of them, and report every failure at the end.

python scripts/run_all.py check fast
python scripts/run_all.py check all

What stands in one step runs at once. A check that passes says one line; the tests of `all` are shown as they run, those
that run beside them when they are over, and the summary comes last.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
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
SERVING = [*PYTEST, *(f"--ignore={folder}" for folder in COMPUTING)]
BESIDE = 5
"""The niceness of what runs beside something that is shown."""


class Check(NamedTuple):
    name: str
    command: list[str]
    beside: bool = False
    """Whether it makes way for the others of its step."""
    shown: bool = False


CHECKS: dict[str, list[list[Check]]] = {
    "check": [
        [Check("format", [str(BIN / "ruff"), "format", "--check", "."])],
        [Check("lint", [str(BIN / "ruff"), "check", "."])],
        [Check("types", [str(BIN / "mypy")])],
        [Check("contracts", [str(BIN / "lint-imports"), "--no-cache"])],
        [Check("sizes", [sys.executable, "scripts/check_sizes.py"])],
        [Check("docs", [sys.executable, "scripts/check_docs.py"])],
    ],
    "fast": [[Check("tests", [*PYTEST, "-q", "-n", "2", "-m", "not slow", "tests/unit", "tests/spec"])]],
    "all": [
        # The whole product at work needs both cores.
        [Check("whole product", [*SERVING, "-m", "alone"], shown=True)],
        [
            # Most of these wait for something; the longest begin first, one at a time (see tests/conftest.py).
            Check(
                "serving",
                [*SERVING, "-m", "not alone", "-n", "3", "--dist", "load", "--maxschedchunk", "1", "--durations", "15"],
                shown=True,
            ),
            Check(
                "computing",
                [*PYTEST, "-q", "-n", "2", "--dist", "worksteal", "--durations", "15", *COMPUTING],
                beside=True,
            ),
        ],
    ],
}


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
    group = Path(f"/proc/{pid}/autogroup")
    if group.exists():
        group.write_text(str(BESIDE))


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


def main() -> int:
    # The commands of the product are started hundreds of times: what was compiled once is kept.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    failed: list[str] = []
    for group in sys.argv[1:]:
        for step in CHECKS[group]:
            running = [begin(check, environment) for check in step]
            with ThreadPoolExecutor(len(running)) as pool:
                try:
                    went_well = list(pool.map(end, running))
                finally:
                    for each in running:
                        each.process.terminate()
            failed += [each.check.name for each, well in zip(running, went_well, strict=True) if not well]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
