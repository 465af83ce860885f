"""What the gates cost in pure Python: `python -m benchmarks.gates.speed`. The last line is one JSON object."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable

from understudy.core.evidence import BUCKETS, Stratum, Sums
from understudy.gates.gate import STANDARD
from understudy.gates.panel import Look, judge_tallies
from understudy.gates.stats.betting import Betting
from understudy.gates.stats.drift import PairedSums
from understudy.gates.stats.ratio_grid import RatioGrid
from understudy.gates.tally import Tally, gather

STRATA = 14


def best(work: Callable[[], object], per: int = 1, rounds: int = 7) -> float:
    """Seconds of CPU the fastest round took, per unit of work: who else wants the core does not show."""
    found = []
    for _ in range(rounds):
        started = time.thread_time()
        work()
        found.append((time.thread_time() - started) / per)
    return min(found)


def rows(metric: str, strata: int, draw: random.Random) -> list[Sums]:
    found = []
    for period in range(strata):
        for arm, most in (("incumbent", 400), ("candidate", 40)):
            for bucket in range(BUCKETS):
                n = draw.randrange(1, most)
                total = float(sum(draw.random() < 0.1 for _ in range(n)))
                found.append(Sums(metric, Stratum("canary", 0, period), arm, "", bucket, n, total, total, n))
    return found


def main() -> None:
    draw = random.Random(1)
    values = [(draw.randrange(BUCKETS), draw.choice((-0.15, 0.85))) for _ in range(20_000)]
    stratum = Stratum("canary", 0, 0)
    given = [Sums("quality", stratum, "candidate", "", b, 1, abs(v), v * v, 1) for b, v in values]

    def bets() -> None:
        state = Betting()
        for _, value in values:
            state.add(value)

    def sums() -> None:
        tally = Tally()
        for row in given:
            tally.add(row)

    def pairs() -> None:
        state = PairedSums()
        for bucket, value in values:
            state.add(bucket, value)

    def batches() -> None:
        grid = RatioGrid()
        for _ in range(200):
            grid.add(1, 3, 0.01)

    look = Look(1.0, 86_400.0, 0, True)
    data = rows("quality", STRATA, draw) + rows("errors", STRATA, draw)
    tallies = gather(data)

    def verdicts(metric: str) -> Callable[[], object]:
        return lambda: judge_tallies([STANDARD[metric]], tallies, slices=(), critical_slices=(), look=look)

    state = tallies["quality", ""].as_dict()["strata"][0]["arms"]
    found = {
        "bet_us": 1e6 * best(bets, len(values)),
        "row_us": 1e6 * best(sums, len(values)),
        "pair_us": 1e6 * best(pairs, len(values)),
        "event_batch_us": 1e6 * best(batches, 200),
        "verdict_mean_ms": 1e3 * best(verdicts("quality")),
        "verdict_events_ms": 1e3 * best(verdicts("errors")),
        "gather_row_us": 1e6 * best(lambda: gather(data), len(data)),
        "state_bytes": max(len(json.dumps(arm)) for arm in state.values()),
        "strata": STRATA,
    }
    for name, value in found.items():
        print(f"{name:20} {value:10.3f}")
    print(json.dumps({name: round(value, 4) for name, value in found.items()}))


if __name__ == "__main__":
    main()
