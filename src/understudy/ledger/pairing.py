"""Pairs that were found and not yet read: who belongs to whom, in order of time, and where their answers are.

The names of a few hundred thousand pairs are little; their answers are not. So the names are asked for first, and
answers are read a batch at a time, each from the files of its days and its span of time alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from understudy.ledger.rows import day_of

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 8_192
"""Pairs whose answers are in memory at once."""
NAMES = ("exchange", "started_at", "exchange_shadow", "started_at_shadow")
_ORDER = [("started_at", "ascending"), ("exchange", "ascending"), ("exchange_shadow", "ascending")]


class Batch(NamedTuple):
    """Pairs that follow each other in time, and the spans of time in which their exchanges and copies began."""

    pairs: list[tuple[str, str]]
    """Exchange and copy, in order."""
    first: float
    last: float
    first_copy: float
    last_copy: float


class Pairing:
    """Pairs in order of time, without what was answered.

    found: tables with the columns `NAMES`; a pair that is in two of them counts once.
    days: the data files that the pairs are in, by day.
    """

    def __init__(self, found: Sequence[pa.Table], days: Mapping[str, Sequence[str]], about: Mapping[str, Any]) -> None:
        import pyarrow as pa

        names = pa.concat_tables(found).group_by(list(NAMES), use_threads=False).aggregate([]) if found else None
        self._names = None if names is None else names.sort_by(_ORDER)
        self._days = days
        self.about = about
        """What the pairs were asked for with: their workload, upgrade, candidate and time."""

    def __len__(self) -> int:
        return 0 if self._names is None else len(self._names)

    def batches(self, size: int = BATCH) -> Iterator[Batch]:
        """All of them, `size` at a time."""
        import pyarrow.compute as pc

        for begin in range(0, len(self), size):
            part = self._names.slice(begin, size)  # type: ignore[union-attr]
            spans = (pc.min_max(part[name]).as_py() for name in ("started_at", "started_at_shadow"))
            served, copies = ((span["min"], span["max"]) for span in spans)
            pairs = list(zip(part["exchange"].to_pylist(), part["exchange_shadow"].to_pylist(), strict=True))
            yield Batch(pairs, *served, *copies)

    def files(self, batch: Batch) -> list[str]:
        """The data files that hold both halves of a batch."""
        first, last = day_of(min(batch.first, batch.first_copy)), day_of(max(batch.last, batch.last_copy))
        return [file for day, files in sorted(self._days.items()) if not day or first <= day <= last for file in files]
