"""Gemini streams to and from neutral pieces.

A finish reason is the end of such a stream. Calls come and go in one piece: their arguments are gathered before they
are written, and argument texts that are no object are carried as the request side does.
"""

from __future__ import annotations

from typing import Any

from understudy.wires.base import Usage
from understudy.wires.body import encode
from understudy.wires.sse import Event
from understudy.wires.translation.gemini import (
    finish_reason,
    in_camel,
    read_finish,
    read_part,
    read_usage,
    write_part,
    write_usage,
)
from understudy.wires.translation.neutral import (
    CallDelta,
    CallStart,
    End,
    Failure,
    Finish,
    Losses,
    Piece,
    Start,
    Text,
    TextDelta,
    ToolCall,
)
from understudy.wires.translation.shapes import NO_USAGE, a_list, a_string, an_object, decoded


class Reader:
    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._started = False
        self._usage: Usage = NO_USAGE
        self._calls = 0
        self._id = ""

    def read(self, event: Event) -> list[Piece]:
        data = decoded(event)
        error = data.get("error")
        if error is not None:
            given = an_object(error, "error")
            return [
                Failure(a_string(given.get("status"), "status") or "error", a_string(given.get("message"), "message"))
            ]
        pieces: list[Piece] = []
        if data.get("usageMetadata"):
            self._usage = read_usage(data["usageMetadata"])
        if not self._started:
            self._started = True
            self._id = a_string(data.get("responseId"), "responseId")
            pieces.append(Start(self._id, a_string(data.get("modelVersion"), "modelVersion"), self._usage))
        feedback = an_object(data.get("promptFeedback") or {}, "promptFeedback")
        if feedback.get("blockReason"):
            self._losses.add("promptFeedback", f"the reason {feedback['blockReason']} is told as a refusal")
            pieces.append(End(Finish("refusal"), self._usage))
        for item in a_list(data.get("candidates"), "candidates"):
            candidate = an_object(item, "candidates")
            if candidate.get("index", 0) != 0:
                self._losses.add("candidates", "only the first candidate is carried over")
                continue
            pieces += self._candidate(candidate)
        return pieces

    def _candidate(self, candidate: dict[str, Any]) -> list[Piece]:
        pieces: list[Piece] = []
        content = an_object(candidate.get("content") or {}, "content")
        for item in a_list(content.get("parts"), "parts"):
            read = read_part(
                in_camel(item, "part", self._losses), f"call_{self._id}_{self._calls}", "part", self._losses
            )
            if isinstance(read, ToolCall):
                pieces += [CallStart(self._calls, read.id, read.name), CallDelta(self._calls, read.arguments)]
                self._calls += 1
            elif isinstance(read, Text):
                if read.text:
                    pieces.append(TextDelta(read.text))
            elif read is not None:
                self._losses.add("media in an answer")
        if candidate.get("finishReason"):
            pieces.append(End(read_finish(candidate["finishReason"], called=self._calls > 0), self._usage))
        return pieces


class Writer:
    """Server-sent events, or the elements of one array."""

    def __init__(self, losses: Losses, *, array: bool) -> None:
        self._losses = losses
        self._array = array
        self._elements = 0
        self._head: dict[str, Any] = {}
        self._pending: dict[int, ToolCall] = {}

    def write(self, piece: Start | TextDelta | CallStart | CallDelta | End) -> bytes:
        match piece:
            case Start():
                self._head = {"modelVersion": piece.model, "responseId": piece.id}
                return b""
            case TextDelta():
                return self._content([{"text": piece.text}])
            case CallStart():
                self._pending[piece.number] = ToolCall(piece.id, piece.name, "")
                return b""
            case CallDelta():
                self._pending[piece.number].arguments += piece.arguments
                return b""
            case End():
                parts = [part for call in self._pending.values() for part in write_part(call, self._losses)]
                usage = write_usage(piece.usage)
                last = {"finishReason": finish_reason(piece.finish, self._losses)}
                return self._content(parts, last, {"usageMetadata": usage} if usage else {}) + self._closing()

    def failure(self, body: bytes) -> bytes:
        """An error in the place of the next element; nothing comes after it."""
        return self._framed(body) + self._closing()

    def _content(
        self, parts: list[dict[str, Any]], last: dict[str, Any] | None = None, usage: dict[str, Any] | None = None
    ) -> bytes:
        candidate = {"content": {"role": "model", "parts": parts}, **(last or {}), "index": 0}
        return self._framed(encode({"candidates": [candidate], **(usage or {}), **self._head}))

    def _framed(self, body: bytes) -> bytes:
        self._elements += 1
        if self._array:
            return (b"[" if self._elements == 1 else b",\r\n") + body
        return b"data: " + body + b"\r\n\r\n"

    def _closing(self) -> bytes:
        return b"]" if self._array else b""
