"""Asks a provider one question and says what came of it, asking again only by the rule given here; picks no questions.

A call is repeated only where that cannot be billed twice: nothing was sent, or the provider itself refused (429, 5xx).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import msgspec

from understudy.core.errors import CannotMeasure, UsageError
from understudy.core.routing import Provider
from understudy.core.variant import Variant
from understudy.evals.answers import Kept
from understudy.evals.cases import Case
from understudy.upstream.client import Client, Response
from understudy.upstream.failure import Kind, UpstreamError
from understudy.wires.base import Answer, Endpoint, Wire, WireRequest
from understudy.wires.registry import wire

MAX_ATTEMPTS = 5
FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 60.0
"""A provider that asks for a longer pause than this is not waited for."""
REFUSED_FOR_NOW = frozenset({429, 500, 502, 503, 504, 529})
_SHOWN = 200


class Failed(NamedTuple):
    """No answer came: the kind of failure, and what the provider or the network said."""

    kind: str
    message: str


def wait_before(attempt: int, retry_after_s: float | None) -> float | None:
    """Seconds to wait before attempt number `attempt` + 1, None where there is to be none.

    Waits double from FIRST_WAIT_S; a provider's own wish counts where it is longer, up to LONGEST_WAIT_S.
    """
    if attempt >= MAX_ATTEMPTS or (retry_after_s or 0.0) > LONGEST_WAIT_S:
        return None
    return max(FIRST_WAIT_S * 2.0 ** (attempt - 1), retry_after_s or 0.0)


def retry_after(headers: list[tuple[str, str]], now: float) -> float | None:
    """The pause a provider asks for, in seconds from `now`; None where it asks for none that can be read."""
    for name, value in headers:
        if name == "retry-after":
            try:
                return max(0.0, float(value)) if value.strip().replace(".", "", 1).isdigit() else _until(value, now)
            except ValueError:
                return None
    return None


def _until(date: str, now: float) -> float:
    return max(0.0, parsedate_to_datetime(date).timestamp() - now)


@dataclass(slots=True)
class Asker:
    """Asks for answers over one client. `now` gives seconds since the epoch, `sleep` waits."""

    client: Client
    providers: dict[str, Provider]
    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    retries: int = 0
    """Calls that were repeated."""

    async def ask(self, variant: Variant, case: Case, key: str) -> Kept | Failed:
        """The answer of a variant to a case, or why there is none.

        Raises UsageError where the provider refuses the key, and CannotMeasure where it cannot be reached at all:
        neither will be better for the next case.
        """
        speaks = wire(self.providers[variant.provider].wire)
        request = speaks.compose(variant, case.messages)
        attempt = 1
        while True:
            result: Kept | Failed
            try:
                response = await self.client.send(variant.provider, request)
            except UpstreamError as error:
                pause = None if error.sent else wait_before(attempt, None)
                if pause is None and error.kind is Kind.CONNECT:
                    raise
                result = Failed(error.kind, error.message)
            else:
                if response.status in (401, 403):
                    raise self._key_refused(variant, response)
                again = response.status in REFUSED_FOR_NOW
                pause = wait_before(attempt, retry_after(response.headers, self.now())) if again else None
                result = self._read(speaks, request, response, key, case.id)
            if pause is None:
                return result
            attempt += 1
            self.retries += 1
            await self.sleep(pause)

    def _read(self, speaks: Wire, request: WireRequest, response: Response, key: str, case: str) -> Kept | Failed:
        if response.status >= 300:
            return Failed(f"status_{response.status}", said_by(response))
        answer: Answer = speaks.read(endpoint_of(speaks, request), response.status, response.body)
        if answer.unreadable or answer.error or not answer.complete:
            return Failed(answer.error or "unreadable", said_by(response))
        usage = answer.usage
        return Kept(
            key=key,
            text=answer.text,
            at=self.now(),
            latency_s=response.latency_s,
            ttft_s=response.ttft_s,
            tool_calls=answer.tool_calls,
            finish_reason=answer.finish_reason,
            model=answer.model,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            case=case,
        )

    def _key_refused(self, variant: Variant, response: Response) -> UsageError:
        provider = self.providers[variant.provider]
        source = f"the environment variable {provider.api_key_env}" if provider.api_key_env else "its api_key"
        return UsageError(
            f"provider {provider.name} refuses the key ({response.status}): {said_by(response)}",
            remedy=f"check {source}, and that the key may use {variant.model}",
        )


def endpoint_of(speaks: Wire, request: WireRequest) -> Endpoint:
    """The operation behind a request that the wire itself composed. Raises CannotMeasure where it knows none."""
    path = request.path.partition("?")[0]
    # An OpenAI base_url ends in /v1, so what is composed for it begins behind that.
    found = speaks.endpoint("POST", path) or speaks.endpoint("POST", f"/v1{path}")
    if found is None:
        raise CannotMeasure(f"the wire {speaks.name} does not know its own path {path}", remedy="report this as a bug")
    return found


def said_by(response: Response) -> str:
    """What a provider says of a failure, in a line: its error message where it sent one, else the body's beginning."""
    text = response.body[: 4 * _SHOWN].decode(errors="replace")
    try:
        data = msgspec.json.decode(response.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        data = None
    inner = data.get("error") if isinstance(data, dict) else None
    if isinstance(inner, dict) and isinstance(inner.get("message"), str):
        text = inner["message"]
    elif isinstance(inner, str):
        text = inner
    text = " ".join(text.split())
    return text[:_SHOWN] or f"status {response.status} without a word"


def unreachable(error: CannotMeasure, kept: int) -> CannotMeasure:
    """The error, saying that nothing was lost."""
    if not kept:
        return error
    return CannotMeasure(error.message, remedy=f"{error.remedy}; the {kept:,} answers so far are kept".lstrip("; "))
