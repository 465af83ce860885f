"""One request as the gateway understood it: who asks what of which workload, and which arm was chosen for it."""

from __future__ import annotations

import msgspec

from understudy.assign.choose import Choice, Reason
from understudy.core.playbook import Arm
from understudy.core.records import Exchange
from understudy.gateway.record import Content
from understudy.gateway.snapshot import Lane, Snapshot, Target
from understudy.wires.base import Answer, Endpoint, Peek, Wire


class Spot(msgspec.Struct, frozen=True, gc=False):
    """A request line understood: the dialect and the operation behind it."""

    wire: Wire
    endpoint: Endpoint
    method: str
    path: str
    """With its query."""


_CANDIDATE = Arm.CANDIDATE.value
_WORDS: dict[Arm | Reason, str] = {word: word.value for word in (*Arm, *Reason)}
"""An enumeration's `value` is computed each time it is asked for."""


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


def exchange_of(
    ask: Ask, target: Target, outcome: Outcome, answer: Answer, content: Content, *, shadow: bool = False
) -> Exchange:
    """The ledger's record of a served exchange, or of the copy of one."""
    lane, usage, choice = ask.lane, answer.usage, ask.choice
    route, served, asked = lane.route, outcome.served, ask.peek.model
    if route is None:
        upgrade, stage, step = "", "", -1
    else:
        upgrade, stage, step = route.upgrade, route.stage, route.step
    short, who = lane.short, lane.who
    # By position: the names of so many fields cost more to sort out than everything else here.
    return Exchange(
        f"{ask.exchange}-s" if shadow else ask.exchange,
        lane.name,
        ask.started_at,
        ask.snapshot.epoch,
        ask.snapshot.generation,
        "shadow" if shadow else "served",  # role
        ask.exchange if shadow else "",  # pair
        upgrade,
        stage,
        step,
        _CANDIDATE if shadow else _WORDS[choice.arm],
        "shadow" if shadow else _WORDS[choice.reason],
        target.variant.name,
        target.fingerprint,
        served.variant.name if served is not None else "",
        outcome.masked,
        outcome.attempts,
        who(ask.unit),
        ask.bucket,
        who(ask.conversation) if ask.conversation else "",
        {key: short(value) for key, value in ask.slices.items()} if ask.slices else ask.slices,
        ask.endpoint.name,
        outcome.status,
        outcome.error,
        outcome.streamed,
        outcome.ttft_s,
        outcome.latency_s,
        lane.name if asked == lane.name else short(asked),  # model_requested
        short(answer.model),  # model_served
        short(answer.system_fingerprint),
        short(answer.finish_reason),
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
        None,  # cost_usd: the committer's
        content.request,
        content.answer,
        content.tool_calls,
        short(outcome.not_carried) if outcome.not_carried else "",
        content.truncated,
    )


def handle(name: str) -> str:
    """The pin of an answer that a later request may refer to by its id."""
    return f"answer {name}"
