"""One request as the gateway understood it: who asks what of which workload, and which arm was chosen for it."""

from __future__ import annotations

from dataclasses import dataclass

from understudy.assign.choose import Choice
from understudy.core.records import Exchange
from understudy.gateway.record import Content
from understudy.gateway.snapshot import Lane, Snapshot, Target
from understudy.wires.base import Answer, Endpoint, Peek, Wire


@dataclass(slots=True)
class Ask:
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

    @property
    def target(self) -> Target:
        """The variant of the arm that was chosen."""
        if self.choice.arm == "candidate" and self.lane.candidate is not None:
            return self.lane.candidate
        return self.lane.incumbent


@dataclass(slots=True)
class Outcome:
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
    lane, route, usage = ask.lane, ask.lane.route, answer.usage
    return Exchange(
        exchange=f"{ask.exchange}-s" if shadow else ask.exchange,
        workload=lane.name,
        started_at=ask.started_at,
        epoch=ask.snapshot.epoch,
        generation=ask.snapshot.generation,
        role="shadow" if shadow else "served",
        pair=ask.exchange if shadow else "",
        upgrade=route.upgrade if route else "",
        stage=route.stage if route else "",
        step=route.step if route else -1,
        arm="candidate" if shadow else ask.choice.arm.value,
        reason="shadow" if shadow else ask.choice.reason.value,
        variant=target.variant.name,
        fingerprint=target.fingerprint,
        served_variant=outcome.served.variant.name if outcome.served else "",
        masked=outcome.masked,
        attempts=outcome.attempts,
        unit=ask.unit,
        unit_bucket=ask.bucket,
        conversation=ask.conversation,
        slices=ask.slices,
        endpoint=ask.endpoint.name,
        status=outcome.status,
        error=outcome.error,
        streamed=outcome.streamed,
        ttft_s=outcome.ttft_s,
        latency_s=outcome.latency_s,
        model_requested=ask.peek.model,
        model_served=answer.model,
        system_fingerprint=answer.system_fingerprint,
        finish_reason=answer.finish_reason,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        request=content.request,
        answer=content.answer,
        tool_calls=content.tool_calls,
        not_carried=outcome.not_carried,
        truncated_content=content.truncated,
    )


def handle(name: str) -> str:
    """The pin of an answer that a later request may refer to by its id."""
    return f"answer {name}"
