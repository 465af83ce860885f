"""The official OpenAI SDK talks to a provider of every dialect and notices nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from understudy.wires.translation.neutral import Media, Text, ToolCall, ToolResult

GREETING = "Grüße, 世界 👋"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


class Trip(BaseModel):
    city: str
    days: int


def client(front: Any) -> OpenAI:
    return OpenAI(base_url=front.url + "/v1", api_key="app-key", max_retries=0)


def user(text: str) -> Any:
    return [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]


def test_text(front: Any) -> None:
    """A plain question gets text, reason and every count; the provider saw prompt, question and limits."""
    with client(front) as sdk:
        answer = sdk.chat.completions.create(
            model="reply-drafting", messages=user("Hello"), temperature=0.5, max_completion_tokens=99, stop=["END"]
        )
    assert answer.choices[0].message.content == GREETING
    assert (answer.choices[0].finish_reason, answer.model) == ("stop", "m-1")
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (100, 40)
    assert answer.usage.prompt_tokens_details and answer.usage.prompt_tokens_details.cached_tokens == 30
    assert answer.usage.completion_tokens_details and answer.usage.completion_tokens_details.reasoning_tokens == 20
    ask = front.asks[0]
    assert ask.system == ["Front.", "Be kind."]
    assert (ask.sampling.temperature, ask.sampling.max_tokens, ask.sampling.stop) == (0.5, 99, ["END"])
    assert (front.keys, front.losses) == (["app-key"], [])


def test_stream(front: Any) -> None:
    """A stream brings the same text, and its usage where it was asked for."""
    with client(front) as sdk:
        chunks = list(
            sdk.chat.completions.create(
                model="reply-drafting", messages=user("Hello"), stream=True, stream_options={"include_usage": True}
            )
        )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == GREETING
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens == 40
    assert front.answers[0].complete


def test_tools_there_and_back(front: Any) -> None:
    """Calls come back whole; their results and the picture beside them reach the provider."""
    messages: Any = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "Where?"}, {"type": "image_url", "image_url": {"url": PIXEL}}],
        }
    ]
    with client(front) as sdk:
        first = sdk.chat.completions.create(
            model="reply-drafting", messages=messages, tools=[WEATHER], tool_choice="required"
        )
        said = first.choices[0].message
        assert first.choices[0].finish_reason == "tool_calls"
        assert said.tool_calls and [json.loads(c.function.arguments) for c in said.tool_calls] == [
            {"city": "A"},
            {"city": "B"},
        ]
        messages.append(said.model_dump(exclude_none=True))
        messages += [{"role": "tool", "tool_call_id": c.id, "content": f"sunny {c.id}"} for c in said.tool_calls]
        second = sdk.chat.completions.create(model="reply-drafting", messages=messages, tools=[WEATHER])
    assert second.choices[0].message.content == GREETING
    ask = front.asks[1]
    assert ask.turns[0].parts == [Text("Where?"), Media("image/png", data="iVBORw0KGgo=")]
    assert [p.name for p in ask.turns[1].parts if isinstance(p, ToolCall)] == ["weather", "weather"]
    results = [p for p in ask.turns[2].parts if isinstance(p, ToolResult)]
    assert [(p.name, p.parts) for p in results] == [("weather", [Text(f"sunny {c.id}")]) for c in said.tool_calls]


def test_streamed_tools(front: Any) -> None:
    """The SDK's own accumulator puts the streamed calls together."""
    with (
        client(front) as sdk,
        sdk.chat.completions.stream(model="reply-drafting", messages=user("Where?"), tools=[WEATHER]) as stream,
    ):
        stream.until_done()
        message = stream.get_final_completion().choices[0].message
    assert message.content == "Let me see."
    assert (
        message.tool_calls and [c.function.arguments for c in message.tool_calls] == ['{"city": "A"}', '{"city": "B"}']
    ) or [json.loads(c.function.arguments) for c in message.tool_calls or []] == [{"city": "A"}, {"city": "B"}]


def test_structured_output(front: Any) -> None:
    """A pydantic model as the format: the provider got its schema, the SDK its instance."""
    with client(front) as sdk:
        answer = sdk.chat.completions.parse(model="reply-drafting", messages=user("Trip"), response_format=Trip)
    assert answer.choices[0].message.parsed == Trip(city="Bern", days=3)
    assert set(front.asks[0].format.schema["properties"]) == {"city", "days"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, openai.BadRequestError), (401, openai.AuthenticationError), (429, openai.RateLimitError)],
)
def test_errors(front: Any, status: int, kind: type[openai.APIStatusError]) -> None:
    """An error of the provider is the SDK's own exception with the provider's words."""
    with client(front) as sdk, pytest.raises(kind, match="slow down"):
        sdk.chat.completions.create(model="reply-drafting", messages=user(f"fail {status}"))


@pytest.mark.parametrize("how", ["cut", "error"])
def test_broken_streams(front: Any, how: str) -> None:
    """A stream that is cut, or ends in an error, raises in the app after what was sent."""
    text = ""
    with client(front) as sdk:
        stream = sdk.chat.completions.create(model="reply-drafting", messages=user(f"{how} now"), stream=True)
        with pytest.raises(openai.APIError):
            for chunk in stream:
                text += chunk.choices[0].delta.content or ""
    assert text == GREETING
    assert (front.answers[0].complete, bool(front.answers[0].error)) == (False, True)


def test_async(front: Any) -> None:
    """The asynchronous client gets the same, streaming and not."""

    async def run() -> tuple[str | None, str]:
        async with AsyncOpenAI(base_url=front.url + "/v1", api_key="k", max_retries=0) as sdk:
            whole = await sdk.chat.completions.create(model="reply-drafting", messages=user("Hello"))
            stream = await sdk.chat.completions.create(model="reply-drafting", messages=user("Hello"), stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        return whole.choices[0].message.content, "".join(pieces)

    assert asyncio.run(run()) == (GREETING, GREETING)


def test_models(front: Any) -> None:
    """The list of models is the list of workloads."""
    with client(front) as sdk:
        assert [model.id for model in sdk.models.list()] == ["reply-drafting", "triage"]
