"""Counts what a search may cost, in questions and in US dollars, and says no before the batch that would cost more.

A question counts once, whoever paid for its answer: so a search that was killed and goes on ends where it would have
ended. An unknown price is never 0: with a limit in dollars it ends the search.
"""

from __future__ import annotations

from dataclasses import dataclass

from understudy.core.errors import CannotMeasure


class Exhausted(Exception):
    """The next batch would cost more than is left. It ends a search and is no error."""


@dataclass(slots=True)
class Budget:
    """`calls` and `usd` (None: no limit) are for all of it; `reserved` questions are kept back for the proof."""

    calls: int
    usd: float | None = None
    reserved: int = 0
    asked: int = 0
    spent_usd: float = 0.0
    unpriced: int = 0
    """Answers whose price is unknown: where there are some, `spent_usd` is only the least it was."""

    def require(self, questions: int) -> None:
        """Raises Exhausted unless so many more questions fit in with the reserve. Dollars are projected at the mean
        price of an answer so far, so that they can be overrun by one batch at most.
        """
        if self.asked + questions + self.reserved > self.calls:
            raise Exhausted
        if self.usd is not None:
            mean = self.spent_usd / self.asked if self.asked else 0.0
            if self.spent_usd >= self.usd or self.spent_usd + mean * (questions + self.reserved) > self.usd:
                raise Exhausted

    def add(self, usd: float | None, model: str) -> None:
        """One answer more. Raises CannotMeasure where its price is unknown and dollars are limited."""
        self.asked += 1
        if usd is not None:
            self.spent_usd += usd
            return
        self.unpriced += 1
        if self.usd is not None:
            raise unknown_price(model)


def unknown_price(model: str) -> CannotMeasure:
    return CannotMeasure(
        f"the price of {model} is unknown, so that a limit of dollars cannot be kept",
        remedy=f"write its price under `prices:` in understudy.yaml ({model}: {{input: .., output: ..}}), or limit the "
        "search with --calls alone",
    )
