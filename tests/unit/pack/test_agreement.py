"""Did the eval foretell the canary? By hand."""

from __future__ import annotations

from typing import Any

import pytest

from understudy.pack.agreement import AGREES, CANNOT_TELL, CONTRADICTS, agreements


def row(name: str, low: float, high: float, n: int = 40) -> dict[str, Any]:
    return {"slice": name, "n": n, "difference": (low + high) / 2, "low": low, "high": high}


def gate(name: str, low: float | None, high: float | None, metric: str = "quality") -> dict[str, Any]:
    middle = None if low is None or high is None else (low + high) / 2
    return {"metric": metric, "slice": name, "estimate": middle, "low": low, "high": high}


@pytest.mark.parametrize(
    ("eval_range", "live_range", "says"),
    [
        ((-0.01, 0.03), (0.0, 0.02), AGREES),
        ((-0.01, 0.03), (0.03, 0.05), AGREES),
        ((0.02, 0.05), (-0.03, 0.01), CONTRADICTS),
        ((-0.05, -0.02), (0.0, 0.01), CONTRADICTS),
        ((-0.20, 0.20), (0.0, 0.01), CANNOT_TELL),
        ((0.0, 0.01), (-0.15, 0.15), CANNOT_TELL),
        ((0.3, 0.9), (-0.1, 0.0), CONTRADICTS),
    ],
)
def test_ranges(eval_range: tuple[float, float], live_range: tuple[float, float], says: str) -> None:
    """Ranges that share a point agree where both are narrow enough to say something; those that share none never do."""
    (found,) = agreements([row("", *eval_range)], [gate("", *live_range)])
    assert found.says == says


def test_a_slice_is_found_by_what_traffic_calls_it() -> None:
    """`refund` of a suite is `ticket=refund` in traffic, and all cases are all traffic."""
    rows = [row("", 0.0, 0.02), row("refund", 0.0, 0.02), row("other", 0.0, 0.02)]
    gates = [gate("", 0.0, 0.01), gate("ticket=refund", 0.05, 0.06), gate("ticket=refund", 0.0, 0.0, metric="cost")]
    found = {one.slice: one for one in agreements(rows, gates)}
    assert found["refund"].live_slice == "ticket=refund"
    assert found["refund"].says == CONTRADICTS and "more" in found["refund"].why
    assert found["other"].says == CANNOT_TELL and found["other"].live is None
    assert found[""].says == AGREES


def test_nothing_is_made_up() -> None:
    """A slice without cases, and a gate without data, are cannot tell."""
    (empty,) = agreements([row("", 0.0, 0.0, n=0)], [gate("", 0.0, 0.01)])
    (silent,) = agreements([row("", 0.0, 0.01)], [gate("", None, None)])
    assert (empty.says, empty.foretold) == (CANNOT_TELL, None)
    assert (silent.says, silent.live) == (CANNOT_TELL, None)
