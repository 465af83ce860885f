"""The Anthropic wire: which request is which operation, its errors and its keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from understudy.core.variant import Variant
from understudy.wires import anthropic_messages as operation
from understudy.wires import untouched
from understudy.wires.api import Api
from understudy.wires.base import Endpoint, Message, Operation, WireRequest
from understudy.wires.listing import Listing
from understudy.wires.openai import bearer
from understudy.wires.operation import Operations

MODELS = Endpoint("anthropic", "models.list", "models", "/v1/models")

_ENDPOINTS = {
    ("POST", "/v1/messages"): operation.ENDPOINT,
    ("POST", "/v1/messages/count_tokens"): operation.CountTokens.ENDPOINT,
    ("GET", "/v1/models"): MODELS,
}
API = Api(("/v1/",), "", re.compile(r"/v1/complete"))
_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Anthropic(Operations):
    """The dialect of api.anthropic.com; a base_url ends before /v1."""

    name = "anthropic"
    operations: ClassVar[Mapping[str, Operation]] = {
        operation.ENDPOINT.name: operation,
        operation.CountTokens.ENDPOINT.name: operation.CountTokens(),
        MODELS.name: Listing(MODELS.path),
        untouched.NAME: untouched.Untouched(API),
    }
    api = API

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        return _ENDPOINTS.get((method, path)) or _ENDPOINTS.get((method, path.partition("?")[0]))

    def error_body(self, status: int, kind: str, message: str) -> bytes:
        default = "api_error" if status >= 500 else "invalid_request_error"
        own = kind if kind in _ERROR_TYPES.values() else _ERROR_TYPES.get(status, default)
        error = {"type": own, "message": message, "code": kind}
        return msgspec.json.encode({"type": "error", "error": error})

    def error_event(self, kind: str, message: str, endpoint: Endpoint | None = None) -> bytes:
        return b"event: error\ndata: " + self.error_body(500, kind, message) + b"\n\n"

    def compose(
        self, variant: Variant, messages: Sequence[Message], *, stream: bool = False, user: str = ""
    ) -> WireRequest:
        return operation.compose(variant, messages, stream=stream, user=user)

    def auth_headers(self, key: str) -> tuple[tuple[str, str], ...]:
        return (("x-api-key", key),)

    def key_in(self, headers: Mapping[str, str], query: str = "") -> str:
        return headers.get("x-api-key", "") or bearer(headers)

    def models_body(self, names: Sequence[str]) -> bytes:
        listed = [
            {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"} for name in names
        ]
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return msgspec.json.encode({"data": listed, "has_more": False, **ends})


WIRE = Anthropic()
