"""The OpenAI wire: which request is which operation, its errors, its keys; each operation has a module of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from understudy.core.variant import Variant
from understudy.wires import body as bodies
from understudy.wires import openai_chat as chat
from understudy.wires.base import Answer, Endpoint, Message, Peek, StreamReader, WireRequest

_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class OpenAI:
    """The dialect of api.openai.com and of everything that speaks like it."""

    name = "openai"

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        if method == "POST" and path == "/v1/chat/completions":
            return chat.ENDPOINT
        return None

    def peek(self, endpoint: Endpoint, path: str, body: bytes) -> Peek:
        return chat.peek(body)

    def apply(
        self, endpoint: Endpoint, path: str, body: bytes, variant: Variant, peeked: Peek | None = None
    ) -> WireRequest:
        return chat.apply(bodies.again(peeked, body), variant)

    def read(self, endpoint: Endpoint, status: int, body: bytes) -> Answer:
        return chat.read(status, body)

    def reader(self, endpoint: Endpoint) -> StreamReader:
        return chat.Reader()

    def error_body(self, status: int, kind: str, message: str) -> bytes:
        return msgspec.json.encode({"error": _error(status, kind, message)})

    def error_event(self, kind: str, message: str, endpoint: Endpoint | None = None) -> bytes:
        return b"data: " + msgspec.json.encode({"error": _error(500, kind, message)}) + b"\n\n"

    def compose(
        self, variant: Variant, messages: Sequence[Message], *, stream: bool = False, user: str = ""
    ) -> WireRequest:
        return chat.compose(variant, messages, stream=stream, user=user)

    def auth_headers(self, key: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {key}"),)

    def key_in(self, headers: Mapping[str, str]) -> str:
        return bearer(headers)


def bearer(headers: Mapping[str, str]) -> str:
    """The token of an `Authorization: Bearer` header, "" where there is none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _error(status: int, kind: str, message: str) -> dict[str, str | None]:
    default = "server_error" if status >= 500 else "invalid_request_error"
    return {"message": message, "type": _ERROR_TYPES.get(status, default), "param": None, "code": kind}


WIRE = OpenAI()
