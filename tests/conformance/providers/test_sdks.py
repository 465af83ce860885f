"""The official SDKs, unchanged, get the same answer from every provider, whole and streamed, and its errors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types

from understudy.testing.provider import ProviderServer

from .conftest import KEY, MODEL, PROMPT


@pytest.fixture
def openai_client(provider: ProviderServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider.base_url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(provider: ProviderServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=provider.root_url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def gemini_client(provider: ProviderServer) -> Iterator[genai.Client]:
    client = genai.Client(api_key=KEY, http_options=genai_types.HttpOptions(base_url=provider.root_url))
    yield client
    client.close()


def chat(client: openai.OpenAI, model: str = MODEL, prompt: str = PROMPT) -> openai.types.chat.ChatCompletion:
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}])


def test_openai_chat_streams_what_it_answers_whole(openai_client: openai.OpenAI) -> None:
    """The pieces of a stream join to the whole answer, with the same usage and finish reason."""
    whole = chat(openai_client)
    assert whole.usage is not None
    with openai_client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": PROMPT}],
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert len([piece for piece in pieces if piece]) > 3
    assert "".join(pieces) == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason == "stop"
    assert chunks[-1].usage == whole.usage
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


def test_openai_responses_streams_what_it_answers_whole(openai_client: openai.OpenAI) -> None:
    """The responses API gives the same text, streamed by the SDK's own accumulator."""
    whole = openai_client.responses.create(model=MODEL, input=PROMPT)
    with openai_client.responses.stream(model=MODEL, input=PROMPT) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert final.output_text == whole.output_text == chat(openai_client).choices[0].message.content
    assert final.usage == whole.usage


def test_anthropic_streams_what_it_answers_whole(anthropic_client: anthropic.Anthropic) -> None:
    """The messages API gives the same text, streamed by the SDK's own accumulator."""
    whole = anthropic_client.messages.create(
        model=MODEL, max_tokens=800, messages=[{"role": "user", "content": PROMPT}]
    )
    with anthropic_client.messages.stream(
        model=MODEL, max_tokens=800, messages=[{"role": "user", "content": PROMPT}]
    ) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 3
    assert "".join(pieces) == whole.content[0].text
    assert final.stop_reason == whole.stop_reason == "end_turn"
    assert final.usage.output_tokens == whole.usage.output_tokens
    counted = anthropic_client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": PROMPT}])
    assert counted.input_tokens == whole.usage.input_tokens


def test_gemini_streams_what_it_answers_whole(gemini_client: genai.Client) -> None:
    """generateContent and streamGenerateContent give the same text, finish reason and usage."""
    whole = gemini_client.models.generate_content(model=MODEL, contents=PROMPT)
    chunks = list(gemini_client.models.generate_content_stream(model=MODEL, contents=PROMPT))
    assert len(chunks) > 3
    assert "".join(chunk.text or "" for chunk in chunks) == whole.text
    assert chunks[-1].candidates[0].finish_reason == whole.candidates[0].finish_reason
    assert chunks[-1].usage_metadata == whole.usage_metadata
    counted = gemini_client.models.count_tokens(model=MODEL, contents=PROMPT)
    assert counted.total_tokens == whole.usage_metadata.prompt_token_count


def test_the_asynchronous_clients_get_the_same(provider: ProviderServer, openai_client: openai.OpenAI) -> None:
    """Many concurrent calls of the asynchronous SDK all get the whole answer."""
    expected = chat(openai_client).choices[0].message.content

    async def scenario() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=provider.base_url, api_key=KEY, max_retries=0) as client:

            async def one() -> str:
                stream = await client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": PROMPT}], stream=True
                )
                return "".join([c.choices[0].delta.content or "" async for c in stream])

            return list(await asyncio.gather(*(one() for _ in range(20))))

    assert asyncio.run(scenario()) == [expected] * 20


def test_models_and_embeddings(openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic) -> None:
    """The model lists name the models, and embeddings depend on the text alone."""
    assert [model.id for model in openai_client.models.list()] == [MODEL]
    assert [model.id for model in anthropic_client.models.list()] == [MODEL]
    one, two, other = openai_client.embeddings.create(model="e", input=["a", "a", "b"]).data
    assert one.embedding == two.embedding != other.embedding
    assert sum(number**2 for number in one.embedding) == pytest.approx(1, abs=1e-5)


def test_an_unknown_model_is_a_404_in_every_dialect(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, gemini_client: genai.Client
) -> None:
    """The SDK's own not-found error, naming the model that was asked for and one that is there."""
    with pytest.raises(openai.NotFoundError, match=r"model-9.*model-1"):
        chat(openai_client, model="model-9")
    with pytest.raises(openai.NotFoundError, match="model-9"):
        openai_client.responses.create(model="model-9", input="x")
    with pytest.raises(anthropic.NotFoundError, match="model-9"):
        anthropic_client.messages.create(model="model-9", max_tokens=8, messages=[{"role": "user", "content": PROMPT}])
    with pytest.raises(genai_errors.ClientError, match="model-9"):
        gemini_client.models.generate_content(model="model-9", contents=PROMPT)


def test_a_wrong_key_is_refused_in_every_dialect(provider: ProviderServer) -> None:
    """The SDK's own authentication error."""
    with openai.OpenAI(base_url=provider.base_url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            chat(client)
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
    with (
        anthropic.Anthropic(base_url=provider.root_url, api_key="wrong", max_retries=0) as claude,
        pytest.raises(anthropic.AuthenticationError),
    ):
        claude.messages.create(model=MODEL, max_tokens=8, messages=[{"role": "user", "content": PROMPT}])
    gemini = genai.Client(api_key="wrong", http_options=genai_types.HttpOptions(base_url=provider.root_url))
    with pytest.raises(genai_errors.ClientError, match="401"):
        gemini.models.generate_content(model=MODEL, contents=PROMPT)
    gemini.close()
