"""An exchange that is over, as the ledger's record of it. Pure."""

from __future__ import annotations

from understudy.assign.choose import Reason
from understudy.core.playbook import Arm
from understudy.core.records import Exchange
from understudy.gateway.ask import Ask, Outcome
from understudy.gateway.record import Content
from understudy.gateway.snapshot import Target
from understudy.wires.base import Answer

_CANDIDATE = Arm.CANDIDATE.value
_WORDS: dict[Arm | Reason, str] = {word: word.value for word in (*Arm, *Reason)}
"""An enumeration's `value` is computed each time it is asked for."""


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
