"""OpenAI chat completions: what a request asks, and the variant put into it; answers are read beside this.

The variant's system prompt is put in front as a message of its own; the caller's messages stay the bytes they were.
`stream_options.include_usage` is never added, because it changes what the caller sees (one more chunk with no
choices): the usage of a stream whose caller did not ask for it is unknown. A variant that wants it says so in its
params, where it applies to streams only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Raw

from understudy.core.variant import Variant
from understudy.wires import body as bodies
from understudy.wires.base import Endpoint, Message, Peek, WireRequest
from understudy.wires.openai_answer import read as read
from understudy.wires.openai_chat_stream import reader as reader
from understudy.wires.operation import provider_tools

ENDPOINT = Endpoint("openai", "chat.completions", "chat", "/chat/completions")

SYNONYMS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""A request that carries both is refused by the provider: setting one takes the other out."""

RENAMED = {"max_output_tokens": "max_completion_tokens"}
"""A variant serves both chat and responses: what responses calls otherwise."""

CLIENT_TOOLS = frozenset({"function", "custom"})
"""Tools the caller runs; a tool of any other type is run by the provider."""


def peek(path: str, body: bytes) -> Peek:
    raw = bodies.members(body)
    stream = raw.get("stream")
    return Peek(
        bodies.text("model", raw.get("model")),
        stream is not None and bytes(stream) == b"true",
        bodies.Fields(raw),
        _effects(raw) if "tools" in raw or "store" in raw or "web_search_options" in raw else (),
    )


def apply(path: str, body: bytes, variant: Variant, peeked: Peek | None) -> WireRequest:
    if peeked is not None and type(peeked.fields) is bodies.Fields:
        members: bodies.Members = dict(peeked.fields.raw)  # `bodies.again`, without the call
    else:
        members = bodies.members(body)
    members["model"] = variant.model
    if variant.system_prompt:
        system = bodies.system_message(variant.system_prompt)
        members["messages"] = bodies.prepended("messages", system, members.get("messages"))
    if variant.params:
        streamed = bodies.is_true(members.get("stream")) if peeked is None else peeked.stream
        put_params(members, variant.params, streamed=streamed)
    if variant.reasoning and variant.reasoning.effort is not None:
        members["reasoning_effort"] = variant.reasoning.effort
    return WireRequest(ENDPOINT.path, bodies.JSON_HEADERS, bodies.encode(members))


def asking_usage(request: WireRequest) -> WireRequest:
    """For streams whose answer no caller sees: one chunk more, with the usage."""
    members = bodies.members(request.body)
    members["stream_options"] = bodies.merged("stream_options", members.get("stream_options"), {"include_usage": True})
    return WireRequest(request.path, request.headers, bodies.encode(members), request.forced)


def put_params(members: bodies.Members, params: Mapping[str, Any], *, streamed: bool) -> None:
    """Set the variant's params over the caller's, in either spelling."""
    for name, value in params.items():
        if name == "stream_options" and not streamed:
            continue
        known = RENAMED.get(name, name)
        if known in SYNONYMS:
            members.pop(SYNONYMS[known], None)
        if value is None:  # `bodies.put`, without the call
            members.pop(known, None)
        else:
            members[known] = value


def compose(variant: Variant, messages: Sequence[Message], *, stream: bool, user: str) -> WireRequest:
    """Our own request; a stream of ours asks for its usage."""
    listed = [{"role": message.role, "content": message.content} for message in messages]
    if variant.system_prompt:
        listed.insert(0, {"role": "system", "content": variant.system_prompt})
    members: dict[str, Any] = {"model": variant.model, "messages": listed}
    if stream:
        members |= {"stream": True, "stream_options": {"include_usage": True}}
    if user:
        members["user"] = user
    put_params(members, variant.params, streamed=stream)
    if variant.reasoning and variant.reasoning.effort is not None:
        members["reasoning_effort"] = variant.reasoning.effort
    return WireRequest(ENDPOINT.path, bodies.JSON_HEADERS, bodies.encode(members))


def _effects(raw: Mapping[str, Raw]) -> tuple[str, ...]:
    stored = ("store",) if bodies.is_true(raw.get("store")) else ()
    searched = ("web_search_options",) if not bodies.is_null(raw.get("web_search_options")) else ()
    return stored + searched + provider_tools(raw.get("tools"), CLIENT_TOOLS.__contains__)
