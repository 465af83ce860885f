"""Decides what drifted: from sums of paired differences to findings that a product owner understands.

A row is flagged where it is no chance and more than its floor, in a direction somebody would notice. Chance is held
to a false discovery rate of 10 % among findings, not among rows: one real defect flags dozens of rows, and counting
those would allow a few false ones beside it. So each kind of finding makes two families, all traffic and the slices;
families are tested first (Simes over their rows), and within those that hold the rows at the rate left for them
(Benjamini and Bogomolov 2014). What becomes of flagged rows is in `findings`, the tests are in `gates.stats.drift`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from understudy.core.evidence import ALL_SLICES, Finding
from understudy.drift import catalogue
from understudy.drift.catalogue import FEATURES, Feature, Harm, Kind
from understudy.drift.cells import Cell
from understudy.drift.differ import JOIN, Differ
from understudy.drift.features import Habits
from understudy.drift.findings import Row, SeenIn, findings
from understudy.drift.sentences import Said, say
from understudy.gates.stats.drift import (
    Drift,
    PairedSums,
    excess_drift,
    flag_drift,
    mean_drift,
    shrunken,
)
from understudy.gates.stats.multiple import benjamini_hochberg

RATE = 0.10
"""Expected share of false findings among those that are made."""
MIN_PAIRS = 20
"""Below this a slice is named as too thin and not tested."""
MIN_PAIRS_BOTH = 50
"""The same for a conjunction of two slices."""


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What the pairs say so far; `thin` are slices with too few pairs to say anything, with their number."""

    pairs: int
    noise_pairs: int
    rows: tuple[Row, ...]
    seen: tuple[SeenIn, ...]
    thin: Mapping[str, int]
    slices_not_kept: int
    habits: Habits

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings alone, the largest first."""
        return tuple(seen.finding for seen in self.seen)

    @property
    def enough(self) -> bool:
        """False where there are too few pairs to report on at all."""
        return self.pairs >= MIN_PAIRS


class _Tested(NamedTuple):
    slice: str
    feature: Feature
    cell: Cell
    drift: Drift

    @property
    def times_floor(self) -> float:
        """The effect in units of what matters; above 1 it does."""
        match self.feature.kind:
            case Kind.RATIO:
                return abs(self.drift.effect) / catalogue.RATIO_FLOOR
            case Kind.FLAG:
                return abs(self.drift.effect) / catalogue.FLAG_FLOOR
            case Kind.SCORE:
                return abs(self.drift.standardised) / catalogue.SCORE_FLOOR
            case Kind.DISTANCE:
                return abs(self.drift.effect) / catalogue.DISTANCE_FLOOR

    @property
    def harmful(self) -> bool:
        """Whether the effect goes where somebody would notice it."""
        harm = self.feature.harm
        return harm is Harm.EITHER or (self.drift.effect > 0) == (harm is Harm.MORE)

    @property
    def means(self) -> tuple[float, float]:
        """Of incumbent and candidate: geometric ones where the difference is a ratio."""
        n = self.drift.n
        if self.feature.kind is not Kind.RATIO:
            return self.cell.incumbent / n, self.cell.candidate / n
        log, offset = self.cell.incumbent_log / n, self.feature.offset
        return math.exp(log) - offset, math.exp(log + self.drift.effect) - offset

    @property
    def matters(self) -> bool:
        """Whether it is more than its floors, in a direction somebody would notice."""
        incumbent, candidate = self.means
        return self.harmful and self.times_floor > 1.0 and abs(candidate - incumbent) >= self.feature.least


def report(differ: Differ) -> DriftReport:
    """The rows of every slice with enough pairs, and what is found in them."""
    cells = differ.cells
    counts = {name: cell.differences.n for (name, feature), cell in cells.items() if feature == "failure"}
    thin = {name: n for name, n in counts.items() if n < _least(name) and JOIN not in name}
    tested = list(_tests(cells, differ.noise, counts))
    adjusted = _adjusted(tested)
    weights = _shrunken(tested)
    rows = [
        _row(one, q, q <= RATE and one.matters, weight, differ.habits)
        for one, q, weight in zip(tested, adjusted, weights, strict=True)
    ]
    return DriftReport(
        pairs=differ.pairs,
        noise_pairs=differ.noise_pairs,
        rows=tuple(sorted(rows, key=_place)),
        seen=tuple(findings(rows, cells, differ.habits)),
        thin=dict(sorted(thin.items())),
        slices_not_kept=differ.overflowed,
        habits=differ.habits,
    )


def _least(name: str) -> int:
    return MIN_PAIRS_BOTH if JOIN in name else MIN_PAIRS


def _tests(
    cells: Mapping[tuple[str, str], Cell], noise: Mapping[str, PairedSums], counts: Mapping[str, int]
) -> Iterable[_Tested]:
    """Every row that can be tested. A feature that no answer of either side has says nothing, and is no row."""
    for (name, feature_name), cell in cells.items():
        feature = FEATURES[feature_name]
        sums = cell.differences
        if counts.get(name, 0) < _least(name) or sums.n < _least(name) or not (cell.incumbent or cell.candidate):
            continue
        if feature.kind is Kind.DISTANCE:
            drift = _excess(sums, noise.get(name), feature.resolution)
        elif feature.kind is Kind.FLAG:
            drift = flag_drift(sums)
        else:
            drift = mean_drift(sums, resolution=feature.resolution)
        if drift is not None and math.isfinite(drift.low):
            yield _Tested(name, feature, cell, drift)


def _excess(sums: PairedSums, noise: PairedSums | None, resolution: float) -> Drift | None:
    """Without pairs of two answers of the incumbent nobody can say how far apart is far."""
    if noise is None or noise.n < MIN_PAIRS:
        return None
    return excess_drift(mean_drift(sums, resolution=resolution), mean_drift(noise, resolution=resolution))


def _shrunken(tested: list[_Tested]) -> list[float]:
    """How many floors each effect is, pulled towards zero by its noise within the slices of its feature."""
    weights = [0.0] * len(tested)
    for name in FEATURES:
        chosen = [index for index, one in enumerate(tested) if one.feature.name == name]
        effects = shrunken([tested[i].drift.effect for i in chosen], [tested[i].drift.error for i in chosen])
        for index, effect in zip(chosen, effects, strict=True):
            whole = tested[index].drift.effect
            weights[index] = tested[index].times_floor * (effect / whole if whole else 0.0)
    return weights


def _adjusted(tested: Sequence[_Tested]) -> list[float]:
    """The q-value of each row: at most RATE where its family and the row within it hold."""
    families: dict[tuple[str, bool], list[int]] = {}
    for index, one in enumerate(tested):
        families.setdefault((one.feature.finding, one.slice == ALL_SLICES), []).append(index)
    within = {name: benjamini_hochberg([tested[i].drift.p for i in rows]) for name, rows in families.items()}
    across = dict(zip(within, benjamini_hochberg([min(ps) for ps in within.values()]), strict=True))
    held = sum(q <= RATE for q in across.values())
    adjusted = [1.0] * len(tested)
    for name, rows in families.items():
        for index, p in zip(rows, within[name], strict=True):
            adjusted[index] = min(1.0, max(across[name], p * len(families) / max(1, held)))
    return adjusted


def _row(one: _Tested, q: float, flagged: bool, weight: float, habits: Habits) -> Row:
    drift, n = one.drift, one.drift.n
    ratio = one.feature.kind is Kind.RATIO
    effect, low, high = (
        (math.expm1(min(value, 50.0)) if ratio else value) for value in (drift.effect, drift.low, drift.high)
    )
    means = one.cell.incumbent / n, one.cell.candidate / n
    incumbent, candidate = one.means
    said = Said(one.feature.name, one.slice, incumbent, candidate, effect, *means)
    return Row(
        slice=one.slice,
        feature=one.feature.name,
        finding=one.feature.finding,
        n=n,
        incumbent=incumbent,
        candidate=candidate,
        effect=effect,
        low=low,
        high=high,
        p=drift.p,
        q=q,
        flagged=flagged,
        times_floor=weight,
        sentence=say([said], habits),
        incumbent_mean=means[0],
        candidate_mean=means[1],
    )


def _place(row: Row) -> tuple[bool, bool, str, int]:
    """The aggregate first, then slices by name, conjunctions last; features in the order of the catalogue."""
    return (row.slice != ALL_SLICES, JOIN in row.slice, row.slice, list(FEATURES).index(row.feature))
