"""Makes findings of flagged rows: one finding for one defect, on the slice where it is seen best.

A defect moves several features (a code fence is an unusual opening too) and is seen on many slices (all traffic, the
slice it is on, conjunctions with it). Somebody who has to act on it needs it once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from understudy.core.evidence import ALL_SLICES, Finding
from understudy.drift.catalogue import FEATURES, Kind
from understudy.drift.cells import Cell
from understudy.drift.differ import JOIN
from understudy.drift.features import Habits
from understudy.drift.pair import Example
from understudy.drift.sentences import Said, named, say

STANDS_OUT = 1.5
"""A slice is a finding beside one on a wider slice where its effect is this many times as large, and no chance."""
ALONE = 0.8
"""A slice that makes up this part of the effect on all traffic is where the defect is; all traffic is no finding."""
TOGETHER: tuple[tuple[str, str], ...] = (("length", "tone"), ("latency", "slow_tail"))
"""Findings that go with each other: which of the two takes the other one in, `_hosts` says."""
LARGE = 0.25
"""A change of length or latency from which on it is the reason, whatever else goes with it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One feature on one slice.

    `incumbent` and `candidate` are rates (flags), means (scores) or typical values (ratios: geometric means, with the
    arithmetic ones beside them). `effect`, `low`, `high` are the change as a part of the incumbent's value (ratios:
    0.1 is 10 % more), a difference of rates (flags), or a difference in the feature's own unit (scores). `q` is the
    adjusted p-value.
    """

    slice: str
    feature: str
    finding: str
    n: int
    incumbent: float
    candidate: float
    effect: float
    low: float
    high: float
    p: float
    q: float
    flagged: bool
    times_floor: float
    """How many times what matters, after pulling thin slices towards zero: the order of findings."""
    sentence: str
    incumbent_mean: float
    candidate_mean: float

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class SeenIn(NamedTuple):
    """A finding with pairs that show it."""

    finding: Finding
    examples: tuple[Example, ...]


Groups = dict[tuple[str, str], list[Row]]
"""Flagged rows by (slice, finding)."""


def findings(rows: Iterable[Row], cells: Mapping[tuple[str, str], Cell], habits: Habits) -> list[SeenIn]:
    """The findings, the largest first."""
    flagged = {(row.slice, row.feature): row for row in rows if row.flagged}
    grouped: Groups = {}
    for row in flagged.values():
        if not _explained(row, flagged):
            grouped.setdefault((row.slice, row.finding), []).append(row)
    kept = {key: found for key, found in grouped.items() if _stands_out(key, grouped)}
    most = {kind: _most(kind, kept) for name, kind in kept if name == ALL_SLICES}
    for kind, where in most.items():
        if where and _is_all_of_it(kept[where, kind], kept[ALL_SLICES, kind]):
            del kept[ALL_SLICES, kind]
    hosts = _hosts_of(kept)
    ordered = sorted(kept.items(), key=lambda item: (-abs(_strongest(item[1]).times_floor), item[0]))
    return [
        _seen(key, found, most.get(key[1], ""), _guest(key, hosts, kept), cells, habits)
        for key, found in ordered
        if key not in hosts
    ]


def _guest(key: tuple[str, str], hosts: Mapping[tuple[str, str], tuple[str, str]], kept: Groups) -> list[Row]:
    """The rows that a finding takes in and names: those of its own slice."""
    return [row for guest, host in hosts.items() if host == key and guest[0] == key[0] for row in kept[guest]]


def _wider(name: str) -> list[str]:
    """The slices that a slice lies in."""
    if name == ALL_SLICES:
        return []
    return [ALL_SLICES, *(name.split(JOIN) if JOIN in name else ())]


def _strongest(rows: Iterable[Row]) -> Row:
    return max(rows, key=lambda row: (abs(row.times_floor), row.feature))


def _explained(row: Row, flagged: Mapping[tuple[str, str], Row]) -> bool:
    """Whether another feature that drifted on this slice, or on a wider one, is the reason."""
    places = [row.slice, *_wider(row.slice)]
    return any((place, reason) in flagged for place in places for reason in FEATURES[row.feature].explained_by)


def _stands_out(key: tuple[str, str], grouped: Groups) -> bool:
    """Whether a slice says more than the wider ones it lies in."""
    name, kind = key
    row = _strongest(grouped[key])
    for other in _wider(name):
        for wide in grouped.get((other, kind), ()):
            if wide.feature != row.feature:
                continue
            outside = not row.low <= wide.effect <= row.high
            if not outside or abs(row.effect) < STANDS_OUT * abs(wide.effect):
                return False
    return True


def _most(kind: str, kept: Groups) -> str:
    """The single slice on which a finding is largest, "" where it is on none."""
    inner = [
        (abs(_strongest(rows).effect), name)
        for (name, same), rows in kept.items()
        if same == kind and name != ALL_SLICES and JOIN not in name
    ]
    return max(inner, default=(0.0, ""))[1]


def _is_all_of_it(rows: Iterable[Row], whole: Iterable[Row]) -> bool:
    """Whether the drift on one slice makes up what is seen on all traffic."""
    strongest = _strongest(whole)
    same = [row for row in rows if row.feature == strongest.feature]
    return any(_additive(row) * row.n >= ALONE * _additive(strongest) * strongest.n for row in same)


def _additive(row: Row) -> float:
    """The effect on the scale on which slices add up to the whole, without its sign."""
    ratio = FEATURES[row.feature].kind is Kind.RATIO
    return abs(math.log1p(max(row.effect, -1 + 1e-9))) if ratio else abs(row.effect)


def _hosts_of(kept: Groups) -> dict[tuple[str, str], tuple[str, str]]:
    """The finding that takes another one in, on the same slice or a wider one."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for name, kind in kept:
        for first, second in TOGETHER:
            if kind not in (first, second):
                continue
            other = second if kind == first else first
            for place in (name, *reversed(_wider(name))):
                if (place, other) not in kept:
                    continue
                pair = (
                    (kept[name, first], kept[place, second])
                    if kind == first
                    else (kept[place, first], kept[name, second])
                )
                if _hosts(*pair) == (kind == second):
                    found[name, kind] = (place, other)
                    break
    return found


def _hosts(first: list[Row], second: list[Row]) -> bool:
    """Whether the first is the reason for the second, and not the other way round.

    Text that is left out takes its words with it, so every rate of the rest changes, mostly against the length:
    that is no change of tone. An answer that loses its courtesy becomes a little shorter *and* has less of it.
    """
    strongest = _strongest(first)
    if abs(strongest.effect) >= LARGE:
        return True
    if strongest.finding == "latency":
        return False
    return not any(row.effect * strongest.effect > 0 for row in second if row.feature != "reading_grade")


def _seen(
    key: tuple[str, str],
    rows: list[Row],
    most: str,
    guests: list[Row],
    cells: Mapping[tuple[str, str], Cell],
    habits: Habits,
) -> SeenIn:
    """The finding of a group of rows, with what goes with it in its sentence, and examples of its strongest row."""
    name, kind = key
    ordered = sorted(rows, key=lambda row: -abs(row.times_floor))
    first = ordered[0]
    sentence = say([_said(row) for row in ordered], habits)
    if guests:
        with_it = say([_said(row)._replace(slice=ALL_SLICES) for row in guests], habits)
        sentence = f"{sentence}; with it, {with_it}"
    if name == ALL_SLICES and most:
        sentence = f"{sentence}; most of all on {named(most)}"
    fields = ("n", "incumbent", "candidate", "effect", "low", "high", "p", "q")
    figures = {field: float(getattr(first, field)) for field in fields}
    figures |= {f"{row.feature}_effect": row.effect for row in (*ordered[1:], *guests)}
    cell = cells[name, first.feature]
    return SeenIn(Finding(kind, name, sentence, figures), cell.up if first.effect > 0 else cell.down)


def _said(row: Row) -> Said:
    return Said(
        row.feature, row.slice, row.incumbent, row.candidate, row.effect, row.incumbent_mean, row.candidate_mean
    )
