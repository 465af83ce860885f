"""Neutral pieces to a stream of OpenAI responses: typed, numbered events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.wires.body import encode
from understudy.wires.translation.neutral import CallDelta, CallStart, End, Losses, Start, TextDelta, ToolCall
from understudy.wires.translation.responses import call_item, ended, message_item, response, text_part


class Writer:
    """Items are numbered in the order they begin. A text ends where a call begins; calls end with the stream, as the
    pieces of several may come mixed.
    """

    def __init__(self, losses: Losses, *, repeated: Mapping[str, Any]) -> None:
        self._losses = losses
        self._repeated = repeated
        self._head: dict[str, Any] = {}
        self._id = ""
        self._number = 0
        self._output: list[dict[str, Any]] = []
        """The items as they are when they are over; None of a text that is not over yet."""
        self._text: list[str] | None = None
        """The pieces of the text that is open: it is the last item."""
        self._calls: dict[int, tuple[int, ToolCall]] = {}
        """By the number of the call: its place in the output, and what is known of it."""

    def write(self, piece: Start | TextDelta | CallStart | CallDelta | End) -> bytes:
        match piece:
            case Start():
                self._id = piece.id
                self._head = {**response(piece.id, piece.model), **self._repeated}
                return b"".join(
                    self._event(f"response.{what}", response=self._head) for what in ("created", "in_progress")
                )
            case TextDelta():
                opened = b"" if self._text is not None else self._text_begins()
                assert self._text is not None
                self._text.append(piece.text)
                return opened + self._in_text("response.output_text.delta", delta=piece.text, logprobs=[])
            case CallStart():
                closed = self._text_ends()
                place, call = len(self._output), ToolCall(piece.id, piece.name, "")
                self._calls[piece.number] = place, call
                item = call_item(self._id, place, call, "in_progress")
                self._output.append(item)
                return closed + self._event("response.output_item.added", output_index=place, item=item)
            case CallDelta():
                place, call = self._calls[piece.number]
                call.arguments += piece.arguments
                return self._in_call("response.function_call_arguments.delta", place, delta=piece.arguments)
            case End():
                return self._text_ends() + b"".join(map(self._call_ends, self._calls.values())) + self._end(piece)

    def _end(self, piece: End) -> bytes:
        over = {**self._head, **ended(piece.finish, piece.usage, self._losses), "output": self._output}
        return self._event(f"response.{over['status']}", response=over)

    def _text_begins(self) -> bytes:
        place = len(self._output)
        self._text = []
        self._output.append(message_item(self._id, place, "", "in_progress"))
        added = self._event("response.output_item.added", output_index=place, item=self._output[place])
        return added + self._in_text("response.content_part.added", part=text_part(""))

    def _text_ends(self) -> bytes:
        if self._text is None:
            return b""
        text, place = "".join(self._text), len(self._output) - 1
        done = self._in_text("response.output_text.done", text=text, logprobs=[])
        done += self._in_text("response.content_part.done", part=text_part(text))
        self._text = None
        self._output[place] = message_item(self._id, place, text)
        return done + self._event("response.output_item.done", output_index=place, item=self._output[place])

    def _call_ends(self, begun: tuple[int, ToolCall]) -> bytes:
        place, call = begun
        item = self._output[place] = call_item(self._id, place, call)
        done = {"name": call.name, "arguments": item["arguments"]}
        return self._in_call("response.function_call_arguments.done", place, **done) + self._event(
            "response.output_item.done", output_index=place, item=item
        )

    def _in_text(self, kind: str, **members: Any) -> bytes:
        place = len(self._output) - 1
        return self._event(kind, item_id=self._output[place]["id"], output_index=place, content_index=0, **members)

    def _in_call(self, kind: str, place: int, **members: Any) -> bytes:
        return self._event(kind, item_id=self._output[place]["id"], output_index=place, **members)

    def _event(self, kind: str, **members: Any) -> bytes:
        data = encode({"type": kind, "sequence_number": self._number, **members})
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"
