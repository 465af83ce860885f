"""Watches a soak at 100 %, where no incumbent is left to compare with, for what slips late.

Two watches share an e-detector, which has no end and alarms falsely once in `run_length` periods at most. One holds
each live metric against what the incumbent did during the canary, cycle by cycle; the other replays a frozen golden
set on both variants. What is done about an alarm is decided elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from understudy.core.evidence import ALL_SLICES, Sums
from understudy.core.playbook import Arm, Stage, Verdict
from understudy.gates.gate import MIN_CLUSTERS, Gate
from understudy.gates.stats.betting import Betting, Detector, harm

RUN_LENGTH = 365.0
"""Looks between two false alarms, on average: with one a day, a year."""

LATELY = 3
"""Cycles over which an alarm says how things stand now."""


class Watch(NamedTuple):
    """Fail is an alarm; a watch that is quiet stays inconclusive, as nothing proves that all is well for ever."""

    verdict: Verdict
    log_value: float
    log_threshold: float
    periods: int
    sentence: str


def period(pairs: Iterable[tuple[float, float]], *, margin: float = 0.02) -> Betting:
    """One period's (incumbent, candidate) scores in [0, 1], losses up to `margin` tolerated.

    Raises ValueError for scores outside: a case without a score of both variants is left out by the caller.
    """
    bets = Betting()
    for incumbent, candidate in pairs:
        bets.add(harm(incumbent, candidate, margin))
    return bets


def watch(detector: Detector, *, run_length: float = RUN_LENGTH) -> Watch:
    """What the detector says after its last period."""
    threshold, value = math.log(run_length), detector.log_value()
    alarm = detector.periods > 0 and detector.alarm(run_length)
    if alarm:
        sentence = f"The golden set has become worse: after {detector.periods} looks this is no chance any more."
    else:
        share = 100.0 * math.exp(min(0.0, value - threshold)) if detector.periods else 0.0
        sentence = f"The golden set holds after {detector.periods} looks, at {share:.0f} % of an alarm."
    return Watch(Verdict.FAIL if alarm else Verdict.INCONCLUSIVE, value, threshold, detector.periods, sentence)


class Tail(NamedTuple):
    """A live metric in soak: how far its evidence has come towards an alarm."""

    metric: str
    critical: bool
    verdict: Verdict
    incumbent: float
    """Mean of the incumbent during the canary, each group of users of each cycle counted once."""
    allowed: float
    """The incumbent's with the gate's margin."""
    lately: float
    """The same mean over the last cycles of the soak."""
    log_value: float
    log_threshold: float
    cycles: int
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        return {**self._asdict(), "verdict": self.verdict.value}


_Cells = dict[int, dict[int, tuple[int, float]]]
"""By cycle and analysis bucket: number of values and their total."""


def tails(
    gates: Iterable[Gate], sums: Sequence[Sums], *, closed: int, matured: int, run_length: float = RUN_LENGTH
) -> list[Tail]:
    """Every gate whose values lie in [0, 1], watched over the cycles of the soak that are over.

    One value a cycle and group of users (analysis bucket), as users are what is independent. It is harm where it is
    beyond what the incumbent had during the canary, by more than the margin: as long as the users' average is not,
    the detector's wealth grows for no stake, however they differ (the mean of geometric means is the larger one).
    `closed` is the first cycle that is not over yet and `matured` the same for feedback. All watched metrics together
    alarm falsely once in `run_length` cycles at most.
    """
    watched: list[tuple[Gate, _Cells, _Cells]] = []
    for gate in gates:
        before = _cells(gate, sums, Stage.CANARY, Arm.INCUMBENT, math.inf)
        since = _cells(gate, sums, Stage.SOAK, Arm.CANDIDATE, matured if gate.feedback else closed)
        values = sum(n for cells in (before or {}).values() for n, _ in cells.values())
        groups = len({bucket for cells in (before or {}).values() for bucket in cells})
        if gate.compares and before and since and values >= gate.min_units and groups >= MIN_CLUSTERS:
            watched.append((gate, before, since))
    return [_tail(gate, before, since, run_length * len(watched)) for gate, before, since in watched]


def _cells(gate: Gate, sums: Sequence[Sums], stage: Stage, arm: Arm, end: float) -> _Cells | None:
    """None where a value is outside [0, 1]: such a metric has its limit alone."""
    found: _Cells = {}
    for row in sums:
        metric, stratum, name, slice_, bucket, n, total, squares, _ = row
        if (metric, name, slice_, stratum.stage) != (gate.metric, arm, ALL_SLICES, stage):
            continue
        if n <= 0 or bucket < 0 or stratum.period >= end:
            continue
        if not (0.0 <= total <= n * (1.0 + 1e-9) and 0.0 <= squares <= total * (1.0 + 1e-9) + 1e-9):
            return None
        cells = found.setdefault(stratum.period, {})
        count, sum_ = cells.get(bucket, (0, 0.0))
        cells[bucket] = (count + n, sum_ + total)
    return found


def _mean(cells: Iterable[dict[int, tuple[int, float]]]) -> float:
    means = [total / n for one in cells for n, total in one.values()]
    return math.fsum(means) / len(means)


def _tail(gate: Gate, before: _Cells, since: _Cells, run_length: float) -> Tail:
    reference = _mean(before.values())
    loss = gate.tolerated(reference)
    lower = gate.direction == "lower"
    allowed = min(1.0, reference + loss) if lower else max(0.0, reference - loss)
    detector = Detector()
    for number in sorted(since):
        bets = Betting()
        for n, total in since[number].values():
            value = min(1.0, total / n)
            bets.add(value - allowed if lower else allowed - value)
        detector.step(bets)
    lately = _mean(since[number] for number in sorted(since)[-LATELY:])
    alarm = detector.alarm(run_length)
    figures = f"{100 * lately:.2f} of 100 lately, {100 * reference:.2f} with the incumbent, {100 * allowed:.2f} allowed"
    if alarm:
        word = f"{gate.metric} has slipped since the candidate took over: {figures}; "
        sentence = f"{word}after {detector.periods} cycles this is no chance any more"
    else:
        near = 100.0 * math.exp(min(0.0, detector.log_value() - math.log(run_length)))
        sentence = f"{gate.metric} holds after {detector.periods} cycles: {figures}; {near:.0f} % of an alarm"
    return Tail(
        metric=gate.metric,
        critical=gate.critical,
        verdict=Verdict.FAIL if alarm else Verdict.INCONCLUSIVE,
        incumbent=reference,
        allowed=allowed,
        lately=lately,
        log_value=detector.log_value(),
        log_threshold=math.log(run_length),
        cycles=detector.periods,
        sentence=sentence,
    )
