"""How a duration is written wherever people read one: 14 d, 36 h, 90 s, 72 ms. Pure."""

from __future__ import annotations


def lasting(seconds: float) -> str:
    """`seconds` in the largest unit that it fills twice, to three figures."""
    for size, unit in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds >= 1 or not seconds else f"{1000 * seconds:.3g} ms"
