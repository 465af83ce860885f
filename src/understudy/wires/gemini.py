"""The Gemini wire: which request is which operation, its errors and its keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import parse_qs

import msgspec

from understudy.core.variant import Variant
from understudy.wires import gemini_generate as generate
from understudy.wires import untouched
from understudy.wires.api import Api
from understudy.wires.base import Endpoint, Message, Operation, WireRequest
from understudy.wires.listing import Listing
from understudy.wires.openai import bearer
from understudy.wires.operation import Operations

MODELS = Endpoint("gemini", "models.list", "models", "/v1beta/models")

_BY_METHOD = {"generateContent": generate.GENERATE, "countTokens": generate.COUNT}
API = Api(
    ("/v1beta/", "/v1/"), "", re.compile(r"/v1(?:beta)?/models/[^/:]+:(?:embedContent|batchEmbedContents|predict)")
)
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Gemini(Operations):
    """The dialect of generativelanguage.googleapis.com; a base_url ends before /v1beta."""

    name = "gemini"
    operations: ClassVar[Mapping[str, Operation]] = {
        generate.GENERATE.name: generate.Generate(),
        generate.STREAM.name: generate.Generate(),
        generate.STREAM_ARRAY.name: generate.Generate(),
        generate.COUNT.name: generate.CountTokens(),
        MODELS.name: Listing(MODELS.path),
        untouched.NAME: untouched.Untouched(API),
    }
    api = API

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        if method == "GET" and path.partition("?")[0] in ("/v1beta/models", "/v1/models"):
            return MODELS
        where = generate.place(path) if method == "POST" else None
        if where is None:
            return None
        if where.method == "streamGenerateContent":
            return generate.STREAM if where.events else generate.STREAM_ARRAY
        return _BY_METHOD.get(where.method)

    def error_body(self, status: int, kind: str, message: str) -> bytes:
        default = "INTERNAL" if status >= 500 else "INVALID_ARGUMENT"
        reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": kind, "domain": "understudy"}
        own = kind if kind in _STATUSES.values() else _STATUSES.get(status, default)
        error = {"code": status, "message": message, "status": own, "details": [reason]}
        return msgspec.json.encode({"error": error})

    def error_event(self, kind: str, message: str, endpoint: Endpoint | None = None) -> bytes:
        body = self.error_body(500, kind, message)
        if endpoint is not None and endpoint.name == generate.STREAM_ARRAY.name:
            return b"," + body + b"]"
        return b"data: " + body + b"\n\n"

    def compose(
        self, variant: Variant, messages: Sequence[Message], *, stream: bool = False, user: str = ""
    ) -> WireRequest:
        return generate.compose(variant, messages, stream=stream)

    def auth_headers(self, key: str) -> tuple[tuple[str, str], ...]:
        return (("x-goog-api-key", key),)

    def key_in(self, headers: Mapping[str, str], query: str = "") -> str:
        return headers.get("x-goog-api-key", "") or parse_qs(query).get("key", [""])[0] or bearer(headers)

    def models_body(self, names: Sequence[str]) -> bytes:
        methods = ["generateContent", "countTokens"]
        listed = [
            {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods} for name in names
        ]
        return msgspec.json.encode({"models": listed})


WIRE = Gemini()
