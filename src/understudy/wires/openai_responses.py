"""OpenAI responses: what a request asks, the variant put into it, and what an answer says.

The variant's system prompt stands in front of the caller's `instructions`. A response is stored unless the caller
says `store: false`: storing is an effect, and so is what a stored response is chained to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from understudy.core.variant import Variant
from understudy.wires import body as bodies
from understudy.wires.base import Answer, Endpoint, Peek, Usage, WireRequest
from understudy.wires.openai_answer import error_kind
from understudy.wires.operation import provider_tools
from understudy.wires.reading import SseReader, count, decode_or_none, tool_calls, unreadable
from understudy.wires.sse import Event

ENDPOINT = Endpoint("openai", "responses", "chat", "/responses")

RENAMED = {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}
"""A variant serves both chat and responses: what chat calls otherwise."""

CLIENT_TOOLS = frozenset({"function", "custom", "local_shell", "apply_patch", "computer", "computer_use_preview"})
"""Tools the caller runs; a tool of any other type is run by the provider."""

TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})

_TEXT_DELTAS = frozenset({"response.output_text.delta", "response.refusal.delta"})
_CALL_DELTAS = frozenset({"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"})
_QUIET = frozenset({"response.created", "response.in_progress", "response.queued"})


class _Part(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    type: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: Any = None
    content: list[_Part] | None = None


class _CachedDetails(msgspec.Struct):
    cached_tokens: Any = None
    cache_write_tokens: Any = None


class _ReasoningDetails(msgspec.Struct):
    reasoning_tokens: Any = None


class _Usage(msgspec.Struct):
    input_tokens: Any = None
    output_tokens: Any = None
    input_tokens_details: _CachedDetails | None = None
    output_tokens_details: _ReasoningDetails | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    status: str | None = None
    model: str | None = None
    output: list[_Item] | None = None
    usage: _Usage | None = None
    incomplete_details: _Incomplete | None = None
    error: Any = None


class _StreamEvent(msgspec.Struct):
    type: str | None = None
    delta: Any = None
    output_index: int = 0
    item: _Item | None = None
    response: _Response | None = None
    error: Any = None
    code: Any = None


_response = msgspec.json.Decoder(_Response)
_event = msgspec.json.Decoder(_StreamEvent)


def peek(path: str, body: bytes) -> Peek:
    raw = bodies.members(body)
    return Peek(
        bodies.text("model", raw.get("model")),
        bodies.is_true(raw.get("stream")),
        bodies.Fields(raw),
        _effects(raw),
    )


def apply(path: str, body: bytes, variant: Variant, peeked: Peek | None) -> WireRequest:
    members = bodies.again(peeked, body)
    members["model"] = variant.model
    if variant.system_prompt:
        members["instructions"] = bodies.joined("instructions", variant.system_prompt, members.get("instructions"))
    for name, value in variant.params.items():
        if name == "stream_options":  # a chat option: a stream of responses always ends with its usage
            continue
        bodies.put(members, RENAMED.get(name, name), value)
    if variant.reasoning and variant.reasoning.effort is not None:
        members["reasoning"] = bodies.merged(
            "reasoning", members.get("reasoning"), {"effort": variant.reasoning.effort}
        )
    return WireRequest(ENDPOINT.path, bodies.JSON_HEADERS, bodies.encode(members))


def read(status: int, body: bytes) -> Answer:
    parsed: _Response | None = decode_or_none(_response, body)
    if parsed is None:
        return unreadable(status)
    error = error_kind(parsed.error)
    if status >= 400 or (error and not parsed.output):
        return Answer(error=error or f"status_{status}", id=parsed.id or "")
    items = parsed.output or []
    return Answer(
        text="".join(_item_text(item) for item in items),
        tool_calls=tool_calls(_calls(items)),
        finish_reason=_finish_reason(parsed),
        model=parsed.model or "",
        usage=_usage(parsed.usage) if parsed.usage else Usage(),
        error=error,
        unreadable=parsed.output is None,
        id=parsed.id or "",
    )


def reader() -> Reader:
    return Reader()


class Reader(SseReader):
    """A stream of typed events; response.completed, .incomplete or .failed ends it."""

    __slots__ = ()

    def _event(self, event: Event) -> None:
        parsed: _StreamEvent | None = decode_or_none(_event, event.data)
        if parsed is None:
            if event.data != b"[DONE]":
                self.unreadable = True
                self._ended(event.name.decode("utf-8", "replace"))
            return
        kind = parsed.type or event.name.decode("utf-8", "replace")
        if kind in _TEXT_DELTAS:
            if isinstance(parsed.delta, str) and parsed.delta:
                self.add_text(parsed.delta)
        elif kind in _CALL_DELTAS:
            if isinstance(parsed.delta, str):
                self.add_call(parsed.output_index, None, parsed.delta)
        elif kind == "response.output_item.added":
            self._item(parsed.output_index, parsed.item)
        elif kind == "error" or (not parsed.type and parsed.error is not None):
            self.error = self.error or error_kind(parsed.error or {"code": parsed.code})
        elif kind not in _QUIET and kind not in TERMINAL:
            self.content_seen = self.content_seen or kind.endswith(".delta")
        if parsed.response:
            self._response(kind, parsed.response)
        self._ended(kind)

    def _overflow(self, event: Event) -> None:
        """The terminal event carries the whole answer: too long to keep, its name still ends the stream."""
        self.content_seen = True
        self._ended(event.name.decode("utf-8", "replace"))

    def _ended(self, kind: str) -> None:
        if kind in TERMINAL:
            self.done = True
            if kind == "response.failed":
                self.error = self.error or "failed"

    def _item(self, index: int, item: _Item | None) -> None:
        if item and item.type in ("function_call", "custom_tool_call"):
            self.add_call(index, item.name, item.arguments)

    def _response(self, kind: str, response: _Response) -> None:
        self.id = response.id or self.id
        self.model = response.model or self.model
        if response.usage:
            self.usage = _usage(response.usage)
        if kind in TERMINAL:
            self.finish_reason = _finish_reason(response)
            self.error = self.error or error_kind(response.error)


def _effects(raw: Mapping[str, Raw]) -> tuple[str, ...]:
    store = raw.get("store")
    effects = [] if store is not None and bytes(store) == b"false" else ["store"]
    if bodies.is_true(raw.get("background")):
        effects.append("background")
    effects += [name for name in ("previous_response_id", "conversation") if not bodies.is_null(raw.get(name))]
    return (*effects, *provider_tools(raw.get("tools"), CLIENT_TOOLS.__contains__))


def _finish_reason(response: _Response) -> str:
    details = response.incomplete_details
    return (details.reason if details else None) or response.status or ""


def _usage(found: _Usage) -> Usage:
    cached, reasoning = found.input_tokens_details, found.output_tokens_details
    return Usage(
        count(found.input_tokens),
        count(found.output_tokens),
        count(cached.cached_tokens) if cached else None,
        count(reasoning.reasoning_tokens) if reasoning else None,
        count(cached.cache_write_tokens) if cached else None,
    )


def _item_text(item: _Item) -> str:
    if item.type != "message":
        return ""
    return "".join(part.text or part.refusal or "" for part in item.content or ())


def _calls(items: list[_Item]) -> list[tuple[str, object]]:
    calls: list[tuple[str, object]] = []
    for item in items:
        if item.type == "function_call":
            calls.append((item.name or "", item.arguments or ""))
        elif item.type == "custom_tool_call":
            calls.append((item.name or "", item.input if isinstance(item.input, str) else ""))
    return calls
