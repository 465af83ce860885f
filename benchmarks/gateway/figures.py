"""From what was measured to what is said of it: medians with their range, ratios, promises kept or not. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

OURS = "understudy"
BASE = "nginx"
"""What the ratios divide by: nginx as it is, without split and log, which is the harder mark."""


class Spread(NamedTuple):
    """The middle of several measurements, and how far apart they lay."""

    median: float
    low: float
    high: float
    n: int

    def text(self, digits: int) -> str:
        """Like "41.2 (40.8 to 43.0)"; a single measurement has no range."""
        middle = f"{self.median:.{digits}f}"
        return middle if self.n < 2 else f"{middle} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def spread(values: Iterable[float]) -> Spread | None:
    """None where nothing was measured."""
    found = sorted(values)
    return Spread(statistics.median(found), found[0], found[-1], len(found)) if found else None


def paired(first: Sequence[float], second: Sequence[float]) -> list[tuple[float, float]]:
    """What was measured in the same round, side by side: what disturbs one round disturbs both sides of it."""
    return list(zip(first, second, strict=False))


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least-squares growth of y for one x. Raises ValueError for fewer than two different x."""
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


@dataclass(slots=True)
class Measured:
    """One proxy: a value for each round. Lists are empty for what it cannot do or what failed."""

    name: str
    does: str = ""
    request_us: list[float] = field(default_factory=list)
    chunk_us: list[float] = field(default_factory=list)
    shadowed_us: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    """Share of its core that it used under load."""
    rss_mb: float = 0.0


class Promise(NamedTuple):
    """A figure that the project promises; `measured` None where it could not be measured."""

    what: str
    measured: Spread | None
    digits: int
    limit: float
    unit: str
    at_least: bool = False

    @property
    def kept(self) -> str:
        """yes: in every round; median: in the middle one, not in all; no; not measured."""
        if self.measured is None:
            return "not measured"
        holds = [self._within(value) for value in (self.measured.median, self.measured.low, self.measured.high)]
        return "yes" if all(holds) else "median" if holds[0] else "no"

    def _within(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


def promises(rows: Mapping[str, Measured], streams: float | None) -> list[Promise]:
    """What issue and design ask of the gateway, in the order they ask it."""
    ours, base = rows[OURS], rows.get(BASE, Measured(BASE))
    envoy = rows.get("envoy", Measured("envoy"))

    def ratio(mine: Sequence[float], theirs: Sequence[float]) -> Spread | None:
        return spread(a / b for a, b in paired(mine, theirs))

    adds = spread(a - b for a, b in paired(ours.shadowed_us, ours.request_us))
    return [
        Promise("CPU a request, everything on", spread(ours.request_us), 1, 45, "us"),
        Promise("CPU a request, against nginx", ratio(ours.request_us, base.request_us), 2, 2.2, "x"),
        Promise("CPU a request, against Envoy", ratio(ours.request_us, envoy.request_us), 2, 1, "x"),
        Promise("CPU a streamed chunk, against nginx", ratio(ours.chunk_us, base.chunk_us), 2, 1.2, "x"),
        Promise("a 100 % shadow adds", adds, 1, 20, "us"),
        Promise("added latency at 200 requests/s, p50", spread(ours.p50_ms), 3, 0.3, "ms"),
        Promise("added latency at 200 requests/s, p99", spread(ours.p99_ms), 3, 1, "ms"),
        Promise("open streams in a GiB", spread([] if streams is None else [streams]), 0, 4000, "", True),
    ]


def summary(rows: Mapping[str, Measured], streams: float | None) -> dict[str, Any]:
    """The one JSON object of the last line; null where nothing was measured."""
    found = {promise.what: promise.measured for promise in promises(rows, streams)}

    def middle(measured: Spread | None, digits: int) -> float | None:
        return None if measured is None else round(measured.median, digits)

    def each(pick: str) -> dict[str, float | None]:
        taken = {name: spread(getattr(row, pick)) for name, row in rows.items()}
        return {name: middle(value, 1) for name, value in taken.items() if value is not None or name == OURS}

    return {
        "cpu_us_per_request": each("request_us"),
        "cpu_us_per_chunk": each("chunk_us"),
        "shadow_adds_us": middle(found["a 100 % shadow adds"], 1),
        "added_p50_ms": middle(spread(rows[OURS].p50_ms), 3),
        "added_p99_ms": middle(spread(rows[OURS].p99_ms), 3),
        "streams_per_gib": None if streams is None else int(streams),
    }


def promise_table(kept: Sequence[Promise]) -> str:
    """What was promised and what was measured, as Markdown."""
    lines = ["| figure | measured: median (lowest to highest) | promised | kept |", "|---|---|---|---|"]
    for one in kept:
        value = "-" if one.measured is None else f"{one.measured.text(one.digits)} {one.unit}".rstrip()
        bound = f"{'at least' if one.at_least else 'at most'} {one.limit:g} {one.unit}".rstrip()
        lines.append(f"| {one.what} | {value} | {bound} | {one.kept} |")
    return "\n".join(lines)


def proxy_table(rows: Mapping[str, Measured], *, short: bool = False) -> str:
    """All proxies, the cheapest first, as Markdown; `short` for the front page: medians alone."""
    base = rows.get(BASE)

    def cell(values: Iterable[float], digits: int) -> str:
        found = spread(values)
        if found is None:
            return "-"
        return f"{found.median:.{digits}f}" if short else found.text(digits)

    def ratio(pick: str, row: Measured) -> str:
        return cell((a / b for a, b in paired(getattr(row, pick), getattr(base, pick))), 2) if base else "-"

    titles = ["proxy", "CPU us a request", "x nginx", "us a streamed chunk", "x nginx"]
    titles += [] if short else ["us with 100 % shadow", "share of its core"]
    titles += ["added p50 ms", "added p99 ms"] + ([] if short else ["RSS MB", "what it does here"])
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in sorted(rows.values(), key=lambda row: statistics.median(row.request_us)):
        cells = [f"**{row.name}**" if row.name == OURS else row.name]
        cells += [cell(row.request_us, 1), ratio("request_us", row), cell(row.chunk_us, 1), ratio("chunk_us", row)]
        cells += [] if short else [cell(row.shadowed_us, 1), cell(row.busy, 2)]
        cells += [cell(row.p50_ms, 2 if short else 3), cell(row.p99_ms, 2 if short else 3)]
        cells += [] if short else [f"{row.rss_mb:.0f}", row.does]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
