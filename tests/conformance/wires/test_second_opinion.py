"""A second, independent reading of the dialects (the one the test providers speak) agrees with the wires."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core.variant import Reasoning, Variant
from understudy.testing.dialects import DIALECTS, RESPONSES, Asked, Call, Said
from understudy.testing.server import Request
from understudy.wires.base import Answer, Endpoint, Message, WireRequest
from understudy.wires.registry import NAMES, wire
from understudy.wires.translate import answer as carried_answer
from understudy.wires.translate import request, stream

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OWN_TOOLS: dict[str, Any] = {
    "openai": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
    "anthropic": [{"name": "weather", "input_schema": SCHEMA}],
    "gemini": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": SCHEMA}]}],
}
OWN_CHOICE: dict[str, Any] = {
    "openai": ("tool_choice", "required"),
    "anthropic": ("tool_choice", {"type": "any"}),
    "gemini": ("toolConfig", {"functionCallingConfig": {"mode": "ANY"}}),
}
MESSAGES = [Message("user", "Hello"), Message("assistant", "Hi!"), Message("user", "Wie geht's, 世界?")]
VARIANTS = {
    "openai": Variant("v", "p", "m-1", "Be kind.", {"max_tokens": 50}, Reasoning("low")),
    "anthropic": Variant("v", "p", "m-1", "Be kind.", {"max_tokens": 50}, Reasoning("low")),
    "gemini": Variant("v", "p", "m-1", "Be kind.", {"max_output_tokens": 50}, Reasoning("low")),
}
PAIRS = [(a, b) for a in NAMES for b in NAMES]


def asked(name: str, sent: WireRequest) -> Asked:
    """What the second reading makes of a request of ours, as it would arrive at a provider."""
    path, _, query = sent.path.partition("?")
    base = "/v1" if name == "openai" else ""
    headers = dict((*sent.headers, *wire(name).auth_headers("k")))
    return DIALECTS[name].read(Request("POST", base + path, query, headers, sent.body))


def own(name: str, *, streamed: bool) -> tuple[Endpoint, str, dict[str, Any]]:
    """A request as an app of a dialect sends it: three turns, a tool that must be called."""
    sent = wire(name).compose(VARIANTS[name], MESSAGES, stream=streamed, user="u-1")
    path = ("/v1" if name == "openai" else "") + sent.path
    endpoint = wire(name).endpoint("POST", path)
    assert endpoint
    key, choice = OWN_CHOICE[name]
    return endpoint, path, {**json.loads(sent.body), "tools": OWN_TOOLS[name], key: choice}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("streamed", [False, True])
def test_composed_requests(name: str, streamed: bool) -> None:
    """A request of our own is read as what was asked for."""
    found = asked(name, wire(name).compose(VARIANTS[name], MESSAGES, stream=streamed))
    assert [tuple(turn) for turn in found.turns] == [tuple(message) for message in MESSAGES]
    assert (found.model, found.system, found.stream, found.max_tokens) == ("m-1", "Be kind.", streamed, 50)


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("streamed", [False, True])
def test_carried_requests(source: str, target: str, streamed: bool) -> None:
    """A request carried over is read as what the app asked for, its tool and the demand to call it included."""
    endpoint, path, body = own(source, streamed=streamed)
    there = request(endpoint, path, json.dumps(body).encode(), target)
    variant = Variant("v", "p", "m-2", "Front.")
    found = asked(target, wire(target).apply(there.endpoint, there.path, there.body, variant))
    assert [tuple(turn) for turn in found.turns] == [tuple(message) for message in MESSAGES]
    assert found.system.replace("\n", "") in ("Front.Be kind.", "Front. Be kind.")
    assert (found.model, found.stream, found.max_tokens, found.must_call) == ("m-2", streamed, 50, "")
    assert [(tool.name, tool.schema) for tool in found.tools] == [("weather", SCHEMA)]


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=40)
SAID = st.builds(
    Said,
    text=TEXTS,
    model=st.just("m-1"),
    input_tokens=st.integers(60, 90),
    output_tokens=st.integers(30, 60),
    reasoning_tokens=st.integers(0, 30),
    cached_tokens=st.integers(0, 60),
    finish=st.sampled_from(["stop", "length"]),
    calls=st.lists(
        st.builds(Call, st.just("id"), st.just("weather"), TEXTS.map(lambda city: json.dumps({"city": city}))),
        max_size=2,
    ).map(lambda calls: tuple(call._replace(id=f"call_{n}") for n, call in enumerate(calls))),
)


def agrees(said: Said, found: Answer) -> None:
    assert (found.text, found.complete, found.unreadable, found.error) == (said.text, True, False, "")
    assert [(c["name"], c["arguments"]) for c in json.loads(found.tool_calls or "[]")] == [
        (call.name, json.loads(call.arguments)) for call in said.calls
    ]
    assert (found.usage.input_tokens, found.usage.output_tokens) == (said.input_tokens, said.output_tokens)
    assert (found.usage.cached_tokens or 0) == said.cached_tokens


def finished(said: Said) -> Said:
    return Said(
        **{
            field: getattr(said, field)
            for field in (
                "text",
                "model",
                "input_tokens",
                "output_tokens",
                "reasoning_tokens",
                "cached_tokens",
                "calls",
            )
        },
        finish="tool_calls" if said.calls else said.finish,
    )


@pytest.mark.parametrize(("source", "target"), PAIRS)
@settings(derandomize=True, max_examples=25, deadline=None)
@given(said=SAID.map(finished))
def test_answers(source: str, target: str, said: Said) -> None:
    """What a provider says, whole or streamed, is read as it was said, also after being carried over."""
    for streamed in (False, True):
        endpoint, path, body = own(source, streamed=streamed)
        there = request(endpoint, path, json.dumps(body).encode(), target)
        spoken = DIALECTS[target]
        if streamed:
            script = spoken.script(Asked("m-1", (), stream=True, include_usage=True), said, "s1")
            provider = b"".join(script.parts())
            direct = wire(target).reader(there.endpoint)
            direct.feed(provider)
            agrees(said, direct.answer())
            carrying = stream(there.back)
            told = b"".join(carrying.feed(part) for part in script.parts()) + carrying.finish()
            reader = wire(source).reader(endpoint)
            reader.feed(told)
            agrees(said, reader.answer())
        else:
            provider = spoken.whole(said, "s1")
            agrees(said, wire(target).read(there.endpoint, 200, provider))
            agrees(said, wire(source).read(endpoint, 200, carried_answer(there.back, 200, provider).body))


@settings(derandomize=True, max_examples=40, deadline=None)
@given(said=SAID.map(finished))
def test_responses(said: Said) -> None:
    """Responses, whole and streamed, are read as they were said."""
    endpoint = wire("openai").endpoint("POST", "/v1/responses")
    assert endpoint
    agrees(said, wire("openai").read(endpoint, 200, RESPONSES.whole(said, "s1")))
    reader = wire("openai").reader(endpoint)
    for part in RESPONSES.script(Asked("m-1", (), stream=True), said, "s1").parts():
        reader.feed(part)
    agrees(said, reader.answer())


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_errors(source: str, target: str) -> None:
    """An error of the provider, before or within a stream, reaches the app as an error with the provider's words."""
    endpoint, path, body = own(source, streamed=True)
    there = request(endpoint, path, json.dumps(body).encode(), target)
    spoken = DIALECTS[target]
    told = carried_answer(there.back, 503, spoken.error(503, "too busy")).body
    assert b"too busy" in told
    assert wire(source).read(endpoint, 503, told).error
    carrying = stream(there.back)
    within = carrying.feed(spoken.error_event(503, "too busy"))
    assert b"too busy" in within
    reader = wire(source).reader(endpoint)
    reader.feed(within)
    assert (reader.done, bool(reader.answer().error)) == (False, True)
