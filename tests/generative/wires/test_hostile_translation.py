"""Whatever is asked or answered: it is carried over, or refused with a WireError, and nothing else is raised."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.wires.base import Endpoint, WireError
from understudy.wires.registry import NAMES, wire
from understudy.wires.translate import Back, answer, request, stream

PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/w:streamGenerateContent",
    "openai-responses": "/v1/responses",
}
PAIRS = [(a, b) for a in PATHS for b in NAMES if a.partition("-")[0] != b]
SCALARS: Any = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(-2, 2)
    | st.sampled_from(
        [
            "",
            "x",
            "{}",
            '{"a":1}',
            "text",
            "user",
            "assistant",
            "tool_use",
            "STOP",
            "function",
            "data:image/png;base64,AA",
        ]
    )
)
WORDS = [
    "type", "role", "content", "text", "parts", "name", "id", "input", "arguments", "function", "tool_calls", "args",
    "call_id", "output", "file_data", "functionCall", "functionResponse", "response", "inlineData", "source", "schema",
    "index", "delta", "message",
    "finishReason", "finish_reason", "stop_reason", "image_url", "url", "tool_use_id", "tool_call_id", "partial_json",
]  # fmt: skip
INNER: Any = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=10,
)
PARTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [
                "text",
                "image",
                "image_url",
                "tool_use",
                "tool_result",
                "file",
                "document",
                "thinking",
                "input_text",
                "input_image",
                "function_call",
                "function_call_output",
                "message",
            ]
        )
    },
    optional=dict.fromkeys(("text", "source", "image_url", "input", "id", "name", "content", "file"), INNER),
)
GEMINI_PARTS = st.dictionaries(
    st.sampled_from(["text", "functionCall", "functionResponse", "inlineData", "fileData", "thought", "function_call"]),
    INNER,
    max_size=2,
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool", "model"])},
    optional={
        "content": st.text(max_size=3) | st.lists(PARTS | INNER, max_size=3),
        "parts": st.lists(GEMINI_PARTS | INNER, max_size=3),
        "tool_calls": INNER,
        "tool_call_id": SCALARS,
    },
)
MEMBERS = [
    "system", "systemInstruction", "tools", "tool_choice", "toolConfig", "response_format", "output_config", "thinking",
    "stop", "generationConfig", "temperature", "max_tokens", "metadata", "user", "stream", "reasoning_effort",
    "parallel_tool_calls", "text", "reasoning", "include", "instructions", "stream_options", "max_output_tokens",
]  # fmt: skip
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "messages": st.lists(MESSAGES, max_size=3) | INNER,
        "input": st.lists(MESSAGES | PARTS, max_size=3) | INNER,
        "contents": st.lists(MESSAGES, max_size=3) | INNER,
        **dict.fromkeys(MEMBERS, INNER),
    },
)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(
            ["message_start", "content_block_start", "content_block_delta", "message_delta", "message_stop", "error"]
        ),
        "choices": st.lists(st.dictionaries(st.sampled_from(WORDS), INNER, max_size=3), max_size=2) | INNER,
        "candidates": st.lists(
            st.fixed_dictionaries({"content": st.fixed_dictionaries({"parts": st.lists(GEMINI_PARTS, max_size=2)})}),
            max_size=2,
        )
        | INNER,
        "index": SCALARS | st.lists(SCALARS, max_size=1),
        "delta": INNER,
        "content_block": PARTS | INNER,
        "message": INNER,
        "usage": INNER,
        "usageMetadata": INNER,
        "error": INNER,
        "id": SCALARS,
        "content": st.lists(PARTS, max_size=2) | INNER,
        "promptFeedback": INNER,
    },
)


def endpoint_of(source: str) -> Endpoint:
    endpoint = wire(source.partition("-")[0]).endpoint("POST", PATHS[source])
    assert endpoint
    return endpoint


@pytest.mark.parametrize(("source", "target"), PAIRS)
@settings(derandomize=True, max_examples=50, deadline=None)
@given(body=REQUESTS)
def test_requests(source: str, target: str, body: dict[str, Any]) -> None:
    """A request becomes one that the target's wire can read, or is refused with 400."""
    endpoint = endpoint_of(source)
    try:
        found = request(endpoint, PATHS[source], json.dumps({**body, "store": False}).encode(), target)
    except WireError as refused:
        assert refused.status == 400
        return
    wire(target).peek(found.endpoint, found.path, found.body)


@pytest.mark.parametrize(("source", "target"), PAIRS)
@settings(derandomize=True, max_examples=50, deadline=None)
@given(body=EVENTS, status=st.sampled_from([200, 200, 429]))
def test_answers(source: str, target: str, body: dict[str, Any], status: int) -> None:
    """An answer becomes one that the app's wire can read, or is refused with 502."""
    endpoint = endpoint_of(source)
    try:
        found = answer(Back(endpoint, target, False, False), status, json.dumps(body).encode())
    except WireError as refused:
        assert refused.status == 502
        return
    assert not wire(endpoint.wire).read(endpoint, status, found.body).unreadable


@pytest.mark.parametrize(("source", "target"), PAIRS)
@settings(derandomize=True, max_examples=50, deadline=None)
@given(events=st.lists(EVENTS, max_size=5))
def test_streams(source: str, target: str, events: list[dict[str, Any]]) -> None:
    """A stream is told to its end or ends with an error, in bytes the app's own reader can read."""
    endpoint = endpoint_of(source)
    carrying = stream(Back(endpoint, target, True, True))
    told = b"".join(carrying.feed(b"data: " + json.dumps(event).encode() + b"\n\n") for event in events)
    told += carrying.finish()
    reader = wire(endpoint.wire).reader(endpoint)
    reader.feed(told)
    found = reader.answer()
    assert not found.unreadable
    assert found.complete is carrying.done
    assert bool(found.error) is bool(carrying.failed)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_depth(source: str, target: str) -> None:
    """Depth that the decoder lets pass and a walk could not is refused like any other."""
    endpoint = endpoint_of(source)
    for depth in (100, 250, 400, 450, 480, 900, 5000):
        schema = b'{"items":' * depth + b"{}" + b"}" * depth
        tool = b'{"type":"function","function":{"name":"f","parameters":' + schema + b"}}"
        if source == "anthropic":
            tool = b'{"name":"f","input_schema":' + schema + b"}"
        elif source == "gemini":
            tool = b'{"functionDeclarations":[{"name":"f","parameters":' + schema + b"}]}"
        elif source == "openai-responses":
            tool = b'{"type":"function","name":"f","parameters":' + schema + b"}"
        try:
            request(endpoint, PATHS[source], b'{"store":false,"tools":[' + tool + b"]}", target)
        except WireError as refused:
            assert refused.status == 400
