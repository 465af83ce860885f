"""Decides what needs no long look: a burst of failures, and a split of users that cannot be chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from understudy.gates.stats.multiple import log_mean
from understudy.gates.stats.ratio_grid import log_e_either_way

CLIENT_GONE = "client_gone"
CONSECUTIVE = 5
WINDOW = 50
WINDOW_SHARE = 0.2
SPLIT_ALPHA = 0.001


@dataclass(frozen=True, slots=True)
class HardGuard:
    """Trips on `consecutive` failures of one kind in a row, or on `share` failures among the last `window` answers.

    With 1 % errors ten among fifty have a chance of 1e-10, so this takes nothing off the gates' error budget.
    """

    consecutive: int = CONSECUTIVE
    window: int = WINDOW
    share: float = WINDOW_SHARE

    def push(self, recent: Sequence[str], failure: str) -> tuple[str, ...]:
        """The last answers with one more; `failure` is its kind, "" for an answer that is right."""
        return (*recent, failure)[-self.window :]

    def tripped(self, recent: Sequence[str]) -> str:
        """Why to go back to the incumbent at once, "" where there is no reason."""
        if len(recent) >= self.consecutive:
            last = set(recent[-self.consecutive :])
            if len(last) == 1 and (kind := last.pop()):
                return f"{self.consecutive} {kind} failures in a row"
        failures = sum(1 for failure in recent if failure)
        if len(recent) >= self.window and failures >= self.share * self.window:
            return f"{failures} failures among the last {len(recent)} answers"
        return ""


CALLERS_FAULT = frozenset({400, 405, 409, 411, 413, 415, 422})
"""Answers that speak of the request: where the incumbent gave one too, the candidate is not to blame."""


def blamed(error: str, status: int, *, masked: bool) -> str:
    """The kind of failure that counts against the candidate, "" for none; `status` is what the client saw.

    As a gateway's breaker counts, so that the controller, which sees all workers, judges what each of them would.
    """
    if error == CLIENT_GONE or (masked and status in CALLERS_FAULT):
        return ""
    return error


class Assigned(NamedTuple):
    """Distinct units seen on one rung, and the share of them the candidate was meant to get (0 to 1)."""

    step: int
    share: float
    incumbent: int
    candidate: int


class Split(NamedTuple):
    """Whether users are divided as intended; `log_e` is the evidence against it, as a natural logarithm."""

    fair: bool
    log_e: float
    sentence: str


def check_split(assigned: Sequence[Assigned], *, alpha: float = SPLIT_ALPHA) -> Split:
    """Whether the users are split as intended: a wrong split is a routing fault that makes every comparison void.

    Rungs share users, so their e-values are averaged, not multiplied.
    """
    rungs = [rung for rung in assigned if 0.0 < rung.share < 1.0 and rung.incumbent + rung.candidate > 0]
    if not rungs:
        return Split(True, 0.0, "no rung with two arms")
    values = [log_e_either_way(rung.candidate, rung.incumbent, rung.share) for rung in rungs]
    log_e = log_mean(values)
    worst = rungs[max(range(len(rungs)), key=values.__getitem__)]
    seen = worst.candidate / (worst.candidate + worst.incumbent)
    sentence = (
        f"{100 * seen:.2f} % of {worst.candidate + worst.incumbent:,} units on step {worst.step} had the candidate, "
        f"{100 * worst.share:g} % were meant to"
    )
    return Split(log_e < math.log(1.0 / alpha), log_e, sentence)
