"""The rows of the ledger as they are written by a gateway worker. Additive only: fields are never renamed or reused.

Every record is numbered (worker, boot, seq) by the segment it is appended to, so that each loss can be counted.
Times are seconds since the epoch, durations seconds, money US dollars, shares parts per million. `None` means
unknown: an unknown price or token count is never 0.
"""

from __future__ import annotations

import msgspec

SCHEMA_VERSION = 1


class Exchange(msgspec.Struct, frozen=True, kw_only=True, tag="exchange", omit_defaults=True):
    """One request to one variant and its answer; a shadow copy is an exchange of its own with `pair` set."""

    exchange: str
    """Unique id, in order of time within a worker; answers carry it as x-understudy-exchange."""
    workload: str
    started_at: float
    epoch: int
    generation: str

    role: str = "served"
    """"served" (its answer went to the client) or "shadow" (never served)."""
    pair: str = ""
    """For a shadow copy: the id of the served exchange it copies."""

    upgrade: str = ""
    stage: str = ""
    step: int = -1
    """Index into the canary ladder; -1 outside canary."""

    arm: str = "incumbent"
    """The arm this unit was assigned to; failures count here, whoever answered in the end."""
    reason: str = ""
    """Why this arm: see `understudy.assign.choose.Reason`."""
    variant: str = ""
    fingerprint: str = ""
    served_variant: str = ""
    """The variant whose answer the client got; differs from `variant` where the incumbent masked a failure."""
    masked: bool = False
    """True where the candidate failed before its first byte and the incumbent answered."""
    attempts: int = 1

    unit: str = ""
    """Who was assigned, as the request names it; "" where it names nobody."""
    unit_bucket: int = -1
    """Assignment bucket in parts per million; -1 without a unit."""
    conversation: str = ""
    slices: dict[str, str] = {}

    endpoint: str = ""
    status: int = 0
    """HTTP status the client saw; 0 where nothing was sent."""
    error: str = ""
    """Kind of failure of the assigned arm, "" where it succeeded: connect, timeout, status_4xx, status_5xx,
    rate_limited, truncated, in_stream, client_gone, refused_budget, ..."""
    streamed: bool = False
    ttft_s: float | None = None
    latency_s: float | None = None
    """Of the assigned arm's own call, first byte of the request sent to last byte of the answer."""

    model_requested: str = ""
    model_served: str = ""
    system_fingerprint: str = ""
    finish_reason: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None

    request: bytes = b""
    """The client's body, after redaction; empty where the workload's content setting is `off`."""
    answer: str = ""
    """The text of the answer, after redaction."""
    tool_calls: str = ""
    """The answer's tool calls as canonical JSON; "" where it made none."""
    not_carried: str = ""
    """What of the request the provider's dialect has no place for, separated by commas; "" where bytes passed as they
    were."""
    truncated_content: bool = False
    """True where body or answer were longer than the copy that is kept."""


class Feedback(msgspec.Struct, frozen=True, kw_only=True, tag="feedback", omit_defaults=True):
    """What somebody said of an exchange: `name` is the metric, `value` a number (a thumb is 1 or 0)."""

    exchange: str
    name: str
    value: float
    at: float
    workload: str = ""


class Loss(msgspec.Struct, frozen=True, kw_only=True, tag="loss", omit_defaults=True):
    """`count` records that could not be written, and why: a full disk, a full queue."""

    count: int
    why: str
    at: float


Record = Exchange | Feedback | Loss
