"""One operation of a dialect, and the part of a wire that hands each call to the operation it is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import Raw

from understudy.core.variant import Variant
from understudy.wires import body as bodies
from understudy.wires.base import Answer, Endpoint, Operation, Peek, StreamReader, WireRequest
from understudy.wires.reading import decode_or_none


class Operations:
    """The methods of a wire that only choose the operation by the endpoint's name."""

    operations: ClassVar[Mapping[str, Operation]] = {}

    def peek(self, endpoint: Endpoint, path: str, body: bytes) -> Peek:
        return self.operations[endpoint.name].peek(path, body)

    def apply(
        self, endpoint: Endpoint, path: str, body: bytes, variant: Variant, peeked: Peek | None = None
    ) -> WireRequest:
        return self.operations[endpoint.name].apply(path, body, variant, peeked)

    def asking_usage(self, endpoint: Endpoint, request: WireRequest) -> WireRequest:
        return request

    def read(self, endpoint: Endpoint, status: int, body: bytes) -> Answer:
        return self.operations[endpoint.name].read(status, body)

    def reader(self, endpoint: Endpoint) -> StreamReader:
        return self.operations[endpoint.name].reader()


class _Typed(msgspec.Struct):
    type: Any = None


_tools = msgspec.json.Decoder(list[_Typed])


def provider_tools(raw: Raw | None, run_by_caller: Callable[[Any], bool]) -> tuple[str, ...]:
    """The types of the tools that the provider itself would run: effects of a call, by default.

    `run_by_caller` says of a tool's type (None where it has none) whether the caller runs it.
    """
    if raw is None or bodies.is_null(raw):
        return ()
    tools: list[_Typed] | None = decode_or_none(_tools, bytes(raw))
    if tools is None:
        return ("tools",)
    return tuple(f"tool:{tool.type}" for tool in tools if not _safely(run_by_caller, tool.type))


def _safely(run_by_caller: Callable[[Any], bool], kind: object) -> bool:
    return (kind is None or isinstance(kind, str)) and run_by_caller(kind)
