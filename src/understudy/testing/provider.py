"""What every provider here shares: a way from a request to a dialect, the answer paced as asked, a journal of calls.

What the answer is comes from a function `Asked -> Outcome` that each kind of provider supplies. Pacing: the first
content comes after `first_s`, the last at `total_s`, the pieces evenly between; 0 means at once.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from understudy.testing.dialects import ANTHROPIC, GEMINI, OPENAI, Asked, Dialect, Said, Unreadable, dialect_at
from understudy.testing.dialects.base import estimate_tokens, input_tokens
from understudy.testing.dialects.openai import decode
from understudy.testing.server import Handler, Reply, Request, Server

_encode = msgspec.json.Encoder().encode

JOURNAL_SIZE = 200_000
EMBEDDING_DIMENSIONS = 32


class Answered(NamedTuple):
    """An answer, with the seconds until its first and its last content."""

    said: Said
    first_s: float = 0.0
    total_s: float = 0.0


class Declined(NamedTuple):
    """An error in the caller's dialect."""

    status: int
    message: str
    after_s: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()


class Silent(NamedTuple):
    """No answer at all: the connection stays open until the caller gives up."""


Outcome = Answered | Declined | Silent


class Seen(NamedTuple):
    """One call as the provider saw it. `status` is 0 where no answer was begun; times are seconds since the epoch."""

    model: str
    at: float
    status: int
    dialect: str
    stream: bool
    finished_at: float
    complete: bool
    """False where the caller went away before the last byte."""


class ProviderServer:
    """A provider on a loopback port. `async with` starts and stops it.

    `base_url` is what an OpenAI SDK wants, `root_url` what the Anthropic and Google ones do. With `key`, every call
    must present it the way its dialect does, and gets a 401 otherwise.
    """

    def __init__(
        self,
        answer: Callable[[Asked], Outcome] | None = None,
        *,
        models: Sequence[str] = (),
        port: int = 0,
        key: str = "",
    ) -> None:
        self._answer = answer or _nothing_to_say
        self._key = key
        self.models = list(models)
        self.journal: deque[Seen] = deque(maxlen=JOURNAL_SIZE)
        self.last_answer_at: dict[str, float] = {}
        """When the last complete answer of each model ended, seconds since the epoch."""
        self._serial = 0
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", "/v1/models"): self._list_models,
            ("GET", "/v1beta/models"): self._list_models,
            ("POST", "/v1/embeddings"): self._embed,
        }
        self.server = Server(self.handle, port=port)

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def root_url(self) -> str:
        scheme = "https" if self.server.tls else "http"
        return f"{scheme}://{self.server.host}:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.root_url}/v1"

    def route(self, method: str, path: str, handler: Handler) -> None:
        """Answer a further path."""
        self._routes[method, path] = handler

    def handle(self, request: Request, reply: Reply) -> Awaitable[None] | None:
        dialect = dialect_at(request.path)
        if self._key and not presents(request, self._key):
            reply.send(401, (dialect or OPENAI).error(401, "incorrect API key provided"))
            return None
        if dialect is None:
            return self._elsewhere(request, reply)
        if request.method != "POST":
            reply.send(405, dialect.error(405, f"method {request.method} is not allowed here"))
            return None
        if request.path.endswith(("/count_tokens", ":countTokens")):
            self._count_tokens(dialect, request, reply)
            return None
        return self.chat(dialect, request, reply)

    def _elsewhere(self, request: Request, reply: Reply) -> Awaitable[None] | None:
        handler = self._routes.get((request.method, request.path))
        if handler is not None:
            return handler(request, reply)
        reply.send(404, OPENAI.error(404, f"nothing answers {request.method} {request.path}"))
        return None

    def chat(self, dialect: Dialect, request: Request, reply: Reply) -> Awaitable[None] | None:
        """One request for an answer, by a caller who may ask."""
        at = time.time()
        try:
            asked = dialect.read(request)
        except Unreadable as error:
            self._note("", at, error.status, dialect, stream=False)
            reply.send(error.status, dialect.error(error.status, error.message))
            return None
        outcome = self._answer(asked)
        self._serial += 1
        if isinstance(outcome, Answered) and outcome.total_s <= 0:
            self._send_at_once(dialect, asked, outcome.said, reply)
            self._note(asked.model, at, 200, dialect, stream=asked.stream)
            return None
        return self._carry_out(dialect, asked, outcome, reply, at)

    def _send_at_once(self, dialect: Dialect, asked: Asked, said: Said, reply: Reply) -> None:
        serial = f"{self._serial:012x}"
        if not asked.stream:
            reply.send(200, dialect.whole(said, serial))
            return
        script = dialect.script(asked, said, serial)
        reply.start(200, content_type=script.content_type)
        reply.write(b"".join(script.parts()))
        reply.finish()

    async def _carry_out(self, dialect: Dialect, asked: Asked, outcome: Outcome, reply: Reply, at: float) -> None:
        complete = False
        try:
            match outcome:
                case Silent():
                    await asyncio.Event().wait()
                case Declined(status, message, after_s, headers):
                    await asyncio.sleep(after_s)
                    reply.send(status, dialect.error(status, message), headers=headers)
                case Answered(said, _, total_s) if not asked.stream:
                    await asyncio.sleep(total_s)
                    reply.send(200, dialect.whole(said, f"{self._serial:012x}"))
                case Answered():
                    await self._stream(dialect, asked, outcome, reply)
            complete = not reply.gone
        finally:
            self._note(asked.model, at, reply.status, dialect, stream=asked.stream, complete=complete)

    async def _stream(self, dialect: Dialect, asked: Asked, outcome: Answered, reply: Reply) -> None:
        said, first_s, total_s = outcome
        script = dialect.script(asked, said, f"{self._serial:012x}")
        begun = time.monotonic()
        step = (total_s - first_s) / max(1, len(script.pieces) - 1)
        reply.start(200, content_type=script.content_type)
        reply.write(b"".join(script.opening))
        for index, piece in enumerate(script.pieces):
            await asyncio.sleep(begun + first_s + index * step - time.monotonic())
            reply.write(piece)
            await reply.drain()
        reply.write(b"".join(script.closing))
        reply.finish()

    def _note(
        self, model: str, at: float, status: int, dialect: Dialect, *, stream: bool, complete: bool = True
    ) -> None:
        now = time.time()
        self.journal.append(Seen(model, at, status, dialect.name, stream, now, complete))
        if status == 200 and complete:
            self.last_answer_at[model] = now

    def _list_models(self, request: Request, reply: Reply) -> None:
        if request.path.startswith("/v1beta/"):
            models: list[dict[str, Any]] = [
                {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": ["generateContent"]}
                for name in self.models
            ]
            reply.send(200, _encode({"models": models}))
        elif "anthropic-version" in request.headers:
            created = "2025-01-01T00:00:00Z"
            models = [{"type": "model", "id": n, "display_name": n, "created_at": created} for n in self.models]
            ends = {"first_id": self.models[0], "last_id": self.models[-1]} if self.models else {}
            reply.send(200, _encode({"data": models, "has_more": False, "first_id": None, "last_id": None, **ends}))
        else:
            models = [
                {"id": n, "object": "model", "created": 1735689600, "owned_by": "understudy"} for n in self.models
            ]
            reply.send(200, _encode({"object": "list", "data": models}))

    def _embed(self, request: Request, reply: Reply) -> None:
        try:
            fields = decode(request.body)
            texts = _embedding_input(fields)
        except Unreadable as error:
            reply.send(error.status, OPENAI.error(error.status, error.message))
            return
        vectors = [embedding(text) for text in texts]
        as_base64 = fields.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if as_base64 else vector}
            for index, vector in enumerate(vectors)
        ]
        tokens = sum(estimate_tokens(text) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        reply.send(200, _encode({"object": "list", "data": data, "model": fields["model"], "usage": usage}))

    def _count_tokens(self, dialect: Dialect, request: Request, reply: Reply) -> None:
        try:
            asked = dialect.read(request)
        except Unreadable as error:
            reply.send(error.status, dialect.error(error.status, error.message))
            return
        name = "input_tokens" if dialect is ANTHROPIC else "totalTokens"
        reply.send(200, _encode({name: input_tokens(asked)}))

    async def __aenter__(self) -> Self:
        await self.server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.server.stop()


def _nothing_to_say(asked: Asked) -> Outcome:
    return Declined(404, f"the model {asked.model!r} does not exist here")


def presents(request: Request, key: str) -> bool:
    """Whether a request carries a key in its dialect's own header, or in Gemini's query parameter."""
    dialect = dialect_at(request.path)
    if dialect is ANTHROPIC or (dialect is None and "anthropic-version" in request.headers):
        # The SDK sends a bearer token since its second version, and x-api-key before.
        return key in (
            request.headers.get("x-api-key"),
            request.headers.get("authorization", "").removeprefix("Bearer "),
        )
    if dialect is GEMINI or request.path.startswith("/v1beta/"):
        return request.headers.get("x-goog-api-key") == key or f"key={key}" in request.query.split("&")
    return request.headers.get("authorization") == f"Bearer {key}"


def embedding(text: str) -> list[float]:
    """A unit vector that only depends on the text."""
    raw = hashlib.blake2b(text.encode(), digest_size=EMBEDDING_DIMENSIONS * 2).digest()
    numbers = [value / 32768 for value in struct.unpack(f"<{EMBEDDING_DIMENSIONS}h", raw)]
    length = sum(number * number for number in numbers) ** 0.5
    return [number / length for number in numbers]


def _embedding_input(fields: dict[str, Any]) -> list[str]:
    given = fields.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(fields.get("model"), str):
        raise Unreadable("missing required parameter: 'model'")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise Unreadable("'input' must be a string or a list of strings")
    return texts


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
