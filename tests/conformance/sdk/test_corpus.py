"""The official SDKs and our readers are given the same bytes and understand the same."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from understudy.core.variant import Reasoning, Variant
from understudy.wires.base import Answer, Endpoint, Peek, WireRequest
from understudy.wires.registry import recognise, wire

CORPUS = Path(__file__).parents[1] / "wires" / "corpus"
VARIANT = Variant("v", "p", "m-1", "Front.", {}, Reasoning("low"))


class Provider:
    """A server that answers every POST with given bytes and keeps what our wires made of the request."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.port = 0
        self.seen: list[tuple[Endpoint, Peek, WireRequest]] = []


@contextmanager
def answering(body: bytes, kind: str = "text/event-stream") -> Iterator[Provider]:
    provider = Provider(body)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Nothing is logged."""

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"]))
            found = recognise("POST", self.path, {k.lower(): v for k, v in self.headers.items()})
            assert found
            peeked = found.wire.peek(found.endpoint, self.path, sent)
            applied = found.wire.apply(found.endpoint, self.path, sent, VARIANT, peeked)
            provider.seen.append((found.endpoint, peeked, applied))
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()


def stream(name: str) -> tuple[bytes, Answer]:
    """A stream of the corpus, and what our reader makes of it."""
    data = (CORPUS / f"{name}.stream").read_bytes()
    spoken, _, endpoint = name.partition("--")[0].partition(".")
    reader = wire(spoken).reader(Endpoint(spoken, endpoint, "", ""))
    reader.feed(data)
    return data, reader.answer()


def calls(answer: Answer) -> list[Any]:
    return [(call["name"], call["arguments"]) for call in json.loads(answer.tool_calls or "[]")]


@pytest.mark.parametrize("what", ["text", "tools-crlf"])
def test_openai_chat(what: str) -> None:
    """Text, calls, reason and usage of a chat stream are the same to the SDK."""
    data, ours = stream(f"openai.chat.completions--{what}")
    with (
        answering(data) as provider,
        openai.OpenAI(base_url=f"http://127.0.0.1:{provider.port}/v1", api_key="k") as sdk,
        sdk.chat.completions.stream(model="w", messages=[{"role": "user", "content": "x"}]) as events,
    ):
        events.until_done()
        theirs = events.get_final_completion()
    message = theirs.choices[0].message
    assert (message.content or "", theirs.choices[0].finish_reason) == (ours.text, ours.finish_reason)
    assert [(c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls or []] == calls(ours)
    assert (theirs.usage.completion_tokens if theirs.usage else None) == ours.usage.output_tokens
    assert json.loads(provider.seen[0][2].body)["reasoning_effort"] == "low"


@pytest.mark.parametrize("what", ["text-and-call", "incomplete", "failed"])
def test_openai_responses(what: str) -> None:
    """The last event of a responses stream says the same to the SDK: status, text, calls, usage."""
    data, ours = stream(f"openai.responses--{what}")
    with (
        answering(data) as provider,
        openai.OpenAI(base_url=f"http://127.0.0.1:{provider.port}/v1", api_key="k") as sdk,
    ):
        events = list(sdk.responses.create(model="w", input="x", instructions="own", stream=True, store=False))
    last: Any = events[-1]
    assert last.type in ("response.completed", "response.incomplete", "response.failed")
    theirs = last.response
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert (deltas, theirs.model, theirs.id) == (ours.text, ours.model, ours.id)
    items = [item for item in theirs.output if item.type == "function_call"]
    assert [(item.name, json.loads(item.arguments)) for item in items] == calls(ours)
    assert (theirs.usage.output_tokens if theirs.usage else None) == ours.usage.output_tokens
    assert bool(theirs.error) is bool(ours.error)
    _, peeked, applied = provider.seen[0]
    assert (peeked.model, peeked.stream, peeked.effects) == ("w", True, ())
    sent = json.loads(applied.body)
    assert (sent["instructions"], sent["reasoning"]) == ("Front.\n\nown", {"effort": "low"})


def test_openai_embeddings() -> None:
    """Embeddings go through with the variant's model, and their usage is read."""
    body = {
        "object": "list",
        "model": "m-1",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    data = json.dumps(body).encode()
    with (
        answering(data, "application/json") as provider,
        openai.OpenAI(base_url=f"http://127.0.0.1:{provider.port}/v1", api_key="k") as sdk,
    ):
        theirs = sdk.embeddings.create(model="w", input=["a"], encoding_format="float")
    endpoint, peeked, applied = provider.seen[0]
    ours = wire("openai").read(endpoint, 200, data)
    assert (theirs.usage.prompt_tokens, theirs.model) == (ours.usage.input_tokens, ours.model)
    assert (peeked.model, json.loads(applied.body)["model"]) == ("w", "m-1")


def test_anthropic_messages() -> None:
    """Blocks, reason and counts of a message stream are the same to the SDK."""
    data, ours = stream("anthropic.messages--thinking-text-tool")
    with (
        answering(data) as provider,
        anthropic.Anthropic(base_url=f"http://127.0.0.1:{provider.port}", api_key="k") as sdk,
        sdk.messages.stream(model="w", max_tokens=9, messages=[{"role": "user", "content": "x"}]) as events,
    ):
        theirs = events.get_final_message()
    assert "".join(block.text for block in theirs.content if block.type == "text") == ours.text
    assert [(block.name, block.input) for block in theirs.content if block.type == "tool_use"] == calls(ours)
    assert (theirs.stop_reason, theirs.model, theirs.id) == (ours.finish_reason, ours.model, ours.id)
    usage = theirs.usage
    whole = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    assert (whole, usage.output_tokens) == (ours.usage.input_tokens, ours.usage.output_tokens)
    assert json.loads(provider.seen[0][2].body)["output_config"] == {"effort": "low"}


def test_anthropic_error_in_the_stream() -> None:
    """An error after 200 is an exception to the SDK and an incomplete, failed answer to us."""
    data, ours = stream("anthropic.messages--overloaded-crlf")
    with (
        answering(data) as provider,
        anthropic.Anthropic(base_url=f"http://127.0.0.1:{provider.port}", api_key="k") as sdk,
        pytest.raises(anthropic.APIStatusError, match="Overloaded"),
        sdk.messages.stream(model="w", max_tokens=9, messages=[{"role": "user", "content": "x"}]) as events,
    ):
        events.get_final_message()
    assert (ours.complete, ours.error) == (False, "overloaded_error")


def test_anthropic_count_tokens() -> None:
    """A count goes through with the variant's prompt in what is counted."""
    with (
        answering(b'{"input_tokens":12}', "application/json") as provider,
        anthropic.Anthropic(base_url=f"http://127.0.0.1:{provider.port}", api_key="k") as sdk,
    ):
        theirs = sdk.messages.count_tokens(model="w", messages=[{"role": "user", "content": "x"}])
    assert theirs.input_tokens == 12
    sent = json.loads(provider.seen[0][2].body)
    assert (sent["model"], sent["system"]) == ("m-1", "Front.")


def test_gemini() -> None:
    """Parts, reason and counts of a stream are the same to the SDK."""
    data, ours = stream("gemini.stream_generate_content--sse")
    with answering(data) as provider:
        options = types.HttpOptions(base_url=f"http://127.0.0.1:{provider.port}")
        with genai.Client(api_key="k", http_options=options) as sdk:
            chunks = list(sdk.models.generate_content_stream(model="w", contents="x"))
    texts = [
        part.text or ""
        for chunk in chunks
        for candidate in chunk.candidates or []
        for part in (candidate.content.parts if candidate.content else None) or []
        if not part.thought
    ]
    last = chunks[-1]
    assert "".join(texts) == ours.text
    assert [(call.name, call.args) for chunk in chunks for call in chunk.function_calls or []] == calls(ours)
    assert last.candidates and last.candidates[0].finish_reason == ours.finish_reason
    usage = last.usage_metadata
    assert usage
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (
        ours.usage.input_tokens,
        ours.usage.cached_tokens,
    )
    assert (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0) == ours.usage.output_tokens
    _, peeked, applied = provider.seen[0]
    assert (peeked.model, peeked.stream) == ("w", True)
    assert applied.path == "/v1/models/m-1:streamGenerateContent?alt=sse"


def test_gemini_error_in_the_stream() -> None:
    """An error object in the stream is an exception to the SDK and an incomplete, failed answer to us."""
    data, ours = stream("gemini.stream_generate_content--error")
    with answering(data) as provider:
        options = types.HttpOptions(base_url=f"http://127.0.0.1:{provider.port}")
        with genai.Client(api_key="k", http_options=options) as sdk, pytest.raises(errors.APIError, match="overloaded"):
            list(sdk.models.generate_content_stream(model="w", contents="x"))
    assert (ours.complete, ours.error) == (False, "UNAVAILABLE")
