"""The rows of the ledger as they are written by a gateway worker. Additive only: fields are never renamed or reused.

Every record is numbered (worker, boot, seq) by the segment it is appended to, so that each loss can be counted.
Times are seconds since the epoch, durations seconds, money US dollars, shares parts per million. `None` means
unknown: an unknown price or token count is never 0.
"""

from __future__ import annotations

import msgspec

SCHEMA_VERSION = 1


class Exchange(msgspec.Struct, frozen=True, tag="exchange", omit_defaults=True, gc=False):
    """One request to one variant and its answer; a shadow copy is an exchange of its own with `pair` set.

    Fields keep their order, new ones come last: the gateway fills one in by position, ten times as fast as by name.
    """

    exchange: str
    """Unique id, in order of time within a worker; answers carry it as x-understudy-exchange."""
    workload: str
    """The feature that was asked."""
    started_at: float
    """When the request had arrived."""
    epoch: int
    """Epoch of the routing table it was routed by."""
    generation: str
    """Generation of that table."""

    role: str = "served"
    """"served" (its answer went to the client) or "shadow" (never served)."""
    pair: str = ""
    """For a shadow copy: the id of the served exchange it copies."""

    upgrade: str = ""
    """Id of the upgrade under way; "" where there was none."""
    stage: str = ""
    """Stage of that upgrade, as the routing table said it."""
    step: int = -1
    """Index into the canary ladder; -1 outside canary."""

    arm: str = "incumbent"
    """The arm this unit was assigned to; failures count here, whoever answered in the end."""
    reason: str = ""
    """Why this arm: see `understudy.assign.choose.Reason`."""
    variant: str = ""
    """Name of the assigned variant."""
    fingerprint: str = ""
    """Fingerprint of the assigned variant."""
    served_variant: str = ""
    """The variant whose answer the client got; differs from `variant` where the incumbent masked a failure."""
    masked: bool = False
    """True where the candidate failed before its first byte and the incumbent answered."""
    attempts: int = 1
    """Calls made for this answer; a call to the incumbent after the candidate failed counts too."""

    unit: str = ""
    """Who was assigned, as the request names it or under a pseudonym; "" where it names nobody."""
    unit_bucket: int = -1
    """Assignment bucket in parts per million; -1 without a unit."""
    conversation: str = ""
    """The conversation, as the request names it or under a pseudonym."""
    slices: dict[str, str] = {}
    """Live slices, read as the workload's `slice_by` says."""

    endpoint: str = ""
    """The operation of the app's dialect that was called."""
    status: int = 0
    """HTTP status the client saw; 0 where nothing was sent."""
    error: str = ""
    """Kind of failure of the assigned arm, "" where it succeeded: connect, timeout, status_4xx, status_5xx,
    rate_limited, truncated, in_stream, unreadable, internal, client_gone, refused_budget, ..."""
    streamed: bool = False
    """True where the answer was asked for as a stream."""
    ttft_s: float | None = None
    """Until the first byte of the assigned arm's answer."""
    latency_s: float | None = None
    """Of the assigned arm's own call, first byte of the request sent to last byte of the answer."""

    model_requested: str = ""
    """The model as the app named it: usually the workload."""
    model_served: str = ""
    """The model that answered, as the provider says."""
    system_fingerprint: str = ""
    """What the provider says of its own build."""
    finish_reason: str = ""
    """Why the answer ended, in the provider's word."""
    input_tokens: int | None = None
    """Tokens read, those of a cache included."""
    output_tokens: int | None = None
    """Tokens written, reasoning included."""
    cached_tokens: int | None = None
    """The part of the input that was read from the provider's cache."""
    reasoning_tokens: int | None = None
    """Tokens of thought: billed and not shown."""
    cost_usd: float | None = None
    """What the call cost; the committer fills it in."""

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
    """Id of the exchange it is about."""
    name: str
    """The metric."""
    value: float
    """A number; a thumb is 1 or 0."""
    at: float
    """When it was said."""
    workload: str = ""
    """Workload of that exchange."""


class Loss(msgspec.Struct, frozen=True, kw_only=True, tag="loss", omit_defaults=True):
    """`count` records that could not be written, and why: a full disk, a full queue."""

    count: int
    """How many records."""
    why: str
    """A full disk, a full queue, a gap in the numbers."""
    at: float
    """When."""


Record = Exchange | Feedback | Loss
