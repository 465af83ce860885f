from __future__ import annotations

import pytest

from understudy.upstream.ageing import FORGET_S, LEAST_S, SHARE, Ageing


def test_until_something_is_learned_our_own_limit_stands() -> None:
    """Nothing seen, nothing changed, however late."""
    assert [Ageing(50.0).limit(now) for now in (0.0, 1e6)] == [50.0, 50.0]


@pytest.mark.parametrize(
    ("header", "limit"),
    [
        (b"timeout=5", 5 * SHARE),
        (b"timeout=5, max=1000", 5 * SHARE),
        (b"max=1000, Timeout=10", 10 * SHARE),
        (b"timeout=0", LEAST_S),
        (b"timeout=3600", 50.0),
        (b"max=100", 50.0),
        (b"notimeout=5", 50.0),
        (b"timeout=99999999999999", 50.0),
        (b"timeout=-1", 50.0),
        (b"", 50.0),
    ],
)
def test_a_provider_may_say_how_long_it_waits(header: bytes, limit: float) -> None:
    """`timeout=` counts wherever it stands; what is longer than ours, or senseless, changes nothing."""
    ageing = Ageing(50.0)
    ageing.told(header, 1.0)
    assert ageing.limit(1.0) == limit


def test_one_closing_may_be_a_restart_and_two_alike_are_a_time_out() -> None:
    """Ages that have nothing in common teach nothing; two within a quarter of each other do."""
    ageing = Ageing(50.0)
    for age in (5.0, 1.0, 3.0, 20.0):
        ageing.closed(age, 1.0)
    assert ageing.limit(1.0) == 50.0
    ageing.closed(19.0, 1.0)
    assert ageing.limit(1.0) == 19.0 * SHARE


def test_however_soon_connections_are_closed_keeping_them_does_not_end() -> None:
    """A provider that restarts over and over does not make every request open a connection."""
    ageing = Ageing(50.0)
    for _ in range(10):
        ageing.closed(0.01, 1.0)
    assert ageing.limit(1.0) == LEAST_S
    ageing.closed(0.0, 1.0)
    ageing.closed(0.0, 1.0)
    assert ageing.limit(1.0) == LEAST_S


def test_what_was_learned_is_forgotten_when_it_is_not_seen_again() -> None:
    """A provider whose setting grew is used as before after a while; one that says it again is believed again."""
    ageing = Ageing(50.0)
    ageing.told(b"timeout=5", 0.0)
    ageing.told(b"timeout=5", FORGET_S)
    assert ageing.limit(2 * FORGET_S) == 5 * SHARE
    assert ageing.limit(2 * FORGET_S + 1) == 50.0
