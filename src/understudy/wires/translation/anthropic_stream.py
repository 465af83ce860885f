"""Anthropic message streams to and from neutral pieces."""

from __future__ import annotations

from typing import Any

from understudy.wires.base import Usage
from understudy.wires.body import encode
from understudy.wires.sse import Event
from understudy.wires.translation.anthropic import FINISHES, finish_reason, read_usage, write_usage
from understudy.wires.translation.neutral import (
    CallDelta,
    CallStart,
    End,
    Failure,
    Finish,
    Losses,
    Piece,
    Start,
    TextDelta,
)
from understudy.wires.translation.shapes import NO_USAGE, a_string, an_integer, an_object, decoded, json_text, parsed


class Reader:
    """`message_stop` ends the stream; counts of message_delta leave out what has not changed since message_start."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._finish = Finish("stop")
        self._counts: dict[str, Any] = {}
        self._calls: dict[int | None, int] = {}

    def read(self, event: Event) -> list[Piece]:
        data = decoded(event)
        match data.get("type"):
            case "message_start":
                message = an_object(data.get("message"), "message")
                self._count(message.get("usage"))
                model = a_string(message.get("model"), "message.model")
                return [Start(a_string(message.get("id"), "message.id"), model, read_usage(self._counts))]
            case "content_block_start":
                return self._block(
                    an_integer(data.get("index"), "index"), an_object(data.get("content_block"), "content_block")
                )
            case "content_block_delta":
                return self._delta(an_integer(data.get("index"), "index"), an_object(data.get("delta"), "delta"))
            case "message_delta":
                delta = an_object(data.get("delta") or {}, "delta")
                reason = a_string(delta.get("stop_reason"), "stop_reason")
                if reason:
                    sequence = a_string(delta.get("stop_sequence"), "stop_sequence")
                    self._finish = Finish(FINISHES.get(reason, "stop"), sequence)
                self._count(data.get("usage"))
                return []
            case "message_stop":
                return [End(self._finish, read_usage(self._counts) if self._counts else NO_USAGE)]
            case "error":
                error = an_object(data.get("error") or {}, "error")
                kind = a_string(error.get("type"), "error.type")
                return [Failure(kind or "error", a_string(error.get("message"), "error.message"))]
            case "ping" | "content_block_stop":
                return []
            case kind:
                self._losses.add(f"event {kind}")
                return []

    def _count(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._counts.update({key: value for key, value in usage.items() if value is not None})

    def _block(self, index: int | None, block: dict[str, Any]) -> list[Piece]:
        match block.get("type"):
            case "text":
                text = a_string(block.get("text"), "content_block.text")
                return [TextDelta(text)] if text else []
            case "tool_use":
                number = self._calls[index] = len(self._calls)
                name = a_string(block.get("name"), "content_block.name")
                start = CallStart(number, a_string(block.get("id"), "content_block.id"), name)
                # Empty as a rule, with deltas to follow; some who speak this dialect give it whole.
                given = an_object(block.get("input") or {}, "content_block.input")
                return [start, CallDelta(number, json_text(given))] if given else [start]
            case "thinking" | "redacted_thinking":
                self._losses.add("thoughts")
                return []
            case kind:
                self._losses.add(f"content of type {kind}")
                return []

    def _delta(self, index: int | None, delta: dict[str, Any]) -> list[Piece]:
        match delta.get("type"):
            case "text_delta":
                text = a_string(delta.get("text"), "delta.text")
                return [TextDelta(text)] if text else []
            case "input_json_delta" if index in self._calls:
                arguments = a_string(delta.get("partial_json"), "delta.partial_json")
                return [CallDelta(self._calls[index], arguments)] if arguments else []
            case "citations_delta":
                self._losses.add("citations")
        return []


class _Waiting:
    """A call that began before the one before it had all of its arguments."""

    def __init__(self, start: CallStart) -> None:
        self.start = start
        self.arguments: list[str] = []


class Writer:
    """Blocks are opened and closed one after the other: what begins while the arguments of a call are not whole yet
    waits for the end of the stream, because more of them may come.
    """

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._blocks = 0
        self._open: str | int | None = None
        """"text", the number of an open call, or None."""
        self._arguments: list[str] = []
        """Those of the open call so far."""
        self._waiting: list[TextDelta | _Waiting] = []

    def write(self, piece: Start | TextDelta | CallStart | CallDelta | End) -> bytes:
        match piece:
            case Start():
                return self._start(piece)
            case TextDelta() if self._must_wait():
                self._waiting.append(piece)
                return b""
            case TextDelta():
                opened = b"" if self._open == "text" else self._opened("text", {"type": "text", "text": ""})
                return opened + self._delta({"type": "text_delta", "text": piece.text})
            case CallStart() if self._must_wait():
                self._waiting.append(_Waiting(piece))
                return b""
            case CallStart():
                return self._call(piece)
            case CallDelta():
                return self._more(piece)
            case End():
                return self._end(piece)

    def _must_wait(self) -> bool:
        """Whether the open call may go on: its arguments are no whole object yet, or something waits already."""
        if self._waiting or not isinstance(self._open, int):
            return bool(self._waiting)
        return not self._arguments or parsed("".join(self._arguments)) is None

    def _call(self, piece: CallStart) -> bytes:
        self._arguments = []
        block = {"type": "tool_use", "id": piece.id, "name": piece.name, "input": {}}
        return self._opened(piece.number, block)

    def _more(self, piece: CallDelta) -> bytes:
        if self._open == piece.number:
            self._arguments.append(piece.arguments)
            return self._delta({"type": "input_json_delta", "partial_json": piece.arguments})
        for waiting in self._waiting:
            if isinstance(waiting, _Waiting) and waiting.start.number == piece.number:
                waiting.arguments.append(piece.arguments)
                return b""
        self._losses.add("interleaved tool calls", "arguments came after the call had all of them")
        return b""

    def _told_in_the_end(self) -> bytes:
        waiting, self._waiting = self._waiting, []
        out = self._closed()
        for item in waiting:
            if isinstance(item, _Waiting):
                out += self._call(item.start)
                arguments = "".join(item.arguments)
                out += self._delta({"type": "input_json_delta", "partial_json": arguments}) if arguments else b""
                out += self._closed()
            else:
                out += self.write(item)
        return out

    def _start(self, piece: Start) -> bytes:
        usage = write_usage(Usage(piece.usage.input_tokens or 0, piece.usage.output_tokens or 0), self._losses)
        message: dict[str, Any] = {
            "id": piece.id,
            "type": "message",
            "role": "assistant",
            "model": piece.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return _event("message_start", {"message": message})

    def _end(self, piece: End) -> bytes:
        reason, sequence = finish_reason(piece.finish, self._losses)
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        usage = write_usage(piece.usage, self._losses)
        return (
            self._told_in_the_end()
            + self._closed()
            + _event("message_delta", {"delta": delta, "usage": usage})
            + _event("message_stop", {})
        )

    def _opened(self, what: str | int, block: dict[str, Any]) -> bytes:
        closed = self._closed()
        self._open = what
        return closed + _event("content_block_start", {"index": self._blocks, "content_block": block})

    def _closed(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        self._blocks += 1
        return _event("content_block_stop", {"index": self._blocks - 1})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", {"index": self._blocks, "delta": delta})


def _event(name: str, members: dict[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + encode({"type": name, **members}) + b"\n\n"
