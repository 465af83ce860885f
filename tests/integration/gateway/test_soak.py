"""Memory over mixed requests, the small version of `make soak-gateway`, and a planted leak that it must see."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.gateway import mixed, soak  # noqa: E402

REQUESTS = 10_000
FLAT_MIB = 4.0
"""Growth over the last 8,000 of 10,000 requests that a worker which still fills its caches may show."""
SAMPLES = 25
LEAK = b"""
import sys

if "understudy.gateway.worker" in " ".join(sys.orig_argv):
    from understudy.gateway.metrics import Metrics

    recorded, kept = Metrics.record, []

    def leaking(self, record):
        kept.append(bytes(2048))
        recorded(self, record)

    Metrics.record = leaking
"""


def grown(seen: soak.Seen) -> float:
    """MiB between the first fifth and the end, by the median slope (Theil and Sen) of the flatter half.

    What leaks grows all the time. A peak is what was open at one moment, and a step a new high mark of it: both depend
    on how busy the machine is.
    """
    points = seen.settled
    middle = len(points) // 2
    return min(typical(points[:middle]), typical(points[middle:])) * (points[-1][0] - points[0][0])


def typical(points: Sequence[tuple[int, float]]) -> float:
    return median((b - a) / (y - x) for (x, a), (y, b) in combinations(points, 2))


def test_a_peak_and_a_step_are_no_leak() -> None:
    flat = [(n, 45.0) for n in range(400, 10_001, 400)]
    peak = [(n, 50.0 if n == 10_000 else m) for n, m in flat]
    step = [(n, 45.0 if n < 6_000 else 51.0) for n, _ in flat]
    leak = [(n, 45.0 + n / 1_000) for n, _ in flat]
    assert [grown(soak.Seen(points)) < FLAT_MIB for points in (flat, peak, step, leak)] == [True, True, True, False]


@pytest.mark.alone
@pytest.mark.slow
def test_memory_is_flat_over_mixed_requests(tmp_path: Path) -> None:
    """Whole answers and streams, faults, leavers, big bodies, refusals, every request shadowed: nothing adds up."""
    seen = asyncio.run(soak.soak(tmp_path, REQUESTS, 7, lambda line: None, samples=SAMPLES))
    assert sum(seen.kinds.values()) == REQUESTS
    assert set(seen.kinds) == set(mixed.SHARES)
    assert not seen.wrong, seen.wrong[:10]
    assert len(seen.pids) == 1, "a worker died"
    assert grown(seen) < FLAT_MIB, soak.report(seen)


@pytest.mark.alone
@pytest.mark.slow
def test_a_planted_leak_is_seen(tmp_path: Path) -> None:
    """A worker that keeps 2 KiB of every record grows by far more than is let through."""
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "sitecustomize.py").write_bytes(LEAK)
    path = f"{planted}:{ROOT / 'src'}"
    seen = asyncio.run(soak.soak(tmp_path, REQUESTS, 7, lambda line: None, samples=SAMPLES, PYTHONPATH=path))
    assert not seen.wrong, seen.wrong[:10]
    assert grown(seen) > FLAT_MIB, soak.report(seen)
    assert not soak.flat(seen)
