"""Checks made when a configuration is read: whether a wire can express a variant, and what one cannot carry to another.

Everything here is said before the first request: a variant with problems is refused, a pair of wires with losses is
told to whoever sets it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.core.variant import Variant
from understudy.wires.body import encode
from understudy.wires.gemini_generate import camel
from understudy.wires.registry import wire
from understudy.wires.translate import request
from understudy.wires.translation.neutral import Loss

_OURS = frozenset(
    {"model", "messages", "contents", "input", "stream", "system", "systemInstruction", "instructions", "n"}
)
"""Params that would overrule what the gateway sets or what the caller says."""

_ELSEWHERE: Mapping[str, Mapping[str, str]] = {
    "openai": {
        "stop_sequences": "stop",
        "maxOutputTokens": "max_completion_tokens",
        "stopSequences": "stop",
        "top_k": "",
        "thinking": "the variant's reasoning.effort",
        "output_config": "response_format",
    },
    "anthropic": {
        "max_completion_tokens": "max_tokens",
        "max_output_tokens": "max_tokens",
        "maxOutputTokens": "max_tokens",
        "stop": "stop_sequences",
        "stopSequences": "stop_sequences",
        "reasoning_effort": "the variant's reasoning.effort",
        "response_format": "output_config",
        "seed": "",
        "frequency_penalty": "",
        "presence_penalty": "",
    },
    "gemini": {
        "maxTokens": "maxOutputTokens",
        "maxCompletionTokens": "maxOutputTokens",
        "stop": "stopSequences",
        "reasoningEffort": "the variant's reasoning.effort",
        "responseFormat": "responseMimeType and responseJsonSchema",
    },
}
"""Params of other dialects, and what says the same here ("" where nothing does)."""

_EFFORTS: Mapping[str, frozenset[str]] = {
    "openai": frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"}),
    "anthropic": frozenset({"none", "low", "medium", "high", "xhigh", "max"}),
    "gemini": frozenset({"none", "minimal", "low", "medium", "high", "xhigh"}),
}
_LEAST_BUDGET = 1024
"""Tokens, on the Anthropic wire."""


def variant_problems(wire_name: str, variant: Variant) -> tuple[str, ...]:
    """Why a wire cannot express a variant, one sentence with its remedy each; empty where it can."""
    return (*_param_problems(wire_name, variant), *_reasoning_problems(wire_name, variant))


def pair_problems(app: str, provider: str, variant: Variant) -> tuple[str, ...]:
    """Why a variant must not serve an app that speaks another dialect, one sentence with its remedy each."""
    if app == provider:
        return ()
    budget = variant.reasoning.budget_tokens if variant.reasoning else None
    if provider == "anthropic" and budget:
        return (
            f"with a reasoning budget ({budget} tokens) a conversation with tools needs its thoughts sent back, which "
            f"the {app} wire cannot carry: set an effort instead",
        )
    return ()


def never_carried(source: str, target: str) -> tuple[Loss, ...]:
    """What an app that speaks `source`, one of `APPS`, can say and a provider on the wire `target` cannot be told.

    Found by carrying over a request that uses everything; empty where both speak the same.
    """
    on = source.removesuffix(_RESPONSES)
    if on == target:
        return ()
    path, body = _EVERYTHING[source]
    endpoint = wire(on).endpoint("POST", path)
    if endpoint is None:
        return ()
    return request(endpoint, path, encode(body), target).losses


def _param_problems(wire_name: str, variant: Variant) -> list[str]:
    problems = []
    for name in variant.params:
        known = camel(name) if wire_name == "gemini" else name
        if known in _OURS:
            problems.append(f"param {name!r} is set by the gateway or the caller: take it out of params")
        elif known in _ELSEWHERE[wire_name]:
            instead = _ELSEWHERE[wire_name][known]
            remedy = f"write {instead}" if instead else "take it out"
            problems.append(f"param {name!r} is not known on the {wire_name} wire: {remedy}")
    return problems


def _reasoning_problems(wire_name: str, variant: Variant) -> list[str]:
    reasoning = variant.reasoning
    if reasoning is None:
        return []
    effort, budget = reasoning.effort, reasoning.budget_tokens
    problems = []
    if effort is not None and effort not in _EFFORTS[wire_name]:
        known = ", ".join(sorted(_EFFORTS[wire_name]))
        problems.append(f"reasoning effort {effort!r} is not known on the {wire_name} wire: choose one of {known}")
    if budget is None:
        return problems
    if wire_name == "openai":
        problems.append(f"a reasoning budget ({budget} tokens) cannot be told on the openai wire: choose an effort")
    elif effort is not None and (wire_name == "gemini" or effort == "none"):
        problems.append(f"effort {effort!r} and a budget of {budget} tokens exclude each other: keep one of them")
    elif wire_name == "anthropic" and budget < _LEAST_BUDGET:
        problems.append(f"a reasoning budget of {budget} tokens is below {_LEAST_BUDGET}: raise it or set effort none")
    limit = variant.params.get("max_tokens")
    if wire_name == "anthropic" and isinstance(limit, int) and budget >= limit:
        problems.append(f"a reasoning budget of {budget} tokens leaves nothing of max_tokens {limit}: raise max_tokens")
    return problems


_SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
_RESPONSES = "-responses"
_EVERYTHING: Mapping[str, tuple[str, dict[str, Any]]] = {
    "openai": (
        "/v1/chat/completions",
        {
            "messages": [
                {"role": "developer", "content": "s"},
                {
                    "role": "user",
                    "name": "u",
                    "content": [
                        {"type": "text", "text": "t"},
                        {"type": "image_url", "image_url": {"url": "https://example.com/i.png", "detail": "high"}},
                        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                        {"type": "file", "file": {"file_id": "f"}},
                    ],
                },
                {"role": "system", "content": "later"},
            ],
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": _SCHEMA, "strict": True}},
                {"type": "custom", "custom": {"name": "c"}},
            ],
            "parallel_tool_calls": False,
            "response_format": {"type": "json_object"},
            "temperature": 2,
            "seed": 1,
            "frequency_penalty": 1,
            "presence_penalty": 1,
            "logit_bias": {"1": 1},
            "logprobs": True,
            "top_logprobs": 1,
            "n": 2,
            "modalities": ["text", "audio"],
            "audio": {"voice": "v", "format": "wav"},
            "prediction": {"type": "content", "content": "p"},
            "reasoning_effort": "minimal",
            "verbosity": "low",
            "service_tier": "flex",
            "metadata": {"k": "v"},
            "store": True,
            "prompt_cache_key": "k",
            "safety_identifier": "s",
            "user": "u",
            "web_search_options": {},
        },
    ),
    f"openai{_RESPONSES}": (
        "/v1/responses",
        {
            "store": False,
            "instructions": "s",
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "t"},
                        {"type": "input_image", "image_url": "https://example.com/i.png", "detail": "high"},
                        {"type": "input_file", "file_id": "f"},
                    ],
                },
                {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "e"},
                {"type": "web_search_call", "id": "w"},
                {"role": "developer", "content": "later"},
            ],
            "tools": [
                {"type": "function", "name": "f", "parameters": _SCHEMA, "strict": True},
                {"type": "web_search"},
                {"type": "custom", "name": "c"},
            ],
            "parallel_tool_calls": False,
            "max_tool_calls": 2,
            "text": {"format": {"type": "json_object"}, "verbosity": "low"},
            "temperature": 2,
            "top_logprobs": 1,
            "reasoning": {"effort": "minimal", "summary": "auto"},
            "include": ["reasoning.encrypted_content"],
            "truncation": "auto",
            "service_tier": "flex",
            "metadata": {"k": "v"},
            "prompt_cache_key": "k",
            "safety_identifier": "s",
            "user": "u",
            "stream_options": {"include_obfuscation": True},
        },
    ),
    "anthropic": (
        "/v1/messages",
        {
            "max_tokens": 2048,
            "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "document", "source": {"type": "url", "url": "https://example.com/d"}, "title": "d"},
                        {"type": "image", "source": {"type": "file", "file_id": "f"}},
                        {"type": "search_result", "source": "s", "title": "t", "content": []},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "t", "signature": "s"},
                        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
                    ],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "is_error": True}]},
            ],
            "tools": [{"name": "f", "input_schema": _SCHEMA, "strict": True}, {"type": "web_search_20250305"}],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "top_k": 5,
            "metadata": {"user_id": "u"},
            "service_tier": "auto",
            "container": "c",
            "mcp_servers": [{"type": "url", "url": "https://example.com", "name": "m"}],
        },
    ),
    "gemini": (
        "/v1beta/models/w:generateContent",
        {
            "contents": [
                {
                    "role": "user",
                    "parts": [{"fileData": {"mimeType": "video/mp4", "fileUri": "https://example.com/v"}}],
                },
                {"role": "model", "parts": [{"text": "t", "thought": True}, {"executableCode": {"code": "c"}}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f"}, "thoughtSignature": "s"}]},
            ],
            "tools": [{"googleSearch": {}, "functionDeclarations": [{"name": "f", "response": _SCHEMA}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}},
            "safetySettings": [{"category": "c", "threshold": "t"}],
            "cachedContent": "c",
            "labels": {"k": "v"},
            "generationConfig": {
                "candidateCount": 2,
                "temperature": 2,
                "topK": 5,
                "seed": 1,
                "frequencyPenalty": 1,
                "presencePenalty": 1,
                "responseMimeType": "application/json",
                "responseLogprobs": True,
                "responseModalities": ["IMAGE"],
                "mediaResolution": "MEDIA_RESOLUTION_LOW",
                "speechConfig": {},
                "thinkingConfig": {"thinkingBudget": -1, "includeThoughts": True},
            },
        },
    ),
}
APPS = tuple(_EVERYTHING)
"""The dialects that apps speak."""
