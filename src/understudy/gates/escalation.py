"""Asking again without fooling oneself: which slices get more repeats, and how much error rate each look may spend.

"Rerun until it is green" breaks any p-value. Here the looks are fixed beforehand, at 5, 10 and 20 answers a case, and
each compares all answers so far with its own part of alpha: .025, .0125 and .0125 sum to .05, both for a false fail
and for a false pass of a slice. Anyone who wants to look at other times bets instead (`stats.betting`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from understudy.core.evidence import ALL_SLICES
from understudy.core.playbook import Verdict
from understudy.gates.paired import MIN_CASES, UNSCORED_CRITICAL, Comparison, PairedCase, compare, conclude


class Rung(NamedTuple):
    """One look: so many answers a case, and the alpha it spends."""

    repeats: int
    alpha: float


def schedule_from(repeats: int, alpha: float = 0.05) -> tuple[Rung, ...]:
    """Looks at so many answers a case, twice and four times as many; the first spends half of alpha."""
    return (Rung(repeats, alpha / 2), Rung(2 * repeats, alpha / 4), Rung(4 * repeats, alpha / 4))


SCHEDULE = schedule_from(5)


class Escalation(NamedTuple):
    """What to ask for next: cases that need more answers, up to `repeats` each."""

    repeats: int
    cases: tuple[str, ...]
    slices: tuple[str, ...]
    """The undecided slices they belong to; "" is the aggregate."""


def compare_at(
    look: int,
    cases: Iterable[PairedCase],
    *,
    margin: float = 0.02,
    slice_margin: float | None = None,
    critical_slices: Iterable[str] = (),
    tuning_exhausted: bool = False,
    schedule: Sequence[Rung] = SCHEDULE,
) -> Comparison:
    """The comparison of look `look`, counted from 0, at the alpha the schedule leaves for it.

    Raises ValueError for a look the schedule does not have.
    """
    if not 0 <= look < len(schedule):
        raise ValueError(f"look {look} is not one of the {len(schedule)} that were fixed beforehand")
    return compare(
        cases,
        alpha=schedule[look].alpha,
        margin=margin,
        slice_margin=slice_margin,
        critical_slices=critical_slices,
        tuning_exhausted=tuning_exhausted,
    )


def next_look(
    look: int, cases: Sequence[PairedCase], comparison: Comparison, *, schedule: Sequence[Rung] = SCHEDULE
) -> Escalation | None:
    """What to ask before the look after `look`; None where all is decided, failed, or no look is left.

    `comparison` is what all looks so far say together (`carried`). Only undecided slices are asked again; the others
    keep their verdict. Slices too small for any verdict are not asked: more answers would not help them.
    """
    if comparison.verdict is not Verdict.INCONCLUSIVE or look + 1 >= len(schedule):
        return None
    rows = (comparison.aggregate, *comparison.slices)
    undecided = {row.slice for row in rows if row.verdict is Verdict.INCONCLUSIVE and row.n >= MIN_CASES}
    if not undecided:
        return None
    chosen = [c.case for c in cases if ALL_SLICES in undecided or undecided & set(c.slices)]
    return Escalation(schedule[look + 1].repeats, tuple(chosen), tuple(sorted(undecided)))


def carried(earlier: Comparison, later: Comparison, *, tuning_exhausted: bool = False) -> Comparison:
    """What two looks say together: a fail at either stands, and a slice keeps the pass of either.

    The alphas of the looks add up to the whole, so whichever look passes a slice, it has its part to do so.
    """
    if Verdict.FAIL in (earlier.verdict, later.verdict):
        return earlier if earlier.verdict is Verdict.FAIL else later
    first = {row.slice: row for row in (earlier.aggregate, *earlier.slices)}
    rows = [
        first[row.slice] if row.verdict is not Verdict.PASS and first[row.slice].verdict is Verdict.PASS else row
        for row in (later.aggregate, *later.slices)
    ]
    return conclude(
        rows,
        failures=(),
        unmeasured=later.unmeasured,
        unscored_critical=UNSCORED_CRITICAL in later.needed,
        alpha=later.alpha,
        margin=later.margin,
        tuning_exhausted=tuning_exhausted,
    )
