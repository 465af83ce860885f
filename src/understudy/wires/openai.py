"""The OpenAI wire: which request is which operation, its errors, its keys; each operation has a module of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from understudy.core.variant import Variant
from understudy.wires import openai_chat as chat
from understudy.wires import openai_embeddings as embeddings
from understudy.wires import openai_responses as responses
from understudy.wires import untouched
from understudy.wires.api import Api
from understudy.wires.base import Endpoint, Message, Operation, WireRequest
from understudy.wires.listing import Listing
from understudy.wires.operation import Operations

MODELS = Endpoint("openai", "models.list", "models", "/models")

_ENDPOINTS = {
    ("POST", "/v1/chat/completions"): chat.ENDPOINT,
    ("POST", "/v1/responses"): responses.ENDPOINT,
    ("POST", "/v1/embeddings"): embeddings.ENDPOINT,
    ("GET", "/v1/models"): MODELS,
}
API = Api(
    ("/v1/",), "/v1", re.compile(r"/v1/(?:moderations|completions|responses/input_tokens|(?:audio|images)/[a-z]+)")
)
_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class OpenAI(Operations):
    """The dialect of api.openai.com and of everything that speaks like it; a base_url ends in /v1."""

    name = "openai"
    operations: ClassVar[Mapping[str, Operation]] = {
        chat.ENDPOINT.name: chat,
        responses.ENDPOINT.name: responses,
        embeddings.ENDPOINT.name: embeddings,
        MODELS.name: Listing(MODELS.path),
        untouched.NAME: untouched.Untouched(API),
    }
    api = API

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        return _ENDPOINTS.get((method, path)) or _ENDPOINTS.get((method, path.partition("?")[0]))

    def asking_usage(self, endpoint: Endpoint, request: WireRequest) -> WireRequest:
        return chat.asking_usage(request) if endpoint.name == chat.ENDPOINT.name else request

    def error_body(self, status: int, kind: str, message: str) -> bytes:
        return msgspec.json.encode({"error": _error(status, kind, message)})

    def error_event(self, kind: str, message: str, endpoint: Endpoint | None = None) -> bytes:
        if endpoint is not None and endpoint.name == responses.ENDPOINT.name:
            event = {"type": "error", "code": kind, "message": message, "param": None, "sequence_number": 0}
            return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"
        return b"data: " + self.error_body(500, kind, message) + b"\n\n"

    def compose(
        self, variant: Variant, messages: Sequence[Message], *, stream: bool = False, user: str = ""
    ) -> WireRequest:
        return chat.compose(variant, messages, stream=stream, user=user)

    def auth_headers(self, key: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {key}"),)

    def key_in(self, headers: Mapping[str, str], query: str = "") -> str:
        return bearer(headers)

    def models_body(self, names: Sequence[str]) -> bytes:
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "understudy"} for name in names]
        return msgspec.json.encode({"object": "list", "data": listed})


def bearer(headers: Mapping[str, str]) -> str:
    """The token of an `Authorization: Bearer` header, "" where there is none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _error(status: int, kind: str, message: str) -> dict[str, str | None]:
    default = "server_error" if status >= 500 else "invalid_request_error"
    return {"message": message, "type": _ERROR_TYPES.get(status, default), "param": None, "code": kind}


WIRE = OpenAI()
