"""The sums of a day to which rows are being added, and what of each unit must be known to add more of them.

Numbers, totals and squares add up by themselves. That a unit was seen, and that it had an event, counts once, however
often the unit comes: two bits a metric, kept for each unit in each cell. Adding rows costs what the new rows cost, and
not what is there already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

from understudy.core.evidence import Stratum, Sums
from understudy.ledger.metrics import CELL, MetricSpec

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MOST_METRICS = 32
"""Two bits each in a word of 64."""
_GROUP = tuple(name for name in CELL if name != "bucket")
"""A unit has one bucket."""


class Growing:
    """One day of one question. Not for several threads at once."""

    def __init__(self, metrics: Sequence[MetricSpec]) -> None:
        import numpy as np

        self._metrics = tuple(metrics)
        self._values = {name: _Numbers() for name in (*_GROUP, "who")}
        self._groups = [_Numbers() for _ in _GROUP]
        self._keys = np.empty(0, np.int64)
        """Group and unit as one number, in order."""
        self._known = np.empty(0, np.uint64)
        """For each key what was seen of the unit there: of metric I the bit 2 I, and 2 I + 1 where it had an event."""
        self._cells: pa.Table | None = None

    @property
    def units(self) -> int:
        """How many units are known, each once in each cell."""
        return len(self._keys)

    def add(self, units: pa.Table) -> None:
        """Rows of `expressions.by_unit`, of exchanges that were never added before."""
        import pyarrow as pa

        added = self._summed(units)
        if self._cells is not None:
            both = pa.concat_tables([self._cells, added])
            columns = [name for name in added.column_names if name not in CELL]
            found = both.group_by(list(CELL), use_threads=False).aggregate([(name, "sum") for name in columns])
            added = found.rename_columns([*CELL, *columns]).cast(added.schema)
        self._cells = added

    def sums(self) -> list[Sums]:
        return [] if self._cells is None else rows_of(self._cells, self._metrics)

    def _summed(self, units: pa.Table) -> pa.Table:
        """The columns of `expressions.sums`, in which units that are known count no more."""
        import pyarrow as pa

        fresh = self._noted(self._key(units), self._bits(units))
        columns: dict[str, Any] = {name: units[name] for name in CELL}
        for i, metric in enumerate(self._metrics):
            seen = pa.array((fresh >> 2 * i & 1).astype("int64"))
            if metric.kind == "count":
                event = pa.array((fresh >> 2 * i + 1 & 1).astype("float64"))
                columns |= {f"n_{i}": seen, f"t_{i}": event, f"s_{i}": event, f"u_{i}": seen}
            else:
                columns |= {f"{letter}_{i}": units[f"{letter}_{i}"] for letter in "nts"} | {f"u_{i}": seen}
        found = pa.table(columns)
        names = [name for name in found.column_names if name not in CELL]
        by_cell = found.group_by(list(CELL), use_threads=False).aggregate([(name, "sum") for name in names])
        return by_cell.rename_columns([*CELL, *names]).cast(found.schema)

    def _bits(self, units: pa.Table) -> np.ndarray[Any, Any]:
        import numpy as np
        import pyarrow.compute as pc

        bits = np.zeros(len(units), np.uint64)
        for i, metric in enumerate(self._metrics):
            if metric.kind == "count":
                seen, event = pc.is_valid(units[f"t_{i}"]), pc.greater(units[f"t_{i}"], 0)
                bits |= _flags(event) << np.uint64(2 * i + 1)
            else:
                seen = pc.greater(units[f"n_{i}"], 0)
            bits |= _flags(seen) << np.uint64(2 * i)
        return bits

    def _key(self, units: pa.Table) -> np.ndarray[Any, Any]:
        """One number for each group and unit; the same for the same ones ever after."""
        import numpy as np

        group = np.zeros(len(units), np.int64)
        for name, known in zip(_GROUP, self._groups, strict=True):
            pairs, places = np.unique(group << 32 | self._numbered(name, units[name]), return_inverse=True)
            group = known.of(pairs.tolist())[places]
        key: np.ndarray[Any, Any] = group << 32 | self._numbered("who", units["who"])
        return key

    def _numbered(self, name: str, column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
        encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
        numbers: np.ndarray[Any, Any] = self._values[name].of(encoded.dictionary.to_pylist())[
            encoded.indices.to_numpy()
        ]
        return numbers

    def _noted(self, keys: np.ndarray[Any, Any], bits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Remember what was seen under each of some keys; returns the bits that were not known there."""
        import numpy as np

        order = np.argsort(keys)
        keys, bits = keys[order], bits[order]
        at = np.searchsorted(self._keys, keys)
        known = at < len(self._keys)
        known[known] = self._keys[at[known]] == keys[known]
        before = np.zeros(len(keys), np.uint64)
        before[known] = self._known[at[known]]
        self._known[at[known]] |= bits[known]
        new = ~known
        self._keys = np.insert(self._keys, at[new], keys[new])
        self._known = np.insert(self._known, at[new], bits[new])
        fresh = np.empty(len(keys), np.uint64)
        fresh[order] = bits & ~before
        return fresh


class _Numbers(dict[Any, int]):
    """Numbers values as they come."""

    def __missing__(self, value: Any) -> int:
        found = self[value] = len(self)
        return found

    def of(self, values: Sequence[Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        return np.fromiter(map(self.__getitem__, values), np.int64, len(values))


def _flags(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """A column of truth values as 0 and 1; null is 0."""
    return column.fill_null(False).to_numpy().astype("uint64")  # type: ignore[no-any-return]


def rows_of(found: pa.Table, metrics: Sequence[MetricSpec]) -> list[Sums]:
    """The columns of `expressions.sums` as rows, cells without a value left out."""
    columns: Mapping[str, list[Any]] = found.to_pydict()
    strata: dict[tuple[str, int, int], Stratum] = {}
    of_row = [
        strata.setdefault(key, Stratum(*key))
        for key in zip(columns["stage"], columns["step"], columns["period"], strict=True)
    ]
    cells = (of_row, columns["arm"], columns["slice"], columns["bucket"])
    rows: list[Sums] = []
    for index, metric in enumerate(metrics):
        values = (columns[f"{letter}_{index}"] for letter in "ntsu")
        rows += [Sums._make(row) for row in zip(repeat(metric.name), *cells, *values) if row[5]]
    return rows
