"""OpenAI chat streams to and from neutral pieces."""

from __future__ import annotations

from typing import Any

from understudy.wires.base import Usage
from understudy.wires.body import encode
from understudy.wires.openai_answer import error_kind
from understudy.wires.reading import CallNumbers
from understudy.wires.sse import Event
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
from understudy.wires.translation.openai import finish_reason, read_finish, read_usage, write_usage
from understudy.wires.translation.shapes import NO_USAGE, a_list, a_string, an_integer, an_object, decoded


class Reader:
    """`[DONE]` ends the stream; finish reason and usage came before it."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._started = False
        self._finish = Finish("stop")
        self._usage: Usage = NO_USAGE
        self._numbers = CallNumbers()

    def read(self, event: Event) -> list[Piece]:
        if event.data == b"[DONE]":
            return [End(self._finish, self._usage)]
        chunk = decoded(event)
        error = chunk.get("error")
        if error is not None:
            return [
                Failure(error_kind(error), a_string(error.get("message"), "error") if isinstance(error, dict) else "")
            ]
        pieces: list[Piece] = []
        if not self._started:
            self._started = True
            pieces.append(Start(a_string(chunk.get("id"), "id"), a_string(chunk.get("model"), "model")))
        if chunk.get("usage"):
            self._usage = read_usage(chunk["usage"])
        for item in a_list(chunk.get("choices"), "choices"):
            choice = an_object(item, "choices")
            if choice.get("index", 0) != 0:
                self._losses.add("choices", "only the first choice is carried over")
                continue
            pieces += self._delta(an_object(choice.get("delta") or {}, "delta"))
            if choice.get("finish_reason"):
                self._finish = Finish(read_finish(choice["finish_reason"], called=self._numbers.count > 0))
        return pieces

    def _delta(self, delta: dict[str, Any]) -> list[Piece]:
        pieces: list[Piece] = []
        text = a_string(delta.get("content"), "delta.content") or a_string(delta.get("refusal"), "delta.refusal")
        if text:
            pieces.append(TextDelta(text))
        for name in ("reasoning_content", "audio", "function_call"):
            if delta.get(name):
                self._losses.add(f"delta.{name}")
        for item in a_list(delta.get("tool_calls"), "delta.tool_calls"):
            call = an_object(item, "delta.tool_calls")
            function = an_object(call.get("function") or {}, "delta.tool_calls.function")
            call_id, before = a_string(call.get("id"), "id"), self._numbers.count
            number = self._numbers.of(an_integer(call.get("index"), "delta.tool_calls.index"), call_id)
            if number == before:
                pieces.append(CallStart(number, call_id, a_string(function.get("name"), "function.name")))
            arguments = a_string(function.get("arguments"), "function.arguments")
            if arguments:
                pieces.append(CallDelta(number, arguments))
        return pieces


class Writer:
    """The usage comes in a chunk of its own, and only where the caller asked for it."""

    def __init__(self, losses: Losses, *, include_usage: bool, created: int = 0) -> None:
        self._losses = losses
        self._created = created
        self._include_usage = include_usage
        self._head: dict[str, Any] = {}
        self._bare: set[int] = set()
        """Calls without arguments so far: an empty text is no JSON, they are told as {} in the end."""

    def write(self, piece: Start | TextDelta | CallStart | CallDelta | End) -> bytes:
        match piece:
            case Start():
                self._head = {
                    "id": piece.id,
                    "object": "chat.completion.chunk",
                    "created": self._created,
                    "model": piece.model,
                }
                return self._chunk({"role": "assistant", "content": "", "refusal": None})
            case TextDelta():
                return self._chunk({"content": piece.text})
            case CallStart():
                self._bare.add(piece.number)
                function = {"name": piece.name, "arguments": ""}
                return self._call({"index": piece.number, "id": piece.id, "type": "function", "function": function})
            case CallDelta():
                self._bare.discard(piece.number)
                return self._call({"index": piece.number, "function": {"arguments": piece.arguments}})
            case End():
                bare = [{"index": number, "function": {"arguments": "{}"}} for number in sorted(self._bare)]
                out = b"".join(self._call(call) for call in bare)
                out += self._chunk({}, finish_reason(piece.finish, self._losses))
                usage = write_usage(piece.usage)
                if self._include_usage and usage:
                    out += _event({**self._head, "choices": [], "usage": usage})
                return out + b"data: [DONE]\n\n"

    def _call(self, call: dict[str, Any]) -> bytes:
        return self._chunk({"tool_calls": [call]})

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event({**self._head, "choices": [choice]})


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + encode(data) + b"\n\n"
