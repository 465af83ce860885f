from __future__ import annotations

import asyncio

import msgspec

from understudy.assign.choose import Choice, Reason
from understudy.core.playbook import Arm
from understudy.core.records import Exchange
from understudy.core.routing import Route
from understudy.gateway.ask import Ask, Outcome
from understudy.gateway.core import Gateway
from understudy.gateway.exchange import exchange_of
from understudy.gateway.record import Content
from understudy.ledger.redact import Redactor
from understudy.testing.served import table
from understudy.wires.base import Answer, Peek, Usage
from understudy.wires.openai_chat import ENDPOINT
from understudy.wires.registry import wire

ROUTE = Route("u7", "new", "canary", 2, 500_000, "salt", None, None)
USAGE = Usage(11, 12, 13, 14)


def record(*, shadow: bool = False) -> dict[str, object]:
    """An exchange in which every field has a value that no other one has."""

    async def main() -> dict[str, object]:
        gateway = Gateway(lambda _: None, redact=lambda _: Redactor())
        gateway.apply(table("http://127.0.0.1:1/v1", route=ROUTE, epoch=5, generation="g9", content="full"))
        assert gateway.snapshot is not None
        lane = gateway.snapshot.lanes["chat"]
        assert lane.candidate is not None
        ask = Ask(
            "x1", gateway.snapshot, lane, wire("openai"), ENDPOINT, "POST", "/v1/chat/completions", b"{}",
            Peek("asked-for", True, {}), {}, b"", Choice(Arm.CANDIDATE, Reason.BELOW_SHARE), lane.candidate, "ann", 42,
            "talk", False, {"ticket": "refund"}, 99.5,
        )  # fmt: skip
        outcome = Outcome(200, "truncated", lane.incumbent, True, 2, True, 0.25, 0.5, "top_k")
        answer = Answer("", "", "stop", "m-served", "fp1", USAGE)
        kept = Content(b"body", "said", "called", True)
        made = exchange_of(ask, lane.candidate, outcome, answer, kept, shadow=shadow)
        gateway.close()
        return msgspec.structs.asdict(made)

    return asyncio.run(main())


def test_every_field_of_a_record_has_its_own_value() -> None:
    """The record is filled in by position: a field that moved would be found here."""
    made = record()
    fingerprint = made.pop("fingerprint")
    assert isinstance(fingerprint, str)
    assert len(fingerprint) == 16
    assert made == {
        "exchange": "x1", "workload": "chat", "started_at": 99.5, "epoch": 5, "generation": "g9", "role": "served",
        "pair": "", "upgrade": "u7", "stage": "canary", "step": 2, "arm": "candidate", "reason": "below_share",
        "variant": "new", "served_variant": "old", "masked": True, "attempts": 2, "unit": "ann", "unit_bucket": 42,
        "conversation": "talk", "slices": {"ticket": "refund"}, "endpoint": "chat.completions", "status": 200,
        "error": "truncated", "streamed": True, "ttft_s": 0.25, "latency_s": 0.5, "model_requested": "asked-for",
        "model_served": "m-served", "system_fingerprint": "fp1", "finish_reason": "stop", "input_tokens": 11,
        "output_tokens": 12, "cached_tokens": 13, "reasoning_tokens": 14, "cost_usd": None, "request": b"body",
        "answer": "said", "tool_calls": "called", "not_carried": "top_k", "truncated_content": True,
    }  # fmt: skip
    assert {"fingerprint", *made} == set(Exchange.__struct_fields__)


def test_a_copy_is_a_record_of_its_own() -> None:
    """It names the exchange that it copies, and counts for the candidate."""
    made = record(shadow=True)
    assert {name: made[name] for name in ("exchange", "pair", "role", "arm", "reason")} == {
        "exchange": "x1-s", "pair": "x1", "role": "shadow", "arm": "candidate", "reason": "shadow",
    }  # fmt: skip
