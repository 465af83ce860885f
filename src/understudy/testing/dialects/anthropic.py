"""Anthropic messages, as its API answers them: whole and as named server-sent events ending in message_stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from understudy.testing.dialects.base import Asked, Said, Script, Tool, Turn, Unreadable, cut, field_of
from understudy.testing.dialects.openai import decode
from understudy.testing.server import Request

_encode = msgspec.json.Encoder().encode

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def _text(content: object) -> str:
    """The text of a content: a string, or its text blocks and the text inside its tool results."""
    match content:
        case str():
            return content
        case list():
            parts = [_block_text(block) for block in content if isinstance(block, dict)]
            return "\n".join(part for part in parts if part)
        case _:
            raise Unreadable(f"messages.content: input should be a string or a list, not {type(content).__name__}")


def _block_text(block: Mapping[str, Any]) -> str:
    match block:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "tool_result", "content": content} if content is not None:
            return _text(content)
        case _:
            return ""


class Anthropic:
    name = "anthropic"

    def read(self, request: Request) -> Asked:
        if "anthropic-version" not in request.headers:
            raise Unreadable("anthropic-version: header is required")
        fields = decode(request.body)
        model = field_of(fields, "model", str)
        counting = request.path.endswith("/count_tokens")
        max_tokens = None if counting else field_of(fields, "max_tokens", int)
        messages = field_of(fields, "messages", list)
        if not messages:
            raise Unreadable("messages: at least one message is required")
        turns: list[Turn] = []
        for index, message in enumerate(messages):
            if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
                raise Unreadable(f"messages.{index}.role: input should be 'user' or 'assistant'")
            turns.append(Turn(message["role"], _text(message.get("content"))))
        choice = fields.get("tool_choice") or {}
        must_call = {"any": "", "tool": choice.get("name", "")}.get(choice.get("type", ""))
        tools = [tool for tool in fields.get("tools") or () if isinstance(tool, dict) and "input_schema" in tool]
        output = fields.get("output_config") or {}
        format_ = output.get("format") or {}
        return Asked(
            model=model,
            turns=tuple(turns),
            system=_text(fields["system"]) if fields.get("system") else "",
            stream=bool(fields.get("stream")),
            schema=format_.get("schema") if format_.get("type") == "json_schema" else None,
            tools=tuple(Tool(tool["name"], tool["input_schema"]) for tool in tools),
            must_call=must_call,
            max_tokens=max_tokens,
            effort=str(output.get("effort") or (fields.get("thinking") or {}).get("budget_tokens") or ""),
            user=(fields.get("metadata") or {}).get("user_id") or "",
        )

    def whole(self, said: Said, serial: str) -> bytes:
        content: list[dict[str, Any]] = [{"type": "text", "text": said.text}] if said.text else []
        for call in said.calls:
            arguments = msgspec.json.decode(call.arguments.encode())
            content.append({"type": "tool_use", "id": call.id, "name": call.name, "input": arguments})
        return _encode({**_message(said, serial), "content": content, **_stop(said), "usage": _usage(said)})

    def script(self, asked: Asked, said: Said, serial: str) -> Script:
        del asked
        start = {**_message(said, serial), "content": [], "stop_reason": None, "stop_sequence": None}
        start["usage"] = {**_usage(said), "output_tokens": 1}
        opening = [_event("message_start", message=start)]
        pieces: list[bytes] = []
        index = 0
        if said.text:
            opening.append(_event("content_block_start", index=0, content_block={"type": "text", "text": ""}))
            opening.append(self.ping())
            pieces += [
                _event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
                for piece in cut(said.text)
            ]
            pieces[-1] += _event("content_block_stop", index=0)
            index = 1
        for call in said.calls:
            block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
            begun = _event("content_block_start", index=index, content_block=block)
            deltas = [
                _event("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": piece})
                for piece in cut(call.arguments)
            ]
            pieces += [begun + deltas[0], *deltas[1:]]
            pieces[-1] += _event("content_block_stop", index=index)
            index += 1
        closing = (
            _event("message_delta", delta=_stop(said), usage={"output_tokens": said.output_tokens}),
            _event("message_stop"),
        )
        return Script(tuple(opening), tuple(pieces), closing)

    def error(self, status: int, message: str) -> bytes:
        kind = _ERROR_TYPES.get(status, "api_error")
        return _encode({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake"})

    def error_event(self, status: int, message: str) -> bytes:
        kind = _ERROR_TYPES.get(status, "api_error")
        return _event("error", error={"type": kind, "message": message})

    def ping(self) -> bytes:
        return _event("ping")


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), _encode({"type": kind, **fields}))


def _message(said: Said, serial: str) -> dict[str, Any]:
    return {"id": f"msg_{serial}", "type": "message", "role": "assistant", "model": said.model}


def _stop(said: Said) -> dict[str, Any]:
    return {"stop_reason": _STOP[said.finish], "stop_sequence": None}


def _usage(said: Said) -> dict[str, Any]:
    """Anthropic counts cached tokens beside the fresh ones, not among them."""
    return {
        "input_tokens": said.input_tokens - said.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": said.cached_tokens,
        "output_tokens": said.output_tokens,
        "service_tier": "standard",
    }
