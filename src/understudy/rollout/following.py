"""Follows the pairs of a shadow as they come into the lake, so that a shadow of weeks is not read anew every minute.

Only what is new is read and measured, and what was counted adds up. The habits of the incumbent are learned from the
first pairs in order of time and then kept: from how many, the number of pairs alone decides, so that whoever begins
anew, by a restart or for a report, comes to the same figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from understudy.drift.differ import AT_ONCE, Differ
from understudy.drift.features import learn
from understudy.drift.report import DriftReport, report
from understudy.ledger.answers import Mark
from understudy.ledger.pairing import Pairing
from understudy.ledger.queries import Ledger
from understudy.ledger.views import asked_again

LEARNED_FROM = 1_000
"""Pairs that habits are learned from, once there are so many."""
GROWN = 1.5
"""Until then they are learned anew whenever there are so many times as many pairs."""


Progress = Callable[[int], None]
"""Is told how many more pairs were read."""


def unseen(pairs: int) -> None:
    """Nobody looks on."""


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
    """None until there was a reading, and after one that failed halfway."""
    _mark: Mark | None = None

    def read(self, ledger: Ledger, progress: Progress = unseen) -> DriftReport:
        """Everything there is by now. Where the ledger cannot be read, the next call goes on from the last good one, or
        begins anew where some pairs were counted already.
        """
        return asked_again(lambda: self._read(ledger, progress))

    def _read(self, ledger: Ledger, progress: Progress) -> DriftReport:
        differ = self._differ
        known = 0 if differ is None else differ.seen
        pairs, mark = self._new_pairs(ledger, None if differ is None else self._mark)
        if pairs is None or learned_from(known + len(pairs)) != learned_from(known):
            if differ is not None:
                differ, (pairs, mark) = None, self._new_pairs(ledger, None)
            assert pairs is not None  # without a mark nothing can have gone
        for batch in ledger.compared(pairs):
            if differ is None:
                differ = Differ(learn(pair.served for pair in batch[: learned_from(len(pairs))]))
            self._differ = None
            for begin in range(0, len(batch), AT_ONCE):
                piece = batch[begin : begin + AT_ONCE]
                differ.add(piece)
                progress(len(piece))
        self._differ, self._mark = differ or Differ(), mark
        return report(self._differ)

    def _new_pairs(self, ledger: Ledger, mark: Mark | None) -> tuple[Pairing | None, Mark]:
        return ledger.new_pairs(
            mark, workload=self.workload, upgrade=self.upgrade, fingerprint=self.fingerprint, since=self.since
        )
