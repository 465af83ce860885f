"""Follows the pairs of a shadow as they come into the lake, so that a shadow of weeks is not read anew every minute.

Only what is new is read and measured, and what was counted adds up. The habits of the incumbent are learned from the
first pairs in order of time and then kept: from how many, the number of pairs alone decides, so that whoever begins
anew, by a restart or for a report, comes to the same figures.
"""

from __future__ import annotations

from dataclasses import dataclass

from understudy.drift.differ import Differ, accumulate
from understudy.drift.features import learn
from understudy.drift.report import DriftReport, report
from understudy.ledger.answers import Mark, PairRow
from understudy.ledger.queries import Ledger

LEARNED_FROM = 1_000
"""Pairs that habits are learned from, once there are so many."""
GROWN = 1.5
"""Until then they are learned anew whenever there are so many times as many pairs."""


def learned_from(pairs: int) -> int:
    """From how many of the first pairs habits are learned where there are so many in all."""
    found = min(pairs, 1)
    while found < LEARNED_FROM and (more := min(LEARNED_FROM, int(found * GROWN) + 1)) <= pairs:
        found = more
    return found


@dataclass
class Following:
    """One upgrade's pairs of one candidate since one moment."""

    workload: str
    upgrade: str
    fingerprint: str
    since: float
    _differ: Differ | None = None
    _mark: Mark | None = None
    _pairs: int = 0

    def read(self, ledger: Ledger) -> DriftReport:
        """Everything there is by now. Where the ledger cannot be read, the next call goes on from the last good one."""
        if self._differ is not None:
            fresh, mark = self._new_pairs(ledger, self._mark)
            if fresh is not None and learned_from(self._pairs + len(fresh)) == learned_from(self._pairs):
                for pair in fresh:
                    self._differ.add(pair)
                self._mark, self._pairs = mark, self._pairs + len(fresh)
                return report(self._differ)
        pairs, self._mark = self._new_pairs(ledger, None)
        self._pairs = len(pairs or ())
        self._differ = accumulate(
            pairs or (), learn(pair.served for pair in (pairs or ())[: learned_from(self._pairs)])
        )
        return report(self._differ)

    def _new_pairs(self, ledger: Ledger, mark: Mark | None) -> tuple[list[PairRow] | None, Mark]:
        return ledger.new_pairs(
            mark, workload=self.workload, upgrade=self.upgrade, fingerprint=self.fingerprint, since=self.since
        )
