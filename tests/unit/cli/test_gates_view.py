"""What a terminal says of the watch over a soak."""

from __future__ import annotations

from understudy.gates.lines import tail_lines


def tail(metric: str, verdict: str, log_value: float) -> dict[str, object]:
    sentence = f"{metric} says its own"
    return {"metric": metric, "verdict": verdict, "log_value": log_value, "log_threshold": 8.0, "sentence": sentence}


def test_the_nearest_to_an_alarm_is_named() -> None:
    """Quiet metrics are counted, and the one with the most evidence is shown."""
    quiet = [tail("errors", "inconclusive", 1.0), tail("latency_p99", "inconclusive", 5.0)]
    (line,) = tail_lines(quiet)
    assert line == "2 metrics watched cycle by cycle; the nearest to an alarm: latency_p99 says its own"
    assert tail_lines([]) == []


def test_every_alarm_is_shown() -> None:
    """Alarms leave no room for the others."""
    tails = [tail("errors", "fail", 9.0), tail("quality", "inconclusive", 1.0), tail("ttft_p95", "fail", 12.0)]
    assert tail_lines(tails) == ["errors says its own", "ttft_p95 says its own"]
