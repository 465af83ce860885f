"""What every wire can do, and the values it speaks in. A wire reads bytes and returns bytes; it never does I/O.

Bytes that need no change are passed on as they came: reading is done on a copy, and a copy that cannot be read is
reported as such, never repaired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import msgspec

from understudy.core.variant import Variant
from understudy.wires.api import Api


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """An operation of a wire that we know how to rewrite and read.

    `operation` is OpenTelemetry's word: chat, embeddings, ... `pure` is False where the call has effects beyond its
    answer (stored responses, batches, files): such calls are never shadowed.
    """

    wire: str
    name: str
    operation: str
    path: str
    pure: bool = True


class Peek(msgspec.Struct, frozen=True, gc=False):
    """The few fields of a request that routing needs."""

    model: str
    stream: bool
    fields: Mapping[str, Any]
    """The decoded body, for `body:` sources. Values are decoded when asked for; asking may raise WireError."""

    effects: tuple[str, ...] = ()
    """What this very call would do beyond its answer (store it, search the web, ...): not empty, never shadowed."""


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens as the provider counted them; None where it did not say.

    `input_tokens` includes what was read from and written to a cache, `output_tokens` includes reasoning, in every
    dialect: where a provider counts them apart they are added up.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What an answer says, read from a copy.

    `complete` is False where a stream ended without the provider's own terminal event; `error` is the kind of an
    in-stream error; `tool_calls` is canonical JSON of [{"name", "arguments"}], "" where there are none. Readers fill
    it in by position, which is much cheaper than by name: fields keep their order.
    """

    text: str = ""
    tool_calls: str = ""
    finish_reason: str = ""
    model: str = ""
    system_fingerprint: str = ""
    usage: Usage = Usage()
    complete: bool = True
    error: str = ""
    unreadable: bool = False
    truncated: bool = False
    id: str = ""
    """The provider's own id of the answer, for dialects in which a later request refers to it."""


class WireRequest(msgspec.Struct, frozen=True, gc=False):
    """A request to a provider: the path below its base_url, headers, body.

    `headers` are this dialect's defaults: where the caller sent one of the same name, the caller's goes on. A stream
    in a dialect that asks for it in the query has the query in `path`. `forced` are the few headers that go on in place
    of the caller's.
    """

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    forced: tuple[tuple[str, str], ...] = ()


class Message(NamedTuple):
    role: str
    content: str


class StreamReader(Protocol):
    """Reads a copy of a stream as it passes by, at any cut of the bytes, with bounded memory."""

    error: str
    """The kind of an error within the stream, "" where none was met."""

    def feed(self, chunk: bytes) -> None: ...

    @property
    def done(self) -> bool:
        """True once the provider's own terminal event was seen."""
        ...

    @property
    def content_seen(self) -> bool:
        """True once anything the user can see was sent: from here on there is no fallback."""
        ...

    def answer(self) -> Answer: ...


class WireError(ValueError):
    """The caller's request cannot be read; `status` is the HTTP status it deserves."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Operation(Protocol):
    """What a module that knows one endpoint offers; the methods mean what they mean in `Wire`."""

    def peek(self, path: str, body: bytes) -> Peek: ...

    def apply(self, path: str, body: bytes, variant: Variant, peeked: Peek | None) -> WireRequest: ...

    def read(self, status: int, body: bytes) -> Answer: ...

    def reader(self) -> StreamReader: ...


class Wire(Protocol):
    """One dialect. Implementations are modules' singletons, found with `understudy.wires.registry.wire(name)`."""

    name: str
    api: Api
    """Where its API lies: what of it no operation stands for may be passed on as it came."""
    operations: ClassVar[Mapping[str, Operation]]
    """By the names of endpoints: who asks one operation again and again asks it itself, and not through the wire."""

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """The operation behind a request line, None where we do not know it.

        The path may carry its query: Gemini streams are server-sent events with `alt=sse`, else one JSON array.
        """
        ...

    def peek(self, endpoint: Endpoint, path: str, body: bytes) -> Peek:
        """Raises WireError where the body cannot be read the way the provider will read it."""
        ...

    def apply(
        self, endpoint: Endpoint, path: str, body: bytes, variant: Variant, peeked: Peek | None = None
    ) -> WireRequest:
        """The caller's request with the variant's model, prompt, parameters and effort; all else untouched.

        A parameter of the variant wins over the caller's, and one that is None takes the caller's out: newer models
        refuse what older ones took.
        `peeked`, what `peek` said of this very body, spares reading it again. Raises WireError as `peek` does.
        """
        ...

    def asking_usage(self, endpoint: Endpoint, request: WireRequest) -> WireRequest:
        """The request of a stream that nobody is served, asking for its usage where this dialect tells it only then."""
        ...

    def read(self, endpoint: Endpoint, status: int, body: bytes) -> Answer: ...

    def reader(self, endpoint: Endpoint) -> StreamReader: ...

    def error_body(self, status: int, kind: str, message: str) -> bytes:
        """An error in this dialect (JSON)."""
        ...

    def error_event(self, kind: str, message: str, endpoint: Endpoint | None = None) -> bytes:
        """An error as a stream event of this dialect, for after the headers; without endpoint that of chat."""
        ...

    def compose(
        self, variant: Variant, messages: Sequence[Message], *, stream: bool = False, user: str = ""
    ) -> WireRequest:
        """A request of our own: a regression eval, a probe, a judge. The system prompt is the variant's."""
        ...

    def auth_headers(self, key: str) -> tuple[tuple[str, str], ...]: ...

    def key_in(self, headers: Mapping[str, str], query: str = "") -> str:
        """The key a caller of this dialect presents, "" where none; header names are lower case."""
        ...

    def models_body(self, names: Sequence[str]) -> bytes:
        """A list of models in this dialect, for a gateway that answers with its workloads."""
        ...
