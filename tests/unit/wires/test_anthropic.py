"""What the Anthropic wire makes of requests and answers."""

from __future__ import annotations

import json

import pytest

from understudy.core.variant import Reasoning, Variant
from understudy.wires.anthropic import WIRE
from understudy.wires.base import Message, Usage, WireError

MESSAGES = WIRE.endpoint("POST", "/v1/messages")
COUNT = WIRE.endpoint("POST", "/v1/messages/count_tokens")
assert MESSAGES and COUNT

FULL = Variant("v", "p", "claude-new", "Be brief.", {"max_tokens": 9}, Reasoning("low", 2048))


@pytest.mark.parametrize(
    ("own", "system"),
    [
        (b"", b'"system":"Be brief."'),
        (b',"system":null', b'"system":"Be brief."'),
        (b',"system":"o\\u00e9"', b'"system":[{"type":"text","text":"Be brief."},{"type":"text","text":"o\\u00e9"}]'),
        (
            b',"system":[ {"type":"text","text":"o","cache_control":{"type":"ephemeral"}} ]',
            b'"system":[{"type":"text","text":"Be brief."},'
            b'{"type":"text","text":"o","cache_control":{"type":"ephemeral"}} ]',
        ),
    ],
)
def test_prompt_in_front(own: bytes, system: bytes) -> None:
    """The prompt stands before the caller's system text, whose bytes and cache breakpoints stay."""
    assert system in WIRE.apply(MESSAGES, "", b'{"model":"w","messages":[]' + own + b"}", FULL).body


def test_effort_and_budget() -> None:
    """Effort goes to output_config beside what is there, a budget to thinking."""
    body = b'{"model":"w","messages":[],"output_config":{"format":{"type":"json_schema"}}}'
    sent = json.loads(WIRE.apply(MESSAGES, "", body, FULL).body)
    assert sent["output_config"] == {"format": {"type": "json_schema"}, "effort": "low"}
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    off = Variant("v", "p", "m", reasoning=Reasoning("none"))
    assert json.loads(WIRE.apply(MESSAGES, "", body, off).body)["thinking"] == {"type": "disabled"}


def test_system_of_another_type_is_refused() -> None:
    """A prompt cannot be put before a system that is a number."""
    with pytest.raises(WireError):
        WIRE.apply(MESSAGES, "", b'{"system":7}', FULL)


def test_count_tokens_takes_no_limit() -> None:
    """The prompt belongs to the count, max_tokens does not."""
    sent = json.loads(WIRE.apply(COUNT, "", b'{"model":"w","messages":[]}', FULL).body)
    assert sent["system"] == "Be brief."
    assert "max_tokens" not in sent
    assert WIRE.read(COUNT, 200, b'{"input_tokens":12}').usage == Usage(12)


@pytest.mark.parametrize(
    ("tool", "effects"),
    [
        ({"name": "f", "input_schema": {}}, ()),
        ({"type": "custom", "name": "f"}, ()),
        ({"type": "bash_20250124"}, ()),
        ({"type": "web_search_20250305"}, ("tool:web_search_20250305",)),
        ({"type": "code_execution_20250825"}, ("tool:code_execution_20250825",)),
    ],
)
def test_effects(tool: dict[str, object], effects: tuple[str, ...]) -> None:
    """Tools the provider runs are effects, tools the caller runs are not."""
    assert WIRE.peek(MESSAGES, "", json.dumps({"model": "m", "tools": [tool]}).encode()).effects == effects


def test_read() -> None:
    """Blocks of text and tool use are read; what the cache read and wrote counts as input."""
    body = {
        "id": "msg_1",
        "type": "message",
        "model": "m",
        "content": [
            {"type": "thinking", "thinking": "hidden", "signature": "s"},
            {"type": "text", "text": "A"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"x": [1]}},
        ],
        "stop_reason": "tool_use",
        "usage": {
            "input_tokens": 1,
            "cache_creation_input_tokens": 10,
            "cache_read_input_tokens": 100,
            "output_tokens": 5,
            "output_tokens_details": {"thinking_tokens": 3},
        },
    }
    answer = WIRE.read(MESSAGES, 200, json.dumps(body).encode())
    assert (answer.text, answer.tool_calls) == ("A", '[{"arguments":{"x":[1]},"name":"f"}]')
    assert (answer.finish_reason, answer.usage) == ("tool_use", Usage(111, 5, 100, 3, 10))


@pytest.mark.parametrize(
    ("status", "body", "error", "unreadable"),
    [
        (529, b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}', "overloaded_error", False),
        (200, b"no", "", True),
        (200, b"{}", "", True),
        (500, b"", "status_500", True),
    ],
)
def test_read_what_is_no_answer(status: int, body: bytes, error: str, unreadable: bool) -> None:
    """An error is named, an unreadable answer is flagged, nothing is raised."""
    answer = WIRE.read(MESSAGES, status, body)
    assert (answer.error, answer.unreadable) == (error, unreadable)


def test_compose() -> None:
    """Our own request moves system messages out of the turns and always names a limit."""
    request = WIRE.compose(
        Variant("v", "p", "m", "A."), [Message("system", "B."), Message("user", "x")], stream=True, user="u"
    )
    assert request.path == "/v1/messages"
    assert ("anthropic-version", "2023-06-01") in request.headers
    assert json.loads(request.body) == {
        "model": "m",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": "x"}],
        "system": [{"type": "text", "text": "A."}, {"type": "text", "text": "B."}],
        "stream": True,
        "metadata": {"user_id": "u"},
    }


def test_errors_and_keys() -> None:
    """Errors have the dialect's shape; a key comes as x-api-key or as a bearer token."""
    error = json.loads(WIRE.error_body(529, "overloaded", "m"))
    assert (error["type"], error["error"]["type"]) == ("error", "overloaded_error")
    assert WIRE.error_event("truncated", "cut").startswith(b'event: error\ndata: {"type":"error"')
    assert WIRE.key_in({"x-api-key": "k"}) == WIRE.key_in({"authorization": "Bearer k"}) == "k"


def test_sampling_parameters_keep_the_older_version() -> None:
    """The newest version of the API refuses temperature: a request with it goes out under the version before."""
    warm = Variant("v", "p", "m", params={"temperature": 0.3})
    plain, cool = Variant("v", "p", "m"), Variant("v", "p", "m", params={"temperature": None, "top_p": None})
    with_it, without = b'{"temperature":1,"messages":[]}', b'{"messages":[]}'
    older = (("anthropic-version", "2023-06-01"),)
    assert [
        WIRE.apply(MESSAGES, "", body, variant).forced
        for body, variant in [(without, warm), (with_it, plain), (with_it, cool), (without, plain)]
    ] == [older, older, (), ()]


def test_a_param_of_none_takes_the_callers_out() -> None:
    """Newer models refuse what older ones took: the variant can take it out."""
    variant = Variant("v", "p", "m", params={"temperature": None})
    assert json.loads(WIRE.apply(MESSAGES, "", b'{"temperature":1,"messages":[]}', variant).body) == {
        "model": "m",
        "messages": [],
    }
