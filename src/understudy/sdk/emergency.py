"""Goes to the incumbent directly where no gateway can be reached: a transport for SDKs that are built on httpx2.

It is off unless an app chooses it, because what goes this way is seen by nobody: no ledger, no gateway keys, no limits,
and the app must hold the provider's key. What may go this way is narrow, so that it can never make things worse:

- only where no connection to a gateway could be made, so that nothing is asked or billed twice. A gateway that answers
  with an error has decided, and one that is slow may be at work;
- only to the incumbent with its prompt, parameters and effort, which is where every rollback leads: no user sees a
  candidate because a gateway died. A gate misses these answers of both arms alike;
- only in the dialect the app speaks.

Prompts and pins are those of understudy.yaml at the start of the process.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping

import httpx2

from understudy.sdk.address import WORKLOAD, Gateway
from understudy.sdk.pins import project_of
from understudy.wires.base import WireError
from understudy.wires.registry import recognise, wire

DIRECT = "x-understudy-direct"
"""The header of an answer that no gateway has seen: the incumbent's name. It has no exchange to give feedback on."""
REST_S = 5.0
"""After a failed connection the gateway is not tried again for so long."""
_SENT = ("accept", "content-type", "user-agent", "anthropic-version", "anthropic-beta")
"""Headers of the app that go to the provider: the allow-list keeps user ids and keys at home."""
_REFUSED = (httpx2.ConnectError, httpx2.ConnectTimeout)
_log = logging.getLogger("understudy.sdk")


class _Direct:
    """What both transports decide: whether to try the gateway, and what to send instead."""

    def __init__(self, gateway: Gateway, environment: Mapping[str, str] | None, clock: Callable[[], float]) -> None:
        """Raises UsageError and ConfigError, also where the key is not set: better now than in the emergency."""
        project = project_of(os.environ if environment is None else environment)
        name = project.workload_of(gateway.workload)
        self._variant = project.variant(name, project.workload(name).incumbent)
        provider = project.providers()[self._variant.provider]
        self._speaks, self._base_url = wire(provider.wire), provider.base_url
        self._auth = self._speaks.auth_headers(project.provider_key(provider.name))
        self._workload, self._url = name, httpx2.URL(gateway.url)
        self._clock, self._resting_until = clock, 0.0
        self.answered = 0
        """Requests that went to the incumbent directly."""

    def rests(self) -> bool:
        """Whether the gateway was away a moment ago."""
        return self._clock() < self._resting_until

    def instead(self, request: httpx2.Request, body: bytes) -> httpx2.Request | None:
        """The request to the incumbent; None for one that may not go there."""
        named = request.headers.get(WORKLOAD, self._workload)
        if (request.url.scheme, request.url.netloc) != (self._url.scheme, self._url.netloc) or named != self._workload:
            return None
        path = request.url.raw_path.decode("ascii").removeprefix(self._url.path.rstrip("/"))
        found = recognise(request.method, path, {name.lower(): value for name, value in request.headers.items()})
        if found is None or found.wire is not self._speaks or request.method != "POST" or not found.endpoint.pure:
            return None
        try:
            made = self._speaks.apply(found.endpoint, path, body, self._variant)
        except WireError as error:
            _log.warning("the request cannot go to the incumbent: %s", error)
            return None
        headers = {name: request.headers[name] for name in _SENT if name in request.headers}
        headers |= {name: value for name, value in made.headers if name not in headers}
        headers |= dict(made.forced) | dict(self._auth)
        extensions = {"timeout": request.extensions["timeout"]} if "timeout" in request.extensions else {}
        return httpx2.Request(
            "POST", f"{self._base_url}{made.path}", headers=headers, content=made.body, extensions=extensions
        )

    def went(self, why: Exception | None) -> None:
        if why is not None:
            self._resting_until = self._clock() + REST_S
            _log.warning(
                "no gateway at %s (%s): %s answers directly", self._url, type(why).__name__, self._variant.name
            )
        self.answered += 1

    def marked(self, answer: httpx2.Response) -> httpx2.Response:
        answer.headers[DIRECT] = self._variant.name
        return answer


class Emergency(httpx2.BaseTransport):
    """`openai.OpenAI(**gateway.openai(), http_client=httpx2.Client(transport=Emergency(gateway)))`."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        inner: httpx2.BaseTransport | None = None,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.direct = _Direct(gateway, environment, clock)
        self._inner = inner or httpx2.HTTPTransport()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises what the inner transport raises: for the gateway where the request may go nowhere else."""
        why: Exception | None = None
        if not self.direct.rests():
            try:
                return self._inner.handle_request(request)
            except _REFUSED as error:
                why = error
        instead = self.direct.instead(request, request.read())
        if instead is None:
            if why is not None:
                raise why
            return self._inner.handle_request(request)
        self.direct.went(why)
        return self.direct.marked(self._inner.handle_request(instead))

    def close(self) -> None:
        self._inner.close()


class AsyncEmergency(httpx2.AsyncBaseTransport):
    """The same for `httpx2.AsyncClient`."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        inner: httpx2.AsyncBaseTransport | None = None,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.direct = _Direct(gateway, environment, clock)
        self._inner = inner or httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        why: Exception | None = None
        if not self.direct.rests():
            try:
                return await self._inner.handle_async_request(request)
            except _REFUSED as error:
                why = error
        instead = self.direct.instead(request, await request.aread())
        if instead is None:
            if why is not None:
                raise why
            return await self._inner.handle_async_request(request)
        self.direct.went(why)
        return self.direct.marked(await self._inner.handle_async_request(instead))

    async def aclose(self) -> None:
        await self._inner.aclose()
