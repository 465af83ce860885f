"""Kills an appending worker at random moments and accounts for every record it had answered for.

    python benchmarks/ledger/kills.py [--kills 1000] [--mode group|sync] [--seed 1]

Each worker is a forked process that appends as fast as it can and notes the number of each `append` that returned, in
memory that survives it. After SIGKILL the segments are read back: every number it noted must be there with the
content it was given, or stand in a counted loss. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from understudy.core.records import Exchange, Loss
from understudy.ledger.frames import Boot
from understudy.ledger.reading import UNCOUNTED, BootReader, boots
from understudy.ledger.segments import Mode, SegmentWriter

BODY = "b" * 2_000


class Killed(NamedTuple):
    """What one kill left behind."""

    acknowledged: int
    recovered: int
    counted: int
    uncounted: int
    """Acknowledged, and neither recovered nor in a counted loss; or recovered with another content."""
    window_s: float
    """From the last record that was recovered to the kill: how long a record could be in memory alone."""


def append_until_killed(folder: Path, mode: Mode, acknowledged: mmap.mmap, pause: float) -> None:
    writer = SegmentWriter(folder, "w0", mode=mode, segment_bytes=256 * 1024)
    number = 0
    while True:
        record = Exchange(
            exchange=f"x-{number}", workload="w", started_at=time.time(), epoch=1, generation="g", answer=BODY
        )
        seq = writer.append(record)
        struct.pack_into("<q", acknowledged, 0, seq + 1)
        number += 1
        if pause and number % 50 == 0:
            time.sleep(pause)


def kill_once(folder: Path, mode: Mode, rng: random.Random) -> Killed:
    """Fork a worker, kill it within 250 ms of its first record, and account for what it acknowledged."""
    acknowledged = mmap.mmap(-1, 8)
    child = os.fork()
    if child == 0:
        append_until_killed(folder, mode, acknowledged, rng.choice([0.0005, 0.002, 0.01]))
        os._exit(1)
    while struct.unpack_from("<q", acknowledged)[0] == 0:
        time.sleep(0.0005)
    time.sleep(rng.uniform(0.0, 0.25))
    at = time.time()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (noted,) = struct.unpack_from("<q", acknowledged)
    acknowledged.close()
    (boot,) = boots(folder)
    return account(folder, boot, noted, at)


def account(folder: Path, boot: Boot, noted: int, at: float) -> Killed:
    """Compare what was acknowledged with what is there, and remove it."""
    reader = BootReader(folder, boot)
    recovered = counted = uncounted = 0
    covered = 0
    last = at
    while True:
        batch = reader.read()
        for row in batch.rows:
            match row.record:
                case Loss(count=count, why=why) if why in UNCOUNTED:
                    uncounted += max(1, count)
                case Loss(count=count):
                    counted += count
                    covered += count
                case Exchange(exchange=name, started_at=started_at) if name == f"x-{row.seq}":
                    last = started_at
                    recovered += 1
                    covered += 1
                case _:
                    uncounted += 1
        if batch.over:
            break
    reader.remove_all()
    return Killed(noted, recovered, counted, uncounted + max(0, noted - covered), at - last if recovered else 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--mode", choices=["group", "sync"], default="group")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="understudy-kills-") as folder:
        all_ = [kill_once(Path(folder), options.mode, rng) for _ in range(options.kills)]
    lost = [killed.acknowledged - min(killed.acknowledged, killed.recovered) for killed in all_]
    summary = {
        "kills": len(all_),
        "mode": options.mode,
        "acknowledged": sum(killed.acknowledged for killed in all_),
        "recovered": sum(killed.recovered for killed in all_),
        "counted_losses": sum(killed.counted for killed in all_),
        "worst_loss": max(lost),
        "acknowledged_lost": sum(lost),
        "worst_window_ms": round(max(killed.window_s for killed in all_) * 1000, 1),
        "uncounted_losses": sum(killed.uncounted for killed in all_),
        "seconds": round(time.monotonic() - began, 1),
    }
    for name, value in summary.items():
        sys.stdout.write(f"{name:>20}  {value}\n")
    sys.stdout.write(json.dumps(summary) + "\n")


if __name__ == "__main__":
    main()
