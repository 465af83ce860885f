"""The request to a variant's provider: in the caller's own dialect where the provider speaks it, else carried over.

Pure. What of a request cannot be carried over is in `losses`; the answer is told of them, nothing is dropped silently.
"""

from __future__ import annotations

from understudy.gateway.ask import Ask
from understudy.gateway.snapshot import Target
from understudy.wires import translate
from understudy.wires.base import Endpoint, WireRequest


class Call:
    """`endpoint` is the operation in the provider's dialect; `back` None where bytes pass unchanged."""

    __slots__ = ("back", "endpoint", "losses", "request")

    def __init__(
        self,
        endpoint: Endpoint,
        request: WireRequest,
        back: translate.Back | None = None,
        losses: tuple[str, ...] = (),
    ) -> None:
        self.endpoint = endpoint
        self.request = request
        self.back = back
        self.losses = losses


def call_of(ask: Ask, target: Target) -> Call:
    """Raises WireError where the request cannot be put to this provider."""
    endpoint, variant = ask.endpoint, target.variant
    if target.wire.name == endpoint.wire:
        return Call(endpoint, target.operations[endpoint.name].apply(ask.path, ask.body, variant, ask.peek))
    carried = translate.request(endpoint, ask.path, ask.body, target.wire.name, model=variant.model, now=ask.started_at)
    request = target.wire.apply(carried.endpoint, carried.path, carried.body, variant)
    return Call(carried.endpoint, request, carried.back, tuple(loss.what for loss in carried.losses))


def streamed(endpoint: Endpoint, asked: bool, status: int, kind: bytes) -> bool:
    """Whether an answer is a stream: server-sent events, or the JSON array of an operation that streams as one."""
    if status >= 300:
        return False
    return kind.startswith(b"text/event-stream") or (asked and endpoint.name.endswith(".array"))
