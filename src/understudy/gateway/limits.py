"""What one client may ask of a worker: sizes, counts and times. Only the numbers; `session` keeps to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and seconds."""

    body: int = 32 * 1024 * 1024
    head: int = 64 * 1024
    headers: int = 128
    url: int = 8 * 1024
    receipt_s: float = 30.0
    """From the first byte of a request to its last one, however slowly it trickles."""
    idle_s: float = 75.0
    """Between two requests of a connection, and until the first."""
    write_s: float = 60.0
    """How long a client may leave its answer unread."""
    connections: int = 10_000
    """Of one worker."""
    key_requests: int = 256
    """Under way at once for one gateway key without a limit of its own, in one worker; without keys there is none."""
    pipelined: int = 8
    buffer: int = 16 * 1024
    """Bytes of an answer waiting for a slow client before the provider is no longer read."""
    drain_s: float = 30.0
    linger_s: float = 1.0
    """While draining, how long an idle connection may still bring a request."""


_SET_BY_TABLE = {"body": int, "head": int, "connections": int, "key_requests": int, "receipt_s": float, "idle_s": float}


def overridden(limits: Limits, table: Mapping[str, float]) -> Limits:
    """The limits with those that the routing table sets; names that this version does not know are left aside."""
    known = {name: kind(table[name]) for name, kind in _SET_BY_TABLE.items() if name in table}
    return replace(limits, **known) if known else limits
