"""Ask a provider and wait for the whole answer: the async face of the pool, for evals, probes and judges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from understudy.core.errors import UsageError
from understudy.core.routing import Provider
from understudy.upstream.connection import Headers, Receiver
from understudy.upstream.deadlines import Deadlines
from understudy.upstream.failure import Failure, Kind, UpstreamError
from understudy.upstream.origin import origin_of, sendable
from understudy.upstream.pool import Pool
from understudy.upstream.wheel import Wheel
from understudy.wires.base import WireRequest
from understudy.wires.registry import wire

MAX_ANSWER = 64 * 1024 * 1024


class Response(NamedTuple):
    """A whole answer, whatever its status. Header names are lower case; times in seconds from the first byte sent
    (a new connection's handshake included)."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    ttft_s: float
    """Until the first byte of the body."""
    latency_s: float


class Client:
    """Calls by provider name. `keys` gives a provider's secret, "" where it needs none; it goes to that provider's
    own host only, and redirects are returned, never followed. Bind one client to one event loop."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        keys: Callable[[str], str],
        *,
        deadlines: Deadlines | None = None,
    ) -> None:
        self._providers = providers
        self._keys = keys
        self._deadlines = deadlines or Deadlines()
        self._pools: dict[str, Pool] = {}
        self._wheel: Wheel | None = None

    async def send(self, provider: str, request: WireRequest) -> Response:
        """POST `request`. Raises UpstreamError where there is no whole answer, UsageError for an unknown provider."""
        pool = self._pool(provider)
        auth = wire(self._providers[provider].wire).auth_headers(sendable(self._keys(provider), provider))
        given = {name.lower() for name, _ in request.headers}
        extra = tuple((n, v) for n, v in (("content-type", "application/json"), ("accept", "*/*")) if n not in given)
        head = pool.origin.head(request.path, request.headers + extra + auth)
        head += b"content-length: %d\r\n\r\n" % len(request.body)
        whole = _Whole(asyncio.get_running_loop())
        pool.send(whole, head, request.body, streamed=False)
        try:
            return await whole.result
        except UpstreamError as error:
            error.remedy = f"check provider {provider} ({self._providers[provider].base_url}), then run this again"
            raise
        finally:
            pool.cancel(whole)

    async def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        if self._wheel is not None:
            self._wheel.close()
            self._wheel = None
        await asyncio.sleep(0)  # let the transports say that they are closed

    def _pool(self, name: str) -> Pool:
        pool = self._pools.get(name)
        if pool is None:
            if name not in self._providers:
                known = ", ".join(sorted(self._providers)) or "none"
                raise UsageError(f"there is no provider {name!r}", remedy=f"known providers: {known}")
            if self._wheel is None:
                self._wheel = Wheel(asyncio.get_running_loop(), 0.05)
            pool = self._pools[name] = Pool(origin_of(self._providers[name]), self._wheel, self._deadlines)
        return pool


class _Whole(Receiver):
    """Collects one answer into a future."""

    __slots__ = ("_body", "_first", "_headers", "_loop", "_size", "_started", "_status", "result")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.connection = None
        self.result: asyncio.Future[Response] = loop.create_future()
        self._loop = loop
        self._started = loop.time()
        self._first = 0.0
        self._status = 0
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._size = 0

    def head(self, status: int, headers: Headers) -> None:
        self._status = status
        self._headers = list(headers)

    def data(self, chunk: bytes) -> None:
        if not chunk:
            return
        if not self._body:
            self._first = self._loop.time() - self._started
            if self.connection is not None:
                self.connection.content_seen()
        self._body.append(chunk)
        self._size += len(chunk)
        if self._size > MAX_ANSWER and self.connection is not None:
            self.connection.cancel()
            self.connection = None
            self.failed(Failure(Kind.PROTOCOL, f"the answer is longer than {MAX_ANSWER} bytes"))

    def end(self, chunk: bytes) -> None:
        self.data(chunk)
        latency = self._loop.time() - self._started
        headers = [(n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in self._headers]
        if not self.result.done():
            body = b"".join(self._body)
            self.result.set_result(Response(self._status, headers, body, self._first or latency, latency))

    def failed(self, failure: Failure) -> None:
        if not self.result.done():
            self.result.set_exception(UpstreamError(failure.kind, failure.message, sent=failure.sent))
