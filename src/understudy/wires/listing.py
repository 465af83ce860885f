"""The list of models, in every dialect a request without a body: nothing to rewrite, little to read."""

from __future__ import annotations

from understudy.core.variant import Variant
from understudy.wires.base import Answer, Peek, WireRequest
from understudy.wires.reading import SseReader


class Listing:
    """An operation that is passed on as it came, to a path of its own."""

    def __init__(self, path: str) -> None:
        self._path = path

    def peek(self, path: str, body: bytes) -> Peek:
        return Peek("", False, {})

    def apply(self, path: str, body: bytes, variant: Variant, peeked: Peek | None) -> WireRequest:
        return WireRequest(self._path, (), body)

    def read(self, status: int, body: bytes) -> Answer:
        return Answer(error=f"status_{status}" if status >= 400 else "")

    def reader(self) -> SseReader:
        return SseReader()
