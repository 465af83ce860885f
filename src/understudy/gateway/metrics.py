"""Counts what the ledger's records say, for Prometheus. Counting and text only; `worker` keeps the files.

Each worker writes its counts to a file beside its heartbeat, and whichever worker is asked shows those of all, each
under its own name: a worker that starts again is a counter that starts again, which Prometheus understands.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from understudy.core.records import Exchange, Feedback, Record

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
SUFFIX = ".metrics"
_NAMES = 256
"""Names of feedback that are counted apart; they come from callers."""
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_HELP = {
    "understudy_requests_total": "Exchanges by outcome; error is empty for a success.",
    "understudy_masked_total": "Failures of the candidate that the incumbent answered.",
    "understudy_tokens_total": "Tokens as the providers counted them.",
    "understudy_feedback_total": "Feedback received.",
    "understudy_refused_total": "Requests that a limit of their gateway key refused.",
    "understudy_latency_seconds": "From the request to the last byte of the assigned arm's answer.",
    "understudy_first_token_seconds": "From the request to the first byte of the assigned arm's answer.",
    "understudy_connections": "Open client connections.",
    "understudy_epoch": "Epoch of the routing table in force.",
    "understudy_breaker_open": "1 where this worker has taken the candidate out of service.",
}
_GAUGES = ("understudy_connections", "understudy_epoch", "understudy_breaker_open")
_HISTOGRAMS = ("understudy_latency_seconds", "understudy_first_token_seconds")

Labels = tuple[tuple[str, str], ...]


class _Cell:
    """Exchanges that share all labels. The histograms have a last place for what is beyond the bounds."""

    __slots__ = ("first", "first_s", "input", "latency", "latency_s", "masked", "output", "requests")

    def __init__(self) -> None:
        self.requests = self.masked = self.input = self.output = 0
        self.latency = [0] * (len(BUCKETS) + 1)
        self.first = [0] * (len(BUCKETS) + 1)
        self.latency_s = self.first_s = 0.0


class Metrics:
    """The counts of one worker since it started."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, str, str, str, str], _Cell] = {}
        self._feedback: dict[str, int] = {}

    def record(self, record: Record) -> None:
        """Called for every exchange: a look-up, additions, nothing else."""
        if not isinstance(record, Exchange):
            if isinstance(record, Feedback) and (record.name in self._feedback or len(self._feedback) < _NAMES):
                self._feedback[record.name] = self._feedback.get(record.name, 0) + 1
            return
        key = record.workload, record.role, record.variant, record.arm, record.error
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell()
        cell.requests += 1
        if record.masked:
            cell.masked += 1
        cell.input += record.input_tokens or 0
        cell.output += record.output_tokens or 0
        if not record.error:
            latency, first = record.latency_s, record.ttft_s
            if latency is not None:
                cell.latency[bisect_left(BUCKETS, latency)] += 1
                cell.latency_s += latency
            if first is not None:
                cell.first[bisect_left(BUCKETS, first)] += 1
                cell.first_s += first

    def facts(self, refused: Mapping[tuple[str, str], int] | None = None) -> dict[str, Any]:
        """Everything counted, as JSON: [name, labels, value], and for histograms the buckets, their sum and count.

        `refused` are the requests that were refused, by key and limit.
        """
        counts: list[tuple[str, Labels, float]] = []
        histograms: list[tuple[str, Labels, list[float]]] = []
        for (workload, role, variant, arm, error), cell in self._cells.items():
            who: Labels = (("workload", workload), ("role", role), ("variant", variant), ("arm", arm))
            outcome: Labels = (*who, ("error", error))
            counts.append(("understudy_requests_total", outcome, cell.requests))
            counts.append(("understudy_masked_total", outcome, cell.masked))
            counts.append(("understudy_tokens_total", (*outcome, ("kind", "input")), cell.input))
            counts.append(("understudy_tokens_total", (*outcome, ("kind", "output")), cell.output))
            if not error:
                latency = [*cell.latency, cell.latency_s, sum(cell.latency)]
                first = [*cell.first, cell.first_s, sum(cell.first)]
                histograms.append(("understudy_latency_seconds", who, latency))
                histograms.append(("understudy_first_token_seconds", who, first))
        for name, count in self._feedback.items():
            counts.append(("understudy_feedback_total", (("name", name),), count))
        for (key, limit), count in (refused or {}).items():
            counts.append(("understudy_refused_total", (("key", key), ("limit", limit)), count))
        return {"counts": counts, "histograms": histograms}


def exposition(workers: Iterable[tuple[str, Mapping[str, Any]]]) -> bytes:
    """The text of all workers' facts. `gauges` in them are [name, labels, value] too."""
    lines: dict[str, list[str]] = {}
    for worker, facts in workers:
        own = ("worker", worker)
        for name, labels, value in (*facts["counts"], *facts.get("gauges", ())):
            lines.setdefault(name, []).append(f"{name}{_shown((own, *labels))} {_number(value)}")
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
        lines.append(f"{name}_bucket{_shown((*known, ('le', f'{bound:g}')))} {_number(total)}")
    lines.append(f"{name}_bucket{_shown((*known, ('le', '+Inf')))} {_number(values[-1])}")
    return [
        *lines,
        f"{name}_sum{_shown(known)} {_number(values[-2])}",
        f"{name}_count{_shown(known)} {_number(values[-1])}",
    ]


def _number(value: float) -> str:
    """To the last digit: of a counter that is rounded, no rate can be told."""
    return str(int(value)) if value == int(value) else repr(value)


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
