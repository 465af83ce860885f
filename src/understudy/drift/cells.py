"""Sums of paired differences by cell (a slice and a feature) and bucket, kept as arrays, and the pairs furthest apart.

A pair adds to some two hundred cells, so pairs are added many at a time. `numpy.add.at` adds in the order in which it
is given, each to what is there already: every sum is the one of adding pair by pair, to the last bit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from understudy.drift.catalogue import FEATURES
from understudy.drift.pair import Example, Pair, example
from understudy.gates.stats.drift import PairedSums

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

COLUMNS = tuple(FEATURES)
"""Features by their number."""
EXAMPLES = 3
"""Pairs kept of each cell, in each direction."""


class Measured(NamedTuple):
    """One pair: the rows it counts in, and feature by feature both values, the difference and the logarithm of the
    first; the difference is NaN where there is none.
    """

    pair: Pair
    rows: list[int]
    old: list[float]
    new: list[float]
    apart: list[float]
    log: list[float]


class Cell(NamedTuple):
    """One feature on one slice: paired differences by bucket, what each side had, and the pairs furthest apart."""

    differences: PairedSums
    incumbent: float
    candidate: float
    incumbent_log: float
    """Sum of logarithms, for features that are compared as ratios."""
    up: tuple[Example, ...]
    """Where the candidate has more, the furthest apart first."""
    down: tuple[Example, ...]


class _Furthest(NamedTuple):
    """A pair that is kept, and by what; the furthest first, among equals the smaller exchange id."""

    minus_distance: float
    exchange: str
    shown: Example


class Cells:
    """All cells. Rows are slices, columns are features; memory grows with rows and buckets, not with pairs."""

    def __init__(self) -> None:
        import numpy as np

        self._places: dict[int, int] = {}
        """The place of each bucket, in the order in which they were first seen."""
        self._order: list[int] = []
        """Cells in the order in which they were first seen."""
        self._count = np.zeros((0, len(COLUMNS), 0), np.int64)
        self._total = np.zeros(self._count.shape)
        self._squares = np.zeros(self._count.shape)
        self._sides = np.zeros((3, 0, len(COLUMNS)))
        """What incumbent and candidate had, and the logarithms of the first."""
        self._furthest: tuple[dict[int, list[_Furthest]], ...] = ({}, {})
        """By cell: where the candidate has more, and where it has less."""

    def add(self, measured: Sequence[Measured]) -> None:
        """Count pairs, in their order. Raises ValueError for a difference that is not finite, and counts none then."""
        import numpy as np

        if not measured:
            return
        apart = np.array([each.apart for each in measured])
        if np.isinf(apart).any():
            raise ValueError("a paired difference must be a finite number, not infinity")
        places = [self._places.setdefault(each.pair.served.bucket, len(self._places)) for each in measured]
        self._grow(1 + max(max(each.rows) for each in measured), len(self._places))
        # Every pair once for each slice it is in; of those every feature that has a difference.
        of = np.repeat(np.arange(len(measured)), [len(each.rows) for each in measured])
        rows = np.fromiter((row for each in measured for row in each.rows), np.int64, len(of))
        line, column = np.nonzero(~np.isnan(apart)[of])
        pair = of[line]
        cell = rows[line] * len(COLUMNS) + column
        difference = apart[pair, column]
        self._note_order(cell, pair, column)
        at = cell * self._count.shape[2] + np.array(places)[pair]
        np.add.at(self._count.reshape(-1), at, 1)
        np.add.at(self._total.reshape(-1), at, difference)
        np.add.at(self._squares.reshape(-1), at, difference * difference)
        for index, values in enumerate(
            ([m.old for m in measured], [m.new for m in measured], [m.log for m in measured])
        ):
            np.add.at(self._sides[index].reshape(-1), cell, np.array(values)[pair, column])
        self._keep(measured, cell, pair, column, difference)

    def found(self) -> dict[tuple[int, int], Cell]:
        """Every cell with a pair, by row and column."""
        buckets = list(self._places)
        up, down = self._furthest
        cells = {}
        for cell in self._order:
            row, column = divmod(cell, len(COLUMNS))
            there = self._count[row, column].nonzero()[0]
            parts = (array[row, column, there].tolist() for array in (self._count, self._total, self._squares))
            sums = PairedSums(dict(zip((buckets[place] for place in there), zip(*parts, strict=True), strict=True)))
            old, new, log = self._sides[:, row, column].tolist()
            shown = [tuple(one.shown for one in kept.get(cell, ())) for kept in (up, down)]
            cells[row, column] = Cell(sums, old, new, log, *shown)
        return cells

    def _grow(self, rows: int, buckets: int) -> None:
        """Make room, for twice as much where there is too little."""
        import numpy as np

        had_rows, columns, had_buckets = self._count.shape
        if rows <= had_rows and buckets <= had_buckets:
            return
        shape = (
            had_rows if rows <= had_rows else max(rows, 2 * had_rows),
            columns,
            had_buckets if buckets <= had_buckets else max(buckets, 2 * had_buckets),
        )
        for name in ("_count", "_total", "_squares"):
            had = getattr(self, name)
            grown = np.zeros(shape, had.dtype)
            grown[:had_rows, :, :had_buckets] = had
            setattr(self, name, grown)
        sides = np.zeros((3, *shape[:2]))
        sides[:, :had_rows] = self._sides
        self._sides = sides

    def _note_order(self, cell: Array, pair: Array, column: Array) -> None:
        """Remember cells that are new, as if each pair had been added feature by feature."""
        import numpy as np

        known = np.zeros(self._sides[0].size, bool)
        known[self._order] = True
        (new,) = np.nonzero(~known[cell])
        new = new[np.lexsort((new, column[new], pair[new]))]
        _, first = np.unique(cell[new], return_index=True)
        self._order += cell[new][np.sort(first)].tolist()

    def _keep(self, measured: Sequence[Measured], cell: Array, pair: Array, column: Array, difference: Array) -> None:
        """Keep the pairs furthest apart; among equals the smaller exchange id, so that order does not matter."""
        import numpy as np

        names = sorted({each.pair.served.exchange for each in measured})
        rank_of = {name: rank for rank, name in enumerate(names)}
        rank = np.array([rank_of[each.pair.served.exchange] for each in measured])[pair]
        distance = np.abs(difference)
        for kept, chosen in zip(self._furthest, (difference > 0, difference < 0), strict=True):
            # A cell with its pairs takes only what is further apart than the last of them.
            least, before = np.zeros(self._sides[0].size), np.full(self._sides[0].size, len(names))
            for key, there in kept.items():
                if len(there) == EXAMPLES:
                    least[key], before[key] = -there[-1].minus_distance, bisect_left(names, there[-1].exchange)
            nearer = (distance < least[cell]) | ((distance == least[cell]) & (rank >= before[cell]))
            (index,) = np.nonzero(chosen & ~nearer)
            index = index[np.lexsort((rank[index], -distance[index], cell[index]))]
            _, first, place = np.unique(cell[index], return_index=True, return_inverse=True)
            for i in index[np.arange(len(index)) - first[place] < EXAMPLES].tolist():
                each, j = measured[pair[i]], int(column[i])
                shown = example(each.pair, each.old[j], each.new[j])
                there = kept.setdefault(int(cell[i]), [])
                there.append(_Furthest(-float(distance[i]), shown.exchange, shown))
                there.sort(key=_furthest_first)
                del there[EXAMPLES:]


def _furthest_first(one: _Furthest) -> tuple[float, str]:
    return one.minus_distance, one.exchange
