"""Whatever a provider answers, in whatever dialect: the caller gets one end of it, and one record agrees with that."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from understudy.core.records import Exchange
from understudy.core.routing import Shadow
from understudy.testing.raw import raw_server
from understudy.testing.served import ALL, QUICK, Answer, Served, call, route, served, table

ODD: list[Any] = [
    None,
    "",
    0,
    -1,
    1.5,
    True,
    [],
    {},
    [None],
    {"a": None},
    "x" * 3000,
    "\u2028🎭",
    2**70,
    [[[[]]]],
    {"text": 5},
]
CALL = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
WHOLE: dict[str, dict[str, Any]] = {
    "openai": {
        "id": "c",
        "model": "m",
        "choices": [{"index": 0, "message": {"content": "hé", "tool_calls": [CALL]}, "finish_reason": "stop"}],
        "usage": USAGE,
    },
    "anthropic": {
        "id": "i",
        "model": "m",
        "content": [{"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "text", "text": "hé"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 2},
    },
    "gemini": {
        "candidates": [
            {"content": {"parts": [{"text": "hé"}, {"functionCall": {"name": "f"}}]}, "finishReason": "STOP"}
        ],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2},
    },
}
EVENTS: dict[str, list[dict[str, Any]]] = {
    "openai": [
        {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "hé"}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [CALL]}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": USAGE},
    ],
    "anthropic": [
        {"type": "message_start", "message": {"id": "i", "model": "m", "usage": {"input_tokens": 3}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hé"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ],
    "gemini": [
        {"candidates": [{"content": {"parts": [{"text": "hé"}]}}], "modelVersion": "m", "responseId": "r"},
        {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]}}]},
        {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 1}},
    ],
}
ASKED = {
    "openai": ("/v1/chat/completions", {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}),
    "anthropic": ("/v1/messages", {"model": "chat", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
    "gemini": ("/v1beta/models/chat:", {"contents": [{"parts": [{"text": "hi"}]}]}),
}
WIRES = tuple(WHOLE)
TOLD = (b'"unreadable"', b'"truncated"', b'"provider_')
"""Kinds of errors that the gateway itself tells of an answer."""


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*way, key)
        yield from places(inner, (*way, key))


def damaged(dice: random.Random, value: Any) -> Any:
    """With an odd value in the place of another, or without that."""
    value = copy.deepcopy(value)
    *way, last = dice.choice(list(places(value)))
    inner = value
    for key in way:
        inner = inner[key]
    inner[last] = copy.deepcopy(dice.choice(ODD))
    return value


def body_of(dice: random.Random, wire: str, streamed: bool) -> tuple[int, bytes, bytes]:
    """Status, media type and body of an answer, often of one that no provider should give."""
    if dice.random() < 0.1:
        body = dice.choice([b"", b"<html>", b"null", b'"x"', b"[]", b'{"error":{"message":"m","code":5}}'])
        return dice.choice([302, 400, 404, 429, 500, 503, 529]), dice.choice([b"application/json", b"text/html"]), body
    if not streamed:
        whole = WHOLE[wire]
        body = json.dumps(damaged(dice, whole) if dice.random() < 0.4 else whole, ensure_ascii=False).encode()
        return 200, b"application/json", body[: dice.randrange(len(body))] if dice.random() < 0.1 else body
    events = [damaged(dice, event) if dice.random() < 0.2 else event for event in EVENTS[wire]]
    if dice.random() < 0.2:
        dice.shuffle(events)
    if dice.random() < 0.1:
        events.insert(dice.randrange(len(events)), {"type": "error", "error": {"type": "overloaded", "message": "m"}})
    end = dice.choice([b"\n", b"\r\n", b"\r"])
    body = b"".join(b"data: " + json.dumps(event).encode() + end + end for event in events)
    body += b"data: [DONE]" + end + end if wire == "openai" and dice.random() < 0.9 else b""
    return 200, b"text/event-stream", body[: dice.randrange(len(body))] if dice.random() < 0.1 else body


def answer_of(dice: random.Random, wire: str, streamed: bool) -> tuple[bytes, bool]:
    """The bytes of an answer, and whether the connection ends behind them."""
    status, kind, body = body_of(dice, wire, streamed)
    head = b"HTTP/1.1 %d X\r\ncontent-type: %b\r\n" % (status, kind)
    match dice.choice(["length", "chunks", "chunks", "close"]):
        case "length":
            return head + b"content-length: %d\r\n\r\n%b" % (len(body), body), False
        case "close":
            return head + b"\r\n" + body, True
    size = dice.choice([1, 17, 5000])
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    cut = dice.random() < 0.1
    return head + b"transfer-encoding: chunked\r\n\r\n" + framed + (b"" if cut else b"0\r\n\r\n"), cut


def contradictions(got: Answer, records: list[Exchange]) -> list[str]:
    """What the ledger says that the client did not see."""
    if len(records) != 1:
        return [f"{len(records)} records"]
    (record,) = records
    found = [] if record.status == got.status else [f"{got.status} seen, {record.status} recorded"]
    if not record.error and not got.complete:
        found.append("a broken answer is recorded as whole")
    if not record.error and (got.status >= 400 or any(word in got.body for word in TOLD)):
        found.append("an error is recorded as success")
    return found


def test_contradictions_are_seen() -> None:
    """The checker of this module, shown what it is there for."""
    record = Exchange(exchange="x", workload="chat", started_at=1.0, epoch=1, generation="g", status=200)
    fine = Answer(200, {}, b"", True)
    assert contradictions(fine, [record]) == []
    for got, records in ((fine, []), (fine, [record] * 2), (fine._replace(complete=False), [record])):
        assert contradictions(got, records)
    assert len(contradictions(Answer(500, {}, b"", True), [record])) == 2
    assert contradictions(fine._replace(body=b'{"code":"unreadable"}'), [record])


async def play(dice: random.Random, gateway: Served, plan: dict[str, bytes | bool], behind: tuple[str, str]) -> None:
    """One request, answered at random by both providers, and what became of it."""
    for breaker in gateway.gateway.compiler.breakers.values():
        breaker.succeeded()
    front, streamed = dice.choice(WIRES), dice.random() < 0.6
    for arm, wire in zip(("m-old", "m-new"), behind, strict=True):
        plan[arm], plan[f"{arm} ends"] = answer_of(dice, wire, streamed)
    path, body = ASKED[front]
    if front == "gemini":
        path += (
            dice.choice(["streamGenerateContent?alt=sse", "streamGenerateContent"]) if streamed else "generateContent"
        )
    elif streamed:
        body = {**body, "stream": True}
    before, copies = len(gateway.exchanges), len(gateway.copies)
    sent = json.dumps(body).encode()
    got = await asyncio.wait_for(call(gateway.port, sent, path=path, headers={"x-user-id": "u"}), 60)
    await gateway.settled(before + 1)
    if gateway.gateway.snapshot is not None and gateway.gateway.snapshot.lanes["chat"].shadow_sample:
        await gateway.settled(copies + 1, copies=True)
        assert len(gateway.copies) == copies + 1
    assert contradictions(got, gateway.exchanges[before:]) == [], (front, behind, plan, got)


@pytest.mark.parametrize(
    ("behind", "shadowed"), list(itertools.product(itertools.product(WIRES, WIRES), (False, True)))
)
def test_any_answer_has_one_end_and_one_record(behind: tuple[str, str], shadowed: bool) -> None:
    """Of the incumbent's, the candidate's and a copy: nothing is raised into the loop, and no connection is left."""
    dice = random.Random(f"{behind} {shadowed}")
    plan: dict[str, Any] = {}
    raised: list[dict[str, Any]] = []

    async def main() -> None:
        async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            arm = "m-new" if b"m-new" in request else "m-old"
            writer.write(plan[arm])
            if plan[f"{arm} ends"]:
                writer.close()

        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
        async with raw_server(reply) as provider:
            urls = [provider.base_url.removesuffix("" if wire == "openai" else "/v1") for wire in behind]
            way = route(0, shadow=Shadow(ALL)) if shadowed else route(ALL)
            wires = {name: {"wire": wire} for name, wire in zip(("p-old", "p-new"), behind, strict=True)}
            async with served(table(*urls, providers=wires, route=way), deadlines=QUICK) as gateway:
                for _ in range(12):
                    await play(dice, gateway, plan, behind)
                assert sum(p.open_connections for p in gateway.gateway.compiler.pools.values()) <= 4

    asyncio.run(main())
    assert raised == []
