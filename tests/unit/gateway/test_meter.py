from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from understudy.core.routing import GatewayKey
from understudy.gateway.meter import Meter, Meters

NOW = 1_700_000_000.0


def key(name: str, per_minute: int | None) -> GatewayKey:
    return GatewayKey(name, sha256(name.encode()).hexdigest(), requests_per_minute=per_minute)


def meter(path: Path | None = None, per_minute: int = 60, name: str = "app") -> Meter:
    return Meters(path).of([key(name, per_minute)])[name]


@pytest.mark.parametrize("per_minute", [1, 7, 60, 6_000])
def test_a_minute_s_requests_at_once_and_then_evenly(per_minute: int) -> None:
    """A full bucket lets n through, then one every 60/n seconds; a refusal says how long to wait."""
    each = meter(per_minute=per_minute)
    assert [each.take(NOW) for _ in range(per_minute)] == [0.0] * per_minute
    wait = each.take(NOW)
    assert wait == pytest.approx(60 / per_minute, rel=1e-4)
    assert each.take(NOW + wait * 0.9) > 0
    assert each.take(NOW + wait * 1.001) == 0
    assert each.take(NOW + wait * 1.001) > 0


def test_what_is_let_through_in_any_minute_is_bounded() -> None:
    """Whoever asks all the time gets n at first and n in each minute after."""
    each = meter(per_minute=30)
    taken = sum(each.take(NOW + tenth / 10) == 0 for tenth in range(3_000))
    assert taken == 30 + 5 * 30 - 1  # five minutes; the last tenth of a second is not over


def test_workers_share_a_bucket_and_a_restart_forgets_nothing(tmp_path: Path) -> None:
    """Two that have the file open, and a third that opens it later, count together."""
    first, second = meter(tmp_path / "m", 10), meter(tmp_path / "m", 10)
    assert [each.take(NOW) for each in (first, second) for _ in range(5)] == [0.0] * 10
    assert first.take(NOW) > 0
    assert second.take(NOW) > 0
    assert meter(tmp_path / "m", 10).take(NOW + 1) > 0
    assert meter(tmp_path / "m", 10, name="other").take(NOW + 1) == 0


def test_a_clock_that_is_set_back_refuses_nobody_for_longer_than_a_minute() -> None:
    """After a day back the bucket is as empty as it can be, and refills."""
    each = meter(per_minute=10)
    for _ in range(10):
        assert each.take(NOW) == 0
    assert 0 < each.take(NOW - 86_400) <= 6.01
    assert each.take(NOW - 86_400 + 60) == 0


def test_keys_without_a_limit_have_no_meter_and_slots_are_taken_over_from_the_most_silent() -> None:
    """The file does not grow: the key that was silent longest loses its count, and no two keys share one."""
    meters = Meters(None, slots=100)
    assert meters.of([key("free", None)]) == {}
    made = meters.of([key(f"k{n}", 1) for n in range(100)])
    for number, each in enumerate(made.values()):
        assert each.take(NOW + number / 100) == 0
    assert meters.of([key("new", 1)])["new"].take(NOW + 10) == 0
    again = meters.of([key("k1", 1), key("k0", 1), key("k2", 1)])
    assert [again[name].take(NOW + 10) > 0 for name in ("k0", "k1", "k2")] == [False, True, True]
