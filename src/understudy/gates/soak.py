"""Watches a soak at 100 %, where no incumbent is left to compare with: a frozen golden set, replayed on both variants.

Every period (a day) both variants answer the golden cases again; their paired scores feed an e-detector that has no
end and alarms falsely once in `run_length` periods at most. What is done about an alarm is decided elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from understudy.core.playbook import Verdict
from understudy.gates.stats.betting import Betting, Detector, harm

RUN_LENGTH = 365.0
"""Looks between two false alarms, on average: with one a day, a year."""


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
