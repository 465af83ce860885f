"""Adds pairs up: sums of paired differences per slice and feature, and a few pairs to look at.

Everything here can be merged in any order, so pairs may be read in parts and by several processes. What the sums
mean is `report`'s to say.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from understudy.core.evidence import ALL_SLICES
from understudy.drift.catalogue import FEATURES, Feature, Kind
from understudy.drift.features import Habits, Side, distance, failed, measure
from understudy.gates.stats.drift import PairedSums

JOIN = " & "
"""Between the parts of a conjunction of two slices."""
MOST_SLICES = 500
"""Slices that are kept apart; pairs of further ones count in the aggregate, and how many there were is reported."""
EXAMPLES = 3
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


@dataclass(slots=True)
class Cell:
    """One feature on one slice: paired differences by bucket, what each side had, and the pairs furthest apart."""

    differences: PairedSums = field(default_factory=PairedSums)
    incumbent: float = 0.0
    candidate: float = 0.0
    incumbent_log: float = 0.0
    """Sum of logarithms, for features that are compared as ratios."""
    up: list[tuple[float, str, Example]] = field(default_factory=list)
    """(difference, exchange, pair), the furthest apart first."""
    down: list[tuple[float, str, Example]] = field(default_factory=list)

    def add(self, bucket: int, difference: float, old: float, new: float, log: float, shown: Example) -> None:
        self.differences.add(bucket, difference)
        self.incumbent += old
        self.candidate += new
        self.incumbent_log += log
        if difference:
            kept = self.up if difference > 0 else self.down
            if len(kept) < EXAMPLES or abs(difference) >= kept[-1][0]:
                example = shown._replace(incumbent_value=old, candidate_value=new)
                _keep(kept, (abs(difference), shown.exchange, example))

    def merge(self, other: Cell) -> None:
        self.differences = self.differences.merge(other.differences)
        self.incumbent += other.incumbent
        self.candidate += other.candidate
        self.incumbent_log += other.incumbent_log
        for mine, theirs in ((self.up, other.up), (self.down, other.down)):
            for item in theirs:
                _keep(mine, item)


@dataclass(slots=True)
class Differ:
    """What is known of all pairs so far. `noise` holds pairs of two answers of the incumbent to one request."""

    habits: Habits = field(default_factory=Habits)
    pairs: int = 0
    noise_pairs: int = 0
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    noise: dict[str, PairedSums] = field(default_factory=dict)
    overflowed: int = 0
    slices: set[str] = field(default_factory=set)

    def add(self, pair: Pair) -> None:
        """Count a pair. One whose two sides have the same fingerprint measures the incumbent against itself."""
        served, shadow = pair.served, pair.shadow
        names = self._names(served.slices)
        apart = _distance(served, shadow)
        if served.fingerprint and served.fingerprint == shadow.fingerprint:
            self.noise_pairs += 1
            for name in names if apart is not None else ():
                self.noise.setdefault(name, PairedSums()).add(served.bucket, apart or 0.0)
            return
        self.pairs += 1
        before, after = measure(served, self.habits), measure(shadow, self.habits)
        if apart is not None:
            before["distance"], after["distance"] = 0.0, apart
        shown = Example(
            served.exchange,
            shadow.exchange,
            dict(served.slices),
            served.answer[:SHOWN],
            shadow.answer[:SHOWN],
            0.0,
            0.0,
        )
        for feature in FEATURES.values():
            old, new = before.get(feature.name), after.get(feature.name)
            if old is None or new is None:
                continue
            difference = _difference(feature, old, new)
            if difference is None:
                continue
            log = math.log(old + feature.offset) if feature.kind is Kind.RATIO else 0.0
            for name in names:
                cell = self.cells.get((name, feature.name))
                if cell is None:
                    cell = self.cells[name, feature.name] = Cell()
                cell.add(served.bucket, difference, old, new, log, shown)

    def merge(self, other: Differ) -> None:
        """Take in what another one counted; both must have been given the same habits, else ValueError."""
        if other.habits != self.habits:
            raise ValueError("pairs that were measured against different habits cannot be added up")
        self.pairs += other.pairs
        self.noise_pairs += other.noise_pairs
        self.overflowed += other.overflowed
        self.slices |= other.slices
        for key, cell in other.cells.items():
            self.cells.setdefault(key, Cell()).merge(cell)
        for name, sums in other.noise.items():
            self.noise[name] = self.noise.get(name, PairedSums()).merge(sums)

    def _names(self, slices: Mapping[str, str]) -> list[str]:
        """The aggregate, each declared slice of a pair, and each conjunction of two."""
        names = [ALL_SLICES]
        for name in slice_names(slices):
            if name in self.slices or len(self.slices) < MOST_SLICES:
                self.slices.add(name)
                names.append(name)
            else:
                self.overflowed += 1
        return names


def slice_names(slices: Mapping[str, str]) -> Iterator[str]:
    """ "key=value" for each key, then "a=b & c=d" for each two."""
    single = [f"{key}={value}" for key, value in sorted(slices.items())]
    yield from single
    yield from (JOIN.join(both) for both in itertools.combinations(single, 2))


def accumulate(pairs: Iterable[Pair], habits: Habits) -> Differ:
    """All pairs, measured against the habits of the incumbent (`features.learn`)."""
    differ = Differ(habits)
    for pair in pairs:
        differ.add(pair)
    return differ


def _difference(feature: Feature, old: float, new: float) -> float | None:
    """None where a ratio has no meaning: a price or a time of nothing."""
    if feature.kind is not Kind.RATIO:
        return new - old
    if old + feature.offset <= 0 or new + feature.offset <= 0:
        return None
    return math.log((new + feature.offset) / (old + feature.offset))


def _distance(served: LedgerSide, shadow: LedgerSide) -> float | None:
    if failed(served) or failed(shadow) or not (served.answer.strip() and shadow.answer.strip()):
        return None
    return distance(served.answer, shadow.answer)


def _keep(kept: list[tuple[float, str, Example]], item: tuple[float, str, Example]) -> None:
    """Keep the furthest apart; among equals the smaller exchange id, so that order of arrival does not matter."""
    kept.append(item)
    kept.sort(key=_furthest_first)
    del kept[EXAMPLES:]


def _furthest_first(entry: tuple[float, str, Example]) -> tuple[float, str]:
    return (-entry[0], entry[1])
