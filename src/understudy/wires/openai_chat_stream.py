"""Reads a copy of an OpenAI chat stream."""

from __future__ import annotations

from understudy.wires.body import UNREADABLE
from understudy.wires.openai_answer import error_kind, text_of, usage
from understudy.wires.openai_completion import DECODER, NO_AUDIO, Choice, Completion
from understudy.wires.reading import CallNumbers, SseReader, decode_or_none
from understudy.wires.sse import Event

_decode = DECODER.decode


def reader() -> Reader:
    return Reader()


class Reader(SseReader):
    """A chat stream; `[DONE]` ends it. Of several choices the first one is read."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        super().__init__()
        self._numbers: CallNumbers | None = None

    def _event(self, event: Event) -> None:
        if event.data == b"[DONE]":
            self.done = True
            return
        chunk: Completion | None = decode_or_none(DECODER, event.data)
        if chunk is None:
            self.unreadable = True
            return
        self._chunk(chunk)

    def _events(self, found: list[bytes]) -> bool:
        ends = found[-1] == b"[DONE]"
        try:
            chunks = [_decode(data) for data in (found[:-1] if ends else found)]
        except UNREADABLE:
            return False
        texts: list[str] = []
        for chunk in chunks:
            choices = chunk.choices
            if choices and len(choices) == 1 and chunk.usage is None and chunk.error is None and self.model:
                choice = choices[0]
                delta = choice.delta
                if delta is not None and choice.index == 0 and not (delta.tool_calls or delta.function_call):
                    text = delta.content
                    if type(text) is str and text:  # text alone, as nearly all of them: `_chunk`, without the calls
                        texts.append(text)
                        if chunk.system_fingerprint:
                            self.system_fingerprint = chunk.system_fingerprint
                        if choice.finish_reason:
                            self.finish_reason = choice.finish_reason
                        continue
            if texts:
                self.add_text("".join(texts))
                texts.clear()
            self._chunk(chunk)
        if texts:
            self.add_text("".join(texts))
        self.done = self.done or ends
        return True

    def _chunk(self, chunk: Completion) -> None:
        if chunk.error is not None:
            self.error = self.error or error_kind(chunk.error)
        if chunk.model and not self.model:
            self.model = chunk.model
            self.id = chunk.id or ""
        if chunk.system_fingerprint:
            self.system_fingerprint = chunk.system_fingerprint
        if chunk.usage:
            self.usage = usage(chunk.usage)
        for choice in chunk.choices or ():
            if choice.index == 0:
                self._choice(choice)
            elif choice.delta:
                self.content_seen = True

    def _choice(self, choice: Choice) -> None:
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
        delta = choice.delta
        if delta is None:
            return
        content = delta.content
        text = content if isinstance(content, str) and content else text_of(delta)
        if text:
            self.add_text(text)
        for call in delta.tool_calls or ():
            numbers = self._numbers = self._numbers or CallNumbers()
            number = numbers.of(call.index, call.id)
            function = call.function
            if function:
                self.add_call(number, function.name, function.arguments)
            elif call.custom:
                self.add_call(number, call.custom.name, call.custom.input)
        if delta.function_call:
            self.add_call(0, delta.function_call.name, delta.function_call.arguments)
        if delta.reasoning_content or delta.reasoning:
            self.content_seen = True
        if delta.audio is not NO_AUDIO and bytes(delta.audio) != b"null":
            self.content_seen = True
