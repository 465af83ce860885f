"""The page of results says what was found, what was not, and what nobody looked at."""

from __future__ import annotations

import string
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.chaos.matrix import ROWS
from benchmarks.chaos.report import GOALS, Result, keep, kept, page
from benchmarks.chaos.waiting import waited

BY_NUMBER = {row.number: row for row in ROWS}


def result(number: int, *found: str, caught: bool = True, **facts: object) -> Result:
    return Result(BY_NUMBER[number], list(found), caught, {"ok": 1200}, facts, 60.0)


def test_a_row_that_failed_and_a_defect_that_was_missed_stand_out() -> None:
    """What did not hold is said in the count, in the row and in each goal that rests on it."""
    written = page([result(22, "3 failed | twice", caught=False, failed=3, restarts=50), result(17, cases=185)], [1, 5])
    assert "1 of 2 rows held" in written
    assert "caught in 1 of 2" in written
    assert "Not run: rows 1, 5." in written
    assert "**no**: 3 failed / twice" in written
    assert "| **not held:** 3 of 1,200 over 50 rolling restarts | 22 |" in written
    assert "(not measured)" in written  # what row 17 says of nginx
    assert "not run: 81, 82, 83, 84" in written


def test_results_are_kept_for_the_next_run(tmp_path: Path) -> None:
    """What one run wrote the next one reads, so that a single row can be run again."""
    file = tmp_path / "results.json"
    assert kept(file, ROWS) == {}
    keep(file, [result(1, "a"), result(2, p99=3.5)])
    assert kept(file, ROWS) == {1: result(1, "a"), 2: result(2, p99=3.5)}
    assert list(kept(file, [BY_NUMBER[2]])) == [2]


def test_every_figure_of_a_goal_comes_from_a_row_that_it_names() -> None:
    """A sentence with a figure of a row that is not listed would look measured when it is not."""
    for promise, sentence, rows in GOALS:
        named = {int(field.split("[")[0][1:]) for _, field, _, _ in string.Formatter().parse(sentence) if field}
        assert named <= set(rows), promise
        assert set(rows) <= set(BY_NUMBER), promise


def test_what_a_process_waited_for_a_processor_is_known() -> None:
    """Two that want one processor for a second wait for half of it; one that is gone has waited for nothing."""
    code = (
        "import os, time\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "end = time.monotonic() + 1\n"
        "while time.monotonic() < end: pass"
    )
    hogs = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    until = time.monotonic() + 90
    seen = 0.0
    while any(hog.poll() is None for hog in hogs) and time.monotonic() < until:
        seen = max(seen, waited(*(hog.pid for hog in hogs)))
        time.sleep(0.02)
    assert seen > 0.2
    assert waited(*(hog.pid for hog in hogs)) == 0
