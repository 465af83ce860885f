"""Counts what the ledger's records say, for Prometheus. Counting and text only; `worker` keeps the files.

Each worker writes its counts to a file beside its heartbeat, and whichever worker is asked shows those of all, each
under its own name: a worker that starts again is a counter that starts again, which Prometheus understands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from understudy.core.records import Exchange, Feedback, Record

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
SUFFIX = ".metrics"
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_HELP = {
    "understudy_requests_total": "Exchanges by outcome; error is empty for a success.",
    "understudy_masked_total": "Failures of the candidate that the incumbent answered.",
    "understudy_tokens_total": "Tokens as the providers counted them.",
    "understudy_feedback_total": "Feedback received.",
    "understudy_latency_seconds": "From the request to the last byte of the assigned arm's answer.",
    "understudy_first_token_seconds": "From the request to the first byte of the assigned arm's answer.",
    "understudy_connections": "Open client connections.",
    "understudy_epoch": "Epoch of the routing table in force.",
    "understudy_breaker_open": "1 where this worker has taken the candidate out of service.",
}
_GAUGES = ("understudy_connections", "understudy_epoch", "understudy_breaker_open")
_HISTOGRAMS = ("understudy_latency_seconds", "understudy_first_token_seconds")

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """The counts of one worker since it started."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Labels], float] = {}
        self._histograms: dict[tuple[str, Labels], list[float]] = {}

    def record(self, record: Record) -> None:
        if isinstance(record, Exchange):
            self._exchange(record)
        elif isinstance(record, Feedback):
            self._add("understudy_feedback_total", (("name", record.name),))

    def facts(self) -> dict[str, Any]:
        """Everything counted, as JSON."""
        return {
            "counts": [[name, labels, value] for (name, labels), value in self._counts.items()],
            "histograms": [[name, labels, values] for (name, labels), values in self._histograms.items()],
        }

    def _exchange(self, record: Exchange) -> None:
        who: Labels = (("workload", record.workload), ("role", record.role), ("variant", record.variant))
        self._add("understudy_requests_total", (*who, ("arm", record.arm), ("error", record.error)))
        if record.masked:
            self._add("understudy_masked_total", who)
        if record.input_tokens is not None:
            self._add("understudy_tokens_total", (*who, ("kind", "input")), record.input_tokens)
        if record.output_tokens is not None:
            self._add("understudy_tokens_total", (*who, ("kind", "output")), record.output_tokens)
        if record.latency_s is not None and not record.error:
            self._observe("understudy_latency_seconds", who, record.latency_s)
        if record.ttft_s is not None and not record.error:
            self._observe("understudy_first_token_seconds", who, record.ttft_s)

    def _add(self, name: str, labels: Labels, value: float = 1) -> None:
        key = name, labels
        self._counts[key] = self._counts.get(key, 0) + value

    def _observe(self, name: str, labels: Labels, value: float) -> None:
        """The last two places hold the sum and the count."""
        found = self._histograms.get((name, labels))
        if found is None:
            found = self._histograms[name, labels] = [0.0] * (len(BUCKETS) + 2)
        for place, bound in enumerate(BUCKETS):
            if value <= bound:
                found[place] += 1
                break
        found[-2] += value
        found[-1] += 1


def exposition(workers: Iterable[tuple[str, Mapping[str, Any]]]) -> bytes:
    """The text of all workers' facts. `gauges` in them are [name, labels, value] too."""
    lines: dict[str, list[str]] = {}
    for worker, facts in workers:
        own = ("worker", worker)
        for name, labels, value in (*facts["counts"], *facts.get("gauges", ())):
            lines.setdefault(name, []).append(f"{name}{_shown((own, *labels))} {value:g}")
        for name, labels, values in facts["histograms"]:
            lines.setdefault(name, []).extend(_histogram(name, (own, *labels), values))
    text = ""
    for name, found in sorted(lines.items()):
        kind = "gauge" if name in _GAUGES else "histogram" if name in _HISTOGRAMS else "counter"
        text += f"# HELP {name} {_HELP[name]}\n# TYPE {name} {kind}\n" + "\n".join(found) + "\n"
    return text.encode()


def _histogram(name: str, labels: Iterable[tuple[str, str]], values: list[float]) -> list[str]:
    known = tuple(labels)
    lines, total = [], 0.0
    for bound, value in zip(BUCKETS, values, strict=False):
        total += value
        lines.append(f"{name}_bucket{_shown((*known, ('le', f'{bound:g}')))} {total:g}")
    lines.append(f"{name}_bucket{_shown((*known, ('le', '+Inf')))} {values[-1]:g}")
    return [*lines, f"{name}_sum{_shown(known)} {values[-2]:g}", f"{name}_count{_shown(known)} {values[-1]:g}"]


def _shown(labels: Iterable[tuple[str, str]]) -> str:
    """Label values come from tables and callers: what could end one is escaped."""
    parts = (f'{name}="{_escaped(value)}"' for name, value in labels)
    return "{" + ",".join(parts) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def log_line(record: Exchange) -> bytes:
    """One line of JSON about an exchange: what happened, nothing of what was said."""
    return msgspec.json.encode(
        {
            "at": record.started_at,
            "exchange": record.exchange,
            "workload": record.workload,
            "role": record.role,
            "arm": record.arm,
            "reason": record.reason,
            "variant": record.variant,
            "served": record.served_variant,
            "epoch": record.epoch,
            "status": record.status,
            "error": record.error,
            "latency_s": record.latency_s,
            "ttft_s": record.ttft_s,
            "input_tokens": record.input_tokens,
            "output_tokens": record.output_tokens,
        }
    )
