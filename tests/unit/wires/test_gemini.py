"""What the Gemini wire makes of requests and answers."""

from __future__ import annotations

import json

import pytest

from understudy.core.variant import Reasoning, Variant
from understudy.wires.base import Message, Usage, WireError
from understudy.wires.gemini import WIRE
from understudy.wires.registry import recognise, wire

PATH = "/v1beta/models/reply:generateContent"
GENERATE = WIRE.endpoint("POST", PATH)
assert GENERATE

FULL = Variant("v", "p", "gemini-new", "Be brief.", {"temperature": 0.2, "max_output_tokens": 9}, Reasoning("low"))


def test_the_model_stands_in_the_path() -> None:
    """Workload in, provider's model out; the caller's key does not go on."""
    path = "/v1beta/models/reply:streamGenerateContent?alt=sse&key=secret"
    stream = WIRE.endpoint("POST", path)
    assert stream and stream.name == "stream_generate_content"
    peeked = WIRE.peek(stream, path, b"{}")
    assert (peeked.model, peeked.stream) == ("reply", True)
    request = WIRE.apply(stream, path, b"{}", Variant("v", "p", "gemini-new"))
    assert request.path == "/v1beta/models/gemini-new:streamGenerateContent?alt=sse"


def test_array_streams_are_another_endpoint() -> None:
    """Without alt=sse a stream is one JSON array."""
    endpoint = WIRE.endpoint("POST", "/v1beta/models/reply:streamGenerateContent")
    assert endpoint and endpoint.name == "stream_generate_content.array"
    assert WIRE.error_event("k", "m", endpoint)[:1] == b","


@pytest.mark.parametrize(
    ("own", "parts"),
    [
        ({}, []),
        ({"systemInstruction": {"role": "user", "parts": [{"text": "own"}]}}, [{"text": "own"}]),
        ({"system_instruction": {"parts": [{"text": "own"}]}}, [{"text": "own"}]),
        ({"systemInstruction": "own"}, [{"text": "own"}]),
    ],
)
def test_prompt_in_front(own: dict[str, object], parts: list[object]) -> None:
    """The prompt is the first part of the system instruction, in whichever spelling that came."""
    sent = json.loads(WIRE.apply(GENERATE, PATH, json.dumps({"contents": [], **own}).encode(), FULL).body)
    assert sent["systemInstruction"]["parts"] == [{"text": "Be brief."}, *parts]
    assert "system_instruction" not in sent


def test_params_and_thinking() -> None:
    """Params go into generationConfig over either spelling; level and budget never meet."""
    body = {
        "contents": [],
        "generation_config": {"max_output_tokens": 5, "topK": 3, "thinking_config": {"thinkingBudget": 7}},
        "safetySettings": [1],
    }
    variant = Variant("v", "p", "m", params={"maxOutputTokens": 9, "safety_settings": []}, reasoning=Reasoning("low"))
    sent = json.loads(WIRE.apply(GENERATE, PATH, json.dumps(body).encode(), variant).body)
    assert sent == {
        "contents": [],
        "generationConfig": {"topK": 3, "maxOutputTokens": 9, "thinkingConfig": {"thinkingLevel": "low"}},
        "safetySettings": [],
    }
    budget = Variant("v", "p", "m", reasoning=Reasoning(budget_tokens=0))
    sent = json.loads(WIRE.apply(GENERATE, PATH, b"{}", budget).body)
    assert sent == {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}


def test_a_param_of_none_takes_the_callers_out() -> None:
    """Newer models refuse what older ones took: the variant can take it out, in either spelling."""
    variant = Variant("v", "p", "m", params={"top_k": None, "safety_settings": None})
    body = b'{"generation_config":{"top_k":4,"topP":1},"safetySettings":[]}'
    assert json.loads(WIRE.apply(GENERATE, PATH, body, variant).body) == {"generationConfig": {"topP": 1}}


def test_count_tokens_counts_the_prompt() -> None:
    """With a prompt the count is of a whole request."""
    path = "/v1beta/models/reply:countTokens"
    endpoint = WIRE.endpoint("POST", path)
    assert endpoint
    sent = json.loads(WIRE.apply(endpoint, path, b'{"contents":[1]}', FULL).body)
    assert sent == {
        "generateContentRequest": {
            "model": "models/gemini-new",
            "contents": [1],
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
        }
    }
    assert WIRE.read(endpoint, 200, b'{"totalTokens":4}').usage == Usage(4)


@pytest.mark.parametrize(
    ("tools", "effects"),
    [
        ([{"functionDeclarations": []}], ()),
        ([{"function_declarations": []}, {"google_search": {}}], ("tool:googleSearch",)),
        ([{"codeExecution": {}}], ("tool:codeExecution",)),
        ("odd", ("tools",)),
    ],
)
def test_effects(tools: object, effects: tuple[str, ...]) -> None:
    """Every tool but functions is run by the provider."""
    assert WIRE.peek(GENERATE, PATH, json.dumps({"tools": tools}).encode()).effects == effects


def test_read() -> None:
    """Thoughts are no text but count as output; calls, reason, model and id are read."""
    body = {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "hidden", "thought": True},
                        {"text": "A"},
                        {"functionCall": {"name": "f", "args": {"x": 1}}},
                        {"functionCall": {"name": "g"}},
                    ]
                },
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 10,
            "candidatesTokenCount": 5,
            "thoughtsTokenCount": 3,
            "cachedContentTokenCount": 4,
            "toolUsePromptTokenCount": 2,
        },
        "modelVersion": "gemini-x",
        "responseId": "r",
    }
    answer = WIRE.read(GENERATE, 200, json.dumps(body).encode())
    assert answer.text == "A"
    assert json.loads(answer.tool_calls) == [{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": {}}]
    assert (answer.finish_reason, answer.model, answer.id) == ("STOP", "gemini-x", "r")
    assert answer.usage == Usage(12, 8, 4, 3)


@pytest.mark.parametrize(
    ("status", "body", "error", "finish", "unreadable"),
    [
        (200, b'{"promptFeedback":{"blockReason":"SAFETY"}}', "", "SAFETY", False),
        (200, b"{}", "", "", True),
        (503, b'{"error":{"code":503,"status":"UNAVAILABLE"}}', "UNAVAILABLE", "", False),
        (400, b'[{"error":{"code":400,"status":"INVALID_ARGUMENT"}}]', "INVALID_ARGUMENT", "", False),
        (500, b"x", "status_500", "", True),
    ],
)
def test_read_what_is_no_answer(status: int, body: bytes, error: str, finish: str, unreadable: bool) -> None:
    """A blocked prompt is an answer with its reason; errors are named; nothing is raised."""
    answer = WIRE.read(GENERATE, status, body)
    assert (answer.error, answer.finish_reason, answer.unreadable) == (error, finish, unreadable)


def test_compose() -> None:
    """Our own request has the roles of the dialect and streams events."""
    messages = [Message("system", "B."), Message("user", "x"), Message("assistant", "y"), Message("user", "z")]
    request = WIRE.compose(Variant("v", "p", "models/m", "A."), messages, stream=True)
    assert request.path == "/v1beta/models/m:streamGenerateContent?alt=sse"
    assert json.loads(request.body) == {
        "contents": [
            {"role": "user", "parts": [{"text": "x"}]},
            {"role": "model", "parts": [{"text": "y"}]},
            {"role": "user", "parts": [{"text": "z"}]},
        ],
        "systemInstruction": {"parts": [{"text": "A."}, {"text": "B."}]},
    }


def test_errors_keys_and_paths() -> None:
    """Errors have the dialect's shape, a key may stand in the query, other paths are refused."""
    assert json.loads(WIRE.error_body(429, "k", "m"))["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert WIRE.key_in({}, "alt=sse&key=k") == WIRE.key_in({"x-goog-api-key": "k"}) == "k"
    assert WIRE.endpoint("POST", "/v1beta/models/a/b:generateContent") is None
    assert WIRE.endpoint("POST", "/v1beta/models/a:deleteEverything") is None
    with pytest.raises(WireError):
        WIRE.peek(GENERATE, "/v1/else", b"{}")


def test_recognise() -> None:
    """A request line names its dialect; the shared path of the lists of models is told apart by headers."""
    found = recognise("POST", PATH, {})
    assert found and found.wire is wire("gemini")
    for headers, name in [
        ({}, "openai"),
        ({"anthropic-version": "x"}, "anthropic"),
        ({"x-goog-api-key": "k"}, "gemini"),
    ]:
        found = recognise("GET", "/v1/models", headers)
        assert found and found.wire.name == name
    assert recognise("POST", "/v1/files", {}) is None
