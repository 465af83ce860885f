"""How a difference is written wherever people read one: with its sign, and a zero without. Pure."""

from __future__ import annotations


def signed(value: float, form: str) -> str:
    """`value` with its sign in a format like ".1f"; what rounds to zero is no loss and no gain, and has none."""
    text = format(value, f"+z{form}")
    return text[1:] if not any(digit in text for digit in "123456789") and "n" not in text else text
