"""What can go wrong between us and a provider, in words evidence and users share; retries are decided elsewhere."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from understudy.core.errors import CannotMeasure


class Kind(StrEnum):
    """What failed between us and a provider."""

    CONNECT = "connect"
    """No connection: refused, no such host, TLS handshake failed."""
    TIMEOUT = "timeout"
    RESET = "reset"
    """The connection ended before the first byte of an answer."""
    TRUNCATED = "truncated"
    """The connection ended inside an answer."""
    PROTOCOL = "protocol"
    """What came is not HTTP, or breaks our limits."""
    BUSY = "busy"
    """All connections to this provider are in use; nothing was sent."""


class Failure(NamedTuple):
    """`sent` is False only where not one byte of the request left us: then a retry cannot be billed twice.

    `rest` is what of the answer's body came in the read that failed.
    """

    kind: Kind
    message: str
    sent: bool = True
    rest: bytes = b""


class UpstreamError(CannotMeasure):
    """A provider could not be asked or did not answer in full."""

    def __init__(self, kind: Kind, message: str, *, remedy: str = "", sent: bool = True) -> None:
        super().__init__(message, remedy=remedy)
        self.kind = kind
        self.sent = sent
