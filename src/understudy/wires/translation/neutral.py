"""The neutral form of a chat: what all dialects can say, and a list of what one of them could not.

Each dialect has a reader and a writer for it, so n dialects need 2n translations and not n squared. What a reader
meets and the form has no place for, and what a writer finds and its dialect has no place for, becomes a `Loss`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol

from understudy.wires.base import Usage
from understudy.wires.sse import Event
from understudy.wires.translation.shapes import NO_USAGE, an_object, parsed


class Loss(NamedTuple):
    """Something that was not carried over: where it stood, and what became of it."""

    what: str
    why: str


class Losses:
    """Collects losses; the same one counts once.

    Readers take out of an object the members they understand. An object that is watched is looked at in the end, and
    what was not taken out of it is lost: a member nobody knows cannot be forgotten.
    """

    def __init__(self) -> None:
        self._found: dict[Loss, None] = {}
        self._watched: list[tuple[str, dict[str, Any]]] = []

    def add(self, what: str, why: str = "has no counterpart") -> None:
        self._found[Loss(what, why)] = None

    def watch(self, where: str, members: dict[str, Any]) -> dict[str, Any]:
        """A copy of an object to take members out of; `where` it stands, "" for the body itself."""
        copy = dict(members)
        self._watched.append((where, copy))
        return copy

    def settle(self) -> None:
        """Name what was left in the objects that were watched."""
        for where, members in self._watched:
            for name, value in members.items():
                if value is not None:
                    self.add(f"{where}.{name}" if where else name)
        self._watched.clear()

    def all(self) -> tuple[Loss, ...]:
        self.settle()
        return tuple(self._found)


@dataclass(slots=True)
class Text:
    text: str


@dataclass(slots=True)
class Media:
    """An image, a sound or a document: base64 `data`, or a `url`."""

    media_type: str
    data: str = ""
    url: str = ""
    name: str = ""


@dataclass(slots=True)
class ToolCall:
    """`arguments` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(slots=True)
class ToolResult:
    """What a tool gave back for the call `id`; `name` is the tool's."""

    id: str
    name: str
    parts: list[Text | Media]
    is_error: bool = False


Part = Text | Media | ToolCall | ToolResult


@dataclass(slots=True)
class Turn:
    """Tool results stand in the user's turns, tool calls in the assistant's."""

    role: Literal["user", "assistant"]
    parts: list[Part]


@dataclass(slots=True)
class Tool:
    """`schema` is a JSON Schema of the arguments, None where there are none."""

    name: str
    description: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None


@dataclass(slots=True)
class ToolChoice:
    """auto: the model decides; none: no call; any: some call; tool: a call of `name`."""

    mode: Literal["auto", "none", "any", "tool"]
    name: str = ""


@dataclass(slots=True)
class Format:
    """The answer is to be JSON; with a schema it is to follow it."""

    schema: dict[str, Any] | None = None
    name: str = "answer"
    strict: bool | None = None


@dataclass(slots=True)
class Sampling:
    """None where the caller said nothing."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = field(default_factory=list)
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None


@dataclass(slots=True)
class Ask:
    """A request. The model is no part of it: the variant sets it."""

    system: list[str] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    choice: ToolChoice | None = None
    parallel: bool | None = None
    """Whether several tools may be called at once; None where the caller said nothing."""
    format: Format | None = None
    sampling: Sampling = field(default_factory=Sampling)
    effort: str | None = None
    budget: int | None = None
    """Tokens to think in; 0 switches thinking off."""
    user: str = ""
    stream: bool = False


FinishReason = Literal["stop", "length", "tool_calls", "refusal", "stop_sequence", "error"]


@dataclass(slots=True)
class Finish:
    """`sequence` is the stop sequence that ended the answer, where the dialect tells."""

    reason: FinishReason
    sequence: str = ""


@dataclass(slots=True)
class Reply:
    id: str
    model: str
    parts: list[Text | ToolCall]
    finish: Finish
    usage: Usage = NO_USAGE


class Start(NamedTuple):
    """A stream begins. Usage as far as it is known by then."""

    id: str
    model: str
    usage: Usage = NO_USAGE


class TextDelta(NamedTuple):
    text: str


class CallStart(NamedTuple):
    """Calls are numbered from 0 in the order they begin."""

    number: int
    id: str
    name: str


class CallDelta(NamedTuple):
    number: int
    arguments: str


class End(NamedTuple):
    """The stream's own terminal event was seen."""

    finish: Finish
    usage: Usage


class Failure(NamedTuple):
    """The provider reported an error within the stream."""

    kind: str
    message: str


Piece = Start | TextDelta | CallStart | CallDelta | End | Failure


class PieceReader(Protocol):
    """Reads one event of a provider's stream at a time; how events are framed is known elsewhere."""

    def read(self, event: Event) -> list[Piece]: ...


class PieceWriter(Protocol):
    """Writes the caller's stream, one piece at a time; failures are written elsewhere."""

    def write(self, piece: Start | TextDelta | CallStart | CallDelta | End) -> bytes: ...


class Spoken(Protocol):
    """What the module of a dialect offers that apps speak."""

    def read_ask(self, members: dict[str, Any], losses: Losses) -> Ask: ...

    def write_reply(self, reply: Reply, losses: Losses) -> dict[str, Any]: ...


class Dialect(Spoken, Protocol):
    """What the module of a dialect offers that providers speak too."""

    def write_ask(self, ask: Ask, losses: Losses) -> dict[str, Any]: ...

    def read_reply(self, members: dict[str, Any], losses: Losses) -> Reply: ...


def merged(turns: Iterable[Turn]) -> list[Turn]:
    """Turns in which no two of the same role follow each other: dialects differ in how they split them.

    Turns and texts that say nothing are left out, as they may be where they come from and may not be here; where no
    turn says anything they stay.
    """
    given = list(turns)
    saying = [Turn(turn.role, [part for part in turn.parts if says_something(part)]) for turn in given]
    out: list[Turn] = []
    for turn in [turn for turn in saying if turn.parts] or given:
        if out and out[-1].role == turn.role:
            out[-1] = Turn(turn.role, [*out[-1].parts, *turn.parts])
        else:
            out.append(Turn(turn.role, list(turn.parts)))
    return out


def says_something(part: Part) -> bool:
    return not isinstance(part, Text) or bool(part.text)


def with_a_turn(ask: Ask, losses: Losses) -> Ask:
    """For dialects that demand a turn of the user: system messages alone are told as one."""
    if ask.turns or not ask.system:
        return ask
    losses.add("system messages", "without any other message they are told as the user's")
    return replace(ask, system=[], turns=[Turn("user", [Text(text) for text in ask.system])])


def choice_of(ask: Ask, losses: Losses) -> ToolChoice | None:
    """The choice among the tools; without any, providers refuse one."""
    if not ask.tools and ask.choice is not None and ask.choice.mode in ("any", "tool"):
        losses.add("tool_choice", "there is no tool left to choose")
    return ask.choice if ask.tools else None


def first_few(stop: list[str], most: int, losses: Losses) -> list[str] | None:
    """As many stop sequences as a dialect takes; None where there are none."""
    if len(stop) > most:
        losses.add("stop", f"only the first {most} sequences are carried over")
    return stop[:most] or None


def names_of_calls(turns: Iterable[Turn]) -> dict[str, str]:
    """The tool's name for each call id: some dialects name the tool in its result, others only the call."""
    return {part.id: part.name for turn in turns for part in turn.parts if isinstance(part, ToolCall)}


def arguments_are_object(call: ToolCall, losses: Losses) -> dict[str, Any]:
    """A call's arguments for dialects that carry them as an object."""
    value = parsed(call.arguments)
    if value is None:
        losses.add(f"arguments of {call.name}", "are no JSON object and are carried as text")
        return {"_unparsed": call.arguments}
    return value


def watched(value: object, where: str, losses: Losses) -> dict[str, Any]:
    """An object whose members must all be taken out or be lost. Raises WireError where it is none."""
    return losses.watch(where, an_object(value, where))


def rest(where: str, value: object, known: Iterable[str], losses: Losses) -> None:
    """Name what stands in an object beside the members that are known."""
    for name in sorted(value.keys() - set(known)) if isinstance(value, dict) else ():
        losses.add(f"{where}.{name}")
