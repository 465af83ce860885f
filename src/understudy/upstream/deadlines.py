"""How long each part of a call may take. Only the numbers; the connection keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds. The head of an answer that is not streamed comes with its last token, so it gets `first_token_s`."""

    connect_s: float = 2.0
    """Name lookup, TCP and TLS handshake together."""
    headers_s: float = 30.0
    first_token_s: float = 120.0
    """From the head of a stream to its first content; a provider's pings do not extend it."""
    idle_s: float = 60.0
    """Between two reads of an answer; a provider's pings extend it."""
    total_s: float = 1200.0
    keep_alive_s: float = 50.0
    """How long an unused connection is kept; below what providers allow, so that they seldom close first."""

    head_s: float = field(init=False)
    """Until the head of a stream."""
    whole_s: float = field(init=False)
    """Until the head of an answer that is not streamed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "head_s", min(self.headers_s, self.total_s))
        object.__setattr__(self, "whole_s", min(max(self.headers_s, self.first_token_s), self.total_s))
