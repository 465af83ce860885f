"""Finds a wire by the name a provider's configuration gives it."""

from __future__ import annotations

from understudy.core.errors import UsageError
from understudy.wires import openai
from understudy.wires.base import Wire

_WIRES: dict[str, Wire] = {openai.WIRE.name: openai.WIRE}

NAMES = tuple(_WIRES)


def wire(name: str) -> Wire:
    """The wire of that name. Raises UsageError where there is none."""
    try:
        return _WIRES[name]
    except KeyError:
        raise UsageError(
            f"there is no wire {name!r}", remedy=f"a provider's wire is one of: {', '.join(NAMES)}"
        ) from None
