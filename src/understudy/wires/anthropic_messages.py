"""Anthropic messages and count_tokens: what a request asks, the variant put into it, and what an answer says.

The variant's system prompt stands in front of the caller's: as the string where the caller gave none, else as a
block before the caller's own, whose bytes (and cache breakpoints) stay as they were. Effort goes to
`output_config.effort`, a budget to `thinking`, the effort `none` switches thinking off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from understudy.core.variant import Variant
from understudy.wires import body as bodies
from understudy.wires.base import Answer, Endpoint, Message, Peek, Usage, WireError, WireRequest
from understudy.wires.operation import provider_tools
from understudy.wires.reading import SseReader, count, decode_or_none, tool_calls, total, unreadable
from understudy.wires.sse import Event

ENDPOINT = Endpoint("anthropic", "messages", "chat", "/v1/messages")
HEADERS = (("content-type", "application/json"), ("anthropic-version", "2023-06-01"))
_VERSION = HEADERS[1]
_SAMPLING = ("temperature", "top_p", "top_k")
"""The version 2026-10-21 of this API refuses these; a request with one of them stays on the version before."""
DEFAULT_MAX_TOKENS = 4096
"""For requests of our own whose variant names no limit: the dialect demands one."""

_CLIENT_TOOLS = ("bash_", "text_editor_", "computer_", "memory_", "browser_")
"""Beginnings of the dated types of tools that the caller runs; other typed tools are run by the provider."""


class _Thoughts(msgspec.Struct):
    thinking_tokens: Any = None


class _Usage(msgspec.Struct):
    input_tokens: Any = None
    output_tokens: Any = None
    cache_read_input_tokens: Any = None
    cache_creation_input_tokens: Any = None
    output_tokens_details: _Thoughts | None = None


class _Block(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    name: str | None = None
    input: Raw = Raw()


class _Error(msgspec.Struct):
    type: str | None = None
    message: str | None = None


class _Message(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    error: _Error | None = None
    input_tokens: Any = None


class _Delta(msgspec.Struct):
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    stop_reason: str | None = None


class _StreamEvent(msgspec.Struct):
    type: str | None = None
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: _Error | None = None


_message = msgspec.json.Decoder(_Message)
_event = msgspec.json.Decoder(_StreamEvent)


def peek(path: str, body: bytes) -> Peek:
    raw = bodies.members(body)
    return Peek(
        bodies.text("model", raw.get("model")),
        bodies.is_true(raw.get("stream")),
        bodies.Fields(raw),
        _effects(raw) if "tools" in raw or "mcp_servers" in raw or "container" in raw else (),
    )


def apply(path: str, body: bytes, variant: Variant, peeked: Peek | None) -> WireRequest:
    members = bodies.again(peeked, body)
    _put(members, variant)
    return WireRequest(ENDPOINT.path, HEADERS, bodies.encode(members), _forced(members))


def compose(variant: Variant, messages: Sequence[Message], *, stream: bool, user: str) -> WireRequest:
    members: bodies.Members = {"model": variant.model, "max_tokens": DEFAULT_MAX_TOKENS}
    members["messages"] = [{"role": m.role, "content": m.content} for m in messages if m.role != "system"]
    system = [m.content for m in messages if m.role == "system"]
    if system:
        members["system"] = Raw(bodies.encode("\n\n".join(system)))
    if stream:
        members["stream"] = True
    if user:
        members["metadata"] = {"user_id": user}
    _put(members, variant)
    return WireRequest(ENDPOINT.path, HEADERS, bodies.encode(members))


def read(status: int, body: bytes) -> Answer:
    parsed: _Message | None = decode_or_none(_message, body)
    if parsed is None:
        return unreadable(status)
    if status >= 400 or parsed.error:
        return Answer(error=_kind(parsed.error) or f"status_{status}")
    if parsed.content is None:
        return Answer(unreadable=True)
    calls = [(b.name or "", bytes(b.input).decode("utf-8", "replace")) for b in parsed.content if _is_call(b)]
    return Answer(
        text="".join(block.text or "" for block in parsed.content if block.type == "text"),
        tool_calls=tool_calls(calls),
        finish_reason=parsed.stop_reason or "",
        model=parsed.model or "",
        usage=usage(parsed.usage) if parsed.usage else Usage(),
        id=parsed.id or "",
    )


def reader() -> Reader:
    return Reader()


class Reader(SseReader):
    """A stream of typed events; `message_stop` ends it, pings say nothing."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        super().__init__()
        self._counts = _Usage()

    def _event(self, event: Event) -> None:
        parsed: _StreamEvent | None = decode_or_none(_event, event.data)
        if parsed is None:
            self.unreadable = True
            self.done = event.name == b"message_stop"
            return
        match parsed.type:
            case "content_block_delta":
                self._delta(parsed.index, parsed.delta)
            case "content_block_start":
                self._block(parsed.index, parsed.content_block)
            case "message_start" if parsed.message:
                self.id = parsed.message.id or ""
                self.model = parsed.message.model or ""
                self._count(parsed.message.usage)
            case "message_delta":
                if parsed.delta and parsed.delta.stop_reason:
                    self.finish_reason = parsed.delta.stop_reason
                self._count(parsed.usage)
            case "message_stop":
                self.done = True
            case "error":
                self.error = self.error or _kind(parsed.error) or "error"

    def _block(self, index: int, block: _Block | None) -> None:
        if block is None:
            return
        if _is_call(block):
            given = bytes(
                block.input
            )  # `{}` as a rule, with deltas to follow; some who speak this dialect give it whole
            self.add_call(
                index, block.name, None if given in (b"", b"{}", b"null") else given.decode("utf-8", "replace")
            )
        elif block.type == "text":
            if block.text:
                self.add_text(block.text)
        else:
            self.content_seen = True

    def _delta(self, index: int, delta: _Delta | None) -> None:
        if delta is None:
            return
        if delta.text:
            self.add_text(delta.text)
        elif delta.partial_json:
            if self.calls is not None:
                self.calls.add(index, None, delta.partial_json)
        elif delta.thinking:
            self.content_seen = True

    def _count(self, found: _Usage | None) -> None:
        """The counts of message_delta are running totals that leave out what has not changed."""
        if found is None:
            return
        for name in _Usage.__struct_fields__:
            value = getattr(found, name)
            if value is not None:
                setattr(self._counts, name, value)
        self.usage = usage(self._counts)


class CountTokens:
    """How many tokens a request would have: the prompt belongs to it, the sampling parameters do not."""

    ENDPOINT = Endpoint("anthropic", "messages.count_tokens", "count_tokens", "/v1/messages/count_tokens")
    ACCEPTED = frozenset({"tools", "tool_choice", "thinking", "output_config", "mcp_servers", "cache_control"})

    def peek(self, path: str, body: bytes) -> Peek:
        return peek(path, body)

    def apply(self, path: str, body: bytes, variant: Variant, peeked: Peek | None) -> WireRequest:
        members = bodies.again(peeked, body)
        _put(members, variant, self.ACCEPTED)
        return WireRequest(self.ENDPOINT.path, HEADERS, bodies.encode(members), _forced(members))

    def read(self, status: int, body: bytes) -> Answer:
        parsed: _Message | None = decode_or_none(_message, body)
        if parsed is None:
            return unreadable(status)
        if status >= 400 or parsed.error:
            return Answer(error=_kind(parsed.error) or f"status_{status}")
        return Answer(usage=Usage(input_tokens=count(parsed.input_tokens)))

    def reader(self) -> SseReader:
        return SseReader()


def usage(found: _Usage) -> Usage:
    """`input_tokens` of this dialect leaves out what the cache read or wrote: here they are added up."""
    read_, written = count(found.cache_read_input_tokens), count(found.cache_creation_input_tokens)
    fresh = count(found.input_tokens)
    thoughts = found.output_tokens_details
    return Usage(
        None if fresh is None else total(fresh, read_, written),
        count(found.output_tokens),
        read_,
        count(thoughts.thinking_tokens) if thoughts else None,
        written,
    )


def _put(members: bodies.Members, variant: Variant, accepted: frozenset[str] | None = None) -> None:
    """Set the variant in a request; `accepted` are the only params the operation takes, None: all."""
    members["model"] = variant.model
    if variant.system_prompt:
        members["system"] = _system(variant.system_prompt, members.get("system"))
    for name, value in variant.params.items():
        if accepted is None or name in accepted:
            bodies.put(members, name, value)
    reasoning = variant.reasoning
    if reasoning is None:
        return
    if reasoning.effort == "none":
        members["thinking"] = {"type": "disabled"}
    elif reasoning.effort is not None:
        members["output_config"] = bodies.merged(
            "output_config", members.get("output_config"), {"effort": reasoning.effort}
        )
    if reasoning.budget_tokens is not None:
        members["thinking"] = {"type": "enabled", "budget_tokens": reasoning.budget_tokens}


def _forced(members: bodies.Members) -> tuple[tuple[str, str], ...]:
    return (_VERSION,) if any(name in members for name in _SAMPLING) else ()


def _system(prompt: str, raw: Raw | None) -> str | Raw:
    if raw is None or bodies.is_null(raw):
        return prompt
    block = bodies.text_block(prompt)
    if bytes(raw)[:1] == b'"':
        return Raw(b"[" + block + b',{"type":"text","text":' + bytes(raw) + b"}]")
    try:
        return bodies.prepended("system", block, raw)
    except WireError as error:
        raise WireError("system is neither a string nor an array") from error


def _effects(raw: Mapping[str, Raw]) -> tuple[str, ...]:
    named = tuple(name for name in ("mcp_servers", "container") if not bodies.is_null(raw.get(name)))
    return named + provider_tools(raw.get("tools"), _run_by_caller)


def _run_by_caller(kind: str | None) -> bool:
    return kind is None or kind == "custom" or kind.startswith(_CLIENT_TOOLS)


def _is_call(block: _Block) -> bool:
    return block.type == "tool_use"


def _kind(error: _Error | None) -> str:
    return (error.type or "error") if error else ""
