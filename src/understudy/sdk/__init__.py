"""What an app needs of us, and no more: which model is pinned, how to reach the gateway, and what users thought.

Nothing here is needed to use a gateway: an app may as well set `base_url` and two headers by hand. Importing it costs
little, everything else is imported with the first call that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from understudy.sdk.address import EXCHANGE, Gateway, gateway
    from understudy.sdk.emergency import AsyncEmergency, Emergency
    from understudy.sdk.pins import CANARY, FALLBACK, PRODUCTION, FloatingModel, get_model
    from understudy.sdk.sending import counts, feedback, feedback_async, flush

__all__ = [
    "CANARY",
    "EXCHANGE",
    "FALLBACK",
    "PRODUCTION",
    "AsyncEmergency",
    "Emergency",
    "FloatingModel",
    "Gateway",
    "counts",
    "feedback",
    "feedback_async",
    "flush",
    "gateway",
    "get_model",
]

_FROM = {
    "pins": ("CANARY", "FALLBACK", "PRODUCTION", "FloatingModel", "get_model"),
    "address": ("EXCHANGE", "Gateway", "gateway"),
    "sending": ("counts", "feedback", "feedback_async", "flush"),
    "emergency": ("AsyncEmergency", "Emergency"),
}


def __getattr__(name: str) -> Any:
    for module, names in _FROM.items():
        if name in names:
            found = globals()[name] = getattr(import_module(f"understudy.sdk.{module}"), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
