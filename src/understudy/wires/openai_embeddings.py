"""OpenAI embeddings: model and parameters put in, usage read. There is no prompt to add and nothing streams."""

from __future__ import annotations

import msgspec

from understudy.core.variant import Variant
from understudy.wires import body as bodies
from understudy.wires.base import Answer, Endpoint, Peek, Usage, WireRequest
from understudy.wires.openai_answer import error_kind
from understudy.wires.reading import SseReader, count, decode_or_none, unreadable

ENDPOINT = Endpoint("openai", "embeddings", "embeddings", "/embeddings")


class _Usage(msgspec.Struct):
    prompt_tokens: object = None


class _Embeddings(msgspec.Struct):
    model: str | None = None
    usage: _Usage | None = None
    error: object = None


_embeddings = msgspec.json.Decoder(_Embeddings)


def peek(path: str, body: bytes) -> Peek:
    raw = bodies.members(body)
    return Peek(bodies.text("model", raw.get("model")), False, bodies.Fields(raw))


def apply(path: str, body: bytes, variant: Variant, peeked: Peek | None) -> WireRequest:
    members = bodies.again(peeked, body) | {"model": variant.model}
    for name, value in variant.params.items():
        bodies.put(members, name, value)
    return WireRequest(ENDPOINT.path, bodies.JSON_HEADERS, bodies.encode(members))


def read(status: int, body: bytes) -> Answer:
    parsed: _Embeddings | None = decode_or_none(_embeddings, body)
    if parsed is None:
        return unreadable(status)
    error = error_kind(parsed.error)
    if status >= 400 or error:
        return Answer(error=error or f"status_{status}")
    usage = Usage(input_tokens=count(parsed.usage.prompt_tokens)) if parsed.usage else Usage()
    return Answer(model=parsed.model or "", usage=usage)


def reader() -> SseReader:
    return SseReader()
