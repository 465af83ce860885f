"""One request as the gateway understood it: who asks what of which workload, and which arm was chosen for it."""

from __future__ import annotations

from understudy.assign.choose import Choice
from understudy.gateway.snapshot import Lane, Snapshot, Target
from understudy.wires.base import Endpoint, Peek, Wire


class Spot:
    """A request line understood: the dialect and the operation behind it; `path` with its query.

    Plain classes, these three: compiled, their fields are read without a look-up, and one request reads a hundred.
    """

    __slots__ = ("endpoint", "method", "path", "wire")

    def __init__(self, wire: Wire, endpoint: Endpoint, method: str, path: str) -> None:
        self.wire = wire
        self.endpoint = endpoint
        self.method = method
        self.path = path


class Ask:
    """One request, whoever answers it."""

    __slots__ = (
        "body",
        "bound",
        "bucket",
        "choice",
        "conversation",
        "endpoint",
        "exchange",
        "forwarded",
        "headers",
        "key",
        "lane",
        "method",
        "path",
        "peek",
        "slices",
        "snapshot",
        "started_at",
        "target",
        "unit",
        "wire",
    )

    def __init__(
        self,
        exchange: str,
        snapshot: Snapshot,
        lane: Lane,
        wire: Wire,
        endpoint: Endpoint,
        method: str,
        path: str,
        body: bytes,
        peek: Peek,
        headers: dict[bytes, bytes],
        forwarded: bytes,
        choice: Choice,
        target: Target,
        unit: str,
        bucket: int,
        conversation: str,
        bound: bool,
        slices: dict[str, str],
        started_at: float,
    ) -> None:
        self.exchange = exchange
        self.snapshot = snapshot
        self.lane = lane
        self.wire = wire
        """The dialect the caller speaks; errors are told in it."""
        self.endpoint = endpoint
        self.method = method
        self.path = path
        """With its query, as it came."""
        self.body = body
        self.peek = peek
        self.headers = headers
        self.forwarded = forwarded
        """Header lines that go on to the provider."""
        self.choice = choice
        self.target = target
        """The variant of the arm that was chosen."""
        self.unit = unit
        self.bucket = bucket
        self.conversation = conversation
        self.bound = bound
        """The request refers to something that only the chosen arm's provider holds: no other may answer."""
        self.slices = slices
        self.started_at = started_at
        """Seconds since the epoch."""
        self.key = ""
        """Name of the gateway key it came with; the request counts among those this key has under way."""


class Outcome:
    """How a call ended, of the assigned arm; `served` and `status` are what the client saw."""

    __slots__ = (
        "attempts",
        "error",
        "latency_s",
        "masked",
        "not_carried",
        "served",
        "status",
        "streamed",
        "ttft_s",
    )

    def __init__(
        self,
        status: int,
        error: str,
        served: Target | None,
        masked: bool,
        attempts: int,
        streamed: bool,
        ttft_s: float | None,
        latency_s: float | None,
        not_carried: str = "",
    ) -> None:
        self.status = status
        self.error = error
        self.served = served
        self.masked = masked
        self.attempts = attempts
        self.streamed = streamed
        self.ttft_s = ttft_s
        self.latency_s = latency_s
        self.not_carried = not_carried


def handle(name: str) -> str:
    """The pin of an answer that a later request may refer to by its id."""
    return f"answer {name}"
