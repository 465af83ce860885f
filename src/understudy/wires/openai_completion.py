"""An answer of OpenAI chat completions, or a chunk of one, as it is decoded: the members we read."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

NO_AUDIO = Raw()


class CachedDetails(msgspec.Struct, gc=False):
    cached_tokens: Any = None


class ReasoningDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Any = None


class Counts(msgspec.Struct, gc=False):
    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: CachedDetails | None = None
    completion_tokens_details: ReasoningDetails | None = None


class Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class Custom(msgspec.Struct, gc=False):
    name: str | None = None
    input: str | None = None


class Call(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: Function | None = None
    custom: Custom | None = None


class Said(msgspec.Struct, gc=False):
    """A message of an answer, or a part of one in a stream."""

    content: Any = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    audio: Raw = NO_AUDIO


class Choice(msgspec.Struct, gc=False):
    index: int = 0
    message: Said | None = None
    delta: Said | None = None
    finish_reason: str | None = None


class Completion(msgspec.Struct, gc=False):
    """An answer, or one chunk of a stream: they differ in `message` and `delta` only."""

    choices: list[Choice] | None = None
    id: str | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    usage: Counts | None = None
    error: Any = None


DECODER = msgspec.json.Decoder(Completion)
