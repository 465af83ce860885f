"""Draws intervals against what is tolerated, latencies, and a share over time, as SVG with its meaning in words. Pure.

Drawn by hand, and not by vl-convert: these few shapes need none of its 33 MB, take the colours of the page in light and
in dark, and are text that a screen reader reads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 200, 22


def interval(low: float, estimate: float, high: float, tolerated: float | None, reach: float, label: str) -> Markup:
    """A difference with its interval, better to the right: `low` to `high` around `estimate`.

    tolerated: the loss that is accepted, above 0; what lies beyond it is shaded.
    reach: the value at both ends of the drawing, above 0; an interval that goes beyond ends there with an arrow.
    """

    def x(value: float) -> float:
        return round(WIDTH / 2 * (1 + max(-1.0, min(1.0, value / reach))), 1)

    parts = [
        Markup(
            '<svg class="interval" viewBox="0 0 {} {}" preserveAspectRatio="xMinYMid meet" role="img" aria-label="{}">'
        ).format(WIDTH, HEIGHT, label)
    ]
    if tolerated is not None:
        parts.append(
            Markup('<rect class="beyond" x="0" y="1" width="{}" height="{}"/>').format(x(-tolerated), HEIGHT - 2)
        )
    parts.append(Markup('<line class="axis" x1="0" x2="{}" y1="{}" y2="{}"/>').format(WIDTH, HEIGHT / 2, HEIGHT / 2))
    parts.append(Markup('<line class="zero" x1="{0}" x2="{0}" y1="1" y2="{1}"/>').format(WIDTH / 2, HEIGHT - 1))
    left, right = x(low), x(high)
    parts.append(
        Markup('<rect class="range" x="{}" y="{}" width="{}" height="6" rx="3"/>').format(
            left, HEIGHT / 2 - 3, max(2.0, round(right - left, 1))
        )
    )
    if low < -reach:
        parts.append(Markup('<path class="off" d="M7 {0} L1 {1} L7 {2} Z"/>').format(5, HEIGHT / 2, HEIGHT - 5))
    if high > reach:
        d = f"M{WIDTH - 7} 5 L{WIDTH - 1} {HEIGHT / 2} L{WIDTH - 7} {HEIGHT - 5} Z"
        parts.append(Markup('<path class="off" d="{}"/>').format(d))
    parts.append(Markup('<circle class="dot" cx="{}" cy="{}" r="4.5"/></svg>').format(x(estimate), HEIGHT / 2))
    return Markup("").join(parts)


def latency(p50: float, p99: float, reach: float, arm: str, label: str) -> Markup:
    """From the median to the 99th percentile, both at least 0; `reach`, above 0, is at the right end."""
    left, right = (round(4 + (WIDTH - 8) * min(1.0, value / reach), 1) for value in (p50, p99))
    return Markup(
        '<svg class="latency {}" viewBox="0 0 {} {}" preserveAspectRatio="xMinYMid meet" role="img" aria-label="{}">'
        '<line class="axis" x1="4" x2="{}" y1="{y}" y2="{y}"/><line class="range" x1="{}" x2="{}" y1="{y}" y2="{y}"/>'
        '<line class="end" x1="{}" x2="{}" y1="5" y2="{}"/><circle class="dot" cx="{}" cy="{y}" r="4.5"/></svg>'
    ).format(arm, WIDTH, HEIGHT, label, WIDTH - 4, left, right, right, right, HEIGHT - 5, left, y=HEIGHT / 2)


class Exposed(NamedTuple):
    """From `at` (seconds since the epoch) on the candidate had this share, 0 to 1."""

    at: float
    share: float


def exposure(steps: Sequence[Exposed], until: float, label: str, times: tuple[str, str]) -> Markup:
    """The candidate's share over time, as steps; the height is the root of the share, so that 1 % can be seen.

    times: what is written at both ends.
    """
    width, height, left, top, bottom = 360, 130, 44, 10, 24
    began = steps[0].at
    length = max(until - began, 1e-9)

    def x(at: float) -> float:
        return round(left + (width - left - 8) * (at - began) / length, 1)

    def y(share: float) -> float:
        return round(height - bottom - (height - top - bottom) * math.sqrt(share), 1)

    parts = [
        Markup('<svg class="exposure" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(width, height, label)
    ]
    for share in sorted({0.0, 1.0, *(step.share for step in steps)}):
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{}">{}</text>').format(
                left, width - 8, y(share), y(share), left - 6, y(share) + 4, f"{100 * share:g} %"
            )
        )
    path = f"M{x(steps[0].at)} {y(steps[0].share)}"
    for before, after in pairwise(steps):
        path += f" H{x(after.at)} V{y(after.share)}"
        assert before.at <= after.at, "steps come in order of time"
    path += f" H{x(until)}"
    parts.append(Markup('<path class="area" d="{}"/>').format(f"{path} V{y(0)} H{left} Z"))
    parts.append(Markup('<path class="line" d="{}"/>').format(path))
    parts.append(Markup('<text class="from" x="{}" y="{}">{}</text>').format(left, height - 6, times[0]))
    parts.append(Markup('<text x="{}" y="{}">{}</text></svg>').format(width - 8, height - 6, times[1]))
    return Markup("").join(parts)
