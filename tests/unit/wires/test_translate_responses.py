"""An app that speaks OpenAI responses, and providers that do not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from understudy.wires.base import WireError
from understudy.wires.openai_responses import ENDPOINT, peek
from understudy.wires.translate import answer, carries, request, stream

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "name": "weather", "description": "d", "parameters": SCHEMA, "strict": None}
ASKED: dict[str, Any] = {
    "model": "w",
    "store": False,
    "instructions": "Be kind.",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Weather here?"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e"},
        {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "id": "fc", "call_id": "c1", "name": "weather", "arguments": '{"city": "Bern"}'},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": '{"city": "Brig"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {"type": "function_call_output", "call_id": "c2", "output": "rain"},
        {"role": "user", "content": "Thanks"},
    ],
    "tools": [TOOL],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}},
    "reasoning": {"effort": "low"},
    "max_output_tokens": 50,
    "temperature": 0.5,
    "user": "u-1",
    "stream": True,
}


def carried(members: dict[str, Any], target: str = "anthropic") -> Any:
    return request(ENDPOINT, "/v1/responses", json.dumps(members).encode(), target, now=1_700_000_000)


def test_a_request_for_anthropic() -> None:
    """Items become turns: calls of one turn stand together, and so do their results and what the user says next."""
    found = carried(ASKED)
    assert [loss.what for loss in found.losses] == ["input[1]"]
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
                "content": [
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Bern"}},
                    {"type": "tool_use", "id": "c2", "name": "weather", "input": {"city": "Brig"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
                    {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "rain"}]},
                    {"type": "text", "text": "Thanks"},
                ],
            },
        ],
        "tools": [{"name": "weather", "description": "d", "input_schema": SCHEMA}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
        "temperature": 0.5,
        "metadata": {"user_id": "u-1"},
        "stream": True,
    }


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ({"store": None}, "store"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"previous_response_id": "r"}, "previous_response_id"),
        ({"conversation": {"id": "c"}}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"input": [{"type": "item_reference", "id": "i"}]}, "item_reference"),
    ],
)
def test_what_stays_with_the_provider(members: dict[str, Any], what: str) -> None:
    """What somebody else keeps can be given by nobody but them: refused by name, with what to say instead."""
    with pytest.raises(WireError, match=rf"^{what}: .*store: false") as refused:
        carried({**ASKED, **members})
    assert refused.value.status == 501


def test_what_has_effects_is_not_for_another_dialect() -> None:
    """The gateway asks beforehand, so that the incumbent answers what the candidate cannot be asked."""
    kept = peek("/v1/responses", b'{"model":"w","input":"hi"}')
    assert not carries(ENDPOINT, kept.effects)
    plain = peek("/v1/responses", b'{"model":"w","input":"hi","store":false}')
    assert carries(ENDPOINT, plain.effects)


def test_an_answer() -> None:
    """Text and calls are items; what the request said is repeated, what it left open is told as it was."""
    provider = {
        "id": "msg_1",
        "model": "claude-x",
        "content": [
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 10, "output_tokens": 7},
    }
    back = carried({"model": "w", "input": "hi", "store": False, "temperature": 0.5, "tools": [TOOL]}).back
    assert json.loads(answer(back, 200, json.dumps(provider).encode()).body) == {
        "id": "msg_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": "claude-x",
        "output": [
            {
                "id": "msg_msg_1_0",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Let me look.", "annotations": [], "logprobs": []}],
            },
            {
                "id": "fc_msg_1_1",
                "type": "function_call",
                "status": "completed",
                "call_id": "t1",
                "name": "f",
                "arguments": "{}",
            },
        ],
        "previous_response_id": None,
        "store": False,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 15,
            "input_tokens_details": {"cached_tokens": 10},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": None},
            "total_tokens": 22,
        },
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "reasoning": {"effort": None, "summary": None},
        "temperature": 0.5,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [TOOL],
        "top_p": None,
        "user": None,
    }


@pytest.mark.parametrize(("reason", "told"), [("max_tokens", "max_output_tokens"), ("refusal", "content_filter")])
def test_an_answer_that_was_cut(reason: str, told: str) -> None:
    """What is not whole says so, and why."""
    provider = {"id": "m", "model": "c", "content": [{"type": "text", "text": "a"}], "stop_reason": reason}
    back = carried({"input": "hi", "store": False}).back
    found = json.loads(answer(back, 200, json.dumps(provider).encode()).body)
    assert (found["status"], found["incomplete_details"], found["usage"]) == ("incomplete", {"reason": told}, None)


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c-1", "model": "m-1", "choices": [choice]}).encode() + b"\n\n"


def call(index: int, arguments: str, **first: str) -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments} if first else {"arguments": arguments}
    return {"tool_calls": [{"index": index, **first, "function": function}]}


def test_a_stream() -> None:
    """Events are numbered, items begin and end; calls whose pieces come mixed are each told whole."""
    carrying = stream(carried({"input": "hi", "store": False, "stream": True}, "openai").back)
    out = b"".join(
        carrying.feed(piece)
        for piece in [
            chunk({"content": "Hel"}),
            chunk({"content": "lo"}),
            chunk(call(0, '{"a"', id="t0")),
            chunk(call(1, "", id="t1")),
            chunk(call(0, ":1}")),
            chunk({}, "tool_calls"),
            b"data: [DONE]\n\n",
        ]
    )
    assert carrying.done
    events = [json.loads(line.removeprefix(b"data: ")) for line in out.splitlines() if line.startswith(b"data: ")]
    names = [line.removeprefix(b"event: ").decode() for line in out.splitlines() if line.startswith(b"event: ")]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert names == [event["type"] for event in events]
    assert [name.removeprefix("response.") for name in names] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    over = events[-1]["response"]
    assert over["status"] == "completed"
    assert [item.get("arguments") or item["content"][0]["text"] for item in over["output"]] == [
        "Hello",
        '{"a":1}',
        "{}",
    ]
    assert [event["item"] for event in events if event["type"].endswith("item.done")] == over["output"]
    assert over["created_at"] == events[0]["response"]["created_at"] == 1_700_000_000
