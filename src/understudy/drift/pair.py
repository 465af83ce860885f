"""What a pair of answers is: a served exchange and its shadow copy, and what of it is shown as an example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from understudy.drift.features import Side

SHOWN = 1_500
"""Characters of an answer that an example keeps."""


class LedgerSide(Side, Protocol):
    """A side, and where in the ledger it is."""

    @property
    def exchange(self) -> str: ...
    @property
    def bucket(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def slices(self) -> Mapping[str, str]: ...


class Pair(Protocol):
    """A served exchange and its shadow copy, as the ledger gives them."""

    @property
    def served(self) -> LedgerSide: ...
    @property
    def shadow(self) -> LedgerSide: ...


class Example(NamedTuple):
    """A pair to look at side by side."""

    exchange: str
    shadow: str
    slices: dict[str, str]
    incumbent: str
    candidate: str
    incumbent_value: float
    candidate_value: float


def example(pair: Pair, incumbent: float, candidate: float) -> Example:
    """What is shown of a pair, with the values of the feature that it is an example of."""
    served, shadow = pair.served, pair.shadow
    return Example(
        served.exchange,
        shadow.exchange,
        dict(served.slices),
        served.answer[:SHOWN],
        shadow.answer[:SHOWN],
        incumbent,
        candidate,
    )
