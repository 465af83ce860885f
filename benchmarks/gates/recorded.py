"""Recorded answers of real models as a canary: candidate answers until rollback, beside an oracle of both rates.

    python -m benchmarks.gates.recorded --data FOLDER [--streams 20] [--markdown benchmarks/gates/RECORDED.md]

Each request is a prompt of the suite, drawn at random, of a new user, answered by the model its arm has. The gate is
the product's `quality` with its usual margin, looked at after every tenth answer of the candidate; the oracle is Wald's
sequential test of the two rates that the recordings have. FOLDER holds `prime.jsonl.gz`, `leetcode.jsonl.gz` and
`opinion.jsonl.gz`, recordings with the models named below.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import re
import statistics
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

from understudy.core.evidence import ALL_SLICES, Stratum, Sums
from understudy.core.playbook import Verdict
from understudy.gates.gate import STANDARD, Panel
from understudy.gates.panel import Look, judge_tallies
from understudy.gates.tally import Tally

OLD4, NEW4 = "gpt-4-0314", "gpt-4-0613"
OLD3, NEW3 = "gpt-3.5-turbo-0301", "gpt-3.5-turbo-0613"
SHARES = (0.01, 0.05, 0.25)
SUITES = ("prime", "leetcode", "opinion")
QUALITY = STANDARD["quality"]
STRATUM = Stratum("canary", 0, 0)
LIMIT = 600
"""Answers of the candidate after which a stream ends undecided."""


def score(suite: str, row: dict[str, str]) -> float:
    """Runs as it is; gives an option; gives the right answer."""
    if suite == "leetcode":
        return float(row["directly_executable"])
    if suite == "opinion":
        return float(re.search(r"\([A-Z]\)", row["output"]) is not None)
    said = re.search(r"\[(yes|no)\]", row["output"], re.IGNORECASE)
    return float(said is not None and said.group(0).lower() == row["reference"].lower())


@cache
def by_case(data: Path, suite: str) -> dict[str, dict[str, tuple[str, float]]]:
    """(slice, right or wrong) by model and case."""
    found: dict[str, dict[str, tuple[str, float]]] = {}
    with gzip.open(data / f"{suite}.jsonl.gz", "rt") as lines:
        for line in lines:
            row = json.loads(line)
            found.setdefault(row["model"], {})[row["case_id"]] = (row["slice"], score(suite, row))
    return found


def answers(data: Path, suite: str) -> dict[str, list[tuple[str, float]]]:
    """The same by model alone: the same prompts in the same order."""
    found = by_case(data, suite)
    return {model: [rows[case] for case in sorted(rows)] for model, rows in found.items()}


def mean(rows: list[tuple[str, float]]) -> float:
    return sum(right for _, right in rows) / len(rows)


class Stream:
    """Requests drawn from the prompts, each of a new user, answered by the arm the share sends them to."""

    def __init__(
        self,
        old: list[tuple[str, float]],
        new: list[tuple[str, float]],
        share: float,
        seed: int,
        slices: tuple[str, ...] = (),
    ) -> None:
        self.old, self.new, self.share, self.slices = old, new, share, slices
        self.draw = random.Random(seed)
        self.tallies = {("quality", name): Tally() for name in (ALL_SLICES, *slices)}
        self.served = 0
        rates = [(sum(right for _, right in rows) + 0.5) / (len(rows) + 1) for rows in (self.old, self.new)]
        self.log_right, self.log_wrong = math.log(rates[1] / rates[0]), math.log((1 - rates[1]) / (1 - rates[0]))
        self.oracle = 0.0

    def until_candidates(self, n: int) -> None:
        """Serve until the candidate has answered n more."""
        while n:
            chosen = self.draw.random() < self.share
            name, right = self.draw.choice(self.new if chosen else self.old)
            arm = "candidate" if chosen else "incumbent"
            bucket = self.draw.randrange(256)
            for part in (ALL_SLICES, *({name} & set(self.slices))):
                self.tallies["quality", part].add(Sums("quality", STRATUM, arm, part, bucket, 1, right, right, 1))
            if chosen:
                n -= 1
                self.served += 1
                self.oracle += self.log_right if right else self.log_wrong

    def judge(self) -> Panel:
        look = Look(1.0, 3600.0, 0, True)
        return judge_tallies([QUALITY], self.tallies, slices=self.slices, critical_slices=(), look=look)


def until_rollback(stream: Stream, *, limit: int = LIMIT, step: int = 10) -> tuple[int | None, int | None]:
    """Candidate answers until the gate fails, and until the oracle does; None where not by `limit`."""
    gate = oracle = None
    while stream.served < limit and (gate is None or oracle is None):
        stream.until_candidates(1)
        if oracle is None and stream.oracle > math.log(20):
            oracle = stream.served
        if gate is None and stream.served % step == 0 and stream.judge().verdict is Verdict.FAIL:
            gate = stream.served
    return gate, oracle


class Row(NamedTuple):
    """Streams of one pair of models at one share: how many were rolled back, and after how many answers (median)."""

    suite: str
    old: str
    new: str
    right: tuple[float, float]
    share: float
    streams: int
    rolled_back: int
    gate: float | None
    oracle: float | None


def measure(data: Path, suite: str, old: str, new: str, share: float, streams: int) -> Row:
    known = answers(data, suite)
    ends = [until_rollback(Stream(known[old], known[new], share, seed)) for seed in range(streams)]
    gates, oracles = ([each for each in side if each is not None] for side in zip(*ends, strict=True))
    right = mean(known[old]), mean(known[new])
    if right[1] >= right[0]:
        oracles = []  # it tells the two rates apart, whichever is the better one
    return Row(
        suite, old, new, right, share, streams, len(gates),
        statistics.median(gates) if gates else None, statistics.median(oracles) if oracles else None,
    )  # fmt: skip


def pairs() -> list[tuple[str, str, str]]:
    """Every suite in both families, and a model against itself."""
    both = [(suite, old, new) for suite in SUITES for old, new in ((OLD4, NEW4), (OLD3, NEW3))]
    return [*both, ("prime", OLD4, OLD4)]


PAGE = """# Real answers as a canary

Four pinned models answered the same prompts in March and June 2023; the later one of each family stands for a
candidate. Counted are answers of the candidate until the gate on `quality` rolls back, the median of the streams in
which it does, beside an oracle that knows both rates (Wald's sequential test at 5 %). The gate speaks from 100 units
on and is looked at after every tenth answer; a stream ends after {limit} answers. Nothing is to be rolled back where
the candidate is as good or better. Written by
`python -m benchmarks.gates.recorded --data FOLDER --streams {streams} --markdown benchmarks/gates/RECORDED.md`.

| suite | models | right | share | rolled back | answers until rollback | oracle |
|---|---|---|---|---|---|---|
"""


def cells(row: Row) -> list[str]:
    return [
        row.suite,
        f"{row.old} to {row.new}",
        f"{100 * row.right[0]:.0f} to {100 * row.right[1]:.0f} %",
        f"{100 * row.share:g} %",
        f"{row.rolled_back} of {row.streams}",
        "-" if row.gate is None else f"{row.gate:.0f}",
        "-" if row.oracle is None else f"{row.oracle:.0f}",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the recordings")
    parser.add_argument("--streams", type=int, default=20, help="of each pair and share")
    parser.add_argument("--markdown", type=Path, help="write the table as a page")
    given = parser.parse_args()
    missing = [suite for suite in SUITES if not (given.data / f"{suite}.jsonl.gz").is_file()]
    if missing:
        parser.error(f"{given.data} has no recordings of {', '.join(missing)}: name the folder they are in")
    rows = []
    for suite, old, new in pairs():
        for share in SHARES:
            rows.append(measure(given.data, suite, old, new, share, given.streams))
            print("  ".join(f"{cell:>12}" for cell in cells(rows[-1])), flush=True)
    if given.markdown:
        lines = [f"| {' | '.join(cells(row))} |" for row in rows]
        given.markdown.write_text(PAGE.format(limit=LIMIT, streams=given.streams) + "\n".join(lines) + "\n")
    print(
        json.dumps(
            [{**row._asdict(), "right": [round(rate, 4) for rate in row.right]} for row in rows], allow_nan=False
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
