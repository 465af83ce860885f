"""A provider refuses what the real one refuses, so that a wire that sends nonsense cannot pass."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest

from understudy.testing.provider import ProviderServer

from .conftest import KEY, MODEL, PROMPT

ASKED = [{"role": "user", "content": PROMPT}]
HEADERS = {
    "authorization": f"Bearer {KEY}",
    "x-api-key": KEY,
    "x-goog-api-key": KEY,
    "content-type": "application/json",
}
VERSION = {"anthropic-version": "2023-06-01"}


def post(provider: ProviderServer, path: str, body: object, headers: dict[str, str] = HEADERS) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=60)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, data, headers)
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", b"{", 400),
        ("/v1/chat/completions", [], 400),
        ("/v1/chat/completions", {"messages": ASKED}, 400),
        ("/v1/chat/completions", {"model": MODEL, "messages": []}, 400),
        ("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "robot", "content": "x"}]}, 400),
        ("/chat/completions", {"model": MODEL, "messages": ASKED}, 404),
        ("/v1/v1/chat/completions", {"model": MODEL, "messages": ASKED}, 404),
        ("/v1/responses", {"model": MODEL}, 400),
        ("/v1/responses", {"model": MODEL, "input": [{"content": "x"}]}, 400),
        ("/v1beta/models/model-1:generateContent", {"contents": []}, 400),
        ("/v1beta/models/model-1:generateContent", {"contents": [{"role": "assistant", "parts": []}]}, 400),
        ("/v1beta/models/model-1:generateContent", {"messages": ASKED}, 400),
        ("/v1/embeddings", {"model": "e"}, 400),
    ],
)
def test_nonsense_is_refused(provider: ProviderServer, path: str, body: object, status: int) -> None:
    """A missing field, an unknown role or a path that is not the provider's gets the provider's error."""
    answer = post(provider, path, body)
    assert answer[0] == status
    assert answer[1]["error"]["message"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"model": MODEL, "messages": ASKED}, VERSION),
        ({"model": MODEL, "max_tokens": 9, "messages": ASKED}, {}),
        ({"model": MODEL, "max_tokens": 9, "messages": [{"role": "system", "content": "x"}, *ASKED]}, VERSION),
    ],
)
def test_anthropic_wants_its_version_its_limit_and_its_roles(
    provider: ProviderServer, body: object, headers: dict[str, str]
) -> None:
    """What an OpenAI body lacks for Anthropic is missed."""
    status, answer = post(provider, "/v1/messages", body, HEADERS | headers)
    assert status == 400
    assert answer["type"] == "error"
    assert answer["error"]["type"] == "invalid_request_error"


def test_gemini_streams_a_json_array_unless_events_are_asked_for(provider: ProviderServer) -> None:
    """Without alt=sse the stream is one JSON array; with it, events that end in a finish reason."""
    body = {"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]}
    status, answer = post(provider, "/v1beta/models/model-1:streamGenerateContent", body)
    assert status == 200
    assert len(answer) > 3
    assert answer[-1]["candidates"][0]["finishReason"] == "STOP"
    assert "finishReason" not in answer[0]["candidates"][0]
