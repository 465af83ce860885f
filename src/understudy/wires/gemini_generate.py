"""Gemini generateContent and streamGenerateContent: the variant put into a request, and what an answer says.

The model stands in the path. Members may be spelled in camel or snake case, as the API itself allows. The variant's
system prompt becomes the first part of `systemInstruction`; its params go into `generationConfig`, except those that
are members of the request itself. A stream is server-sent events or one JSON array and has no terminal event: a
finish reason, or the reason why the prompt was blocked, is its end, and for an array its closing bracket as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

import msgspec
from msgspec import Raw

from understudy.core.variant import Variant
from understudy.wires import body as bodies
from understudy.wires.base import Answer, Endpoint, Message, Peek, Usage, WireError, WireRequest
from understudy.wires.jsonarray import JsonArrayParser
from understudy.wires.reading import SseReader, count, decode_or_none, tool_calls, total, unreadable
from understudy.wires.sse import Event

_PATH = re.compile(r"/(v1[a-z0-9]*)/(?:models|tunedModels)/([^/:?]+):([A-Za-z]+)")
_TEMPLATE = "/v1beta/models/{model}:"
GENERATE = Endpoint("gemini", "generate_content", "generate_content", _TEMPLATE + "generateContent")
STREAM = Endpoint("gemini", "stream_generate_content", "generate_content", _TEMPLATE + "streamGenerateContent?alt=sse")
STREAM_ARRAY = Endpoint(
    "gemini", "stream_generate_content.array", "generate_content", _TEMPLATE + "streamGenerateContent"
)
MAX_EVENT = 16 * 1024 * 1024
"""Bytes of one event that are kept: a generated image comes whole, with the finish reason behind it."""

COUNT = Endpoint("gemini", "count_tokens", "count_tokens", _TEMPLATE + "countTokens")

REQUEST_MEMBERS = frozenset(
    {"tools", "toolConfig", "safetySettings", "cachedContent", "labels", "store", "serviceTier", "generationConfig"}
)
"""Params of a variant that are members of the request; all others are of its generationConfig."""


class Place(NamedTuple):
    """What the path of a request says."""

    version: str
    model: str
    method: str
    query: tuple[tuple[str, str], ...]

    @property
    def events(self) -> bool:
        return ("alt", "sse") in self.query


class _Call(msgspec.Struct):
    name: str | None = None
    args: Any = None


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    function_call: _Call | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    index: int = 0


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: Any = None
    candidates_token_count: Any = None
    thoughts_token_count: Any = None
    cached_content_token_count: Any = None
    tool_use_prompt_token_count: Any = None


class _Error(msgspec.Struct):
    status: str | None = None


class _Generated(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Usage | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: _Error | None = None
    total_tokens: Any = None


_generated = msgspec.json.Decoder(_Generated)
_listed = msgspec.json.Decoder(list[_Generated])
_tools = msgspec.json.Decoder(list[dict[str, Raw]])


def place(path: str) -> Place | None:
    """Read a path, with or without its query; None where it is not of this dialect."""
    return _parsed(path) if "key=" in path else _remembered(path)  # a caller's key is not kept


def _parsed(path: str) -> Place | None:
    route, _, query = path.partition("?")
    match = _PATH.fullmatch(route)
    if match is None:
        return None
    return Place(match[1], unquote(match[2]), match[3], tuple(parse_qsl(query, keep_blank_values=True)))


_remembered = lru_cache(maxsize=1024)(_parsed)


def _place(path: str) -> Place:
    found = place(path)
    if found is None:
        raise WireError(f"{path!r} names no model of this dialect", 404)
    return found


def _peek(path: str, body: bytes) -> Peek:
    where = _place(path)
    raw = bodies.members(body)
    tools = raw.get("tools")
    effects = _effects(tools) if tools is not None else ()
    if bodies.is_true(raw.get("store")):
        effects = ("store", *effects)
    return Peek(where.model, where.method == "streamGenerateContent", bodies.Fields(raw), effects)


class Generate:
    """generateContent."""

    method: ClassVar[str] = "generateContent"

    def peek(self, path: str, body: bytes) -> Peek:
        return _peek(path, body)

    def apply(self, path: str, body: bytes, variant: Variant, peeked: Peek | None) -> WireRequest:
        where = _place(path)
        members = bodies.again(peeked, body)
        put(members, variant)
        return WireRequest(target(where, variant.model), bodies.JSON_HEADERS, bodies.encode(members))

    def read(self, status: int, body: bytes) -> Answer:
        parsed: _Generated | None = decode_or_none(_generated, body)
        if parsed is None:
            one = decode_or_none(_listed, body)  # errors of array streams come in an array of one
            if not one or one[0].error is None:
                return unreadable(status)
            parsed = one[0]
        if status >= 400 or parsed.error:
            return Answer(error=(parsed.error and parsed.error.status) or f"status_{status}")
        candidate = next((c for c in parsed.candidates or () if c.index == 0), None)
        blocked = parsed.prompt_feedback.block_reason if parsed.prompt_feedback else None
        parts = (candidate.content.parts if candidate and candidate.content else None) or []
        return Answer(
            text="".join(part.text or "" for part in parts if not part.thought),
            tool_calls=tool_calls(
                (p.function_call.name or "", _args(p.function_call)) for p in parts if p.function_call
            ),
            finish_reason=(candidate.finish_reason if candidate else None) or blocked or "",
            model=parsed.model_version or "",
            usage=usage(parsed.usage_metadata) if parsed.usage_metadata else Usage(),
            unreadable=candidate is None and not blocked,
            id=parsed.response_id or "",
        )

    def reader(self) -> Reader:
        return Reader()


class CountTokens(Generate):
    """countTokens: contents are counted, or a whole generateContentRequest; the prompt of the variant belongs to it."""

    method = "countTokens"

    def apply(self, path: str, body: bytes, variant: Variant, peeked: Peek | None) -> WireRequest:
        where = _place(path)
        members = bodies.again(peeked, body)
        if variant.system_prompt:
            whole = members.pop("generateContentRequest", None)
            inner = bodies.merged("generateContentRequest", whole, {"model": f"models/{bare(variant.model)}"})
            if "contents" in members:
                inner["contents"] = members.pop("contents")
            _put_system(inner, variant.system_prompt)
            members["generateContentRequest"] = inner
        return WireRequest(target(where, variant.model), bodies.JSON_HEADERS, bodies.encode(members))

    def read(self, status: int, body: bytes) -> Answer:
        parsed: _Generated | None = decode_or_none(_generated, body)
        if parsed is None:
            return unreadable(status)
        if status >= 400 or parsed.error:
            return Answer(error=(parsed.error and parsed.error.status) or f"status_{status}")
        return Answer(usage=Usage(input_tokens=count(parsed.total_tokens)))


def put(members: bodies.Members, variant: Variant) -> None:
    """Set the variant's prompt, params and effort in a request."""
    members.pop("model", None)
    if variant.system_prompt:
        _put_system(members, variant.system_prompt)
    config: dict[str, Any] = {}
    for name, value in variant.params.items():
        key = camel(name)
        if key == "generationConfig":
            config.update(value)
        elif key in REQUEST_MEMBERS:
            _take(members, key)
            bodies.put(members, key, value)
        else:
            config[key] = value
    thinking = _thinking(variant)
    if config or thinking:
        merged = bodies.merged("generationConfig", _take(members, "generationConfig"), {})
        for key, value in config.items():
            _take(merged, key)
            bodies.put(merged, key, value)
        if thinking:
            current = bodies.merged("thinkingConfig", _take(merged, "thinkingConfig"), {})
            for key in ("thinkingLevel", "thinkingBudget"):  # the provider refuses a request with both
                _take(current, key)
            merged["thinkingConfig"] = current | thinking
        members["generationConfig"] = merged


def compose(variant: Variant, messages: Sequence[Message], *, stream: bool) -> WireRequest:
    members: bodies.Members = {
        "contents": [
            {"role": "model" if m.role == "assistant" else "user", "parts": [{"text": m.content}]}
            for m in messages
            if m.role != "system"
        ]
    }
    system = [{"text": m.content} for m in messages if m.role == "system"]
    if system:
        members["systemInstruction"] = Raw(bodies.encode({"parts": system}))
    put(members, variant)
    query = (("alt", "sse"),) if stream else ()
    where = Place("v1beta", "", "streamGenerateContent" if stream else "generateContent", query)
    return WireRequest(target(where, variant.model), bodies.JSON_HEADERS, bodies.encode(members))


def target(where: Place, model: str) -> str:
    """The provider's path for a model, with the caller's query but without a key that stood in it."""
    query = tuple((name, value) for name, value in where.query if name != "key")
    return _written(where.version, bare(model), where.method, query)


@lru_cache(maxsize=1024)
def _written(version: str, model: str, method: str, query: tuple[tuple[str, str], ...]) -> str:
    route = f"/{version}/models/{quote(model, safe='')}:{method}"
    return f"{route}?{urlencode(query)}" if query else route


def bare(model: str) -> str:
    return model.removeprefix("models/")


@lru_cache(maxsize=1024)
def camel(name: str) -> str:
    """`max_output_tokens` as `maxOutputTokens`; a name in camel case stays as it is."""
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


class Reader(SseReader):
    """A stream in either form, told apart by its first byte."""

    __slots__ = ("_array", "_started")
    last_event_ends = False

    def __init__(self, limit: int = MAX_EVENT) -> None:
        super().__init__(limit)
        self._started = False
        self._array: JsonArrayParser | None = None

    def feed(self, chunk: bytes) -> None:
        if not self._started:
            first = chunk.lstrip(b" \t\r\n\xef\xbb\xbf")
            if not first:
                return
            self._started = True
            if first[:1] == b"[":
                self._array = JsonArrayParser(MAX_EVENT)
        if self._array is None:
            super().feed(chunk)
            return
        for event in self._array.feed(chunk):
            self._overflow(event) if event.overflow else self._event(event)
        self.done = self._array.closed and bool(self.finish_reason)

    def _overflow(self, event: Event) -> None:
        self.content_seen = self.overflowed = True

    def _event(self, event: Event) -> None:
        parsed: _Generated | None = decode_or_none(_generated, event.data)
        if parsed is None:
            self.unreadable = True
            return
        self.model = parsed.model_version or self.model
        self.id = parsed.response_id or self.id
        if parsed.usage_metadata:
            self.usage = usage(parsed.usage_metadata)
        if parsed.error:
            self.error = self.error or parsed.error.status or "error"
        if parsed.prompt_feedback and parsed.prompt_feedback.block_reason:
            self._finish(parsed.prompt_feedback.block_reason)
        for candidate in parsed.candidates or ():
            if candidate.index == 0:
                self._candidate(candidate)
            else:
                self.content_seen = True

    def _candidate(self, candidate: _Candidate) -> None:
        for part in (candidate.content.parts if candidate.content else None) or ():
            if part.function_call:
                index = 0 if self.calls is None else self.calls.size
                arguments = bodies.encode(_args(part.function_call)).decode()
                self.add_call(index, part.function_call.name, arguments)
            elif part.text and not part.thought:
                self.add_text(part.text)
            elif part.text is None or part.thought:
                self.content_seen = True
        if candidate.finish_reason:
            self._finish(candidate.finish_reason)

    def _finish(self, reason: str) -> None:
        self.finish_reason = reason
        self.done = self._array is None


def usage(found: _Usage) -> Usage:
    """Thoughts are counted beside the candidates here; `output_tokens` of ours includes them."""
    prompt, thoughts = count(found.prompt_token_count), count(found.thoughts_token_count)
    candidates = count(found.candidates_token_count)
    return Usage(
        None if prompt is None else total(prompt, count(found.tool_use_prompt_token_count)),
        total(candidates, thoughts),
        count(found.cached_content_token_count),
        thoughts,
    )


def _put_system(members: bodies.Members, prompt: str) -> None:
    current = _take(members, "systemInstruction")
    part = bodies.text_part(prompt)
    if isinstance(current, Raw) and bytes(current)[:1] == b'"':
        members["systemInstruction"] = {"parts": [Raw(part), {"text": current}]}
        return
    instruction = bodies.merged("systemInstruction", current, {})
    parts = instruction.get("parts")
    if isinstance(parts, Raw) and bytes(parts)[:1] == b"{":  # this dialect takes an object for an array of one
        parts = Raw(b"[" + bytes(parts) + b"]")
    instruction["parts"] = bodies.prepended("systemInstruction.parts", part, parts)
    members["systemInstruction"] = instruction


def _thinking(variant: Variant) -> dict[str, Any]:
    reasoning = variant.reasoning
    if reasoning is None:
        return {}
    if reasoning.budget_tokens is not None:
        return {"thinkingBudget": reasoning.budget_tokens}
    if reasoning.effort == "none":
        return {"thinkingBudget": 0}
    return {} if reasoning.effort is None else {"thinkingLevel": reasoning.effort}


@lru_cache(maxsize=1024)
def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda match: "_" + match.group().lower(), name)


def _take(members: bodies.Members, key: str) -> Any:
    """Remove a member in either spelling and return it; None where it is absent."""
    snake = _snake(key)
    other = members.pop(snake, None) if snake != key else None
    return members.pop(key, other)


def _effects(raw: Raw) -> tuple[str, ...]:
    """Every tool but functions is run by the provider."""
    if bodies.is_null(raw):
        return ()
    tools: list[Mapping[str, Raw]] | None = decode_or_none(_tools, bytes(raw))
    if tools is None:
        return ("tools",)
    names = {camel(name) for tool in tools for name in tool}
    return tuple(f"tool:{name}" for name in sorted(names - {"functionDeclarations"}))


def _args(call: _Call) -> object:
    return {} if call.args is None else call.args
