"""The official Google Gen AI SDK talks to a provider of every dialect and notices nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from understudy.wires.translation.neutral import Media, Text, ToolCall, ToolResult

GREETING = "Grüße, 世界 👋"
WEATHER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="weather",
            description="The weather of a city",
            parameters=types.Schema(
                type=types.Type.OBJECT, properties={"city": types.Schema(type=types.Type.STRING)}, required=["city"]
            ),
        )
    ]
)
MODEL = "reply-drafting"


class Trip(BaseModel):
    city: str
    days: int


def client(front: Any) -> genai.Client:
    return genai.Client(api_key="app-key", http_options=types.HttpOptions(base_url=front.url))


def test_text(front: Any) -> None:
    """A plain question gets text, reason and counts; the provider saw prompt, question and limits."""
    config = types.GenerateContentConfig(
        system_instruction="Be kind.", temperature=0.5, max_output_tokens=99, stop_sequences=["END"]
    )
    with client(front) as sdk:
        answer = sdk.models.generate_content(model=MODEL, contents="Hello", config=config)
    assert answer.text == GREETING
    assert answer.candidates and answer.candidates[0].finish_reason == types.FinishReason.STOP
    usage = answer.usage_metadata
    assert usage
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (100, 30)
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (20, 20)
    ask = front.asks[0]
    assert ask.system == ["Front.", "Be kind."]
    assert (ask.sampling.temperature, ask.sampling.max_tokens, ask.sampling.stop) == (0.5, 99, ["END"])
    assert (front.keys, front.losses) == (["app-key"], [])


def test_stream(front: Any) -> None:
    """A stream brings the same text and ends with its reason."""
    with client(front) as sdk:
        chunks = list(sdk.models.generate_content_stream(model=MODEL, contents="Hello"))
    assert "".join(chunk.text or "" for chunk in chunks) == GREETING
    assert chunks[-1].candidates and chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert front.answers[0].complete


def test_tools_there_and_back(front: Any) -> None:
    """Calls come back whole; their results and the picture beside them reach the provider."""
    pixel = types.Part.from_bytes(data=b"\x89PNG\r\n\x1a\n", mime_type="image/png")
    contents: list[types.Content] = [types.Content(role="user", parts=[types.Part(text="Where?"), pixel])]
    config = types.GenerateContentConfig(tools=[WEATHER])
    with client(front) as sdk:
        first = sdk.models.generate_content(model=MODEL, contents=contents, config=config)  # type: ignore[arg-type]
        calls = first.function_calls or []
        assert [call.args for call in calls] == [{"city": "A"}, {"city": "B"}]
        assert first.candidates and first.candidates[0].content
        contents.append(first.candidates[0].content)
        results = [
            types.Part(
                function_response=types.FunctionResponse(id=c.id, name=c.name, response={"output": f"sunny {c.id}"})
            )
            for c in calls
        ]
        contents.append(types.Content(role="user", parts=results))
        second = sdk.models.generate_content(model=MODEL, contents=contents, config=config)  # type: ignore[arg-type]
    assert second.text == GREETING
    ask = front.asks[1]
    assert ask.turns[0].parts == [Text("Where?"), Media("image/png", data="iVBORw0KGgo=")]
    assert [p.name for p in ask.turns[1].parts if isinstance(p, ToolCall)] == ["weather", "weather"]
    given = [p for p in ask.turns[2].parts if isinstance(p, ToolResult)]
    assert [(p.name, p.parts) for p in given] == [("weather", [Text(f"sunny {c.id}")]) for c in calls]
    assert ask.tools[0].schema == {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def test_streamed_tools(front: Any) -> None:
    """Streamed calls arrive whole."""
    config = types.GenerateContentConfig(tools=[WEATHER])
    with client(front) as sdk:
        chunks = list(sdk.models.generate_content_stream(model=MODEL, contents="Where?", config=config))
    calls = [call for chunk in chunks for call in chunk.function_calls or []]
    assert [call.args for call in calls] == [{"city": "A"}, {"city": "B"}]


def test_structured_output(front: Any) -> None:
    """A pydantic model as the format: the provider got its schema, the SDK its instance."""
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Trip)
    with client(front) as sdk:
        answer = sdk.models.generate_content(model=MODEL, contents="Trip", config=config)
    assert answer.parsed == Trip(city="Bern", days=3)
    assert set(front.asks[0].format.schema["properties"]) == {"city", "days"}


@pytest.mark.parametrize("status", [400, 401, 429])
def test_errors(front: Any, status: int) -> None:
    """An error of the provider is the SDK's own exception with the provider's words."""
    with client(front) as sdk, pytest.raises(errors.ClientError, match="slow down") as raised:
        sdk.models.generate_content(model=MODEL, contents=f"fail {status}")
    assert raised.value.code == status


@pytest.mark.parametrize("how", ["cut", "error"])
def test_broken_streams(front: Any, how: str) -> None:
    """A stream that is cut, or ends in an error, raises in the app after what was sent."""
    text = ""
    with client(front) as sdk, pytest.raises(errors.APIError):
        for chunk in sdk.models.generate_content_stream(model=MODEL, contents=f"{how} now"):
            text += chunk.text or ""
    assert text == GREETING
    assert (front.answers[0].complete, bool(front.answers[0].error)) == (False, True)


def test_async(front: Any) -> None:
    """The asynchronous client gets the same, streaming and not."""

    async def run() -> tuple[str | None, str]:
        async with client(front).aio as sdk:
            whole = await sdk.models.generate_content(model=MODEL, contents="Hello")
            stream = await sdk.models.generate_content_stream(model=MODEL, contents="Hello")
            pieces = [chunk.text or "" async for chunk in stream]
        return whole.text, "".join(pieces)

    assert asyncio.run(run()) == (GREETING, GREETING)


def test_models(front: Any) -> None:
    """The list of models is the list of workloads."""
    with client(front) as sdk:
        assert [model.name for model in sdk.models.list()] == ["models/reply-drafting", "models/triage"]
