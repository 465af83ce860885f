"""Gemini generateContent and streamGenerateContent, the latter as events (alt=sse) and as one JSON array."""

from __future__ import annotations

from typing import Any

import msgspec

from understudy.testing.dialects.base import Asked, Said, Script, Tool, Turn, Unreadable, cut, field_of
from understudy.testing.dialects.openai import decode
from understudy.testing.server import Request

_encode = msgspec.json.Encoder().encode

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}


def _text(content: object) -> str:
    if not isinstance(content, dict) or not isinstance(content.get("parts"), list):
        raise Unreadable("contents: every content needs a list of parts")
    return "\n".join(str(part["text"]) for part in content["parts"] if isinstance(part, dict) and "text" in part)


def _must_call(fields: dict[str, Any]) -> str | None:
    config = (fields.get("toolConfig") or {}).get("functionCallingConfig") or {}
    if config.get("mode") != "ANY":
        return None
    allowed = config.get("allowedFunctionNames") or [""]
    return str(allowed[0])


class Gemini:
    name = "gemini"

    def read(self, request: Request) -> Asked:
        model, _, action = request.path.rpartition("/models/")[2].partition(":")
        fields = decode(request.body)
        contents = field_of(fields, "contents", list)
        if not contents:
            raise Unreadable("contents is not specified")
        roles = {"user": "user", "model": "assistant", "function": "tool", None: "user"}
        turns: list[Turn] = []
        for content in contents:
            text = _text(content)
            if content.get("role") not in roles:
                raise Unreadable(f"please use a valid role: user, model; got {content.get('role')!r}")
            turns.append(Turn(roles[content.get("role")], text))
        config = fields.get("generationConfig") or {}
        declared = [f for tool in fields.get("tools") or () for f in tool.get("functionDeclarations") or ()]
        schema = config.get("responseJsonSchema") or config.get("responseSchema")
        wants_json = config.get("responseMimeType") == "application/json"
        thinking = config.get("thinkingConfig") or {}
        stream = action == "streamGenerateContent"
        return Asked(
            model=model,
            turns=tuple(turns),
            system=_text(fields["systemInstruction"]) if fields.get("systemInstruction") else "",
            stream=stream,
            schema=(schema or {}) if wants_json else None,
            tools=tuple(Tool(f["name"], f.get("parametersJsonSchema") or f.get("parameters") or {}) for f in declared),
            must_call=_must_call(fields),
            max_tokens=config.get("maxOutputTokens"),
            effort=str(thinking.get("thinkingLevel") or thinking.get("thinkingBudget") or ""),
            json_array=stream and "alt=sse" not in request.query.split("&"),
        )

    def whole(self, said: Said, serial: str) -> bytes:
        return _encode(_piece(said, _parts(said), serial, last=True))

    def script(self, asked: Asked, said: Said, serial: str) -> Script:
        texts = [[{"text": piece}] for piece in cut(said.text)] if said.text else []
        parts = [*texts, *([_parts(said)[1 if said.text else 0 :]] if said.calls else [])]
        bodies = [_encode(_piece(said, part, serial, last=False)) for part in parts]
        end = _encode(_piece(said, [{"text": ""}], serial, last=True))
        if asked.json_array:
            first, rest = bodies[:1], bodies[1:]
            pieces = [*first, *(b",\r\n" + body for body in rest)]
            closing = (b",\r\n" + end, b"]") if bodies else (end, b"]")
            return Script((b"[",), tuple(pieces), closing, "application/json; charset=UTF-8")
        return Script((), tuple(_event(body) for body in bodies), (_event(end),))

    def error(self, status: int, message: str) -> bytes:
        return _encode({"error": {"code": status, "message": message, "status": _STATUS.get(status, "UNKNOWN")}})

    def error_event(self, status: int, message: str) -> bytes:
        return _event(self.error(status, message))

    def ping(self) -> bytes:
        return b": ping\r\n\r\n"


def _event(body: bytes) -> bytes:
    return b"data: %s\r\n\r\n" % body


def _parts(said: Said) -> list[dict[str, Any]]:
    texts: list[dict[str, Any]] = [{"text": said.text}] if said.text else []
    calls = [
        {"functionCall": {"id": call.id, "name": call.name, "args": msgspec.json.decode(call.arguments.encode())}}
        for call in said.calls
    ]
    return texts + calls


def _piece(said: Said, parts: list[dict[str, Any]], serial: str, *, last: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    usage: dict[str, Any] = {"promptTokenCount": said.input_tokens}
    if last:
        candidate["finishReason"] = _FINISH[said.finish]
        # Gemini counts thoughts beside the candidates, not among them.
        usage["candidatesTokenCount"] = said.output_tokens - said.reasoning_tokens
        if said.reasoning_tokens:
            usage["thoughtsTokenCount"] = said.reasoning_tokens
        if said.cached_tokens:
            usage["cachedContentTokenCount"] = said.cached_tokens
        usage["totalTokenCount"] = said.input_tokens + said.output_tokens
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": said.model, "responseId": serial}
