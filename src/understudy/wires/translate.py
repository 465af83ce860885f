"""Carries chats from one dialect to another: a request there, its answer or its stream back. Sans I/O.

    carried = request(endpoint_of_the_app, path, body, "anthropic")
    sent = wire("anthropic").apply(carried.endpoint, carried.path, carried.body, variant)
    ...
    answer(carried.back, status, body)      or      stream(carried.back), fed as the bytes come

Only chats are carried over: OpenAI chat completions, Anthropic messages, Gemini generateContent and its streams; and
OpenAI responses that nobody is to keep, from an app to a provider of another dialect.
What cannot be carried over is in `losses`; nothing is dropped without being named there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from understudy.wires.base import Endpoint, WireError
from understudy.wires.body import UNREADABLE as DECODING
from understudy.wires.body import encode
from understudy.wires.gemini_generate import STREAM_ARRAY, place
from understudy.wires.jsonarray import JsonArrayParser
from understudy.wires.openai_responses import ENDPOINT as RESPONSES
from understudy.wires.registry import wire
from understudy.wires.sse import SseParser
from understudy.wires.translation import (
    anthropic,
    anthropic_stream,
    gemini,
    gemini_stream,
    openai,
    openai_stream,
    responses,
    responses_stream,
)
from understudy.wires.translation.neutral import (
    Ask,
    Dialect,
    End,
    Failure,
    Loss,
    Losses,
    Piece,
    PieceReader,
    PieceWriter,
    Spoken,
    Start,
)
from understudy.wires.translation.shapes import an_object

_DIALECTS: dict[str, Dialect] = {"openai": openai, "anthropic": anthropic, "gemini": gemini}
_SPOKEN: dict[str, Spoken] = {**_DIALECTS, RESPONSES.name: responses}
_READERS: dict[str, Callable[[Losses], PieceReader]] = {
    "openai": openai_stream.Reader,
    "anthropic": anthropic_stream.Reader,
    "gemini": gemini_stream.Reader,
}
UNREADABLE = "unreadable"
"""The kind of an error that is told where a provider's answer cannot be carried over."""
_UNSIGNED = ("gemini-1", "gemini-2")
"""Models that know no signatures of thoughts."""
_CHATS = frozenset({"chat.completions", "messages", "generate_content", "stream_generate_content", RESPONSES.name})


class Back(NamedTuple):
    """What the way back must know of the way there."""

    source: Endpoint
    """The operation the app asked for, in whose dialect it gets its answer."""
    target: str
    streamed: bool
    include_usage: bool
    created: int = 0
    """Seconds since the epoch, for dialects whose answers say when they were made."""
    repeated: Mapping[str, Any] = {}
    """Members of the request that an answer says again, for the dialect whose answers do."""


class Carried(NamedTuple):
    """A request in the provider's dialect, its model not yet set."""

    endpoint: Endpoint
    path: str
    body: bytes
    losses: tuple[Loss, ...]
    back: Back


class CarriedAnswer(NamedTuple):
    body: bytes
    losses: tuple[Loss, ...]


def request(endpoint: Endpoint, path: str, body: bytes, target: str, *, model: str = "", now: float = 0) -> Carried:
    """The request in the dialect of the wire `target`.

    `model` is the one it is meant for, where that is known; `now`, seconds since the epoch, dates the answer.

    Raises WireError: 400 where the body cannot be read, 501 where the operation, or what it asks for, has no
    counterpart there.
    """
    if not carries(endpoint):
        raise WireError(f"{endpoint.name} cannot be carried over to {target}: it is no chat", 501)
    losses = Losses()
    members = _object(body, "the body")
    try:
        ask = _spoken(endpoint).read_ask(members, losses)
    except RecursionError as error:
        raise WireError("the body is too deeply nested") from error
    where = place(path) if endpoint.wire == "gemini" else None
    if where is not None:
        ask.stream = where.method == "streamGenerateContent"
    written = _DIALECTS[target].write_ask(ask, losses)
    if target == "gemini" and not model.removeprefix("models/").startswith(_UNSIGNED):
        written = gemini.signed(written)
    options = members.get("stream_options")
    include_usage = isinstance(options, dict) and options.get("include_usage") is True
    repeated = responses.repeated(members) if endpoint.name == RESPONSES.name else {}
    back = Back(endpoint, target, ask.stream, include_usage, int(now), repeated)
    to_path = _path(target, ask)
    to_endpoint = wire(target).endpoint("POST", to_path)
    if to_endpoint is None:
        raise WireError(f"the wire {target} has no chat", 501)
    return Carried(to_endpoint, to_path, encode(written), losses.all(), back)


def carries(endpoint: Endpoint, effects: Sequence[str] = ()) -> bool:
    """Whether an operation can be carried over to other dialects at all, with the effects that a request of it has."""
    if endpoint.name == RESPONSES.name and effects:
        return False
    return endpoint.name.removesuffix(".array") in _CHATS


def answer(back: Back, status: int, body: bytes) -> CarriedAnswer:
    """A whole answer, or an error, in the app's dialect. An answer that cannot be read raises WireError 502."""
    losses = Losses()
    to = wire(back.source.wire)
    if status >= 400:
        kind, message = _error(status, body)
        return CarriedAnswer(to.error_body(status, kind, message), ())
    try:
        reply = _DIALECTS[back.target].read_reply(_object(body, "the answer"), losses)
    except (WireError, RecursionError) as error:
        raise WireError(f"the provider's answer cannot be carried over: {error}", 502) from error
    written = _spoken(back.source).write_reply(reply, losses) | dict(back.repeated)
    for dated in written.keys() & {"created", "created_at"}:
        written[dated] = back.created
    return CarriedAnswer(encode(written), losses.all())


class Stream:
    """A provider's stream in, the app's stream out, cut anywhere.

    `done` once the provider's terminal event was seen and told, `failed` once an error was told. A stream that ends
    before either must be ended with `finish`, which tells the app so: an end is never invented.
    """

    def __init__(self, back: Back) -> None:
        self._losses = Losses()
        self._to = wire(back.source.wire)
        self._source = back.source
        self._frames: SseParser | JsonArrayParser = SseParser()
        self._reader = _READERS[back.target](self._losses)
        self._writer = _writer(back, self._losses)
        self._started = False
        self.done = False
        self.failed = ""
        """The kind of the error that was told, "" where none was."""

    @property
    def ended(self) -> bool:
        """Nothing more will be told."""
        return self.done or bool(self.failed)

    def feed(self, chunk: bytes) -> bytes:
        out = bytearray()
        for event in () if self.ended else self._frames.feed(chunk):
            try:
                for piece in self._reader.read(event):
                    out += self._told(piece)
            except (WireError, RecursionError) as error:
                out += self._fail(UNREADABLE, str(error))
            if self.ended:
                break
        self._losses.settle()
        return bytes(out)

    def finish(self) -> bytes:
        """The provider's bytes have ended: nothing more where it is done, else an error event."""
        if self.ended:
            return b""
        return self._fail("truncated", "the provider's stream ended before its terminal event")

    def losses(self) -> tuple[Loss, ...]:
        return self._losses.all()

    def _told(self, piece: Piece) -> bytes:
        if self.ended:
            return b""
        if isinstance(piece, Failure):
            return self._fail(piece.kind, piece.message)
        opening = b""
        if not self._started and not isinstance(piece, Start):
            opening = self._writer.write(Start("", ""))
        self._started = True
        self.done = isinstance(piece, End)
        return opening + self._writer.write(piece)

    def _fail(self, kind: str, message: str) -> bytes:
        self.failed = kind
        if isinstance(self._writer, gemini_stream.Writer):
            return self._writer.failure(self._to.error_body(502, kind, message))
        return self._to.error_event(kind, message, self._source)


def stream(back: Back) -> Stream:
    return Stream(back)


def _writer(back: Back, losses: Losses) -> PieceWriter:
    if back.source.name == RESPONSES.name:
        return responses_stream.Writer(losses, repeated={**back.repeated, "created_at": back.created})
    match back.source.wire:
        case "openai":
            return openai_stream.Writer(losses, include_usage=back.include_usage, created=back.created)
        case "anthropic":
            return anthropic_stream.Writer(losses)
        case _:
            return gemini_stream.Writer(losses, array=back.source.name == STREAM_ARRAY.name)


def _spoken(endpoint: Endpoint) -> Spoken:
    """Responses are a dialect of their own on the wire they share with chats."""
    return _SPOKEN[endpoint.name if endpoint.name == RESPONSES.name else endpoint.wire]


def _path(target: str, ask: Ask) -> str:
    """The path as an app of that dialect would ask for it."""
    match target:
        case "openai":
            return "/v1/chat/completions"
        case "anthropic":
            return "/v1/messages"
        case _:
            method = "streamGenerateContent?alt=sse" if ask.stream else "generateContent"
            return f"/v1beta/models/translated:{method}"


def _object(body: bytes, what: str) -> dict[str, Any]:
    try:
        return an_object(msgspec.json.decode(body), what)
    except WireError:
        raise
    except DECODING as error:
        raise WireError(f"{what} cannot be read: {error}") from error


def _error(status: int, body: bytes) -> tuple[str, str]:
    """Kind and message of an error in any dialect; they all have an object `error` with a `message`."""
    try:
        value = msgspec.json.decode(body)
    except DECODING:
        value = None
    found = value[0] if isinstance(value, list) and value else value
    error = found.get("error") if isinstance(found, dict) else None
    if not isinstance(error, dict):
        return f"status_{status}", f"the provider answered with status {status}"
    message = error.get("message")
    kind = next(
        (error[key] for key in ("code", "status", "type") if isinstance(error.get(key), str)), f"status_{status}"
    )
    return kind, message if isinstance(message, str) else f"the provider answered with status {status}"
