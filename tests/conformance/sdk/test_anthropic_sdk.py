"""The official Anthropic SDK talks to a provider of every dialect and notices nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from pydantic import BaseModel

from understudy.wires.translation.neutral import Media, Text, ToolCall, ToolResult

GREETING = "Grüße, 世界 👋"
WEATHER: Any = {
    "name": "weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
PIXEL: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}


class Trip(BaseModel):
    city: str
    days: int


def client(front: Any) -> Anthropic:
    return Anthropic(base_url=front.url, api_key="app-key", max_retries=0)


def asked(text: str, **more: Any) -> Any:
    messages = [{"role": "user", "content": text}]
    return {"model": "reply-drafting", "max_tokens": 99, "messages": messages, **more}


def test_text(front: Any) -> None:
    """A plain question gets text, reason and counts; the provider saw prompt, question and limits."""
    with client(front) as sdk:
        more = {"temperature": 0.5}  # the SDK no longer names it, the API's version 2023-06-01 still takes it
        answer = sdk.messages.create(**asked("Hello", system="Be kind.", stop_sequences=["END"], extra_body=more))
    assert [block.text for block in answer.content if block.type == "text"] == [GREETING]
    assert (answer.stop_reason, answer.model) == ("end_turn", "m-1")
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (70, 30, 40)
    ask = front.asks[0]
    assert ask.system == ["Front.", "Be kind."]
    assert (ask.sampling.temperature, ask.sampling.max_tokens, ask.sampling.stop) == (0.5, 99, ["END"])
    assert (front.keys, front.losses) == (["app-key"], [])


def test_stream(front: Any) -> None:
    """The SDK's own accumulator makes the same message of a stream."""
    with client(front) as sdk, sdk.messages.stream(**asked("Hello")) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == GREETING
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 40)
    assert front.answers[0].complete


def test_tools_there_and_back(front: Any) -> None:
    """Calls come back whole; their results and the picture beside them reach the provider."""
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "Where?"}, PIXEL]}]
    with client(front) as sdk:
        first = sdk.messages.create(**asked("", messages=messages, tools=[WEATHER], tool_choice={"type": "any"}))
        calls = [block for block in first.content if block.type == "tool_use"]
        assert first.stop_reason == "tool_use"
        assert [call.input for call in calls] == [{"city": "A"}, {"city": "B"}]
        messages.append({"role": "assistant", "content": first.content})
        results = [{"type": "tool_result", "tool_use_id": c.id, "content": f"sunny {c.id}"} for c in calls]
        messages.append({"role": "user", "content": results})
        second = sdk.messages.create(**asked("", messages=messages, tools=[WEATHER]))
    assert [block.text for block in second.content if block.type == "text"] == [GREETING]
    ask = front.asks[1]
    assert ask.turns[0].parts == [Text("Where?"), Media("image/png", data="iVBORw0KGgo=")]
    assert [p.name for p in ask.turns[1].parts if isinstance(p, ToolCall)] == ["weather", "weather"]
    given = [p for p in ask.turns[2].parts if isinstance(p, ToolResult)]
    assert [(p.name, p.parts) for p in given] == [("weather", [Text(f"sunny {c.id}")]) for c in calls]


def test_streamed_tools(front: Any) -> None:
    """Streamed calls are put together by the SDK."""
    with client(front) as sdk, sdk.messages.stream(**asked("Where?", tools=[WEATHER])) as stream:
        final = stream.get_final_message()
    assert [block.input for block in final.content if block.type == "tool_use"] == [{"city": "A"}, {"city": "B"}]
    assert [block.text for block in final.content if block.type == "text"] == ["Let me see."]


def test_structured_output(front: Any) -> None:
    """A pydantic model as the format: the provider got its schema, the SDK its instance."""
    with client(front) as sdk:
        answer = sdk.messages.parse(**asked("Trip", output_format=Trip))
    assert answer.parsed_output == Trip(city="Bern", days=3)
    assert set(front.asks[0].format.schema["properties"]) == {"city", "days"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, anthropic.BadRequestError), (401, anthropic.AuthenticationError), (429, anthropic.RateLimitError)],
)
def test_errors(front: Any, status: int, kind: type[anthropic.APIStatusError]) -> None:
    """An error of the provider is the SDK's own exception with the provider's words."""
    with client(front) as sdk, pytest.raises(kind, match="slow down"):
        sdk.messages.create(**asked(f"fail {status}"))


@pytest.mark.parametrize("how", ["cut", "error"])
def test_broken_streams(front: Any, how: str) -> None:
    """A stream that is cut, or ends in an error, raises in the app after what was sent."""
    text = ""
    with (
        client(front) as sdk,
        pytest.raises(anthropic.APIError),
        sdk.messages.stream(**asked(f"{how} now")) as stream,
    ):
        for piece in stream.text_stream:
            text += piece
    assert text == GREETING
    assert (front.answers[0].complete, bool(front.answers[0].error)) == (False, True)


def test_async(front: Any) -> None:
    """The asynchronous client gets the same, streaming and not."""

    async def run() -> tuple[list[str], str]:
        async with AsyncAnthropic(base_url=front.url, api_key="k", max_retries=0) as sdk:
            whole = await sdk.messages.create(**asked("Hello"))
            async with sdk.messages.stream(**asked("Hello")) as stream:
                pieces = [piece async for piece in stream.text_stream]
        return [block.text for block in whole.content if block.type == "text"], "".join(pieces)

    assert asyncio.run(run()) == ([GREETING], GREETING)


def test_models(front: Any) -> None:
    """The list of models is the list of workloads."""
    with client(front) as sdk:
        assert [model.id for model in sdk.models.list()] == ["reply-drafting", "triage"]
