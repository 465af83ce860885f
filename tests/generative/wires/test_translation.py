"""What one dialect says survives the way through another: round trips of requests, answers and streams."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.wires.base import Usage
from understudy.wires.registry import NAMES, wire
from understudy.wires.translate import Back, request, stream
from understudy.wires.translation import anthropic, anthropic_stream, gemini, gemini_stream, openai, openai_stream
from understudy.wires.translation.neutral import (
    Ask,
    CallDelta,
    CallStart,
    Dialect,
    End,
    Finish,
    Format,
    Losses,
    Media,
    PieceWriter,
    Reply,
    Sampling,
    Start,
    Text,
    TextDelta,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
    merged,
)

DIALECTS: dict[str, Dialect] = {"openai": openai, "anthropic": anthropic, "gemini": gemini}
PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/w:streamGenerateContent?alt=sse",
}
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)
SAID = WORDS.filter(lambda word: not word.isspace())
"""What every dialect takes: one refuses texts and stop sequences of white space alone."""
NAMES_OF_TOOLS = st.sampled_from(["get_weather", "search", "f"])
ARGUMENTS = st.dictionaries(
    st.sampled_from(["a", "b"]), st.integers(-9, 9) | WORDS | st.lists(st.booleans(), max_size=2), max_size=2
)
SCHEMA = st.sampled_from(
    [
        {"type": "object", "properties": {"a": {"type": "string", "enum": ["x", "y"]}}, "required": ["a"]},
        {"type": "object", "properties": {"n": {"type": ["integer", "null"]}}, "additionalProperties": False},
    ]
)
IMAGE = st.builds(Media, st.just("image/png"), st.just("iVBORw0KGgo="))


@st.composite
def conversations(draw: st.DrawFn) -> list[Turn]:
    """Users and assistants by turns; every call is answered in the turn after it."""
    turns: list[Turn] = []
    open_calls: list[ToolCall] = []
    for position in range(draw(st.integers(1, 5))):
        if position % 2 == 0:
            results: list[Any] = [ToolResult(call.id, call.name, [Text(draw(SAID))]) for call in open_calls]
            said = draw(st.lists(st.builds(Text, SAID) | IMAGE, min_size=0 if results else 1, max_size=2))
            turns.append(Turn("user", [*results, *said]))
        else:
            texts: list[Any] = draw(st.lists(st.builds(Text, SAID), max_size=1))
            count = draw(st.integers(0 if texts else 1, 2))
            open_calls = [
                ToolCall(f"call_{position}_{n}", draw(NAMES_OF_TOOLS), json.dumps(draw(ARGUMENTS)))
                for n in range(count)
            ]
            turns.append(Turn("assistant", [*texts, *open_calls]))
    return turns


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    """Requests that every dialect can carry whole."""
    tools = [
        Tool(name, draw(st.just("") | WORDS), draw(SCHEMA)) for name in draw(st.lists(NAMES_OF_TOOLS, unique=True))
    ]
    choices = st.sampled_from([ToolChoice("auto"), ToolChoice("none"), ToolChoice("any"), None])
    choice = draw(choices) if tools else None
    if tools and draw(st.booleans()):
        choice = ToolChoice("tool", tools[0].name)
    return Ask(
        system=draw(st.lists(SAID, max_size=2)),
        turns=draw(conversations()),
        tools=tools,
        choice=choice,
        format=draw(st.none() | st.builds(Format, SCHEMA)),
        sampling=Sampling(
            max_tokens=draw(st.integers(1, 9999)),
            temperature=draw(st.none() | st.sampled_from([0, 0.5, 1])),
            top_p=draw(st.none() | st.just(0.25)),
            stop=draw(st.lists(SAID, max_size=2)),
        ),
        effort=draw(st.none() | st.sampled_from(["low", "medium", "high"])),
        stream=True,
    )


def same(ask: Ask) -> Ask:
    """One spelling of what dialects spell differently: how turns are split, how arguments are spaced."""
    turns = merged(ask.turns)
    for turn in turns:
        turn.parts = [
            replace(part, arguments=json.dumps(json.loads(part.arguments or "{}"), sort_keys=True))
            if isinstance(part, ToolCall)
            else part
            for part in turn.parts
        ]
    return replace(ask, turns=turns)


def read(name: str, members: dict[str, Any]) -> tuple[Ask, Losses]:
    losses = Losses()
    ask = DIALECTS[name].read_ask(members, losses)
    return (replace(ask, stream=True) if name == "gemini" else ask), losses


@pytest.mark.parametrize("name", NAMES)
@settings(derandomize=True, max_examples=60, deadline=None)
@given(ask=asks())
def test_a_request_in_one_dialect(name: str, ask: Ask) -> None:
    """Written and read again, a request is what it was, and nothing is lost."""
    losses = Losses()
    again, lost = read(name, DIALECTS[name].write_ask(ask, losses))
    assert losses.all() == lost.all() == ()
    expected = same(ask)
    if name == "anthropic" or name == "gemini":
        expected.format = ask.format and replace(ask.format, name="answer", strict=None)
    assert same(again) == expected


@pytest.mark.parametrize("source", NAMES)
@pytest.mark.parametrize("target", NAMES)
@settings(derandomize=True, max_examples=40, deadline=None)
@given(ask=asks())
def test_a_request_there_and_back(source: str, target: str, ask: Ask) -> None:
    """From dialect to dialect and back the request asks for the same, with no loss on either way."""
    body = json.dumps({"model": "w", **DIALECTS[source].write_ask(ask, Losses())}).encode()
    endpoint = wire(source).endpoint("POST", PATHS[source])
    assert endpoint
    there = request(endpoint, PATHS[source], body, target, model="gemini-2.5-flash")
    assert there.endpoint.wire == target
    back = request(there.endpoint, there.path, there.body, source, model="gemini-2.5-flash")
    assert (there.losses, back.losses) == ((), ())
    assert same(read(source, json.loads(back.body))[0]) == same(ask)


USAGES = st.builds(
    Usage,
    input_tokens=st.integers(100, 200),
    output_tokens=st.integers(50, 90),
    cached_tokens=st.none() | st.integers(0, 50),
    reasoning_tokens=st.none() | st.integers(0, 50),
)
REPLIES = st.builds(
    Reply,
    id=st.just("id-1"),
    model=st.just("m-1"),
    parts=st.tuples(
        st.lists(st.builds(Text, WORDS), max_size=1),
        st.lists(st.builds(ToolCall, st.just("c"), NAMES_OF_TOOLS, ARGUMENTS.map(json.dumps)), max_size=2),
    ).map(lambda both: [*both[0], *(replace(call, id=f"c{n}") for n, call in enumerate(both[1]))]),
    finish=st.sampled_from([Finish("stop"), Finish("length")]),
    usage=USAGES,
)


def finished(reply: Reply) -> Reply:
    """A reply that calls ends with tool_calls, or it ran out of tokens."""
    called = any(isinstance(part, ToolCall) for part in reply.parts)
    finish = Finish("tool_calls") if called and reply.finish.reason == "stop" else reply.finish
    parts = [
        replace(p, arguments=json.dumps(json.loads(p.arguments), sort_keys=True)) if isinstance(p, ToolCall) else p
        for p in reply.parts
    ]
    return replace(reply, finish=finish, parts=parts)


@pytest.mark.parametrize("name", NAMES)
@settings(derandomize=True, max_examples=60, deadline=None)
@given(reply=REPLIES)
def test_an_answer_in_one_dialect(name: str, reply: Reply) -> None:
    """Written and read again, an answer is what it was: text, calls, reason, every count."""
    reply = finished(reply)
    losses = Losses()
    again = DIALECTS[name].read_reply(json.loads(json.dumps(DIALECTS[name].write_reply(reply, losses))), losses)
    assert losses.all() == ()
    empty = [Text("")] if not reply.parts and name == "openai" else []
    assert finished(again) == replace(reply, parts=reply.parts or empty)


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
@settings(derandomize=True, max_examples=60, deadline=None)
@given(reply=REPLIES, step=st.integers(1, 40))
def test_a_stream_there_and_back(source: str, target: str, reply: Reply, step: int) -> None:
    """An answer streamed in one dialect and told in another says the same, in pieces of any size."""
    reply = finished(reply)
    original = streamed(target, reply)
    endpoint = wire(source).endpoint("POST", PATHS[source])
    assert endpoint
    carried = stream(Back(endpoint, target, True, True))
    told = b"".join(carried.feed(original[i : i + step]) for i in range(0, len(original), step)) + carried.finish()
    assert carried.done
    assert not carried.failed
    reader = wire(source).reader(endpoint)
    reader.feed(told)
    answer = reader.answer()
    assert answer.complete
    assert answer.text == "".join(part.text for part in reply.parts if isinstance(part, Text))
    calls = [p for p in reply.parts if isinstance(p, ToolCall)]
    assert json.loads(answer.tool_calls or "[]") == [
        {"name": call.name, "arguments": json.loads(call.arguments)} for call in calls
    ]
    counts = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
    assert [getattr(answer.usage, c) for c in counts] == [getattr(reply.usage, c) for c in counts]


def streamed(name: str, reply: Reply) -> bytes:
    """A reply as a provider of that dialect would stream it, written by the stream's own writer from pieces."""
    writers: dict[str, PieceWriter] = {
        "openai": openai_stream.Writer(Losses(), include_usage=True),
        "anthropic": anthropic_stream.Writer(Losses()),
        "gemini": gemini_stream.Writer(Losses(), array=False),
    }
    writer = writers[name]
    out = writer.write(Start(reply.id, reply.model))
    number = 0
    for part in reply.parts:
        if isinstance(part, Text):
            for character in part.text:
                out += writer.write(TextDelta(character))
        else:
            out += writer.write(CallStart(number, part.id, part.name))
            half = len(part.arguments) // 2
            for piece in (part.arguments[:half], part.arguments[half:]):
                out += writer.write(CallDelta(number, piece))
            number += 1
    return out + writer.write(End(reply.finish, reply.usage))
