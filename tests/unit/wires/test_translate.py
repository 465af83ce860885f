"""What chats look like in another dialect, what is told of what was lost, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from understudy.core.variant import Variant
from understudy.wires.base import Endpoint, WireError
from understudy.wires.registry import wire
from understudy.wires.translate import Back, answer, carries, request, stream

CHAT = wire("openai").endpoint("POST", "/v1/chat/completions")
MESSAGES = wire("anthropic").endpoint("POST", "/v1/messages")
GENERATE_PATH = "/v1beta/models/w:generateContent"
GENERATE = wire("gemini").endpoint("POST", GENERATE_PATH)
ARRAY_PATH = "/v1beta/models/w:streamGenerateContent"
ARRAY = wire("gemini").endpoint("POST", ARRAY_PATH)
assert CHAT and MESSAGES and GENERATE and ARRAY

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OPENAI: dict[str, Any] = {
    "model": "w",
    "messages": [
        {"role": "system", "content": "Be kind."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Weather here?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "user", "content": "Thanks"},
    ],
    "tools": [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
    "max_completion_tokens": 50,
    "temperature": 0.5,
    "stop": "END",
    "reasoning_effort": "low",
    "user": "u-1",
    "stream": True,
    "stream_options": {"include_usage": True},
}


def carried(endpoint: Endpoint | None, path: str, body: dict[str, Any], target: str) -> dict[str, Any]:
    assert endpoint
    sent: dict[str, Any] = json.loads(request(endpoint, path, json.dumps(body).encode(), target).body)
    return sent


def test_openai_to_anthropic() -> None:
    """Every part of a chat request finds its place in a messages request."""
    found = request(CHAT, "/v1/chat/completions", json.dumps(OPENAI).encode(), "anthropic")
    assert (found.endpoint, found.path, found.losses) == (MESSAGES, "/v1/messages", ())
    assert json.loads(found.body) == {
        "max_tokens": 50,
        "system": "Be kind.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Weather here?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                ],
            },
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Bern"}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
                    {"type": "text", "text": "Thanks"},
                ],
            },
        ],
        "tools": [{"name": "weather", "description": "d", "input_schema": SCHEMA}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
        "stream": True,
    }


def test_openai_to_gemini() -> None:
    """Every part of a chat request finds its place in a generateContent request, or is named."""
    found = request(CHAT, "/v1/chat/completions", json.dumps(OPENAI).encode(), "gemini")
    assert found.path == "/v1beta/models/translated:streamGenerateContent?alt=sse"
    assert {loss.what for loss in found.losses} == {"user", "parallel tool calls"}
    assert json.loads(found.body) == {
        "systemInstruction": {"parts": [{"text": "Be kind."}]},
        "contents": [
            {
                "role": "user",
                "parts": [{"text": "Weather here?"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}],
            },
            {
                "role": "model",
                "parts": [
                    {
                        "functionCall": {"id": "c1", "name": "weather", "args": {"city": "Bern"}},
                        "thoughtSignature": "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=",
                    }
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "c1", "name": "weather", "response": {"output": "sunny"}}},
                    {"text": "Thanks"},
                ],
            },
        ],
        "tools": [{"functionDeclarations": [{"name": "weather", "description": "d", "parametersJsonSchema": SCHEMA}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        "generationConfig": {
            "maxOutputTokens": 50,
            "temperature": 0.5,
            "stopSequences": ["END"],
            "responseMimeType": "application/json",
            "responseJsonSchema": SCHEMA,
            "thinkingConfig": {"thinkingLevel": "low"},
        },
    }


def test_older_models_get_no_signatures() -> None:
    """A call of another model is signed for the models that demand it, and only for them."""
    body = json.dumps(OPENAI).encode()
    for model, signed in [("gemini-2.5-flash", False), ("models/gemini-2.0-pro", False), ("gemini-3-pro", True)]:
        assert (b"thoughtSignature" in request(CHAT, "", body, "gemini", model=model).body) is signed


def test_the_variant_is_applied_after_the_carrying() -> None:
    """What was carried over is a request of the target, to which its wire applies the variant as to any other."""
    found = request(CHAT, "/v1/chat/completions", json.dumps(OPENAI).encode(), "gemini")
    variant = Variant("v", "p", "gemini-x", "Front.", {"max_output_tokens": 7})
    sent = wire("gemini").apply(found.endpoint, found.path, found.body, variant)
    assert sent.path == "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"
    body = json.loads(sent.body)
    assert body["systemInstruction"] == {"parts": [{"text": "Front."}, {"text": "Be kind."}]}
    assert body["generationConfig"]["maxOutputTokens"] == 7


def test_gemini_to_openai() -> None:
    """Snake case, calls without ids and schemas of the dialect's own arrive in OpenAI's form."""
    body = {
        "system_instruction": {"parts": [{"text": "S"}]},
        "contents": [
            {"parts": [{"text": "hi"}]},
            {"role": "model", "parts": [{"function_call": {"name": "f", "args": {"a": 1}}}]},
            {"role": "user", "parts": [{"function_response": {"name": "f", "response": {"b": [2]}}}]},
        ],
        "tools": [
            {
                "function_declarations": [
                    {
                        "name": "f",
                        "parameters": {
                            "type": "OBJECT",
                            "properties": {"type": {"type": "STRING", "nullable": True}},
                            "propertyOrdering": ["type"],
                        },
                    }
                ]
            }
        ],
        "generation_config": {"max_output_tokens": 9, "response_mime_type": "application/json"},
    }
    found = request(GENERATE, GENERATE_PATH, json.dumps(body).encode(), "openai")
    assert found.losses == ()
    assert json.loads(found.body) == {
        "messages": [
            {"role": "system", "content": "S"},
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "call_1_0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "call_1_0", "content": '{"b":[2]}'},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "parameters": {"type": "object", "properties": {"type": {"type": ["string", "null"]}}},
                },
            }
        ],
        "response_format": {"type": "json_object"},
        "max_completion_tokens": 9,
    }


def test_results_without_ids_go_to_their_calls_in_order() -> None:
    """Two calls of one tool and two results without ids: the first answers the first."""
    call, result = {"functionCall": {"name": "f"}}, {"functionResponse": {"name": "f", "response": {"output": "x"}}}
    body = {"contents": [{"role": "model", "parts": [call, call]}, {"role": "user", "parts": [result, result]}]}
    messages = carried(GENERATE, GENERATE_PATH, body, "openai")["messages"]
    assert [m["tool_call_id"] for m in messages[1:]] == [c["id"] for c in messages[0]["tool_calls"]]


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"a_field_of_tomorrow": 0}, "a_field_of_tomorrow"),
        ({"temperature": 1.5}, "temperature"),
        ({"response_format": {"type": "json_object"}}, "JSON mode"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}, "messages[1]"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": "x", "name": "n"}]}, "messages[0].name"),
    ],
)
def test_losses_are_named(members: dict[str, Any], what: str) -> None:
    """Whatever has no counterpart is named, with its place."""
    found = request(CHAT, "", json.dumps({"model": "w", "messages": [], **members}).encode(), "anthropic")
    assert what in {loss.what for loss in found.losses}


def test_values_that_say_nothing_are_no_losses() -> None:
    """n=1, store=false and nulls leave no trace because they ask for nothing."""
    body = {
        "messages": [],
        "n": 1,
        "store": False,
        "logprobs": False,
        "seed": None,
        "response_format": {"type": "text"},
    }
    assert request(CHAT, "", json.dumps(body).encode(), "anthropic").losses == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"messages":7}',
        b'{"messages":[7]}',
        b'{"messages":[{"role":"nobody"}]}',
        b'{"messages":[{"role":"user","content":9}]}',
        b'{"temperature":"hot"}',
        b'{"max_tokens":1.5}',
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_unreadable_requests(body: bytes) -> None:
    """A body that is no chat request is refused with 400."""
    with pytest.raises(WireError) as refused:
        request(CHAT, "", body, "anthropic")
    assert refused.value.status == 400


def test_only_chats_are_carried() -> None:
    """Embeddings and lists have no counterpart: refused with 501, and known beforehand."""
    for method, path in [("GET", "/v1/models"), ("POST", "/v1/embeddings")]:
        endpoint = wire("openai").endpoint(method, path)
        assert endpoint
        assert not carries(endpoint)
        with pytest.raises(WireError) as refused:
            request(endpoint, path, b"{}", "anthropic")
        assert refused.value.status == 501
    assert carries(CHAT)
    assert carries(ARRAY)


def test_anthropic_answer_for_openai() -> None:
    """A whole answer in the app's dialect, its thoughts named as lost."""
    body = {
        "id": "msg_1",
        "model": "claude-x",
        "content": [
            {"type": "thinking", "thinking": "t", "signature": "s"},
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 10, "output_tokens": 7},
    }
    found = answer(Back(CHAT, "anthropic", False, False), 200, json.dumps(body).encode())
    assert [loss.what for loss in found.losses] == ["content[0]"]
    assert json.loads(found.body) == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 0,
        "model": "claude-x",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Let me look.",
                    "refusal": None,
                    "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 15,
            "completion_tokens": 7,
            "total_tokens": 22,
            "prompt_tokens_details": {"cached_tokens": 10},
        },
    }


def test_answers_are_dated() -> None:
    """An OpenAI answer says when it was made, whole or streamed."""
    back = request(CHAT, "", b'{"messages":[]}', "gemini", now=1763700000.5).back
    body = b'{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}'
    assert json.loads(answer(back, 200, body).body)["created"] == 1763700000
    assert b'"created":1763700000' in stream(back).feed(b"data: " + body + b"\n\n")


def test_gemini_block_for_anthropic() -> None:
    """A blocked prompt is told as a refusal, and as a loss of its reason; unknown counts are named."""
    body = b'{"promptFeedback":{"blockReason":"SAFETY"},"modelVersion":"g"}'
    found = answer(Back(MESSAGES, "gemini", False, False), 200, body)
    assert json.loads(found.body)["stop_reason"] == "refusal"
    assert {loss.what for loss in found.losses} == {"promptFeedback", "usage"}


@pytest.mark.parametrize(
    ("target", "body", "kind"),
    [
        ("openai", b'{"error":{"message":"slow down","code":"rate_limit_exceeded","type":"t"}}', "rate_limit_exceeded"),
        (
            "anthropic",
            b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}',
            "rate_limit_error",
        ),
        (
            "gemini",
            b'[{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}]',
            "RESOURCE_EXHAUSTED",
        ),
    ],
)
@pytest.mark.parametrize("source", [CHAT, MESSAGES, GENERATE], ids=lambda e: e.wire)
def test_errors_in_the_apps_dialect(source: Endpoint, target: str, body: bytes, kind: str) -> None:
    """The provider's message reaches the app in the app's own error shape."""
    told = answer(Back(source, target, False, False), 429, body).body
    assert b"slow down" in told
    assert wire(source.wire).read(source, 429, told).error
    assert kind.encode() in told


def test_an_unreadable_answer_is_a_bad_gateway() -> None:
    """An answer nobody can read is refused with 502, not guessed at."""
    for body in (b"<html>", b"{}", b'{"content":7}'):
        with pytest.raises(WireError) as refused:
            answer(Back(CHAT, "openai", False, False), 200, body)
        assert refused.value.status == 502


@pytest.mark.parametrize("source", [CHAT, MESSAGES, ARRAY], ids=lambda e: e.wire)
def test_a_cut_stream_ends_with_an_error(source: Endpoint) -> None:
    """Without the provider's terminal event the app gets what there was and then an error, never an ending."""
    carrying = stream(Back(source, "openai", True, True))
    told = carrying.feed(b'data: {"id":"a","model":"m","choices":[{"index":0,"delta":{"content":"Half"}}]}\n\n')
    told += carrying.finish()
    reader = wire(source.wire).reader(source)
    reader.feed(told)
    found = reader.answer()
    assert (found.text, found.complete, bool(found.error), carrying.failed) == ("Half", False, True, "truncated")
    assert carrying.finish() == b""


def test_an_error_in_the_stream_is_told_once() -> None:
    """An in-stream error arrives as the app's own error event; what follows it is not told."""
    carrying = stream(Back(CHAT, "anthropic", True, False))
    told = carrying.feed(
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )
    assert told.count(b"data:") == 1
    assert (b"overloaded_error" in told, carrying.done, carrying.finish()) == (True, False, b"")


def test_a_kind_of_the_apps_own_dialect_stays_its_type() -> None:
    """A kind the app's dialect knows is told as its type, so that its SDK raises the right exception."""
    assert b'"type":"overloaded_error"' in wire("anthropic").error_event("overloaded_error", "m")
    assert b'"status":"UNAVAILABLE"' in wire("gemini").error_event("UNAVAILABLE", "m")


def test_unreadable_events_end_the_stream() -> None:
    """An event that is no JSON cannot be told: the stream ends with an error."""
    carrying = stream(Back(MESSAGES, "openai", True, False))
    assert b"event: error" in carrying.feed(b"data: {oops\n\n")
    assert carrying.failed == "unreadable"


def test_usage_only_where_asked() -> None:
    """An OpenAI app gets the chunk of usage only if it asked for it."""
    events = (
        b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}],'
        b'"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2}}\n\n'
    )
    for include_usage in (True, False):
        told = stream(Back(CHAT, "gemini", True, include_usage)).feed(events)
        assert (b'"usage"' in told) is include_usage
        assert told.endswith(b"data: [DONE]\n\n")


def chunks(*deltas: dict[str, Any], finish: str = "tool_calls") -> bytes:
    """An OpenAI stream of these deltas."""
    told = [{"id": "a", "model": "m", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    told.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    return b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in told) + b"data: [DONE]\n\n"


def call(arguments: str, index: int | None = 0, **named: str) -> dict[str, Any]:
    """A piece of a call; `id` and `name` where it begins."""
    function = {"arguments": arguments, **({"name": named["name"]} if "name" in named else {})}
    piece: dict[str, Any] = {"function": function, **({"id": named["id"]} if "id" in named else {})}
    return {"tool_calls": [piece if index is None else {"index": index, **piece}]}


A, B = {"id": "c1", "name": "f"}, {"id": "c2", "name": "g"}
CALLS = [
    [call("", 0, **A), call('{"a":1}'), call("", 1, **B), call('{"b":', 1), call("2}", 1)],
    [call("", 0, **A), call("", 1, **B), call('{"b":', 1), call('{"a"', 0), call("2}", 1), call(":1}", 0)],
    [call('{"a":', 0, **A), call('{"b":2}', 1, **B), call("1}", 0)],
    [call('{"a":1}', 0, **A), call('{"b":2}', 0, **B)],
    [call('{"a":1}', None, **A), call('{"b":', None, **B), call("2}", None)],
]


@pytest.mark.parametrize("source", [CHAT, MESSAGES, ARRAY], ids=lambda e: e.wire)
@pytest.mark.parametrize("deltas", CALLS, ids=["in turn", "interleaved", "begun early", "one index", "no index"])
def test_arguments_of_calls_arrive_whole_however_they_are_mixed(source: Endpoint, deltas: list[dict[str, Any]]) -> None:
    """Each call keeps its own arguments, for the app and for the ledger, where providers number calls oddly too."""
    original = chunks(*deltas, finish="stop")
    carrying = stream(Back(source, "openai", True, True))
    told = carrying.feed(original) + carrying.finish()
    for spoken, bytes_read in ((CHAT, original), (source, told)):
        reader = wire(spoken.wire).reader(spoken)
        reader.feed(bytes_read)
        found = json.loads(reader.answer().tool_calls)
        assert found == [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {"b": 2}}], spoken.wire
        assert reader.done
    if source is MESSAGES:
        assert b'"stop_reason":"tool_use"' in told, "an answer that calls ends with its calls, whatever it says"


def test_text_after_an_unfinished_call_stays_behind_it() -> None:
    """It waits with the calls, in the order it came."""
    deltas = [call('{"a":', 0, **A), {"content": "between"}, call('{"b":2}', 1, **B), call("1}", 0), {"content": "end"}]
    carrying = stream(Back(MESSAGES, "openai", True, True))
    events = carrying.feed(chunks(*deltas)).split(b"\n\n")
    assert [event.count(b"content_block_start") > 0 for event in events].count(True) == 4
    reader = wire("anthropic").reader(MESSAGES)
    reader.feed(b"\n\n".join(events))
    assert reader.answer().text == "betweenend"
    assert [one["arguments"] for one in json.loads(reader.answer().tool_calls)] == [{"a": 1}, {"b": 2}]


def test_a_call_that_begins_with_its_arguments_keeps_them() -> None:
    """Some who speak Anthropic give the input with the block's start and send no deltas."""
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    events = [
        {"type": "message_start", "message": {"id": "i", "model": "m", "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]
    original = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    told = stream(Back(CHAT, "anthropic", True, True)).feed(original)
    for spoken, bytes_read in ((MESSAGES, original), (CHAT, told)):
        reader = wire(spoken.wire).reader(spoken)
        reader.feed(bytes_read)
        assert json.loads(reader.answer().tool_calls) == [{"name": "f", "arguments": {"a": 1}}]


SAID = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("silence", ["", None, []])
def test_turns_that_say_nothing_are_not_sent_where_they_are_refused(silence: object) -> None:
    """An answer that was empty is in many a history; two turns of the user are then one."""
    body = {"messages": [*SAID, {"role": "assistant", "content": silence}, {"role": "user", "content": "there?"}]}
    sent = carried(CHAT, "/v1/chat/completions", body, "anthropic")
    assert [turn["role"] for turn in sent["messages"]] == ["user"]
    assert [block["text"] for block in sent["messages"][0]["content"]] == ["hi", "there?"]
    sent = carried(CHAT, "/v1/chat/completions", body, "gemini")
    assert sent["contents"] == [{"role": "user", "parts": [{"text": "hi"}, {"text": "there?"}]}]
    history = {"contents": [{"parts": [{"text": "x"}]}, {"role": "model", "parts": []}]}
    assert carried(GENERATE, GENERATE_PATH, history, "openai")["messages"][1] == {"role": "assistant", "content": ""}


@pytest.mark.parametrize(
    ("members", "target", "path", "expected", "lost"),
    [
        ({"stop": ["\n", "END"]}, "anthropic", ["stop_sequences"], ["END"], "stop"),
        ({"stop": "\n"}, "anthropic", ["stop_sequences"], None, "stop"),
        ({"user": "a@example.com"}, "anthropic", ["metadata"], None, "user"),
        ({"user": "u" * 300}, "anthropic", ["metadata"], None, "user"),
        ({"tool_choice": "required"}, "gemini", ["toolConfig"], None, "tool_choice"),
        ({"tool_choice": "auto", "parallel_tool_calls": True}, "anthropic", ["tool_choice"], None, ""),
        ({"messages": [{"role": "system", "content": "s"}]}, "anthropic", ["messages", 0, "content"], "s", "system"),
        ({"messages": [{"role": "system", "content": "s"}]}, "gemini", ["contents", 0, "role"], "user", "system"),
        ({"messages": [{"role": "system", "content": ""}, *SAID]}, "gemini", ["systemInstruction"], None, ""),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
            "anthropic",
            ["tools", 0, "input_schema"],
            {"type": "object", "properties": {}},
            "",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": "data:image/jpg;charset=x;base64,AA=="}},
                            {"type": "text", "text": " "},
                        ],
                    }
                ]
            },
            "anthropic",
            ["messages", 0, "content"],
            [{"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AA=="}}],
            "white space",
        ),
    ],
)
def test_what_another_provider_would_refuse_is_told_as_it_takes_it(
    members: dict[str, Any], target: str, path: list[str | int], expected: object, lost: str
) -> None:
    """Legal here and a 400 there: put differently where that says the same, else left out and named."""
    assert CHAT
    there = request(CHAT, "/v1/chat/completions", json.dumps({"messages": SAID, **members}).encode(), target)
    found: Any = json.loads(there.body)
    for step in path:
        found = found.get(step) if isinstance(found, dict) else found[step]
    assert found == expected
    assert [loss.what.startswith(lost) for loss in there.losses] == ([True] if lost else [])


def test_a_tool_without_arguments_is_told_to_openai_as_an_object_without_properties() -> None:
    """Which is how it wants them; others leave the properties out. And of stop sequences it takes four."""
    body = {"max_tokens": 9, "messages": SAID, "tools": [{"name": "f", "input_schema": {"type": "object"}}]}
    sent = carried(MESSAGES, "/v1/messages", body, "openai")
    assert sent["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}
    five = json.dumps({**body, "stop_sequences": list("abcde")}).encode()
    there = request(MESSAGES, "/v1/messages", five, "openai") if MESSAGES else None
    assert there
    assert json.loads(there.body)["stop"] == list("abcd")
    assert [loss.what for loss in there.losses] == ["stop"]


def test_gemini_takes_an_object_for_an_array_of_one_and_null_for_nothing() -> None:
    """As its own documentation writes requests."""
    body = {
        "systemInstruction": {"parts": {"text": "s"}},
        "contents": {"parts": {"text": "x", "functionCall": None, "thought": None}},
        "tools": {"functionDeclarations": {"name": "f", "parameters": None}},
        "safetySettings": None,
    }
    sent = carried(GENERATE, GENERATE_PATH, body, "openai")
    assert sent["messages"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "x"}]
    assert sent["tools"] == [{"type": "function", "function": {"name": "f"}}]
    prompt = Variant("v", "p", "m", "Be kind.")
    assert GENERATE
    applied = wire("gemini").apply(GENERATE, GENERATE_PATH, json.dumps(body).encode(), prompt)
    assert json.loads(applied.body)["systemInstruction"]["parts"] == [{"text": "Be kind."}, {"text": "s"}]
