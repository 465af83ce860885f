"""OpenAI chat completions: what a request asks, the variant put into it, and what an answer says.

The variant's system prompt is put in front as a message of its own; the caller's messages stay the bytes they were.
`stream_options.include_usage` is never added, because it changes what the caller sees (one more chunk with no
choices): the usage of a stream whose caller did not ask for it is unknown. A variant that wants it says so in its
params, where it applies to streams only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from understudy.core.variant import Variant
from understudy.wires import body as bodies
from understudy.wires.base import Answer, Endpoint, Message, Peek, Usage, WireRequest
from understudy.wires.body import UNREADABLE
from understudy.wires.operation import provider_tools
from understudy.wires.reading import CallNumbers, SseReader, decode_or_none, tool_calls, unreadable
from understudy.wires.sse import Event

ENDPOINT = Endpoint("openai", "chat.completions", "chat", "/chat/completions")

SYNONYMS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""A request that carries both is refused by the provider: setting one takes the other out."""

RENAMED = {"max_output_tokens": "max_completion_tokens"}
"""A variant serves both chat and responses: what responses calls otherwise."""

CLIENT_TOOLS = frozenset({"function", "custom"})
"""Tools the caller runs; a tool of any other type is run by the provider."""


_NO_AUDIO = Raw()
_NO_USAGE = Usage()


class _CachedDetails(msgspec.Struct, gc=False):
    cached_tokens: Any = None


class _ReasoningDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Any = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: _CachedDetails | None = None
    completion_tokens_details: _ReasoningDetails | None = None


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Custom(msgspec.Struct, gc=False):
    name: str | None = None
    input: str | None = None


class _Call(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    custom: _Custom | None = None


class _Said(msgspec.Struct, gc=False):
    """A message of an answer, or a part of one in a stream."""

    content: Any = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    audio: Raw = _NO_AUDIO


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    message: _Said | None = None
    delta: _Said | None = None
    finish_reason: str | None = None


class _Completion(msgspec.Struct, gc=False):
    """An answer, or one chunk of a stream: they differ in `message` and `delta` only."""

    choices: list[_Choice] | None = None
    id: str | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    usage: _Usage | None = None
    error: Any = None


_completion = msgspec.json.Decoder(_Completion)
_decode = _completion.decode


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


def read(status: int, body: bytes) -> Answer:
    try:
        parsed = _completion.decode(body)
    except UNREADABLE:
        return unreadable(status)
    if status >= 400 or parsed.error is not None:
        error = error_kind(parsed.error)
        if status >= 400 or error:
            return Answer(error=error or f"status_{status}")
    choices = parsed.choices
    choice = choices[0] if choices and choices[0].index == 0 else _first(choices)
    text = calls = ended = ""
    if choice is not None:
        ended = choice.finish_reason or ""
        said = choice.message
        if said is not None:
            text = said.content if type(said.content) is str and said.content else _text(said)
            if said.tool_calls or said.function_call:
                calls = tool_calls(_calls(said))
    # By position: see Answer.
    return Answer(
        text,
        calls,
        ended,
        parsed.model or "",
        parsed.system_fingerprint or "",
        usage(parsed.usage) if parsed.usage is not None else _NO_USAGE,
        True,
        "",
        choice is None,
        False,
        parsed.id or "",
    )


def reader() -> Reader:
    return Reader()


class Reader(SseReader):
    """A chat stream; `[DONE]` ends it. Of several choices the first one is read."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        super().__init__()
        self._numbers: CallNumbers | None = None

    def _event(self, event: Event) -> None:
        if event.data == b"[DONE]":
            self.done = True
            return
        chunk: _Completion | None = decode_or_none(_completion, event.data)
        if chunk is None:
            self.unreadable = True
            return
        self._chunk(chunk)

    def _events(self, found: list[bytes]) -> bool:
        ends = found[-1] == b"[DONE]"
        try:
            chunks = [_decode(data) for data in (found[:-1] if ends else found)]
        except UNREADABLE:
            return False
        texts: list[str] = []
        for chunk in chunks:
            choices = chunk.choices
            if choices and len(choices) == 1 and chunk.usage is None and chunk.error is None and self.model:
                choice = choices[0]
                delta = choice.delta
                if delta is not None and choice.index == 0 and not (delta.tool_calls or delta.function_call):
                    text = delta.content
                    if type(text) is str and text:  # text alone, as nearly all of them: `_chunk`, without the calls
                        texts.append(text)
                        if chunk.system_fingerprint:
                            self.system_fingerprint = chunk.system_fingerprint
                        if choice.finish_reason:
                            self.finish_reason = choice.finish_reason
                        continue
            if texts:
                self.add_text("".join(texts))
                texts.clear()
            self._chunk(chunk)
        if texts:
            self.add_text("".join(texts))
        self.done = self.done or ends
        return True

    def _chunk(self, chunk: _Completion) -> None:
        if chunk.error is not None:
            self.error = self.error or error_kind(chunk.error)
        if chunk.model and not self.model:
            self.model = chunk.model
            self.id = chunk.id or ""
        if chunk.system_fingerprint:
            self.system_fingerprint = chunk.system_fingerprint
        if chunk.usage:
            self.usage = usage(chunk.usage)
        for choice in chunk.choices or ():
            if choice.index == 0:
                self._choice(choice)
            elif choice.delta:
                self.content_seen = True

    def _choice(self, choice: _Choice) -> None:
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
        delta = choice.delta
        if delta is None:
            return
        content = delta.content
        text = content if isinstance(content, str) and content else _text(delta)
        if text:
            self.add_text(text)
        for call in delta.tool_calls or ():
            numbers = self._numbers = self._numbers or CallNumbers()
            number = numbers.of(call.index, call.id)
            function = call.function
            if function:
                self.add_call(number, function.name, function.arguments)
            elif call.custom:
                self.add_call(number, call.custom.name, call.custom.input)
        if delta.function_call:
            self.add_call(0, delta.function_call.name, delta.function_call.arguments)
        if delta.reasoning_content or delta.reasoning:
            self.content_seen = True
        if delta.audio is not _NO_AUDIO and bytes(delta.audio) != b"null":
            self.content_seen = True


def usage(found: _Usage) -> Usage:
    read, written = found.prompt_tokens, found.completion_tokens
    details, reasoning = found.prompt_tokens_details, found.completion_tokens_details
    cached = None if details is None else details.cached_tokens
    thought = None if reasoning is None else reasoning.reasoning_tokens
    # `reading.count` four times, without the calls.
    return Usage(
        read if type(read) is int and read >= 0 else None,
        written if type(written) is int and written >= 0 else None,
        cached if type(cached) is int and cached >= 0 else None,
        thought if type(thought) is int and thought >= 0 else None,
    )


def error_kind(error: object) -> str:
    """The most telling word of an error object: its code, else its type; "" where there is no error."""
    if error is None:
        return ""
    if isinstance(error, dict):
        for key in ("code", "type"):
            word = error.get(key)
            if isinstance(word, str) and word:
                return word
    return "error"


def _effects(raw: Mapping[str, Raw]) -> tuple[str, ...]:
    stored = ("store",) if bodies.is_true(raw.get("store")) else ()
    searched = ("web_search_options",) if not bodies.is_null(raw.get("web_search_options")) else ()
    return stored + searched + provider_tools(raw.get("tools"), CLIENT_TOOLS.__contains__)


def _first(choices: list[_Choice] | None) -> _Choice | None:
    if choices:
        for choice in choices:
            if choice.index == 0:
                return choice
    return None


def _text(said: _Said) -> str:
    content = said.content
    if isinstance(content, str) and content:
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    return said.refusal or ""


def _calls(said: _Said) -> list[tuple[str, object]]:
    calls: list[tuple[str, object]] = []
    for call in said.tool_calls or ():
        if call.function:
            calls.append((call.function.name or "", call.function.arguments or ""))
        elif call.custom:
            calls.append((call.custom.name or "", call.custom.input or ""))
    if said.function_call:
        calls.append((said.function_call.name or "", said.function_call.arguments or ""))
    return calls
