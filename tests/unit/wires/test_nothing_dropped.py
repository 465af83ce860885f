"""An unknown member anywhere in a request is carried over or named as lost: nothing is dropped silently."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from understudy.wires.registry import NAMES, wire
from understudy.wires.translate import request

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FULL: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": (
        "/v1/chat/completions",
        {
            "model": "w",
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "s"}]},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "t"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "f"}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": "c",
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "1", "content": "r"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    ),
    "openai-responses": (
        "/v1/responses",
        {
            "model": "w",
            "store": False,
            "instructions": "s",
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "t"},
                        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"},
                        {"type": "input_file", "file_data": "data:application/pdf;base64,AA==", "filename": "f"},
                    ],
                },
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "c"}]},
                {
                    "type": "function_call",
                    "call_id": "1",
                    "name": "f",
                    "arguments": "{}",
                    "id": "fc",
                    "status": "completed",
                },
                {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "r"}]},
            ],
            "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}],
            "tool_choice": {"type": "function", "name": "f"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}, "verbosity": "medium"},
            "reasoning": {"effort": "low"},
            "stream": True,
            "stream_options": {"include_obfuscation": False},
        },
    ),
    "anthropic": (
        "/v1/messages",
        {
            "model": "w",
            "max_tokens": 2000,
            "system": [{"type": "text", "text": "s"}],
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "t"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
                        {"type": "document", "source": {"type": "url", "url": "https://example.com/d"}},
                    ],
                },
                {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"a": "b"}}]},
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "r"}]},
                    ],
                },
            ],
            "tools": [{"name": "f", "input_schema": SCHEMA}],
            "tool_choice": {"type": "tool", "name": "f"},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "metadata": {"user_id": "u"},
        },
    ),
    "gemini": (
        "/v1beta/models/w:generateContent",
        {
            "systemInstruction": {"parts": [{"text": "s"}]},
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {"text": "t"},
                        {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
                        {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/i"}},
                    ],
                },
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": "b"}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "r"}}}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": SCHEMA}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
            "generationConfig": {
                "responseMimeType": "application/json",
                "responseSchema": SCHEMA,
                "thinkingConfig": {"thinkingBudget": 5},
            },
        },
    ),
}


def objects(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where the objects of a body are."""
    if isinstance(value, dict):
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from objects(inner, (*path, key))


PAIRS = [(name, target) for name in FULL for target in NAMES if name.partition("-")[0] != target]
CASES = [(name, target, path) for name, target in PAIRS for path in objects(FULL[name][1])]


@pytest.mark.parametrize(
    ("name", "target", "path"), CASES, ids=lambda v: ".".join(map(str, v)) if isinstance(v, tuple) else v
)
def test_unknown_members(name: str, target: str, path: tuple[str | int, ...]) -> None:
    """The member is in the other dialect's body, or its name is in a loss."""
    line, body = copy.deepcopy(FULL[name])
    node: Any = body
    for step in path:
        node = node[step]
    node["xUnknown"] = "marker"
    endpoint = wire(name.partition("-")[0]).endpoint("POST", line)
    assert endpoint
    found = request(endpoint, line, json.dumps(body).encode(), target)
    assert b"xUnknown" in found.body or any("xUnknown" in loss.what for loss in found.losses)


@pytest.mark.parametrize(("name", "target"), PAIRS)
def test_nothing_else_is_lost(name: str, target: str) -> None:
    """The bodies themselves lose little: what is named are limits of the target."""
    line, body = FULL[name]
    endpoint = wire(name.partition("-")[0]).endpoint("POST", line)
    assert endpoint
    losses = {loss.what for loss in request(endpoint, line, json.dumps(body).encode(), target).losses}
    assert losses <= {
        "media audio/wav",
        "media application/pdf",
        "media by address",
        "thinking budget",
        "reasoning effort",
        "user",
    } | ({"thought signatures"} if name == "gemini" else set())
