"""What a suite calls a slice is found again in live traffic; sums of days that are over are tallied once."""

from __future__ import annotations

import random

import pytest

from understudy.core.evidence import Stratum, Sums
from understudy.core.playbook import Arm
from understudy.gates.tally import gather, together
from understudy.rollout import gating
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


def test_what_was_tallied_is_not_tallied_again_and_adds_up_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Days one by one, some of them anew, are the tallies of all rows at once; only parts that are new are tallied."""
    rng = random.Random(1)

    def day(period: int) -> list[Sums]:
        strata = [Stratum(stage, 0, period) for stage in ("canary", "shadow")]
        cells = [(s, arm, name) for s in strata for arm in ("incumbent", "candidate") for name in ("", "k=v")]
        return [
            Sums("errors", *cell, bucket, n, rng.random() * n, float(n * n), n)
            for cell in cells
            for bucket in range(-1, 4)
            for n in (rng.randrange(4),)
        ]

    counted: list[int] = []
    monkeypatch.setattr(gating, "gather", lambda rows: (counted.append(1), gather(rows))[1])
    gathered = gating.Gathered("up-1")
    parts = [day(period) for period in range(3)]
    for turn in range(4):
        rows = [row for part in parts for row in part if row.stratum.stage != "shadow"]
        found, expected = gathered.of(parts), gather(rows)
        assert [(key, tally.as_dict()) for key, tally in found.items()] == [
            (key, tally.as_dict()) for key, tally in expected.items()
        ]
        assert gating.slices_in(found) == ["k=v"]
        parts = [*parts[:-1], day(2 + turn), day(3 + turn)]
    assert len(counted) == 3 + 3 * 2
    halves = [rows[0::2], rows[1::2]]
    (whole,) = {tally.count(Arm.CANDIDATE) for key, tally in together(map(gather, halves)).items() if not key[1]}
    assert whole == gather(rows)["errors", ""].count(Arm.CANDIDATE)
