from __future__ import annotations

from understudy.gateway.breaker import CONSECUTIVE, WINDOW, WINDOW_ERRORS, Breaker


def test_five_failures_in_a_row_open_it() -> None:
    """Four failures do not open the breaker, the fifth does, and its reason names the failure."""
    breaker = Breaker()
    for _ in range(CONSECUTIVE - 1):
        breaker.failed("timeout")
    assert not breaker.open
    breaker.failed("timeout")
    assert breaker.open
    assert "timeout" in breaker.why


def test_a_success_ends_the_row() -> None:
    """Failures that are not in a row count only for the window."""
    breaker = Breaker()
    for _ in range(WINDOW_ERRORS - 1):
        breaker.failed("reset")
        breaker.succeeded()
    assert not breaker.open


def test_a_fifth_of_the_last_fifty_opens_it() -> None:
    """Ten failures among fifty requests open the breaker; ten among a hundred do not."""
    scattered = Breaker()
    for n in range(200):
        scattered.failed("reset") if n % 10 == 0 else scattered.succeeded()
    assert not scattered.open
    dense = Breaker()
    for n in range(WINDOW):
        dense.failed("reset") if n % 5 == 0 else dense.succeeded()
    assert dense.open


def test_it_stays_open() -> None:
    """No success closes it again: that is a person's decision."""
    breaker = Breaker()
    breaker.trip("another worker")
    for _ in range(1000):
        breaker.succeeded()
    assert breaker.why == "another worker"
