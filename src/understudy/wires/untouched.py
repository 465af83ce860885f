"""The operation of a request that no other one stands for: passed on as it came, its answer not read."""

from __future__ import annotations

from understudy.core.variant import Variant
from understudy.wires.api import Api
from understudy.wires.base import Answer, Endpoint, Peek, WireRequest
from understudy.wires.reading import SseReader

NAME = "other"


class Untouched:
    """An operation that is passed on as it came. Of its answer nothing is read but the status."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def peek(self, path: str, body: bytes) -> Peek:
        return Peek("", False, {}, ("other",))

    def apply(self, path: str, body: bytes, variant: Variant, peeked: Peek | None) -> WireRequest:
        provider_path = self._api.path(path)
        assert provider_path is not None, "whoever passes a request has looked at its path"
        return WireRequest(provider_path, (), body)

    def read(self, status: int, body: bytes) -> Answer:
        return Answer(error=f"status_{status}" if status >= 400 else "")

    def reader(self) -> SseReader:
        return _Unread()


class _Unread(SseReader):
    """Nobody here knows how such a stream ends: its framing alone says so."""

    def __init__(self) -> None:
        super().__init__()
        self.done = self.content_seen = True

    def feed(self, chunk: bytes) -> None:
        return None


def endpoint(wire: str) -> Endpoint:
    return Endpoint(wire, NAME, NAME, "", pure=False)
