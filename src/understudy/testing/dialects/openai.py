"""OpenAI chat completions, as its API answers them: whole and as server-sent events ending in [DONE]."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from understudy.testing.dialects.base import Asked, Call, Said, Script, Tool, Turn, Unreadable, cut, field_of
from understudy.testing.server import Request

_encode = msgspec.json.Encoder().encode

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
_ROLES = {"system", "developer", "user", "assistant", "tool", "function"}


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises Unreadable."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"we could not parse the JSON body of your request: {error}") from error
    if not isinstance(fields, dict):
        raise Unreadable(f"the body must be a JSON object, not {type(fields).__name__}")
    return fields


def error_object(status: int, message: str) -> dict[str, Any]:
    return {
        "message": message,
        "type": ERROR_TYPES.get(status, "server_error"),
        "param": None,
        "code": _CODES.get(status),
    }


def text_of(content: object) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if not isinstance(content, list):
        raise Unreadable(f"invalid type for 'content': {type(content).__name__}")
    texts = [part.get("text", "") for part in content if isinstance(part, dict) and "text" in part]
    return "\n".join(str(text) for text in texts)


def schema_of(response_format: object) -> Mapping[str, Any] | None:
    match response_format:
        case {"type": "json_object"}:
            return {}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
        case _:
            return None


def _tools(fields: Mapping[str, Any]) -> tuple[Tool, ...]:
    functions = [tool.get("function") or {} for tool in fields.get("tools") or () if isinstance(tool, dict)]
    return tuple(Tool(f.get("name", ""), f.get("parameters") or {}) for f in functions if f.get("name"))


def _must_call(choice: object) -> str | None:
    match choice:
        case "required":
            return ""
        case {"function": {"name": str(name)}}:
            return name
        case _:
            return None


class OpenAI:
    name = "openai"

    def read(self, request: Request) -> Asked:
        fields = decode(request.body)
        model = field_of(fields, "model", str)
        messages = field_of(fields, "messages", list)
        if not messages:
            raise Unreadable("invalid 'messages': empty array, expected at least 1 message")
        system: list[str] = []
        turns: list[Turn] = []
        for index, message in enumerate(messages):
            if not isinstance(message, dict) or message.get("role") not in _ROLES:
                role = message.get("role") if isinstance(message, dict) else message
                raise Unreadable(f"invalid value for 'messages[{index}].role': {role!r}")
            text = text_of(message.get("content"))
            if message["role"] in ("system", "developer"):
                system.append(text)
            else:
                turns.append(Turn(message["role"], text))
        options = fields.get("stream_options") or {}
        return Asked(
            model=model,
            turns=tuple(turns),
            system="\n".join(system),
            stream=bool(fields.get("stream")),
            include_usage=bool(options.get("include_usage")),
            schema=schema_of(fields.get("response_format")),
            tools=_tools(fields),
            must_call=_must_call(fields.get("tool_choice")),
            max_tokens=fields.get("max_completion_tokens") or fields.get("max_tokens"),
            effort=fields.get("reasoning_effort") or "",
            user=fields.get("user") or "",
        )

    def whole(self, said: Said, serial: str) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": said.text or None, "refusal": None}
        if said.calls:
            message["tool_calls"] = [_tool_call(call) for call in said.calls]
        return _encode(
            {
                "id": f"chatcmpl-{serial}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": said.model,
                "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": said.finish}],
                "usage": _usage(said),
                "service_tier": "default",
                "system_fingerprint": f"fp_{said.model}",
            }
        )

    def script(self, asked: Asked, said: Said, serial: str) -> Script:
        created = int(time.time())

        def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
            chunk = {
                "id": f"chatcmpl-{serial}",
                "object": "chat.completion.chunk",
                "created": created,
                "model": said.model,
                "system_fingerprint": f"fp_{said.model}",
                "choices": choices,
                **more,
            }
            return b"data: %s\n\n" % _encode(chunk)

        def delta(content: dict[str, Any], finish: str | None = None) -> bytes:
            return event([{"index": 0, "delta": content, "logprobs": None, "finish_reason": finish}])

        pieces = [delta({"content": piece}) for piece in cut(said.text)] if said.text else []
        for index, call in enumerate(said.calls):
            start = {"index": index, "id": call.id, "type": "function"}
            pieces.append(delta({"tool_calls": [{**start, "function": {"name": call.name, "arguments": ""}}]}))
            pieces += [
                delta({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
                for piece in cut(call.arguments)
            ]
        closing = [delta({}, said.finish)]
        if asked.include_usage:
            closing.append(event([], usage=_usage(said)))
        closing.append(b"data: [DONE]\n\n")
        opening = (delta({"role": "assistant", "content": "", "refusal": None}),)
        return Script(opening, tuple(pieces), tuple(closing))

    def error(self, status: int, message: str) -> bytes:
        return _encode({"error": error_object(status, message)})

    def error_event(self, status: int, message: str) -> bytes:
        return b"data: %s\n\n" % self.error(status, message)

    def ping(self) -> bytes:
        return b": ping\n\n"


def _tool_call(call: Call) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _usage(said: Said) -> dict[str, Any]:
    return {
        "prompt_tokens": said.input_tokens,
        "completion_tokens": said.output_tokens,
        "total_tokens": said.input_tokens + said.output_tokens,
        "prompt_tokens_details": {"cached_tokens": said.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": said.reasoning_tokens, "audio_tokens": 0},
    }
