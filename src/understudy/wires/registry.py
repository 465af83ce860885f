"""Finds a wire by the name a provider's configuration gives it, or by the request that speaks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from understudy.core.errors import UsageError
from understudy.wires import anthropic, gemini, openai
from understudy.wires.base import Endpoint, Wire

_WIRES: dict[str, Wire] = {found.name: found for found in (openai.WIRE, anthropic.WIRE, gemini.WIRE)}

NAMES = tuple(_WIRES)


def wire(name: str) -> Wire:
    """The wire of that name. Raises UsageError where there is none."""
    try:
        return _WIRES[name]
    except KeyError:
        raise UsageError(
            f"there is no wire {name!r}", remedy=f"a provider's wire is one of: {', '.join(NAMES)}"
        ) from None


class Recognised(NamedTuple):
    wire: Wire
    endpoint: Endpoint


def recognise(method: str, path: str, headers: Mapping[str, str]) -> Recognised | None:
    """The dialect a request speaks and its operation, None where we know neither; header names are lower case.

    The dialects share the path of their lists of models: there the headers each of them needs decide.
    """
    found = [Recognised(w, endpoint) for w in _WIRES.values() if (endpoint := w.endpoint(method, path)) is not None]
    if len(found) > 1:
        marked = {"anthropic": "anthropic-version" in headers, "gemini": "x-goog-api-key" in headers}
        found = [one for one in found if marked.get(one.wire.name)] or found
    return found[0] if found else None
