"""The official OpenAI SDK asks for responses of a provider of every dialect, keeping nothing there."""

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
    "name": "weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": None,
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
ASKED: Any = {"model": "reply-drafting", "store": False}


class Trip(BaseModel):
    city: str
    days: int


def client(front: Any) -> OpenAI:
    return OpenAI(base_url=front.url + "/v1", api_key="app-key", max_retries=0)


def test_text(front: Any) -> None:
    """A plain question gets text and every count; the provider saw prompt, question and limits."""
    with client(front) as sdk:
        answer = sdk.responses.create(
            **ASKED, instructions="Be kind.", input="Hello", temperature=0.5, max_output_tokens=99
        )
    assert (answer.output_text, answer.status, answer.model) == (GREETING, "completed", "m-1")
    assert answer.usage
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (100, 40, 140)
    assert answer.usage.input_tokens_details.cached_tokens == 30
    assert answer.usage.output_tokens_details.reasoning_tokens == 20
    assert (answer.instructions, answer.temperature, answer.max_output_tokens) == ("Be kind.", 0.5, 99)
    ask = front.asks[0]
    assert ask.system == ["Front.", "Be kind."]
    assert (ask.sampling.temperature, ask.sampling.max_tokens) == (0.5, 99)
    assert (front.keys, front.losses) == (["app-key"], [])


def test_streamed_text(front: Any) -> None:
    """The SDK's own accumulator ends with the text that its events brought."""
    with client(front) as sdk, sdk.responses.stream(**ASKED, input="Hello") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text == GREETING
    assert final.usage and final.usage.output_tokens == 40
    assert front.answers[0].complete


def test_tools_there_and_back(front: Any) -> None:
    """Calls come back whole; what the SDK says of them in the next question reaches the provider."""
    history: Any = [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "Where?"}, {"type": "input_image", "image_url": PIXEL}],
        }
    ]
    with client(front) as sdk:
        first = sdk.responses.create(**ASKED, input=history, tools=[WEATHER], tool_choice="required")
        calls = [item for item in first.output if item.type == "function_call"]
        assert [json.loads(call.arguments) for call in calls] == [{"city": "A"}, {"city": "B"}]
        history += first.output
        history += [
            {"type": "function_call_output", "call_id": call.call_id, "output": f"sunny {call.call_id}"}
            for call in calls
        ]
        second = sdk.responses.create(**ASKED, input=history, tools=[WEATHER])
    assert second.output_text == GREETING
    ask = front.asks[1]
    assert ask.turns[0].parts == [Text("Where?"), Media("image/png", data="iVBORw0KGgo=")]
    assert [part.name for part in ask.turns[1].parts if isinstance(part, ToolCall)] == ["weather", "weather"]
    results = [part for turn in ask.turns for part in turn.parts if isinstance(part, ToolResult)]
    assert [part.parts for part in results] == [[Text(f"sunny {call.call_id}")] for call in calls]
    assert front.losses == []


def test_streamed_tools(front: Any) -> None:
    """The SDK's accumulator puts text and calls together."""
    with client(front) as sdk, sdk.responses.stream(**ASKED, input="Where?", tools=[WEATHER]) as stream:
        stream.until_done()
        final = stream.get_final_response()
    assert final.output_text == "Let me see."
    arguments = [json.loads(item.arguments) for item in final.output if item.type == "function_call"]
    assert arguments == [{"city": "A"}, {"city": "B"}]


def test_structured_output(front: Any) -> None:
    """A pydantic model as the format: the provider got its schema, the SDK its instance."""
    with client(front) as sdk:
        answer = sdk.responses.parse(**ASKED, input="Trip", text_format=Trip)
    assert answer.output_parsed == Trip(city="Bern", days=3)
    assert set(front.asks[0].format.schema["properties"]) == {"city", "days"}


@pytest.mark.parametrize(("status", "kind"), [(400, openai.BadRequestError), (429, openai.RateLimitError)])
def test_errors(front: Any, status: int, kind: type[openai.APIStatusError]) -> None:
    """An error of the provider is the SDK's own exception with the provider's words."""
    with client(front) as sdk, pytest.raises(kind, match="slow down"):
        sdk.responses.create(**ASKED, input=f"fail {status}")


def test_what_would_be_kept_is_refused(front: Any) -> None:
    """Without `store: false` the app is told what to say."""
    with client(front) as sdk, pytest.raises(openai.InternalServerError, match="say store: false") as refused:
        sdk.responses.create(model="reply-drafting", input="Hello")
    assert refused.value.status_code == 501


@pytest.mark.parametrize("how", ["cut", "error"])
def test_broken_streams(front: Any, how: str) -> None:
    """A stream that is cut, or ends in an error, ends with an error event in the app and is never complete."""
    with client(front) as sdk:
        events = list(sdk.responses.create(**ASKED, input=f"{how} now", stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == GREETING
    assert events[-1].type == "error"
    assert "response.completed" not in {event.type for event in events}
    assert (front.answers[0].complete, bool(front.answers[0].error)) == (False, True)


def test_async(front: Any) -> None:
    """The asynchronous client gets the same, streaming and not."""

    async def run() -> tuple[str, str]:
        async with AsyncOpenAI(base_url=front.url + "/v1", api_key="k", max_retries=0) as sdk:
            whole = await sdk.responses.create(**ASKED, input="Hello")
            stream = await sdk.responses.create(**ASKED, input="Hello", stream=True)
            pieces = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        return whole.output_text, "".join(pieces)

    assert asyncio.run(run()) == (GREETING, GREETING)
