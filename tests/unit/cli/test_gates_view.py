"""What a terminal says of gates, and of the watch over a soak."""

from __future__ import annotations

from rich.console import Console

from understudy.cli.gates_view import gates_table
from understudy.gates.lines import tail_lines


def gate(slice_: str, estimate: float, tolerated: float | None) -> dict[str, object]:
    known = {"metric": "satisfaction", "slice": slice_, "kind": "mean", "verdict": "inconclusive", "critical": True}
    return {**known, "estimate": estimate, "low": -0.1, "high": 0.05, "tolerated": tolerated, "n": 239}


def test_the_slices_of_a_metric_have_the_unit_it_has_over_all_traffic() -> None:
    """A slice with a wide margin of its own, or none yet, is not written as a bare number beside points."""
    gates = [gate("ticket=refund", -0.0388, 0.25), gate("", -0.0214, 0.1), gate("ticket=other", -0.03, None)]
    console = Console(width=100, record=True)
    for part in gates_table(gates, ()):
        console.print(part)
    text = console.export_text()
    for said in ("-2.14 pt", "-3.88 pt", "-3.00 pt", "-10.00 to +5.00", "25.00 pt"):
        assert said in text, text
    assert "-0.0" not in text


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
