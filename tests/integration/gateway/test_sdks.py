"""The official SDKs, unchanged but for their base URL, against a real gateway process and a simulated provider."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai

from understudy.core.routing import Provider, RoutingTable
from understudy.testing.behaviour import Behaviour
from understudy.testing.raw import raw_server, whole
from understudy.testing.served import GatewayProcess, table
from understudy.testing.simulated import SimulatedProvider

HELLO: list[Any] = [{"role": "user", "content": "Hello there, how are you?"}]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
]


def speaking(provider: SimulatedProvider, wire: str) -> RoutingTable:
    """A workload behind a provider of this dialect."""
    url = provider.base_url if wire == "openai" else f"http://127.0.0.1:{provider.port}"
    first = table(url)
    known = Provider(name="p-old", wire=wire, base_url=url, api_key="sk-1")
    return RoutingTable("g1", 1, first.issued_at, first.workloads, {**first.providers, "p-old": known})


def against(folder: Path, wire: str, use: Callable[[int, SimulatedProvider], None]) -> None:
    """Call `use` with the gateway's port, in a thread: the SDKs block."""

    async def main() -> None:
        async with (
            SimulatedProvider({"m-old": Behaviour(latency_s=0)}) as provider,
            GatewayProcess(folder, speaking(provider, wire), workers=1) as gateway,
        ):
            await asyncio.to_thread(use, gateway.port, provider)

    asyncio.run(main())


def test_openai(tmp_path: Path) -> None:
    """Chat whole and streamed, sync and async, responses, embeddings, models, and errors as its own exceptions."""

    def use(port: int, provider: SimulatedProvider) -> None:
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any", max_retries=0) as client:
            raw = client.chat.completions.with_raw_response.create(model="chat", messages=HELLO, user="u1")
            assert raw.headers["x-understudy-variant"] == "old"
            whole = raw.parse().choices[0].message.content
            assert whole
            with client.chat.completions.create(model="chat", messages=HELLO, user="u1", stream=True) as stream:
                assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == whole
            assert client.responses.create(model="chat", input="Hello there").output_text
            assert len(client.embeddings.create(model="chat", input="Hello").data[0].embedding) > 0
            assert [model.id for model in client.models.list()] == ["chat"]
            with pytest.raises(openai.NotFoundError) as caught:
                client.chat.completions.create(model="nope", messages=HELLO)
            assert caught.value.code == "unknown_workload"
            provider.set("m-old", error_share=1.0, error_status=429)
            with pytest.raises(openai.RateLimitError) as limited:
                client.chat.completions.create(model="chat", messages=HELLO)
            assert limited.value.response.headers["retry-after"] == "1"
            provider.set("m-old", error_share=0.0)

        async def asynchronous() -> None:
            async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any") as client:
                answers = await asyncio.gather(
                    *(client.chat.completions.create(model="chat", messages=HELLO) for _ in range(8))
                )
                assert all(answer.choices[0].message.content for answer in answers)

        asyncio.run(asynchronous())

    against(tmp_path, "openai", use)


@pytest.mark.parametrize("wire", ["anthropic", "openai"])
def test_anthropic(tmp_path: Path, wire: str) -> None:
    """Messages whole and streamed, in front of its own provider and of another's."""

    def use(port: int, provider: SimulatedProvider) -> None:
        with anthropic.Anthropic(base_url=f"http://127.0.0.1:{port}", api_key="any", max_retries=0) as client:
            whole = client.messages.create(model="chat", max_tokens=300, messages=HELLO)
            assert whole.content[0].type == "text"
            assert whole.usage.output_tokens > 0
            with client.messages.stream(model="chat", max_tokens=300, messages=HELLO) as stream:
                assert stream.get_final_text() == whole.content[0].text
            with pytest.raises(anthropic.NotFoundError):
                client.messages.create(model="nope", max_tokens=300, messages=HELLO)

    against(tmp_path, wire, use)


@pytest.mark.parametrize("wire", ["gemini", "openai"])
def test_gemini(tmp_path: Path, wire: str) -> None:
    """Content whole and streamed, in front of its own provider and of another's."""

    def use(port: int, provider: SimulatedProvider) -> None:
        client = genai.Client(api_key="any", http_options={"base_url": f"http://127.0.0.1:{port}"})
        whole = client.models.generate_content(model="chat", contents="Hello there, how are you?")
        assert whole.text
        streamed = client.models.generate_content_stream(model="chat", contents="Hello there, how are you?")
        assert "".join(chunk.text or "" for chunk in streamed) == whole.text
        client.close()

    against(tmp_path, wire, use)


def test_openai_beyond_what_is_understood(tmp_path: Path) -> None:
    """One model, a moderation, an upload, and a stored response read and deleted, through the SDK's own methods."""
    stored = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": []}
    answers = {
        "POST /v1/moderations": {"id": "mod", "model": "m", "results": []},
        "POST /v1/files": {"id": "f-1", "object": "file", "bytes": 3, "created_at": 1, "filename": "a.jsonl"},
        "POST /v1/responses": stored,
        "GET /v1/responses/resp_1": stored,
        "DELETE /v1/responses/resp_1": {"id": "resp_1", "object": "response", "deleted": True},
    }

    async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        line = request.partition(b" HTTP/1.1")[0].decode()
        writer.write(whole(json.dumps(answers[line]).encode(), 200, b"content-type: application/json\r\n"))

    def use(port: int) -> None:
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any", max_retries=0) as client:
            assert client.models.retrieve("chat").id == "chat"
            with pytest.raises(openai.NotFoundError):
                client.moderations.create(input="x")
            named = {"x-understudy-workload": "chat"}
            assert client.moderations.create(input="x", extra_headers=named).id == "mod"
            upload = ("a.jsonl", b"{}\n")
            assert client.files.create(file=upload, purpose="batch", extra_headers=named).id == "f-1"
            made = client.responses.create(model="chat", input="hello")
            assert client.responses.retrieve(made.id).id == made.id
            client.responses.delete(made.id)

    async def main() -> None:
        async with raw_server(reply) as provider:
            first = table(provider.base_url, passthrough=("/v1/files",))
            async with GatewayProcess(tmp_path, first, workers=1) as gateway:
                await asyncio.to_thread(use, gateway.port)
            assert b'name="file"; filename="a.jsonl"' in provider.requests[1]

    asyncio.run(main())
