"""Tells OpenTelemetry of each exchange, where that is asked for: a span with the attributes of its GenAI conventions.

A span is made when an exchange is over, from what the ledger keeps of it, so nothing of a prompt or an answer is in it
and identifiers have been taken out. It belongs to the trace that the caller's traceparent names. Exporting is the SDK's
affair, in a thread of its own and configured by the OTEL_ variables; where the operator has installed none, we say so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from understudy.core.errors import UsageError
from understudy.core.records import Exchange
from understudy.gateway.ask import Ask
from understudy.gateway.http import HeaderView
from understudy.gateway.snapshot import Target

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

Attribute = str | int | float | bool | list[str]

PROVIDERS: Mapping[str, str] = {"openai": "openai", "anthropic": "anthropic", "gemini": "gcp.gemini"}
"""A dialect's provider, in the words of the conventions."""
SERVICE = "understudy-gateway"
_NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


class Tracing:
    """`close` sends what is still to be sent; it may block."""

    def __init__(self, tracer: Tracer, close: Callable[[], None]) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()
        self.close = close

    def exchange(self, ask: Ask, target: Target, record: Exchange) -> None:
        """A span for an exchange that is over."""
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind, Status, StatusCode

        given = HeaderView(ask.headers)
        carried = {name: given.get(name) for name in ("traceparent", "tracestate")}
        span = self._tracer.start_span(
            f"{ask.endpoint.operation} {target.variant.model}",
            context=self._propagator.extract({k: v for k, v in carried.items() if v}, context=Context()),
            kind=SpanKind.CLIENT,
            attributes=attributes(ask, target, record),
            start_time=int(record.started_at * 1e9),
        )
        if record.error:
            span.set_status(Status(StatusCode.ERROR))
        span.end()


def attributes(ask: Ask, target: Target, record: Exchange) -> dict[str, Attribute]:
    """What is known of an exchange, by the names of the conventions; ours begin with `understudy.`."""
    origin = target.pool.origin
    known: dict[str, Attribute | None] = {
        "gen_ai.operation.name": ask.endpoint.operation,
        "gen_ai.provider.name": PROVIDERS[target.wire.name],
        "gen_ai.request.model": target.variant.model,
        "gen_ai.request.stream": record.streamed,
        "gen_ai.response.model": record.model_served or None,
        "gen_ai.response.finish_reasons": [record.finish_reason] if record.finish_reason else None,
        "gen_ai.response.time_to_first_chunk": record.ttft_s if record.streamed else None,
        "gen_ai.usage.input_tokens": record.input_tokens,
        "gen_ai.usage.output_tokens": record.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": record.reasoning_tokens,
        "gen_ai.conversation.id": record.conversation or None,
        "server.address": origin.host,
        "server.port": origin.port,
        "error.type": record.error or None,
        "understudy.exchange": record.exchange,
        "understudy.workload": record.workload,
        "understudy.variant": record.variant,
        "understudy.arm": record.arm,
        "understudy.role": record.role,
        "understudy.masked": record.masked,
        "understudy.epoch": record.epoch,
        "understudy.upgrade": record.upgrade or None,
        "understudy.stage": record.stage or None,
    }
    return {name: value for name, value in known.items() if value is not None}


def require() -> None:
    """Raise UsageError where a library is missing without which spans would go nowhere."""
    if not _there("opentelemetry.trace"):
        lacking = "opentelemetry-api"
    elif _provided() or all(_there(name) for name in _NEEDED):
        return
    else:
        lacking = "opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http"
    raise UsageError(
        f"spans of OpenTelemetry need {lacking}, which is not installed here",
        remedy="pip install 'understudy[otel]' opentelemetry-sdk opentelemetry-exporter-otlp-proto-http",
    )


def configured() -> Tracing:
    """By the tracer provider of this process where somebody has set one, else by one that exports over OTLP/HTTP.

    Raises UsageError where a library for that is not installed.
    """
    require()
    from opentelemetry import trace

    if _provided():
        return Tracing(trace.get_tracer(SERVICE), lambda: None)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": SERVICE}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider.get_tracer(SERVICE), provider.shutdown)


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _provided() -> bool:
    """Whether this process has a tracer provider: set by its code, or by the operator's own start-up."""
    from opentelemetry import trace

    return not isinstance(trace.get_tracer_provider(), (trace.ProxyTracerProvider, trace.NoOpTracerProvider))
