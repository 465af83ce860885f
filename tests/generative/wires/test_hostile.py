"""Whatever the bytes: a request is read or refused, an answer is read or flagged, and nothing else is raised."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core.variant import Reasoning, Variant
from understudy.wires.base import Answer, Endpoint, Wire, WireError
from understudy.wires.registry import NAMES, wire

LINES = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/v1beta/models/w:generateContent"),
    ("POST", "/v1beta/models/w:streamGenerateContent?alt=sse"),
    ("POST", "/v1beta/models/w:streamGenerateContent"),
    ("POST", "/v1beta/models/w:countTokens"),
]
OPERATIONS = [
    (found, endpoint, path)
    for method, path in LINES
    for found in map(wire, NAMES)
    if (endpoint := found.endpoint(method, path)) is not None
]
FULL = Variant("v", "p", "m", "Prompt.", {"temperature": 0.5, "max_tokens": 3}, Reasoning("low"))
KEYS = st.sampled_from(
    [
        "model",
        "stream",
        "messages",
        "system",
        "instructions",
        "input",
        "contents",
        "systemInstruction",
        "system_instruction",
        "generationConfig",
        "generation_config",
        "reasoning",
        "output_config",
        "tools",
        "store",
        "error",
        "choices",
        "delta",
        "message",
        "content",
        "usage",
        "type",
        "index",
        "candidates",
        "parts",
        "text",
        "functionCall",
        "usageMetadata",
        "finishReason",
        "response",
        "item",
        "output",
        "id",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
BODIES = (
    st.dictionaries(KEYS, VALUES, max_size=6).map(lambda value: json.dumps(value).encode())
    | VALUES.map(lambda value: json.dumps(value, ensure_ascii=True).encode())
    | st.binary(max_size=80)
)
EVERYWHERE = pytest.mark.parametrize(("found", "endpoint", "path"), OPERATIONS, ids=lambda v: getattr(v, "name", ""))


@EVERYWHERE
@settings(derandomize=True, max_examples=60, deadline=None)
@given(body=BODIES)
def test_requests(found: Wire, endpoint: Endpoint, path: str, body: bytes) -> None:
    """peek and apply return or raise WireError; what apply returns is JSON that peek reads."""
    try:
        peeked = found.peek(endpoint, path, body)
        request = found.apply(endpoint, path, body, FULL, peeked)
    except WireError as refused:
        assert refused.status in (400, 404)
        return
    found.peek(endpoint, path, request.body)
    assert found.apply(endpoint, path, body, FULL) == request


@EVERYWHERE
@settings(derandomize=True, max_examples=60, deadline=None)
@given(body=BODIES, status=st.sampled_from([200, 400, 500]))
def test_answers(found: Wire, endpoint: Endpoint, path: str, body: bytes, status: int) -> None:
    """read returns an answer for any bytes, and an error status is always named."""
    answer = found.read(endpoint, status, body)
    assert isinstance(answer, Answer)
    assert status < 400 or answer.error


@EVERYWHERE
@settings(derandomize=True, max_examples=60, deadline=None)
@given(events=st.lists(BODIES, max_size=4), array=st.booleans())
def test_streams(found: Wire, endpoint: Endpoint, path: str, events: list[bytes], array: bool) -> None:
    """A reader takes any events, and without the terminal one never calls the answer complete."""
    reader = found.reader(endpoint)
    reader.feed(b"[" + b",".join(events) + b"]" if array else b"".join(b"data: " + e + b"\n\n" for e in events))
    answer = reader.answer()
    assert answer.complete is reader.done
    assert reader.done <= bool(answer.finish_reason or answer.complete)


UNTOUCHED = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=6).map(lambda key: "x_" + key),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    max_size=4,
)


@settings(derandomize=True, max_examples=80, deadline=None)
@given(extra=UNTOUCHED, spaces=st.sampled_from([None, 1, 3]))
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1beta/models/w:generateContent"])
def test_unknown_members_pass_untouched(path: str, extra: dict[str, Any], spaces: int | None) -> None:
    """Members we know nothing of reach the provider as the very bytes that came."""
    found, endpoint, _ = next(operation for operation in OPERATIONS if operation[2] == path)
    body = json.dumps({"model": "w", **extra}, indent=spaces).encode()
    sent = found.apply(endpoint, path, body, FULL).body
    for key, value in extra.items():
        raw = json.dumps(value, indent=spaces).replace("\n", "\n" + " " * (spaces or 0)).encode()
        assert raw in sent, key
