"""OpenAI responses, as its API answers them: whole and as named events ending in response.completed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from understudy.testing.dialects.base import Asked, Said, Script, Tool, Turn, Unreadable, cut, field_of
from understudy.testing.dialects.openai import decode, error_object, text_of
from understudy.testing.server import Request

_encode = msgspec.json.Encoder().encode


def _turns(fields: Mapping[str, Any]) -> tuple[list[str], list[Turn]]:
    """System texts and turns of the `input`, which is a string or a list of items."""
    given = field_of(fields, "input", (str, list))
    system = [fields["instructions"]] if fields.get("instructions") else []
    if isinstance(given, str):
        return system, [Turn("user", given)]
    turns: list[Turn] = []
    for item in given:
        match item:
            case {"role": "system" | "developer", "content": content}:
                system.append(text_of(content))
            case {"role": "user" | "assistant" as role, "content": content}:
                turns.append(Turn(role, text_of(content)))
            case {"type": "function_call_output", "output": output}:
                turns.append(Turn("tool", output if isinstance(output, str) else text_of(output)))
            case {"type": str()}:
                continue
            case _:
                raise Unreadable("invalid value for 'input': every item needs a role or a type")
    return system, turns


def _must_call(choice: object) -> str | None:
    match choice:
        case "required":
            return ""
        case {"type": "function", "name": str(name)}:
            return name
        case _:
            return None


def _schema(fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    match (fields.get("text") or {}).get("format"):
        case {"type": "json_object"}:
            return {}
        case {"type": "json_schema", "schema": dict(schema)}:
            return schema
        case _:
            return None


class Responses:
    name = "responses"

    def read(self, request: Request) -> Asked:
        fields = decode(request.body)
        model = field_of(fields, "model", str)
        system, turns = _turns(fields)
        tools = [tool for tool in fields.get("tools") or () if tool.get("type") == "function"]
        return Asked(
            model=model,
            turns=tuple(turns),
            system="\n".join(system),
            stream=bool(fields.get("stream")),
            schema=_schema(fields),
            tools=tuple(Tool(tool["name"], tool.get("parameters") or {}) for tool in tools),
            must_call=_must_call(fields.get("tool_choice")),
            max_tokens=fields.get("max_output_tokens"),
            effort=(fields.get("reasoning") or {}).get("effort") or "",
            user=fields.get("user") or fields.get("safety_identifier") or "",
        )

    def whole(self, said: Said, serial: str) -> bytes:
        return _encode(_response(said, serial, done=True))

    def script(self, asked: Asked, said: Said, serial: str) -> Script:
        del asked
        numbers = iter(range(10**9))

        def event(kind: str, **fields: Any) -> bytes:
            body = {"type": kind, "sequence_number": next(numbers), **fields}
            return b"event: %s\ndata: %s\n\n" % (kind.encode(), _encode(body))

        begun = _response(said, serial, done=False)
        opening = (event("response.created", response=begun), event("response.in_progress", response=begun))
        pieces: list[bytes] = []
        for index, item in enumerate(_output(said, serial)):
            where = {"item_id": item["id"], "output_index": index}
            if item["type"] == "message":
                part = {"type": "output_text", "text": "", "annotations": []}
                inside = {**where, "content_index": 0}
                start = event("response.output_item.added", output_index=index, item={**item, "content": []})
                start += event("response.content_part.added", **inside, part=part)
                deltas = [
                    event("response.output_text.delta", **inside, delta=piece, logprobs=[]) for piece in cut(said.text)
                ]
                end = event("response.output_text.done", **inside, text=said.text, logprobs=[])
                end += event("response.content_part.done", **inside, part={**part, "text": said.text})
            else:
                arguments = item["arguments"]
                start = event("response.output_item.added", output_index=index, item={**item, "arguments": ""})
                deltas = [
                    event("response.function_call_arguments.delta", **where, delta=piece) for piece in cut(arguments)
                ]
                end = event("response.function_call_arguments.done", **where, name=item["name"], arguments=arguments)
            end += event("response.output_item.done", output_index=index, item=item)
            deltas[0] = start + deltas[0]
            deltas[-1] += end
            pieces += deltas
        kind = "response.incomplete" if said.finish == "length" else "response.completed"
        return Script(opening, tuple(pieces), (event(kind, response=_response(said, serial, done=True)),))

    def error(self, status: int, message: str) -> bytes:
        return _encode({"error": error_object(status, message)})

    def error_event(self, status: int, message: str) -> bytes:
        fields = {"type": "error", "code": error_object(status, message)["type"], "message": message, "param": None}
        return b"event: error\ndata: %s\n\n" % _encode({**fields, "sequence_number": 0})

    def ping(self) -> bytes:
        return b": ping\n\n"


def _output(said: Said, serial: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if said.text:
        content = [{"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}]
        message = {"type": "message", "id": f"msg_{serial}", "status": "completed", "role": "assistant"}
        items.append({**message, "content": content})
    for index, call in enumerate(said.calls):
        items.append(
            {
                "type": "function_call",
                "id": f"fc_{serial}_{index}",
                "call_id": call.id,
                "name": call.name,
                "arguments": call.arguments,
                "status": "completed",
            }
        )
    return items


def _response(said: Said, serial: str, *, done: bool) -> dict[str, Any]:
    cut_short = done and said.finish == "length"
    return {
        "id": f"resp_{serial}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress" if not done else "incomplete" if cut_short else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut_short else None,
        "instructions": None,
        "metadata": {},
        "model": said.model,
        "output": _output(said, serial) if done else [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": said.input_tokens,
            "input_tokens_details": {"cached_tokens": said.cached_tokens},
            "output_tokens": said.output_tokens,
            "output_tokens_details": {"reasoning_tokens": said.reasoning_tokens},
            "total_tokens": said.input_tokens + said.output_tokens,
        }
        if done
        else None,
    }
