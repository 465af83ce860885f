"""Reads durations as people write them: 90s, 24h, 1d12h."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema


class Wrong(ValueError):
    """A value that a section refuses: what is wrong with it, and what to write instead."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def seconds(value: object) -> float:
    """ "90s", "24h", "1d12h" or a number of seconds. Raises Wrong for anything else and for less than nothing."""
    remedy = "write a number with ms, s, m, h, d or w, like 24h or 1d12h"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < 0:
            raise Wrong(f"{value} is less than no time at all", remedy)
        return float(value)
    text = str(value).strip()
    parts = _DURATION.findall(text)
    if not parts or "".join(n + u for n, u in parts) != text.replace(" ", ""):
        raise Wrong(f"{text!r} is no duration", remedy)
    return float(sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts))


Seconds = Annotated[
    float,
    BeforeValidator(seconds),
    WithJsonSchema({"type": ["string", "number"], "examples": ["24h", "1d12h", 90]}),
]
