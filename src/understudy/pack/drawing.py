"""Draws as SVG what is better seen than read: the candidate's share over time, intervals around no difference. Pure.

Colours are classes of the page's style sheet, so that a drawing follows light, dark and paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 720, 180
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 14, 30
ROW = 24
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


class Step(NamedTuple):
    """From `at` (seconds since the epoch) on, `share` of the users are given the candidate."""

    at: float
    share: float
    label: str


class Range(NamedTuple):
    """An estimate with its interval; `tone` is that of its verdict."""

    label: str
    low: float
    middle: float
    high: float
    tone: str


def exposure(steps: Sequence[Step], begin: float, end: float, labels: tuple[str, str]) -> str:
    """The candidate's share from `begin` to `end` as a line of steps. `labels` are what the two ends are called."""
    span = max(end - begin, 1e-9)

    def x(at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (min(max(at, begin), end) - begin) / span

    def y(share: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)

    parts = [f'<svg class="drawing" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg">']
    for share in SHARES:
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(share):.1f}" y2="{y(share):.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    points = [(x(begin), y(0.0))]
    for step in steps:
        points += [(x(step.at), points[-1][1]), (x(step.at), y(step.share))]
    points.append((x(end), points[-1][1]))
    line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    parts.append(f'<polygon class="area" points="{x(begin):.1f},{y(0):.1f} {line} {x(end):.1f},{y(0):.1f}"/>')
    parts.append(f'<polyline class="line" points="{line}"/>')
    for step in steps:
        said = f"<title>{escape(step.label)}</title>"
        parts.append(f'<circle class="dot" cx="{x(step.at):.1f}" cy="{y(step.share):.1f}" r="4">{said}</circle>')
    parts.append(f'<text class="tick" x="{LEFT}" y="{HEIGHT - 8}">{escape(labels[0])}</text>')
    parts.append(
        f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{escape(labels[1])}</text>'
    )
    return "".join([*parts, "</svg>"])


def ranges(rows: Sequence[Range], unit: str) -> str:
    """A line for each interval with its estimate on it; the upright line is no difference at all."""
    widest = max((max(abs(row.low), abs(row.high)) for row in rows), default=1.0) or 1.0
    left, height = 170, ROW * len(rows) + 28
    middle = left + (WIDTH - left - RIGHT) / 2
    scale = (WIDTH - left - RIGHT) / 2 / (1.05 * widest)

    def x(value: float) -> float:
        return middle + value * scale

    parts = [f'<svg class="drawing" viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">']
    parts.append(f'<line class="zero" x1="{middle:.1f}" x2="{middle:.1f}" y1="2" y2="{height - 20}"/>')
    for index, row in enumerate(rows):
        y = ROW * index + ROW / 2 + 2
        parts.append(f'<text class="name" x="{left - 10}" y="{y + 4:.1f}" text-anchor="end">{_short(row.label)}</text>')
        ends = f'x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"'
        parts.append(f'<line class="range {row.tone}" {ends}/>')
        parts.append(f'<circle class="mark {row.tone}" cx="{x(row.middle):.1f}" cy="{y:.1f}" r="4.5"/>')
    for value in (-widest, 0.0, widest):
        where = f'x="{x(value):.1f}" y="{height - 5}" text-anchor="middle"'
        parts.append(
            f'<text class="tick" {where}>{value:+.3g}{unit}</text>' if value else f'<text class="tick" {where}>0</text>'
        )
    return "".join([*parts, "</svg>"])


def _short(label: str) -> str:
    return escape(label if len(label) <= 24 else f"{label[:23]}…")
