"""What the OpenAI wire makes of requests and answers."""

from __future__ import annotations

import json

import pytest

from understudy.core.variant import Reasoning, Variant
from understudy.wires.base import Message, Usage, WireError
from understudy.wires.openai import WIRE

CHAT = WIRE.endpoint("POST", "/v1/chat/completions")
RESPONSES = WIRE.endpoint("POST", "/v1/responses")
EMBEDDINGS = WIRE.endpoint("POST", "/v1/embeddings")
assert CHAT and RESPONSES and EMBEDDINGS

PLAIN = Variant("v", "p", "gpt-new")
FULL = Variant("v", "p", "gpt-new", "Be brief.", {"temperature": 0.2, "max_tokens": 9}, Reasoning(effort="low"))


def test_only_the_model_changes() -> None:
    """A variant with no prompt and no params replaces the model and leaves every other value byte for byte."""
    body = b'{ "messages" : [ {"role":"user","content":"\\u00e9 \xc3\xa9"} ],"x_new":{"deep": [1.50, 1e3]},"model":"w"}'
    assert WIRE.apply(CHAT, "", body, PLAIN).body == (
        b'{"messages":[ {"role":"user","content":"\\u00e9 \xc3\xa9"} ],"x_new":{"deep": [1.50, 1e3]},"model":"gpt-new"}'
    )


def test_a_stream_nobody_sees_asks_for_its_usage() -> None:
    """Of a copy the last chunk tells the tokens; other options of the caller's stay, and only chats have this one."""
    body = b'{"model":"w","stream":true,"stream_options":{"x":1},"messages":[]}'
    copied = json.loads(WIRE.asking_usage(CHAT, WIRE.apply(CHAT, "", body, PLAIN)).body)
    assert copied["stream_options"] == {"x": 1, "include_usage": True}
    other = WIRE.apply(RESPONSES, "", b'{"model":"w","stream":true,"input":"x"}', PLAIN)
    assert WIRE.asking_usage(RESPONSES, other) == other


def test_prompt_in_front_params_over() -> None:
    """The variant's prompt is a message before the caller's own; its params win; synonyms do not meet."""
    body = b'{"model":"w","temperature":1,"max_completion_tokens":5,"messages":[{"role":"system","content":"own"}]}'
    request = WIRE.apply(CHAT, "", body, FULL)
    assert request.path == "/chat/completions"
    assert json.loads(request.body) == {
        "model": "gpt-new",
        "temperature": 0.2,
        "max_tokens": 9,
        "reasoning_effort": "low",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "system", "content": "own"}],
    }


@pytest.mark.parametrize("messages", [b"[]", b"[ ]", b"null"])
def test_prompt_alone(messages: bytes) -> None:
    """Without messages of the caller the prompt stands alone."""
    request = WIRE.apply(CHAT, "", b'{"messages":' + messages + b"}", FULL)
    assert json.loads(request.body)["messages"] == [{"role": "system", "content": "Be brief."}]


def test_peeked_spares_reading_and_can_be_used_twice() -> None:
    """What was peeked gives the same request, for the shadow copy as well."""
    body = b'{"model":"w","messages":[{"role":"user","content":"x"}],"user":"u-1","metadata":{"team":"a"}}'
    peeked = WIRE.peek(CHAT, "", body)
    assert (peeked.model, peeked.stream, peeked.effects) == ("w", False, ())
    assert peeked.fields["user"] == "u-1"
    assert peeked.fields["metadata"] == {"team": "a"}
    fresh = WIRE.apply(CHAT, "", body, FULL)
    assert WIRE.apply(CHAT, "", body, FULL, peeked) == fresh
    assert WIRE.apply(CHAT, "", body, FULL, peeked) == fresh


def test_repeated_keys_go_on_once() -> None:
    """Of a repeated model the last one is what we route on, and the provider sees one only."""
    body = b'{"model":"a","messages":[],"mod\\u0065l":"b"}'
    assert WIRE.peek(CHAT, "", body).model == "b"
    assert WIRE.apply(CHAT, "", body, PLAIN).body.count(b'"model"') == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"model":NaN}',
        b'{"model":"a","x":"\\ud800"}',
        b'{"model":{"a":1}}',
        b'{"model":7}',
        b'{"\xff":1}',
        b'{"model":"\xff"}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model":"a"}{"model":"b"}',
        b'{"model":"a\x00"}',
    ],
)
def test_unreadable_bodies(body: bytes) -> None:
    """What the provider could read otherwise, or not at all, is refused with 400."""
    with pytest.raises(WireError) as refused:
        WIRE.peek(CHAT, "", body)
    assert refused.value.status == 400


def test_large_numbers_pass() -> None:
    """A number no machine type holds goes on as it came; asking for it is refused."""
    digits = b"9" * 5000
    body = b'{"model":"a","seed":' + digits + b',"y":1e999}'
    assert digits in WIRE.apply(CHAT, "", body, PLAIN).body
    with pytest.raises(WireError):
        WIRE.peek(CHAT, "", body).fields["seed"]


def test_messages_of_another_type_are_refused() -> None:
    """A prompt cannot be put in front of messages that are no array."""
    with pytest.raises(WireError):
        WIRE.apply(CHAT, "", b'{"messages":"x"}', FULL)


@pytest.mark.parametrize(
    ("members", "effects"),
    [
        ({}, ()),
        ({"store": True}, ("store",)),
        ({"store": False}, ()),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, ()),
        ({"tools": [{"type": "web_search"}]}, ("tool:web_search",)),
        ({"tools": "odd"}, ("tools",)),
        ({"tools": [{"type": ["function"]}]}, ("tool:['function']",)),
        ({"web_search_options": {}}, ("web_search_options",)),
    ],
)
def test_effects_of_chat(members: dict[str, object], effects: tuple[str, ...]) -> None:
    """Whatever the provider would do beyond answering is named."""
    assert WIRE.peek(CHAT, "", json.dumps({"model": "m", **members}).encode()).effects == effects


def test_stream_options_of_a_variant_are_for_streams() -> None:
    """The provider refuses stream_options in a plain request; nobody else's stream gets them added."""
    variant = Variant("v", "p", "m", params={"stream_options": {"include_usage": True}})
    assert b"stream_options" not in WIRE.apply(CHAT, "", b'{"messages":[]}', variant).body
    assert b"stream_options" in WIRE.apply(CHAT, "", b'{"messages":[],"stream":true}', variant).body
    assert b"stream_options" not in WIRE.apply(CHAT, "", b'{"messages":[],"stream":true}', PLAIN).body


def test_read_chat() -> None:
    """Text, tool calls, finish reason, model and every count of an answer are read."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"b":1,"a":"ü"}'}}
    bad = {"id": "d", "type": "function", "function": {"name": "g", "arguments": "{not json"}}
    answer = WIRE.read(
        CHAT,
        200,
        json.dumps(
            {
                "id": "x",
                "model": "gpt-1",
                "system_fingerprint": "fp",
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "tool_calls",
                        "message": {"role": "assistant", "content": "Hi", "tool_calls": [call, bad]},
                    }
                ],
                "usage": {
                    "prompt_tokens": 5,
                    "completion_tokens": 7,
                    "prompt_tokens_details": {"cached_tokens": 2},
                    "completion_tokens_details": {"reasoning_tokens": 3},
                },
            }
        ).encode(),
    )
    assert answer.text == "Hi"
    assert json.loads(answer.tool_calls) == [
        {"name": "f", "arguments": {"a": "ü", "b": 1}},
        {"name": "g", "arguments": "{not json"},
    ]
    assert (answer.finish_reason, answer.model, answer.system_fingerprint, answer.id) == (
        "tool_calls",
        "gpt-1",
        "fp",
        "x",
    )
    assert answer.usage == Usage(5, 7, 2, 3)


@pytest.mark.parametrize(
    ("status", "body", "error", "unreadable"),
    [
        (200, b"<html>", "", True),
        (502, b"<html>", "status_502", True),
        (429, b'{"error":{"message":"m","type":"t","code":"rate_limit_exceeded"}}', "rate_limit_exceeded", False),
        (400, b'{"error":{"message":"m","type":"invalid_request_error","code":null}}', "invalid_request_error", False),
        (500, b"{}", "status_500", False),
        (200, b'{"error":"odd"}', "error", False),
        (200, b'{"choices":[]}', "", True),
        (200, b'{"choices":[{"message":{"content":5}}]}', "", False),
        (200, b'{"choices":7}', "", True),
        (200, b'{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":1e999}}', "", True),
    ],
)
def test_read_what_is_no_answer(status: int, body: bytes, error: str, unreadable: bool) -> None:
    """An error is named, an unreadable answer is flagged, nothing is raised."""
    answer = WIRE.read(CHAT, status, body)
    assert (answer.error, answer.unreadable) == (error, unreadable)


def test_unknown_counts_are_not_zero() -> None:
    """A count that is missing, negative or no number is unknown."""
    for usage in ({}, {"prompt_tokens": -1, "completion_tokens": "7"}, {"prompt_tokens": True}):
        body = json.dumps({"choices": [{"message": {"content": "a"}}], "usage": usage}).encode()
        assert WIRE.read(CHAT, 200, body).usage == Usage()


def test_a_param_of_none_takes_the_callers_out() -> None:
    """Newer models refuse what older ones took: the variant can take it out, in either spelling."""
    variant = Variant("v", "p", "m", params={"temperature": None, "max_tokens": None})
    for endpoint, body in [
        (CHAT, b'{"temperature":1,"max_completion_tokens":5}'),
        (RESPONSES, b'{"temperature":1,"max_output_tokens":5}'),
    ]:
        assert json.loads(WIRE.apply(endpoint, "", body, variant).body) == {"model": "m"}


def test_compose_chat() -> None:
    """Our own request has the variant's prompt in front and asks a stream for its usage."""
    request = WIRE.compose(FULL, [Message("user", "x")], stream=True, user="u")
    assert json.loads(request.body) == {
        "model": "gpt-new",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "x"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "u",
        "temperature": 0.2,
        "max_tokens": 9,
        "reasoning_effort": "low",
    }


def test_apply_responses() -> None:
    """The prompt stands before the caller's instructions, limits take their name here, other reasoning stays."""
    body = b'{"model":"w","input":"hi","instructions":"own \\u00e9","reasoning":{"summary":"auto","effort":"high"}}'
    request = WIRE.apply(RESPONSES, "", body, FULL)
    assert b'"Be brief.\\n\\nown \\u00e9"' in request.body
    assert json.loads(request.body) == {
        "model": "gpt-new",
        "input": "hi",
        "instructions": "Be brief.\n\nown é",
        "temperature": 0.2,
        "max_output_tokens": 9,
        "reasoning": {"summary": "auto", "effort": "low"},
    }


@pytest.mark.parametrize(
    ("members", "effects"),
    [
        ({"store": False}, ()),
        ({}, ("store",)),
        ({"store": None}, ("store",)),
        ({"store": False, "previous_response_id": "r"}, ("previous_response_id",)),
        ({"store": False, "background": True}, ("background",)),
        ({"store": False, "tools": [{"type": "function"}, {"type": "mcp"}]}, ("tool:mcp",)),
    ],
)
def test_effects_of_responses(members: dict[str, object], effects: tuple[str, ...]) -> None:
    """A response is stored unless the caller says otherwise; what it is chained to is an effect."""
    peeked = WIRE.peek(RESPONSES, "", json.dumps({"model": "m", **members}).encode())
    assert peeked.effects == effects


def test_read_responses() -> None:
    """Items of text and calls are read, refusals are text, incompleteness is the finish reason."""
    body = {
        "id": "resp_1",
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "model": "m",
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "content": [{"type": "output_text", "text": "A"}, {"type": "refusal", "refusal": "B"}]},
            {"type": "function_call", "name": "f", "arguments": "{}"},
        ],
        "usage": {"input_tokens": 1, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 0}},
    }
    answer = WIRE.read(RESPONSES, 200, json.dumps(body).encode())
    assert (answer.text, answer.tool_calls) == ("AB", '[{"arguments":{},"name":"f"}]')
    assert (answer.finish_reason, answer.id, answer.usage) == ("max_output_tokens", "resp_1", Usage(1, 2, 0))


def test_embeddings() -> None:
    """Model and params are set, the prompt has no place, usage is read."""
    variant = Variant("v", "p", "embed", "unused", {"dimensions": 8})
    assert json.loads(WIRE.apply(EMBEDDINGS, "", b'{"model":"w","input":["a"]}', variant).body) == {
        "model": "embed",
        "input": ["a"],
        "dimensions": 8,
    }
    body = b'{"model":"embed","data":[],"usage":{"prompt_tokens":3,"total_tokens":3}}'
    assert WIRE.read(EMBEDDINGS, 200, body).usage == Usage(3)


def test_errors_and_keys() -> None:
    """Errors have the dialect's shape; the key is the bearer token."""
    error = json.loads(WIRE.error_body(404, "model_not_found", "no such workload"))["error"]
    assert error == {
        "message": "no such workload",
        "type": "invalid_request_error",
        "param": None,
        "code": "model_not_found",
    }
    assert WIRE.error_event("truncated", "cut").startswith(b'data: {"error":{')
    assert WIRE.error_event("truncated", "cut", RESPONSES).startswith(b'event: error\ndata: {"type":"error","code":')
    assert WIRE.auth_headers("k") == (("authorization", "Bearer k"),)
    assert WIRE.key_in({"authorization": "bearer  k "}) == "k"
    assert WIRE.key_in({"authorization": "Basic k"}) == ""


def test_unknown_requests_are_not_ours() -> None:
    """Other paths, other methods and look-alikes are nobody's operation."""
    for method, path in [
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "//v1/responses"),
    ]:
        assert WIRE.endpoint(method, path) is None
