"""How times, shares and figures are written on a page. Pure."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from markupsafe import Markup, escape

from understudy.core.lasting import lasting

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: object) -> str:
    """Text that cannot turn the text around it: control and bidirectional override characters become U+FFFD."""
    return _CONTROL.sub("\ufffd", str(text))


def spoken(name: object) -> str:
    """A stage, event or decision as people say it."""
    return str(name).replace("_", " ")


def clock(at: float | None) -> str:
    """A time in UTC, to the second."""
    return "-" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def ago(at: float, now: float) -> str:
    """How long ago, or in how long."""
    return f"{lasting(now - at)} ago" if now >= at else f"in {lasting(at - now)}"


def percent(share: float) -> str:
    """5 % of 0.05."""
    return f"{100 * share:.4g} %"


def seconds(value: float | None) -> str:
    """A latency."""
    if value is None:
        return "-"
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.3g} s"


def dollars(value: float | None) -> str:
    """What one answer costs; many of them are far below a cent."""
    if value is None:
        return "-"
    digits = 2 if value <= 0 else max(2, 2 - math.floor(math.log10(value)))
    return f"${value:.{digits}f}"


def money(value: float | None) -> str:
    """A sum of money."""
    return "unknown" if value is None else f"${value:,.2f}"


def coded(text: str) -> Markup:
    """A sentence of ours in which `commands` stand between backticks: those look like commands."""
    parts = plain(text).split("`")
    marked = (Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts))
    return Markup("").join(marked) if len(parts) % 2 else escape(plain(text))
