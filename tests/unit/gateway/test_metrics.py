from __future__ import annotations

import json

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from understudy.core.records import Exchange, Feedback
from understudy.gateway.metrics import Metrics, exposition, log_line


def exchange(**fields: object) -> Exchange:
    known = {"exchange": "x1", "workload": "chat", "started_at": 1.0, "epoch": 3, "generation": "g1", "variant": "old"}
    return Exchange(**{**known, "arm": "incumbent", **fields})  # type: ignore[arg-type]


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_prometheus_reads_what_was_counted() -> None:
    """Requests by outcome, masked failures, tokens, feedback and latencies of two workers, each under its name."""
    one, other = Metrics(), Metrics()
    for latency in (0.04, 0.3, 400.0):
        one.record(exchange(latency_s=latency, ttft_s=0.01, input_tokens=7, output_tokens=3))
    one.record(exchange(variant="new", arm="candidate", error="timeout", masked=True))
    one.record(Feedback(exchange="x1", name="thumb", value=1, at=2.0))
    other.record(exchange(workload='odd"\\\nname'))
    stored = msgspec.json.decode(msgspec.json.encode(other.facts()))
    found = samples(exposition([("w0", {**one.facts(), "gauges": [("understudy_epoch", [], 3)]}), ("w1", stored)]))
    who = (("role", "served"), ("variant", "old"), ("worker", "w0"), ("workload", "chat"))
    arm = ("arm", "incumbent")
    assert found["understudy_requests_total", (arm, ("error", ""), *who)] == 3
    assert found["understudy_latency_seconds_count", (arm, *who)] == 3
    assert found["understudy_latency_seconds_bucket", (arm, ("le", "0.05"), *who)] == 1
    assert found["understudy_latency_seconds_bucket", (arm, ("le", "0.5"), *who)] == 2
    assert found["understudy_latency_seconds_bucket", (arm, ("le", "+Inf"), *who)] == 3
    assert found["understudy_tokens_total", (arm, ("error", ""), ("kind", "input"), *who)] == 21
    assert found["understudy_feedback_total", (("name", "thumb"), ("worker", "w0"))] == 1
    assert found["understudy_epoch", (("worker", "w0"),)] == 3
    assert sum(value for (name, _), value in found.items() if name == "understudy_masked_total") == 1
    odd = [dict(labels) for (name, labels), _ in found.items() if dict(labels).get("worker") == "w1"]
    assert {labels["workload"] for labels in odd} == {'odd"\\\nname'}


def test_a_counter_is_told_to_its_last_digit() -> None:
    """A rate is a difference of two of them, and they grow over millions."""
    metrics = Metrics()
    metrics.record(exchange(input_tokens=1_234_567_890_123, output_tokens=1_000_001, latency_s=0.123456789))
    told = exposition([("w0", metrics.facts())]).decode()
    for value in ("1234567890123", "1000001", "0.123456789"):
        assert any(line.endswith(f" {value}") for line in told.splitlines()), value


def test_a_log_line_says_what_happened_and_nothing_of_what_was_said() -> None:
    """No body, answer, user or conversation is in it."""
    line = log_line(exchange(unit="user-7", conversation="c9", request=b"secret", answer="secret", slices={"a": "b"}))
    assert b"\n" not in line
    told = json.loads(line)
    assert told["exchange"] == "x1"
    assert not {"unit", "conversation", "request", "answer", "slices"} & set(told)
    assert b"secret" not in line
