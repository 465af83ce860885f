"""How differences are written: a sign where something changed, none where it rounds to zero."""

from __future__ import annotations

import pytest

from understudy.core.signed import signed
from understudy.evals.figures import change


@pytest.mark.parametrize(
    ("value", "form", "said"),
    [
        (-0.04, ".1f", "0.0"),
        (0.04, ".1f", "0.0"),
        (-0.05001, ".1f", "-0.1"),
        (12.0, ".0f", "+12"),
        (-1234.4, ",.0f", "-1,234"),
        (-0.0, ".3g", "0"),
        (1e-9, ".3g", "+1e-09"),
        (10.0, ".1f", "+10.0"),
        (float("inf"), ".1f", "+inf"),
        (float("nan"), ".1f", "+nan"),
    ],
)
def test_a_zero_has_no_sign(value: float, form: str, said: str) -> None:
    assert signed(value, form) == said


def test_a_tiny_change_is_none() -> None:
    """Two answers in a thousand fewer are not "-0 %"."""
    assert (change(0.998), change(1.004), change(0.98), change(1.5)) == ("0 %", "0 %", "-2 %", "+50 %")
