"""What only a model that thinks of something can do: tools, structured output, limits, errors, through the SDKs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal

import anthropic
import openai
import pytest
from google import genai
from google.genai import types as genai_types
from pydantic import BaseModel

from understudy.testing.background import running
from understudy.testing.behaviour import Behaviour
from understudy.testing.simulated import SimulatedProvider
from understudy.testing.writer import KINDS

PROMPT = "[refund] I was charged twice for order 4711."
PARAMETERS = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}


class Step(BaseModel):
    what: str
    days: int | None


class Ticket(BaseModel):
    kind: Literal["delivery", "refund"]
    reply: str
    steps: list[Step]


@pytest.fixture
def provider() -> Iterator[SimulatedProvider]:
    models = {
        "m": Behaviour(),
        "thinker": Behaviour(reasoning_tokens=400),
        "failing": Behaviour(error_share=1.0, error_status=429),
    }
    with running(lambda: SimulatedProvider(models)) as simulated:
        yield simulated


@pytest.fixture
def client(provider: SimulatedProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider.base_url, api_key="k", max_retries=0) as made:
        yield made


@pytest.fixture
def claude(provider: SimulatedProvider) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=provider.root_url, api_key="k", max_retries=0) as made:
        yield made


def test_openai_tools_are_called_whole_and_streamed(client: openai.OpenAI) -> None:
    """The call has the tool's name and JSON arguments; streamed, the deltas join to the same; then comes text."""
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": PARAMETERS}}]
    messages = [{"role": "user", "content": PROMPT}]
    whole = client.chat.completions.create(model="m", messages=messages, tools=tools)
    (call,) = whole.choices[0].message.tool_calls
    assert whole.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "look_up"
    assert "order" in json.loads(call.function.arguments)
    with client.chat.completions.create(model="m", messages=messages, tools=tools, stream=True) as stream:
        deltas = [c.choices[0].delta.tool_calls[0] for c in stream if c.choices and c.choices[0].delta.tool_calls]
    assert deltas[0].id == call.id
    assert "".join(delta.function.arguments or "" for delta in deltas) == call.function.arguments
    answered = [*messages, {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]}]
    answered.append({"role": "tool", "tool_call_id": call.id, "content": "paid twice"})
    after = client.chat.completions.create(model="m", messages=answered, tools=tools)
    assert KINDS["refund"].resolution in after.choices[0].message.content


def test_responses_tools_are_called(client: openai.OpenAI) -> None:
    """The responses API gives a function call item, whole and streamed."""
    tools = [{"type": "function", "name": "look_up", "parameters": PARAMETERS}]
    whole = client.responses.create(model="m", input=PROMPT, tools=tools)
    with client.responses.stream(model="m", input=PROMPT, tools=tools) as stream:
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["function_call"]
    assert final.output[0].arguments == whole.output[0].arguments


def test_anthropic_tools_are_called(claude: anthropic.Anthropic) -> None:
    """The messages API gives a tool_use block, whole and streamed."""
    asked = {
        "model": "m",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": PROMPT}],
        "tools": [{"name": "look_up", "input_schema": PARAMETERS}],
        "tool_choice": {"type": "tool", "name": "look_up"},
    }
    whole = claude.messages.create(**asked)
    with claude.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    assert whole.stop_reason == final.stop_reason == "tool_use"
    assert final.content[0].input == whole.content[0].input
    assert "order" in whole.content[0].input


def test_gemini_tools_are_called(provider: SimulatedProvider) -> None:
    """generateContent gives a function call."""
    client = genai.Client(api_key="k", http_options=genai_types.HttpOptions(base_url=provider.root_url))
    declared = genai_types.FunctionDeclaration(name="look_up", parameters_json_schema=PARAMETERS)
    config = genai_types.GenerateContentConfig(
        tools=[genai_types.Tool(function_declarations=[declared])],
        automatic_function_calling=genai_types.AutomaticFunctionCallingConfig(disable=True),
    )
    answer = client.models.generate_content(model="m", contents=PROMPT, config=config)
    assert [call.name for call in answer.function_calls] == ["look_up"]
    client.close()


def test_structured_output_parses(client: openai.OpenAI) -> None:
    """An answer to a JSON schema is an instance of it, for both OpenAI APIs."""
    parsed = client.chat.completions.parse(
        model="m", messages=[{"role": "user", "content": PROMPT}], response_format=Ticket
    )
    assert parsed.choices[0].message.parsed.kind == "refund"
    answer = client.responses.parse(model="m", input=PROMPT, text_format=Ticket)
    assert KINDS["refund"].resolution in answer.output_parsed.reply


def test_thinking_is_billed_and_not_shown(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    """Reasoning tokens are among the output tokens, follow the effort, and leave the text alone."""
    plain, much, little = (
        client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": PROMPT}], reasoning_effort=effort
        ).usage
        for model, effort in (("m", "medium"), ("thinker", "medium"), ("thinker", "low"))
    )
    assert (plain.completion_tokens_details.reasoning_tokens, much.completion_tokens_details.reasoning_tokens) == (
        0,
        400,
    )
    assert little.completion_tokens_details.reasoning_tokens == 120
    budget = {"type": "enabled", "budget_tokens": 100}
    thinking = claude.messages.create(
        model="thinker", max_tokens=1000, messages=[{"role": "user", "content": PROMPT}], thinking=budget
    )
    assert 100 < thinking.usage.output_tokens < 400


def test_limits_and_refusals_reach_the_sdk(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    """max_tokens ends with length; a 429 is the SDK's rate-limit error with its Retry-After."""
    cut = client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": PROMPT}], max_completion_tokens=5
    )
    assert cut.choices[0].finish_reason == "length"
    with pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(model="failing", messages=[{"role": "user", "content": PROMPT}])
    assert limited.value.response.headers["retry-after"] == "1"
    with pytest.raises(anthropic.RateLimitError):
        claude.messages.create(model="failing", max_tokens=5, messages=[{"role": "user", "content": PROMPT}])
