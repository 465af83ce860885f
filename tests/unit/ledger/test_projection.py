"""What a month would cost is what an answer cost times the traffic, and unknown where nothing is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from understudy.ledger.projection import MONTH_S, project
from understudy.ledger.queries import Ledger


def test_a_candidate_in_shadow_is_projected_to_all_traffic(fill: Any, make: Any) -> None:
    """Ten exchanges in a ninth of a month, a third of them copied: both variants are projected to the same traffic."""
    step = MONTH_S / 90
    began = 1_700_000_000.0
    records = [
        make(n, started_at=began + n * step, cost_usd=0.01, input_tokens=100, output_tokens=50, cached_tokens=10)
        for n in range(10)
    ]
    records += [
        make(
            20 + n, started_at=began + n * step, role="shadow", pair=f"x-{n:06d}", variant="new", served_variant="",
            cost_usd=0.03, input_tokens=100, output_tokens=80, reasoning_tokens=40,
        )
        for n in range(3)
    ]  # fmt: skip
    records += [make(40, started_at=began, error="timeout", cost_usd=None)]
    old, new = project(Ledger(fill(records)).spent("reply"))
    assert old.variant == "old"
    assert old.exchanges == pytest.approx(100)
    assert (old.usd, new.usd) == (pytest.approx(1.0), pytest.approx(3.0))
    assert (old.input_tokens, old.cached_tokens, old.reasoning_tokens) == (100, 10, None)
    assert (new.output_tokens, new.reasoning_tokens, new.cached_tokens) == (80, 40, None)
    assert (new.seen, new.priced) == (3, 3)


def test_an_unknown_price_is_no_price_of_nothing(fill: Any, make: Any) -> None:
    """No price at all: no projection. Some prices: the mean of those, and how many they were."""
    records = [make(n, served_variant="a", cost_usd=1.0 if n == 0 else None) for n in range(4)]
    records += [make(9, served_variant="b")]
    a, b = project(Ledger(fill(records)).spent("reply"))
    assert (a.usd_per_exchange, a.priced, a.seen) == (1.0, 1, 4)
    assert (b.usd, b.usd_per_exchange, b.priced) == (None, None, 0)


def test_no_traffic_is_no_projection(tmp_path: Path) -> None:
    """Nothing served, or one exchange alone: there is no rate to go by."""
    assert project(Ledger(tmp_path / "none").spent("reply")) == []
