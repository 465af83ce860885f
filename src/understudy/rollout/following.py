"""Follows the pairs of a shadow as they come into the lake, so that a shadow of weeks is not read anew every minute.

The habits of the incumbent are learned from the first pairs and kept: until there are that many, everything is
measured again with each reading, after that only what is new. A restart begins from the first pair.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from understudy.drift.differ import Differ, accumulate
from understudy.drift.features import learn
from understudy.drift.report import DriftReport, report
from understudy.ledger.queries import Ledger, PairRow

LEARNED_FROM = 2_000
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

    def read(self, ledger: Ledger) -> DriftReport:
        """Everything there is by now."""
        if self._differ is None or self._differ.pairs < LEARNED_FROM:
            pairs = self._pairs(ledger, self.since)
            self._differ = accumulate(pairs, learn(pair.served for pair in pairs))
            self._recent = {}
        else:
            pairs = [p for p in self._pairs(ledger, self._horizon()) if p.served.exchange not in self._recent]
            for pair in pairs:
                self._differ.add(pair)
        self._remember(pairs)
        return report(self._differ)

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
