"""Runs the matrix and prints what happens when X dies; the last line is one JSON object with the counts.

python -m benchmarks.chaos.run [--short] [--row N]... [--markdown FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks.chaos.matrix import ROWS
from benchmarks.chaos.oracle import outcomes
from benchmarks.chaos.report import Result, keep, kept, page
from benchmarks.chaos.row import Row, Scale


async def result_of(row: Row, scale: Scale) -> Result:
    """Run one row, judge it, and judge it again with its defect planted: in the evidence, and in a gateway."""
    begun = time.monotonic()
    evidence = await row.run(scale)
    found = row.verdict(evidence)
    caught = row.catches_plant(evidence)
    if row.defect and caught:
        # One round of the small kind is enough to see a defect.
        spoiled = await row.run_with_defect(Scale(short=True))
        caught = len(spoiled) > 0 and set(spoiled) != set(found)
    return Result(row, found, caught, outcomes(evidence), evidence.facts, time.monotonic() - begun)


def show(result: Result, *, most: int = 5) -> None:
    row = result.row
    held = "held  " if not result.found else "BROKEN"
    caught = "caught" if result.caught else "MISSED"
    counts = ", ".join(f"{count} {name}" for name, count in result.outcomes.items())
    figures = ", ".join(f"{name} {value}" for name, value in result.facts.items() if isinstance(value, (int, float)))
    print(f"{row.number:>3}  {held}  defect {caught}  {row.fault}: {row.promise}  ({result.seconds:.1f} s)")
    print(f"     {counts or 'no clients'}{'; ' if figures else ''}{figures}")
    for text in result.found[:most]:
        print(f"     - {text}")
    if len(result.found) > most:
        print(f"     - and {len(result.found) - most} more")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What happens when X dies.")
    parser.add_argument("--short", action="store_true", help="the small version that CI runs")
    parser.add_argument("--row", type=int, action="append", help="only this row; may be repeated")
    parser.add_argument("--all", action="store_true", help="print every violation")
    parser.add_argument("--markdown", type=Path, help="write the page of results there, and its data beside it")
    given = parser.parse_args(arguments)
    rows = [row for row in ROWS if not given.row or row.number in given.row]
    data = given.markdown and given.markdown.with_suffix(".json")
    results = kept(data, ROWS) if data and given.row else {}
    run: list[Result] = []
    for row in rows:
        try:
            result = asyncio.run(result_of(row, Scale(given.short)))
        except Exception as error:
            traceback.print_exc(limit=-2)
            why = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            result = Result(row, [f"the row could not be run: {why[0]}"], False, {}, {}, 0.0)
        show(result, most=1000 if given.all else 5)
        run.append(result)
        results[row.number] = result
        if data:  # after each row: a run that is stopped leaves what it found, and single rows can be run again
            known = [results[row.number] for row in ROWS if row.number in results]
            keep(data, known)
            given.markdown.write_text(page(known, [row.number for row in ROWS if row.number not in results]))
    held, caught = sum(not result.found for result in run), sum(result.caught for result in run)
    print(json.dumps({"rows": len(rows), "held": held, "planted": len(rows), "caught": caught}))
    return 0 if held == caught == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
