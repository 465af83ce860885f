"""Follows the pairs of a shadow as they come into the lake, so that a shadow of weeks is not read anew every minute.

The habits of the incumbent are learned from the first pairs and then kept, and only what is new is measured. A restart
begins from the first pair.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from understudy.drift.differ import Differ, accumulate
from understudy.drift.features import learn
from understudy.drift.report import DriftReport, report
from understudy.ledger.queries import Ledger, PairRow

LEARNED_FROM = 1_000
"""Pairs from which on the habits are taken as known."""
GROWN = 1.5
"""Until then they are learned anew whenever there are so many times as many pairs."""
OVERLAP_S = 300.0
"""A copy may be committed so much later than the exchange it copies: this far back is looked at again."""


@dataclass
class Following:
    """One upgrade's pairs of one candidate since one moment."""

    workload: str
    upgrade: str
    fingerprint: str
    since: float
    _differ: Differ | None = None
    _recent: dict[str, float] = field(default_factory=dict)
    """Exchanges counted already, with their time, as far back as they may be met again."""
    _latest: float = 0.0
    _learned: int = 0

    def read(self, ledger: Ledger) -> DriftReport:
        """Everything there is by now."""
        differ = self._differ
        if differ is None:
            return report(self._anew(ledger))
        fresh = [p for p in self._pairs(ledger, self._horizon()) if p.served.exchange not in self._recent]
        if self._learned < LEARNED_FROM and differ.pairs + len(fresh) >= GROWN * self._learned:
            return report(self._anew(ledger))
        for pair in fresh:
            differ.add(pair)
        self._remember(fresh)
        return report(differ)

    def _anew(self, ledger: Ledger) -> Differ:
        """Learn the habits from all there is, and measure all of it against them."""
        pairs = self._pairs(ledger, self.since)
        self._differ = accumulate(pairs, learn(pair.served for pair in pairs))
        self._learned, self._recent = len(pairs), {}
        self._remember(pairs)
        return self._differ

    def _pairs(self, ledger: Ledger, since: float) -> list[PairRow]:
        found = ledger.pairs(
            workload=self.workload, upgrade=self.upgrade, fingerprint=self.fingerprint, since=max(since, self.since)
        )
        return list(found)

    def _horizon(self) -> float:
        return self._latest - OVERLAP_S

    def _remember(self, pairs: list[PairRow]) -> None:
        for pair in pairs:
            self._recent[pair.served.exchange] = pair.served.started_at
            self._latest = max(self._latest, pair.served.started_at)
        self._recent = {name: at for name, at in self._recent.items() if at >= self._horizon()}
