"""Says whether the regression eval had foretold what the canary saw, slice by slice. Pure.

Both are differences of the candidate from the incumbent in the same unit, a score in [0, 1], with an interval each.
Where the intervals share no point the eval was wrong about that slice, however right the decision was: its cases are
not what users ask there. Where one of the two is not there, or is too wide to have said anything, nobody can tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from understudy.core.evidence import ALL_SLICES
from understudy.core.slices import meant

METRIC = "quality"
"""The live metric that the graders of the suites score, as they do in the eval."""
SAYS = 0.10
"""An interval wider than this on either side of its middle foretells nothing."""

AGREES, CONTRADICTS, CANNOT_TELL = "agrees", "contradicts", "cannot tell"


class _Range(NamedTuple):
    middle: float | None
    low: float | None
    high: float | None


_NOTHING = _Range(None, None, None)


class Agreement(NamedTuple):
    """One slice of the eval beside what traffic of that slice did; None where there is no figure."""

    slice: str
    live_slice: str
    foretold: float | None
    foretold_low: float | None
    foretold_high: float | None
    live: float | None
    live_low: float | None
    live_high: float | None
    says: str
    why: str


def agreements(rows: Sequence[Mapping[str, Any]], gates: Sequence[Mapping[str, Any]]) -> list[Agreement]:
    """`rows` are the aggregate and slices of an eval's result, `gates` the verdicts of a canary, as JSON."""
    live = {gate["slice"]: gate for gate in gates if gate["metric"] == METRIC}
    return [_one(row, name, live.get(name)) for row in rows for name in _names(row["slice"], live)]


def _names(eval_slice: str, live: Mapping[str, Any]) -> list[str]:
    if eval_slice == ALL_SLICES:
        return [ALL_SLICES]
    return meant(eval_slice, [name for name in live if name]) or [eval_slice]


def _one(row: Mapping[str, Any], name: str, gate: Mapping[str, Any] | None) -> Agreement:
    foretold = _Range(row["difference"], row["low"], row["high"]) if row["n"] else _NOTHING
    seen = _Range(gate["estimate"], gate["low"], gate["high"]) if gate else _NOTHING
    says, why = _said(foretold, seen)
    return Agreement(
        row["slice"], name, foretold.middle, foretold.low, foretold.high, seen.middle, seen.low, seen.high, says, why
    )


def _said(foretold: _Range, seen: _Range) -> tuple[str, str]:
    if foretold.low is None or foretold.high is None:
        return CANNOT_TELL, "the eval has no score there"
    if seen.low is None or seen.high is None:
        return CANNOT_TELL, "the canary has no live score there"
    if foretold.high < seen.low or seen.high < foretold.low:
        return CONTRADICTS, f"users saw {'more' if foretold.high < seen.low else 'less'} than the eval allows for"
    if max(foretold.high - foretold.low, seen.high - seen.low) > 2 * SAYS:
        return CANNOT_TELL, "an interval is too wide to say anything"
    return AGREES, ""
