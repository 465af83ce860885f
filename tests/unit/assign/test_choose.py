from __future__ import annotations

import itertools

import pytest

from understudy.assign.choose import Choice, Reason, choose
from understudy.core.playbook import Arm
from understudy.core.routing import Route

NOW = 1_000.0


def route(share: int = 50_000, lease_until: float | None = NOW + 60) -> Route:
    return Route(
        upgrade="u1",
        candidate="new",
        stage="canary",
        step=1,
        share=share,
        salt="s",
        lease_until=lease_until,
        shadow=None,
    )


@pytest.mark.parametrize(
    ("given", "arm", "reason"),
    [
        ({}, Arm.CANDIDATE, Reason.BELOW_SHARE),
        ({"bucket": 49_999}, Arm.CANDIDATE, Reason.BELOW_SHARE),
        ({"bucket": 50_000}, Arm.INCUMBENT, Reason.ABOVE_SHARE),
        ({"bucket": -1}, Arm.INCUMBENT, Reason.NO_UNIT),
        ({"route": None}, Arm.INCUMBENT, Reason.NO_ROUTE),
        ({"route": route(share=0)}, Arm.INCUMBENT, Reason.NO_ROUTE),
        ({"route": route(lease_until=NOW)}, Arm.INCUMBENT, Reason.LEASE_EXPIRED),
        ({"route": route(lease_until=None)}, Arm.CANDIDATE, Reason.BELOW_SHARE),
        ({"route": route(share=1_000_000), "bucket": 999_999}, Arm.CANDIDATE, Reason.BELOW_SHARE),
        ({"breaker_open": True}, Arm.INCUMBENT, Reason.BREAKER_OPEN),
        ({"pinned": Arm.CANDIDATE, "bucket": 999_999}, Arm.CANDIDATE, Reason.CONVERSATION),
        ({"pinned": Arm.INCUMBENT}, Arm.INCUMBENT, Reason.CONVERSATION),
        ({"pinned": Arm.CANDIDATE, "breaker_open": True}, Arm.INCUMBENT, Reason.BREAKER_OPEN),
        ({"pinned": Arm.CANDIDATE, "breaker_open": True, "finish_pinned": True}, Arm.CANDIDATE, Reason.CONVERSATION),
        ({"pinned": Arm.CANDIDATE, "route": None, "finish_pinned": True}, Arm.INCUMBENT, Reason.NO_ROUTE),
        ({"killed": True, "pinned": Arm.CANDIDATE, "finish_pinned": True}, Arm.INCUMBENT, Reason.KILL_FILE),
    ],
)
def test_the_first_rule_that_matches_wins(given: dict[str, object], arm: Arm, reason: Reason) -> None:
    """Each rule, and its rank against the next."""
    arguments = {"route": route(), "now": NOW, "bucket": 0, **given}
    assert choose(**arguments) == Choice(arm, reason)  # type: ignore[arg-type]


def test_the_candidate_serves_only_where_nothing_forbids_it() -> None:
    """Over every combination: no kill file, a share, and either a held pin or lease, breaker and bucket all clear."""
    routes = [None, route(0), route(1), route(1_000_000), route(500_000, NOW - 1), route(500_000, None)]
    for r, killed, pinned, finish, broken, place in itertools.product(
        routes, (False, True), (None, *Arm), (False, True), (False, True), (-1, 0, 1, 499_999, 999_999)
    ):
        choice = choose(
            r, now=NOW, bucket=place, killed=killed, pinned=pinned, finish_pinned=finish, breaker_open=broken
        )
        if choice.arm is Arm.INCUMBENT:
            continue
        assert r is not None
        assert r.share > 0
        assert not killed
        withdrawn = broken or (r.lease_until is not None and r.lease_until <= NOW)
        if pinned is Arm.CANDIDATE:
            assert finish or not withdrawn
        else:
            assert pinned is None
            assert not withdrawn
            assert 0 <= place < r.share
