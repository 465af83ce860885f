"""What a suite calls a slice is found again in live traffic."""

from __future__ import annotations

import pytest

from understudy.rollout.gating import live_names

LIVE = ["tier=gold", "ticket=billing", "ticket=refund"]


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        (["refund"], ["ticket=refund"]),
        (["ticket=refund"], ["ticket=refund"]),
        (["refund", "ticket=refund"], ["ticket=refund"]),
        (["ticket=escalation"], ["ticket=escalation"]),
        (["escalation"], []),
        ([], []),
    ],
)
def test_a_bare_name_means_the_live_slice_with_that_value(names: list[str], meant: list[str]) -> None:
    """A name written out stays even without traffic, so that its data is missing; a bare one is the eval's alone."""
    assert live_names(names, LIVE) == meant
