"""Run the house checks named on the command line, all of them, and report every failure at the end.

python scripts/run_all.py check fast
python scripts/run_all.py check all

A check that passes says one line; the tests of `all` are shown as they run, and their summary comes last.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PYTEST = [sys.executable, "-m", "pytest"]
SHOWN = ("all",)

CHECKS: dict[str, list[tuple[str, list[str]]]] = {
    "check": [
        ("format", [str(BIN / "ruff"), "format", "--check", "."]),
        ("lint", [str(BIN / "ruff"), "check", "."]),
        ("types", [str(BIN / "mypy")]),
        ("contracts", [str(BIN / "lint-imports"), "--no-cache"]),
        ("sizes", [sys.executable, "scripts/check_sizes.py"]),
        ("docs", [sys.executable, "scripts/check_docs.py"]),
    ],
    "fast": [("tests", [*PYTEST, "-q", "-n", "2", "-m", "not slow", "tests/unit", "tests/spec"])],
    "all": [
        # The whole product at work needs both cores; the other tests share them, and many of them wait for something.
        ("whole product", [*PYTEST, "-m", "alone"]),
        ("tests", [*PYTEST, "-m", "not alone", "-n", "3", "--dist", "worksteal", "--durations", "15"]),
    ],
}


def main() -> int:
    failed: list[str] = []
    for group in sys.argv[1:]:
        for name, command in CHECKS[group]:
            started = time.monotonic()
            done = subprocess.run(command, cwd=ROOT, text=True, capture_output=group not in SHOWN, check=False)
            took = time.monotonic() - started
            ok = done.returncode == 0
            print(f"{'ok  ' if ok else 'FAIL'} {name} ({took:.1f} s)", flush=True)
            if not ok:
                failed.append(name)
                print(((done.stdout or "") + (done.stderr or "")).rstrip(), flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
