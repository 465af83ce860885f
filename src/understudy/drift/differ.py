"""Adds pairs up: sums of paired differences per slice and feature, and a few pairs to look at.

Pairs may be given in parts; the sums are those of one after the other, to the last bit. What they mean is `report`'s
to say.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from math import nan
from operator import sub

from understudy.core.evidence import ALL_SLICES
from understudy.drift.catalogue import FEATURES, Kind
from understudy.drift.cells import COLUMNS, Cell, Cells, Measured
from understudy.drift.features import Habits, distance, failed, measure
from understudy.drift.pair import LedgerSide, Pair
from understudy.gates.stats.drift import PairedSums

JOIN = " & "
"""Between the parts of a conjunction of two slices."""
MOST_SLICES = 500
"""Slices that are kept apart; pairs of further ones count in the aggregate, and how many there were is reported."""
AT_ONCE = 1_000
"""Pairs that are added up together: their cells take some hundred kilobytes each hundred."""
_RATIOS = [(index, each.offset) for index, each in enumerate(FEATURES.values()) if each.kind is Kind.RATIO]


class Differ:
    """What is known of all pairs so far. `noise` holds pairs of two answers of the incumbent to one request."""

    def __init__(self, habits: Habits | None = None) -> None:
        self.habits = Habits() if habits is None else habits
        self.pairs = 0
        self.noise_pairs = 0
        self.noise: dict[str, PairedSums] = {}
        self.overflowed = 0
        self._slices: dict[str, int] = {ALL_SLICES: 0}
        """The number of each slice that is kept."""
        self._cells = Cells()

    @property
    def seen(self) -> int:
        """Pairs of both kinds."""
        return self.pairs + self.noise_pairs

    @property
    def cells(self) -> dict[tuple[str, str], Cell]:
        """By slice and feature, in the order in which they were first seen."""
        names = list(self._slices)
        return {(names[row], COLUMNS[column]): found for (row, column), found in self._cells.found().items()}

    def add(self, pairs: Iterable[Pair]) -> None:
        """Count pairs. One whose two sides have the same fingerprint measures the incumbent against itself.

        Raises ValueError for a difference that is no finite number.
        """
        measured: list[Measured] = []
        for pair in pairs:
            if len(measured) >= AT_ONCE:
                self._cells.add(measured)
                measured = []
            served, shadow = pair.served, pair.shadow
            rows = self._rows(served.slices)
            apart = _distance(served, shadow)
            if served.fingerprint and served.fingerprint == shadow.fingerprint:
                self.noise_pairs += 1
                names = list(self._slices)
                for row in rows if apart is not None else ():
                    self.noise.setdefault(names[row], PairedSums()).add(served.bucket, apart or 0.0)
                continue
            self.pairs += 1
            before, after = measure(served, self.habits), measure(shadow, self.habits)
            if apart is not None:
                before["distance"], after["distance"] = 0.0, apart
            measured.append(Measured(pair, rows, *_values(before, after)))
        self._cells.add(measured)

    def _rows(self, slices: Mapping[str, str]) -> list[int]:
        """The aggregate, each declared slice of a pair, and each conjunction of two."""
        rows = [0]
        for name in slice_names(slices):
            row = self._slices.get(name)
            if row is None and len(self._slices) <= MOST_SLICES:
                row = self._slices[name] = len(self._slices)
            if row is None:
                self.overflowed += 1
            else:
                rows.append(row)
        return rows


def slice_names(slices: Mapping[str, str]) -> Iterator[str]:
    """ "key=value" for each key, then "a=b & c=d" for each two."""
    single = [f"{key}={value}" for key, value in sorted(slices.items())]
    yield from single
    yield from (JOIN.join(both) for both in itertools.combinations(single, 2))


def accumulate(pairs: Iterable[Pair], habits: Habits) -> Differ:
    """All pairs, measured against the habits of the incumbent (`features.learn`)."""
    differ = Differ(habits)
    differ.add(pairs)
    return differ


def _values(
    before: Mapping[str, float], after: Mapping[str, float]
) -> tuple[list[float], list[float], list[float], list[float]]:
    """What each side has, the difference, and for ratios the logarithm of the first, feature by feature; NaN where
    there is no difference to take: where one side was not measured, or a price or a time of nothing has no ratio.
    """
    old = [before.get(name, nan) for name in COLUMNS]
    new = [after.get(name, nan) for name in COLUMNS]
    apart = list(map(sub, new, old))
    logs = [0.0] * len(old)
    for column, offset in _RATIOS:
        first, second = old[column] + offset, new[column] + offset
        if first > 0 and second > 0:
            apart[column], logs[column] = math.log(second / first), math.log(first)
        else:
            apart[column] = nan
    return old, new, apart, logs


def _distance(served: LedgerSide, shadow: LedgerSide) -> float | None:
    if failed(served) or failed(shadow) or not (served.answer.strip() and shadow.answer.strip()):
        return None
    return distance(served.answer, shadow.answer)
