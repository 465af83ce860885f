"""Run as a program: appends until told to stop, and says on standard error each number that `append` returned for.

    appender.py FOLDER COUNT [--mode sync] [--pause S] [--buffer BYTES] [--bytes N] [--quiet]

Prints one line `slowest MS durable N dropped N errno N` at the end; exit code 0.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from understudy.core.records import Exchange
from understudy.ledger.segments import SegmentWriter


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--mode", choices=["group", "sync"], default="group")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--buffer", type=int, default=32 * 1024 * 1024)
    parser.add_argument("--quiet", action="store_true", help="do not write each number to standard error")
    parser.add_argument("--bytes", type=int, default=200)
    options = parser.parse_args()
    writer = SegmentWriter(options.folder, "w0", mode=options.mode, max_buffered=options.buffer, retry_s=0.05)
    slowest = 0.0
    for number in range(options.count):
        record = Exchange(
            exchange=f"x-{number}",
            workload="reply",
            started_at=1_700_000_000.0,
            epoch=1,
            generation="g",
            answer="b" * options.bytes,
        )
        began = time.perf_counter()
        writer.append(record)
        slowest = max(slowest, time.perf_counter() - began)
        if not options.quiet:
            sys.stderr.write(f"{number + 1}\n")
        if options.pause:
            time.sleep(options.pause)
    writer.close()
    count = writer.count()
    said = f"slowest {slowest * 1000:.1f} durable {count.durable} dropped {count.dropped} errno {count.errno}\n"
    os.writev(1, [said.encode()])  # not write(2), which a test may have made to fail for the segments' sake


if __name__ == "__main__":
    main()
