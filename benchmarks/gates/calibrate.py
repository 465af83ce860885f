"""How often the gates are wrong, measured: `python -m benchmarks.gates.calibrate [--short] [--only WORD]`.

Prints a table of simulated error rates beside the rules people use today, and as its last line one JSON object. Ends
with 1 where a promised rate is exceeded by more than the simulation's own error. `make calibrate` runs all of it.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.gates import canaries, defects, offline
from benchmarks.gates.traffic import ALL, Canary

from understudy.gates.simulation import upper_limit

FALSE_ROLLBACK = 0.05
TOLERANCE = 2.0
"""Standard errors a simulated rate may lie above its target before that counts as a miss."""


class Line(NamedTuple):
    """One row of the table: what was tried, what came out, and what was promised (None: shown only)."""

    group: str
    name: str
    value: float
    runs: int
    rivals: str
    at_most: float | None = None
    at_least: float | None = None
    is_rate: bool = True

    @property
    def slack(self) -> float:
        """What chance explains of a rate from so many runs, at its target."""
        target = self.at_most if self.at_most is not None else self.at_least
        if target is None or not self.is_rate:
            return 0.05 * (target or 0.0)
        return TOLERANCE * math.sqrt(max(target * (1 - target), 1e-4) / max(self.runs, 1))

    @property
    def kept(self) -> bool:
        above = self.at_most is None or self.value <= self.at_most + self.slack
        return above and (self.at_least is None or self.value >= self.at_least - self.slack)


class Bench:
    """Gathers scenarios, and runs them on several processes with seeds of their own, so that one can be repeated
    without the others and the number of processes changes nothing."""

    def __init__(self, seed: int, scale: float, only: str) -> None:
        self.seed, self.scale, self.only = seed, scale, only
        self.lines: list[Line] = []
        self.scenarios: list[tuple[str, Scenario]] = []
        self.began = time.monotonic()

    def runs(self, full: int) -> int:
        return max(20, round(full * self.scale))

    def each(self, name: str, scenario: Scenario) -> None:
        if not self.only or self.only in name:
            self.scenarios.append((name, scenario))

    def run(self, processes: int) -> None:
        """Run all that was gathered; rows are printed in their order, progress goes to standard error."""
        global _gathered
        _gathered = self
        done: dict[int, list[Line]] = {}
        shown = 0
        forked = multiprocessing.get_context("fork")
        with futures.ProcessPoolExecutor(processes, forked) as pool:
            waiting = {pool.submit(_one, index): index for index in range(len(self.scenarios))}
            for number, finished in enumerate(futures.as_completed(waiting), 1):
                index = waiting[finished]
                done[index], took = finished.result()
                name = self.scenarios[index][0]
                print(f"[{number}/{len(waiting)}] {name}: {took:.0f} s", file=sys.stderr, flush=True)
                while shown in done:
                    for line in done[shown]:
                        print(render(line), flush=True)
                    shown += 1
        self.lines += [line for index in range(len(self.scenarios)) for line in done[index]]


Scenario = Callable[[np.random.Generator], "list[Line]"]
_gathered: Bench | None = None
"""What the forked processes run: scenarios are closures and cannot be sent."""


def _one(index: int) -> tuple[list[Line], float]:
    assert _gathered is not None
    name, scenario = _gathered.scenarios[index]
    started = time.monotonic()
    return scenario(np.random.default_rng([_gathered.seed, *name.encode()])), time.monotonic() - started


def render(line: Line) -> str:
    shown = f"{100 * line.value:5.1f} %" if line.is_rate else f"{line.value:7.2f}"
    limit = upper_limit(round(line.value * line.runs), line.runs) if line.is_rate and line.runs else None
    bound = "" if limit is None else f"<= {100 * limit:4.1f} %"
    mark = "MISSED" if not line.kept else ""
    row = f"{line.group:18} {line.name:44} {shown} {bound:11} {line.runs:6} {promised(line):16} {line.rivals} {mark}"
    return row.rstrip()


def _rivals(rates: dict[str, float]) -> str:
    return ", ".join(f"{rule} {100 * rate:.0f} %" for rule, rate in rates.items() if rule != "gate")


def _rollback(name: str, rates: canaries.Rates) -> Line:
    return Line("false rollback", name, rates.by_rule["gate"], rates.runs, _rivals(rates.by_rule), FALSE_ROLLBACK)


def _crowds(name: str, canary: Canary, full: int) -> tuple[str, Callable[[Bench, np.random.Generator], list[Line]]]:
    def scenario(bench: Bench, rng: np.random.Generator) -> list[Line]:
        return [_rollback(name, canaries.crowds(canary, bench.runs(full), rng))]

    return name, scenario


TWO = ("quality", "errors")
FLAT = (0.2,) * 14
CROWDS = (
    _crowds("500 users, ICC .1, 2 metrics", Canary(2500, 1800, (0.2,) * 14, icc=0.1, metrics=TWO), 1000),
    _crowds("500 users, ICC .3, 2 metrics", Canary(2500, 1800, (0.2,) * 14, icc=0.3, metrics=TWO), 1000),
    _crowds("100 users, ICC .1, 2 metrics", Canary(500, 1800, (0.2,) * 14, icc=0.1, metrics=TWO), 1000),
    _crowds(
        "bursty errors, a tenth of the users", Canary(2500, 5000, (0.2,) * 14, errors=0.02, metrics=("errors",)), 1000
    ),
    _crowds(
        "ramp, drift, clustering, 7 metrics", Canary(6000, 20_000, canaries.RAMP, icc=0.1, drift=0.06, metrics=ALL), 400
    ),
    _crowds(
        "graded ratings of 5 % of answers, ICC .3",
        Canary(2500, 20_000, FLAT, icc=0.3, metrics=("satisfaction",)),
        1000,
    ),
    _crowds("log-cost, users who cost more, ICC .3", Canary(2500, 5000, FLAT, icc=0.3, metrics=("cost",)), 1000),
    _crowds(
        "ramp, drift, heavy users, ICC .3", Canary(6000, 20_000, canaries.RAMP, icc=0.3, drift=0.06, skew=1.5), 400
    ),
    _crowds(
        "near-perfect quality (98 %)", Canary(6000, 20_000, canaries.RAMP, quality=0.98, metrics=("quality",)), 400
    ),
)


HARMED = {
    "ratings 5 points worse": Canary(2500, 20_000, FLAT, icc=0.3, metrics=("satisfaction",), unhappier=0.05),
    "a fifth dearer": Canary(2500, 5000, FLAT, icc=0.3, metrics=("cost",), dearer=math.log(1.2)),
}


def false_rollbacks(bench: Bench) -> None:
    for share in (0.01, 0.05, 0.25):
        name = f"hourly looks, {100 * share:g} % arm"

        def hourly(rng: np.random.Generator, share: float = share, name: str = name) -> list[Line]:
            found = canaries.hourly(share, 0.0, bench.runs(2000), rng)
            passed = found["pass"]
            return [
                _rollback(name, found["rollback"]),
                Line("right pass", f"quality, {100 * share:g} % arm, 14 d", passed.by_rule["gate"], passed.runs, ""),
            ]

        bench.each(name, hourly)
    for share in (0.01, 0.05, 0.25):
        name = f"a look after every request, {100 * share:g} % arm"

        def peeked(rng: np.random.Generator, share: float = share, name: str = name) -> list[Line]:
            return [_rollback(name, canaries.every_request(share, bench.runs(400), rng))]

        bench.each(name, peeked)

    def sliced(rng: np.random.Generator) -> list[Line]:
        equal, harmed = (canaries.sliced(bench.runs(400), rng, harmed=drop) for drop in (0.0, 0.15))
        found = Line("found", "one of 8 slices 15 points worse", harmed.by_rule["found"], harmed.runs, "")
        false = Line("false rollback", "8 slices, ICC .1", equal.by_rule["gate"], equal.runs, "", FALSE_ROLLBACK / 2)
        wrong = harmed.by_rule["gate"]
        return [false, found, Line("false slice", "named beside the harmed one", wrong, harmed.runs, "", 0.05)]

    bench.each("slices", sliced)
    for name, scenario in CROWDS:
        bench.each(name, lambda rng, scenario=scenario: scenario(bench, rng))  # type: ignore[misc]
    for name, canary in HARMED.items():

        def harmed(rng: np.random.Generator, name: str = name, canary: Canary = canary) -> list[Line]:
            rates = canaries.crowds(canary, bench.runs(400), rng)
            return [Line("found", name, rates.by_rule["gate"], rates.runs, _rivals(rates.by_rule))]

        bench.each(name, harmed)
    bench.each("pooled ramp", lambda rng: [_rollback("ramp with drift", canaries.pooled_ramp(bench.runs(600), rng))])
    bench.each(
        "carried errors",
        lambda rng: [_rollback("errors carried over a ramp", canaries.carried_errors(bench.runs(2000), rng))],
    )
    for kind in ("equal", "median +10 %", "tail x3"):

        def latency(rng: np.random.Generator, kind: str = kind) -> list[Line]:
            rates = canaries.latency(kind, bench.runs(400), rng)
            line = _rollback(f"latency {kind}, 1 % arm", rates)
            return [line if kind == "equal" else line._replace(group="found", at_most=None)]

        bench.each(f"latency {kind}", latency)


def wrong_passes(bench: Bench) -> None:
    for share in (0.01, 0.05, 0.25):
        name = f"exactly 2 points worse, {100 * share:g} % arm"

        def plain(rng: np.random.Generator, share: float = share, name: str = name) -> list[Line]:
            rates = canaries.hourly(share, canaries.MARGIN, bench.runs(1000), rng)
            gate = rates["pass"].by_rule["gate"]
            found = rates["rollback"].by_rule["gate"]
            return [Line("wrong pass", name, gate, rates["pass"].runs, f"rolled back {100 * found:.0f} %", 0.05)]

        bench.each(name, plain)
    clustered = {
        "2 points worse, ICC .1, 500 users": Canary(2500, 10_000, (0.2,) * 14),
        "2 points worse, ramp, drift, ICC .1": Canary(6000, 20_000, canaries.RAMP, drift=0.06),
        "2 points worse at 98 %": Canary(6000, 20_000, canaries.RAMP, quality=0.98, icc=0.05),
    }
    for name, canary in clustered.items():

        def crowd(rng: np.random.Generator, name: str = name, canary: Canary = canary) -> list[Line]:
            rates = canaries.wrong_pass(canary, bench.runs(600), rng)
            return [Line("wrong pass", name, rates.by_rule["gate"], rates.runs, "", 0.05)]

        bench.each(name, crowd)


def delays(bench: Bench) -> None:
    for share, drop, limit in ((0.01, 0.05, 1.6), (0.05, 0.05, 1.6), (0.25, 0.05, 2.0), (0.01, 0.10, 2.1)):
        name = f"{100 * drop:g} points worse, {100 * share:g} % arm"

        def quality(
            rng: np.random.Generator, share: float = share, drop: float = drop, limit: float = limit, name: str = name
        ) -> list[Line]:
            return [_delay(name, canaries.quality_delay(share, drop, bench.runs(1000), rng), bench.runs(1000), limit)]

        bench.each(name, quality)
    for share, base, worse, limit in ((0.01, 0.01, 0.02, 1.6), (0.05, 0.01, 0.05, 1.6), (0.25, 0.01, 0.02, 2.0)):
        name = f"errors {100 * base:g} to {100 * worse:g} %, {100 * share:g} % arm"

        def errors(
            rng: np.random.Generator,
            share: float = share,
            base: float = base,
            worse: float = worse,
            limit: float = limit,
            name: str = name,
        ) -> list[Line]:
            found = canaries.error_delay(share, base, worse, bench.runs(1000), rng)
            return [_delay(name, found, bench.runs(1000), limit)]

        bench.each(name, errors)


def _delay(name: str, delay: canaries.Delay, runs: int, limit: float) -> Line:
    rivals = f"{delay.gate:.0f} requests, SPRT that knows both rates {delay.oracle:.0f}"
    return Line("delay over oracle", name, delay.ratio, runs, rivals, limit, is_rate=False)


def evals(bench: Bench) -> None:
    for repeats in (1, 3, 5, 10, 20):

        def equal(rng: np.random.Generator, repeats: int = repeats) -> list[Line]:
            found = offline.evals("equal", repeats, bench.runs(2000), rng)
            naive = f"some slice > 2 points worse {100 * found.naive_block:.0f} %"
            lines = [Line("eval false block", f"equal, K={repeats}", found.block, found.runs, naive, 0.05)]
            goal = 0.80 if repeats == 10 else None
            return [*lines, Line("eval pass", f"equal, K={repeats}", found.passed, found.runs, "", at_least=goal)]

        bench.each(f"eval equal K={repeats}", equal)
    for kind, repeats, goal in (("one slice -10", 5, None), ("one slice -20", 5, 0.95), ("all -5", 5, None)):

        def worse(
            rng: np.random.Generator, kind: str = kind, repeats: int = repeats, goal: float | None = goal
        ) -> list[Line]:
            found = offline.evals(kind, repeats, bench.runs(1000), rng)
            return [Line("eval power", f"{kind}, K={repeats}", found.block, found.runs, "", at_least=goal)]

        bench.each(f"eval {kind} K={repeats}", worse)

    def rerun(rng: np.random.Generator) -> list[Line]:
        equal = offline.escalated("equal", bench.runs(1000), rng)
        worse = offline.escalated("one slice -10", bench.runs(400), rng)
        again = f"full alpha at each look {100 * equal.naive_block:.0f} %"
        return [
            Line("eval false block", "equal, reruns K=5/10/20", equal.block, equal.runs, again, 0.05),
            Line("eval pass", "equal, reruns K=5/10/20", equal.passed, equal.runs, ""),
            Line("eval power", "one slice -10, reruns K=5/10/20", worse.block, worse.runs, ""),
        ]

    bench.each("eval reruns", rerun)


def drifts(bench: Bench) -> None:
    plans = (
        ("length", 30, "", None),
        ("length", 100, "", 0.9),
        ("length", 1000, "", 0.9),
        ("length", 100, "even", None),
        ("length", 300, "uneven", None),
        ("json", 300, "", None),
        ("json", 1000, "", None),
    )
    for kind, pairs, clustered, goal in plans:
        name = f"{kind}, {pairs} pairs a slice{f', {clustered} users' if clustered else ''}"

        def found(
            rng: np.random.Generator,
            kind: str = kind,
            pairs: int = pairs,
            clustered: str = clustered,
            goal: float | None = goal,
            name: str = name,
        ) -> list[Line]:
            rates = offline.drift(kind, pairs, bench.runs(2000), rng, clustered=clustered)
            plain = f"p < 5 % {100 * rates.naive_false_discovery:.0f} %"
            # The rate is an average of shares, each from a few flags: a run counts for less than a yes or no would.
            return [
                Line("drift fdr", name, rates.false_discovery, rates.runs, plain, 0.10),
                Line("drift power", name, rates.power, rates.runs, "", at_least=goal),
            ]

        bench.each(f"drift {name}", found)


def guards(bench: Bench) -> None:
    def hard(rng: np.random.Generator) -> list[Line]:
        calm = offline.guard(0.01, bench.runs(2000), rng)
        broken = offline.guard(0.5, bench.runs(400), rng, answers=2000)
        return [
            Line("hard guard", "trips in 70,000 answers at 1 % errors", calm.tripped, calm.runs, "", 0.001),
            Line(
                "hard guard",
                "answers to trip at 50 % errors",
                broken.answers_to_trip,
                broken.runs,
                "",
                60,
                is_rate=False,
            ),
        ]

    def soaks(rng: np.random.Generator) -> list[Line]:
        quiet = offline.soak(0.0, bench.runs(1000), rng)
        lines = [
            Line(
                "soak", "false alarms a year, 60 golden cases", quiet.alarms_a_year, quiet.runs, "", 1.0, is_rate=False
            )
        ]
        for drop in (0.05, 0.10):
            late = offline.soak(drop, bench.runs(400), rng)
            lines.append(
                Line("soak", f"days to see {100 * drop:g} points", late.days_to_alarm, late.runs, "", is_rate=False)
            )
        return lines

    def tails(rng: np.random.Generator) -> list[Line]:
        quiet, late = offline.tails(1.0, bench.runs(200), rng), offline.tails(3.0, bench.runs(200), rng)
        naive = f"a day beyond the margin {quiet.naive_alarms_a_year:.0f}"
        years = "false alarms a year, slow answers"
        days = "days to see slow answers x3 on day 20"
        return [
            Line("soak", years, quiet.alarms_a_year, quiet.runs, naive, 1.0, is_rate=False),
            Line("soak", days, late.days_to_alarm, late.runs, "", 7.0, is_rate=False),
        ]

    def splits(rng: np.random.Generator) -> list[Line]:
        runs = bench.runs(1000)
        return [Line("split check", "fair splits suspected", offline.split(runs, rng), runs, "", 0.001)]

    bench.each("hard guard", hard)
    bench.each("soak", soaks)
    bench.each("soak tails", tails)
    bench.each("split", splits)


PAGE = """# How often the gates are wrong

Simulated by `python -m benchmarks.gates.calibrate --markdown benchmarks/gates/RESULTS.md`. "Gate" is the
product's rule, "limit" the one-sided 95 % upper limit of that rate after so many runs; the other rules saw the same
runs. The simulated users keep to their arm, differ in how active and how lucky they are (ICC: the part of the variance
between them), and are looked at again and again; what each scenario is exactly stands in `canaries.py` and
`offline.py` beside this page. Numbers of the product's own estimators: a test holds the vectorised twin to them.

| what | scenario | gate | limit | runs | promised | other rules |
|---|---|---|---|---|---|---|
"""


def markdown(lines: list[Line]) -> str:
    """The page of the table."""
    rows = []
    for line in lines:
        value = f"{100 * line.value:.1f} %" if line.is_rate else f"{line.value:.2f}"
        limit = upper_limit(round(line.value * line.runs), line.runs) if line.is_rate else None
        bound = "" if limit is None or line.at_most is None else f"{100 * limit:.1f} %"
        cells = [line.group, line.name, value, bound, f"{line.runs:,}", promised(line), line.rivals]
        rows.append(f"| {' | '.join(cells)} |")
    return PAGE + "\n".join(rows) + "\n"


def promised(line: Line) -> str:
    if line.at_most is not None:
        return f"at most {100 * line.at_most:g} %" if line.is_rate else f"at most {line.at_most:g}"
    return "" if line.at_least is None else f"at least {100 * line.at_least:g} %"


def summary(lines: list[Line]) -> dict[str, Any]:
    """The last line: rates by scenario, and of the offline gates the worst one."""

    def group(name: str) -> dict[str, float]:
        return {line.name: round(line.value, 4) for line in lines if line.group == name}

    blocks, powers = group("eval false block"), group("eval power")
    found = group("drift fdr")
    return {
        "false_rollback": group("false rollback"),
        "wrong_pass": group("wrong pass"),
        "delay_over_oracle": group("delay over oracle"),
        "eval_false_block": max(blocks.values(), default=None),
        "eval_power": powers.get("one slice -20, K=5"),
        "drift_fdr": max(found.values(), default=None),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a twentieth of the runs, for CI")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1), help="how many at once")
    parser.add_argument("--markdown", metavar="FILE", help="write the table as a page")
    parser.add_argument("--plant", choices=sorted(defects.PLANTED), help="a defect that has to be found out")
    given = parser.parse_args()
    if given.plant:
        defects.PLANTED[given.plant].plant()
    bench = Bench(given.seed, 0.05 if given.short else given.scale, given.only)
    for part in (false_rollbacks, wrong_passes, delays, evals, drifts, guards):
        part(bench)
    print(f"{'':18} {'scenario':44} {'gate':7} {'95 % limit':11} {'runs':>6} {'promised':16} other rules")
    bench.run(given.processes)
    if given.markdown:
        Path(given.markdown).write_text(markdown(bench.lines))
    missed = [f"{line.group}: {line.name}" for line in bench.lines if not line.kept]
    print(f"seed {given.seed}, {time.monotonic() - bench.began:.0f} s; missed: {'; '.join(missed) or 'nothing'}")
    print(json.dumps(summary(bench.lines)))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
