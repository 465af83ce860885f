"""Pairs to test with: two simulated models on the same tickets, with faults switched one by one on the second."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

from understudy.testing.behaviour import Behaviour
from understudy.testing.writer import REFUSAL, as_json, draw, reply

TICKETS = ("refund", "delivery", "account")


class Side(NamedTuple):
    """One side of a pair; the fields are those of the ledger."""

    exchange: str
    answer: str
    fingerprint: str
    bucket: int = 0
    slices: Mapping[str, str] = {}
    kept: bool = True
    tool_calls: str = ""
    status: int = 200
    error: str = ""
    finish_reason: str = "stop"
    latency_s: float | None = None
    ttft_s: float | None = None
    cost_usd: float | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None


class Pair(NamedTuple):
    served: Side
    shadow: Side


def pairs(
    count: int,
    *,
    seed: int = 0,
    json: bool = False,
    units: int = 200,
    changes: Mapping[str, Any] | None = None,
    only: str = "",
    incumbent: Behaviour | None = None,
) -> Iterator[Pair]:
    """`count` tickets answered by two models without faults, but for `changes` on the candidate; `only` on one kind."""
    base = incumbent or Behaviour(latency_s=0.8, latency_spread=0.4)
    for number in range(count):
        kind = TICKETS[int(draw(seed, "kind", number) * len(TICKETS))]
        prompt = f"[{kind}] Ticket {seed}-{number}: what about my order {1000 + number}?"
        unit = int(draw(seed, "unit", number) * units)
        slices = {"ticket": kind, "language": "de" if draw(seed, "language", number) < 0.3 else "en"}
        changed = base.changed(dict(changes or {})) if only in ("", kind) else base
        served = side("old", base, prompt, kind, number, seed, json)
        shadow = side("new", changed, prompt, kind, number, seed, json)
        yield Pair(served._replace(bucket=unit % 256, slices=slices), shadow._replace(bucket=unit % 256, slices=slices))


def side(model: str, behaviour: Behaviour, prompt: str, kind: str, number: int, seed: int, json: bool) -> Side:
    """An answer as the gateway would log it."""
    text = reply(model, prompt, "", behaviour, seed)
    if draw(seed, "refuse", model, prompt) < behaviour.refusal_share:
        text = REFUSAL
    elif json:
        text = as_json(text, kind, {}, behaviour.json)
    latency = behaviour.latency_s * math.exp(
        behaviour.latency_spread * NormalDist().inv_cdf(min(max(draw(seed, "latency", model, number), 1e-9), 1 - 1e-9))
    )
    if draw(seed, "tail", model, number) < behaviour.tail_share:
        latency += behaviour.tail_s
    failed = draw(seed, "error", model, number) < behaviour.error_share
    words = len(text.split())
    tokens = math.ceil(words * behaviour.tokens_per_word) + behaviour.reasoning_tokens
    return Side(
        exchange=f"{model}-{number:06}",
        answer="" if failed else text,
        fingerprint=model,
        status=behaviour.error_status if failed else 200,
        error="status_5xx" if failed else "",
        latency_s=latency,
        ttft_s=latency * behaviour.first_content,
        cost_usd=tokens * 1e-5 + 40 * 2e-6,
        output_tokens=tokens,
        reasoning_tokens=behaviour.reasoning_tokens,
    )


def swapped(found: Iterable[Pair], seed: int) -> Iterator[Pair]:
    """The same pairs, the sides exchanged by the toss of a coin: whatever differs between models, nothing is left."""
    for number, (one, other) in enumerate(found):
        if draw(seed, "swap", number) < 0.5:
            one, other = other._replace(bucket=one.bucket, slices=one.slices), one
        yield Pair(one._replace(fingerprint="one"), other._replace(fingerprint="other"))
