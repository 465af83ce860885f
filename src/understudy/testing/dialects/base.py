"""The nouns the dialects share: what was asked, what is said, and a stream as a script of pieces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from understudy.testing.server import Request


class Turn(NamedTuple):
    """One message: role is user, assistant or tool. System text is kept apart."""

    role: str
    text: str


class Tool(NamedTuple):
    name: str
    schema: Mapping[str, Any]


class Call(NamedTuple):
    """A tool call: `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for an answer, the same for every dialect.

    `must_call` is None where calling a tool is up to the model, "" where it must call any, else the tool's name.
    `schema` is the JSON schema the answer must have, {} for any JSON object, None where plain text will do.
    """

    model: str
    turns: tuple[Turn, ...]
    system: str = ""
    stream: bool = False
    include_usage: bool = True
    schema: Mapping[str, Any] | None = None
    tools: tuple[Tool, ...] = ()
    must_call: str | None = None
    max_tokens: int | None = None
    effort: str = ""
    user: str = ""
    json_array: bool = False
    """Gemini only: stream as one JSON array instead of events."""

    @property
    def last_user(self) -> str:
        """The last thing the user said, "" where the user said nothing."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "user"), "")


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, the same for every dialect. `output_tokens` includes `reasoning_tokens`, as providers bill it.

    `finish` is stop, length, tool_calls or content_filter.
    """

    text: str
    model: str
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    finish: str = "stop"
    calls: tuple[Call, ...] = ()


class Script(NamedTuple):
    """A streamed answer: `opening` carries no content, each of `pieces` some of it, `closing` ends it properly."""

    opening: tuple[bytes, ...]
    pieces: tuple[bytes, ...]
    closing: tuple[bytes, ...]
    content_type: str = "text/event-stream; charset=utf-8"

    def parts(self) -> tuple[bytes, ...]:
        return self.opening + self.pieces + self.closing


class Unreadable(Exception):
    """A request the provider would refuse; `status` is what it answers."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Dialect(Protocol):
    """How one provider is spoken to. `serial` makes ids unique and keeps answers reproducible."""

    name: str

    def read(self, request: Request) -> Asked:
        """Raises Unreadable where the real provider would refuse the request."""
        ...

    def whole(self, said: Said, serial: str) -> bytes: ...

    def script(self, asked: Asked, said: Said, serial: str) -> Script: ...

    def error(self, status: int, message: str) -> bytes: ...

    def error_event(self, status: int, message: str) -> bytes:
        """An error inside a stream whose status was 200."""
        ...

    def ping(self) -> bytes:
        """What keeps a silent stream alive."""
        ...


def cut(text: str, most: int = 40) -> list[str]:
    """Pieces of a text for streaming, cut before spaces, about three words each and never more than `most`."""
    words = text.split(" ")
    per = max(3, -(-len(words) // most))
    pieces = [" ".join(words[start : start + per]) for start in range(0, len(words), per)]
    return [piece if index == 0 else " " + piece for index, piece in enumerate(pieces)]


def estimate_tokens(text: str) -> int:
    """Tokens of a text where nobody counted them: one for every four characters, rounded up."""
    return -(-len(text) // 4)


def input_tokens(asked: Asked) -> int:
    """Tokens of everything that was sent, estimated."""
    return estimate_tokens(asked.system) + sum(estimate_tokens(turn.text) for turn in asked.turns)


def field_of(fields: Mapping[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """A field that must be there and of a type. Raises Unreadable."""
    value = fields.get(name)
    if value is None:
        raise Unreadable(f"missing required parameter: '{name}'")
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Unreadable(f"invalid type for '{name}': {type(value).__name__}")
    return value
