"""One request as the gateway understood it: who asks what of which workload, and which arm was chosen for it."""

from __future__ import annotations

import msgspec

from understudy.assign.choose import Choice
from understudy.gateway.snapshot import Lane, Snapshot, Target
from understudy.wires.base import Endpoint, Peek, Wire


class Spot(msgspec.Struct, frozen=True, gc=False):
    """A request line understood: the dialect and the operation behind it."""

    wire: Wire
    endpoint: Endpoint
    method: str
    path: str
    """With its query."""


class Ask(msgspec.Struct, gc=False):
    exchange: str
    snapshot: Snapshot
    lane: Lane
    wire: Wire
    """The dialect the caller speaks; errors are told in it."""
    endpoint: Endpoint
    method: str
    path: str
    """With its query, as it came."""
    body: bytes
    peek: Peek
    headers: dict[bytes, bytes]
    forwarded: bytes
    """Header lines that go on to the provider."""
    choice: Choice
    target: Target
    """The variant of the arm that was chosen."""
    unit: str
    bucket: int
    conversation: str
    bound: bool
    """The request refers to something that only the chosen arm's provider holds: no other may answer."""
    slices: dict[str, str]
    started_at: float
    """Seconds since the epoch."""
    key: str = ""
    """Name of the gateway key it came with; the request counts among those this key has under way."""


class Outcome(msgspec.Struct, gc=False):
    """How a call ended, of the assigned arm; `served` and `status` are what the client saw."""

    status: int
    error: str
    served: Target | None
    masked: bool
    attempts: int
    streamed: bool
    ttft_s: float | None
    latency_s: float | None
    not_carried: str = ""


def handle(name: str) -> str:
    """The pin of an answer that a later request may refer to by its id."""
    return f"answer {name}"
