"""The comparison of sizes compares the same rows, and says which stores it had."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.ledger import sizes

from understudy.core.records import Exchange
from understudy.ledger.committer import Committer
from understudy.ledger.lake import Lake, Table
from understudy.ledger.segments import SegmentWriter

pytestmark = pytest.mark.slow


ROOT = Path(__file__).parents[3]
MEASURE = """
import json
from benchmarks.ledger import sizes
found = sizes.measured(300)
print(json.dumps([found, sizes.page(found, 300, sizes.versions())]))
"""


def test_every_store_that_is_there_has_its_line() -> None:
    """PostgreSQL where it is installed, with a word where it is not; ClickHouse as the tests have it. In a process of
    its own, because one process can hold one ClickHouse only."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    *said, last = done.stdout.splitlines()
    found, page = json.loads(last)
    assert all(size > 0 for size in found.values())
    assert {"lake", "lake, compacted", "ClickHouse", "ClickHouse, zstd"} <= found.keys()
    assert ("PostgreSQL" in found) != any("no PostgreSQL is installed" in line for line in said)
    assert "| lake |" in page


def test_other_rows_are_no_comparison(tmp_path: Path) -> None:
    """A store in which a row is missing ends the measurement."""
    writer = SegmentWriter(tmp_path / "segments", "w0")
    for n in range(3):
        writer.append(Exchange(exchange=f"x{n}", workload="w", started_at=float(n), epoch=1, generation="g"))
    writer.close()
    lake = Lake(tmp_path / "lake")
    with Committer(tmp_path / "segments", lake) as committer:
        committer.run_once()
    assert len(lake.files(Table.EXCHANGES)) == 1
    sizes.check_same(3, lake)
    with pytest.raises(SystemExit, match="2 rows were loaded of 3"):
        sizes.check_same(2, lake)
