"""Spans of OpenTelemetry: what is in them, whose trace they belong to, where they go; off, they cost nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from understudy.core.routing import Shadow
from understudy.gateway.tracing import Tracing
from understudy.testing.behaviour import Behaviour
from understudy.testing.raw import raw_server, whole
from understudy.testing.served import ALL, GatewayProcess, Served, call, chat, route, served, table
from understudy.testing.simulated import SimulatedProvider

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLERS = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1", "baggage": "who=me"}
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


async def fine(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "secret words"}, "finish_reason": "stop"}
    body = json.dumps({"id": "c", "model": "m-old-2025", "choices": [choice], "usage": USAGE}).encode()
    writer.write(whole(body, 200, b"content-type: application/json\r\n"))


async def broken(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(whole(b'{"error":{"message":"no"}}', 500, b"content-type: application/json\r\n"))


class Spans:
    """Everything a gateway tells, kept in memory by the SDK's own exporter."""

    def __init__(self, gateway: Served) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        gateway.gateway.trace(Tracing(provider.get_tracer("test"), provider.shutdown))

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()


def test_a_span_says_what_the_conventions_ask_for_and_nothing_of_what_was_said() -> None:
    """Operation, provider, models, usage, reasons, address and our own words; in the trace of the caller."""

    async def main() -> None:
        async with raw_server(fine) as provider, served(table(provider.base_url)) as gateway:
            spans = Spans(gateway)
            got = await call(gateway.port, chat("my question"), headers={**CALLERS, "x-user-id": "u"})
            (span,) = spans.all
            assert span.name == "chat m-old"
            assert (span.kind, span.status.status_code) == (SpanKind.CLIENT, StatusCode.UNSET)
            assert span.context is not None
            assert f"{span.context.trace_id:032x}" == TRACE
            assert span.parent is not None
            assert f"{span.parent.span_id:016x}" == PARENT
            assert span.start_time is not None
            assert span.end_time is not None
            assert span.end_time > span.start_time
            assert dict(span.attributes or {}) == {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "m-old",
                "gen_ai.request.stream": False,
                "gen_ai.response.model": "m-old-2025",
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.usage.input_tokens": 7,
                "gen_ai.usage.output_tokens": 3,
                "gen_ai.usage.cache_read.input_tokens": 4,
                "gen_ai.usage.reasoning.output_tokens": 2,
                "server.address": "127.0.0.1",
                "server.port": provider.port,
                "understudy.exchange": got.headers["x-understudy-exchange"],
                "understudy.workload": "chat",
                "understudy.variant": "old",
                "understudy.arm": "incumbent",
                "understudy.role": "served",
                "understudy.masked": False,
                "understudy.epoch": 1,
            }
            told = span.to_json()
            assert not [word for word in ("secret", "question", "sk-p-old", "who=me") if word in told]
            await call(gateway.port, chat())
            assert spans.all[1].parent is None

    asyncio.run(main())


@pytest.mark.parametrize(
    ("wire", "name", "operation"),
    [("openai", "openai", "chat"), ("anthropic", "anthropic", "chat"), ("gemini", "gcp.gemini", "chat")],
)
def test_the_provider_is_the_one_that_was_asked(wire: str, name: str, operation: str) -> None:
    """Whatever the app speaks, provider and model are those of the variant; a stream says when its first part came."""

    async def main() -> None:
        async with SimulatedProvider({"m-old": Behaviour(latency_s=0)}) as provider:
            base = provider.base_url if wire == "openai" else f"http://127.0.0.1:{provider.port}"
            async with served(table(base, providers={"p-old": {"wire": wire}})) as gateway:
                spans = Spans(gateway)
                assert (await gateway.chat("u", stream=True)).status == 200
                (span,) = spans.all
                told = dict(span.attributes or {})
                assert (told["gen_ai.provider.name"], told["gen_ai.operation.name"]) == (name, operation)
                assert told["gen_ai.request.stream"] is True
                assert told["gen_ai.response.time_to_first_chunk"] > 0  # type: ignore[operator]

    asyncio.run(main())


def test_failures_copies_and_masked_answers_are_told_as_what_they_are() -> None:
    """A failed candidate is an error of its own variant; its copy says that it is one."""

    async def main() -> None:
        async with raw_server(fine) as old, raw_server(broken) as new:
            async with served(table(old.base_url, new.base_url, route=route(ALL))) as gateway:
                spans = Spans(gateway)
                assert (await gateway.chat("u")).status == 200
                (span,) = spans.all
                told = dict(span.attributes or {})
                assert span.status.status_code is StatusCode.ERROR
                assert (told["error.type"], told["understudy.masked"]) == ("status_5xx", True)
                assert (told["gen_ai.request.model"], told["understudy.stage"]) == ("m-new", "canary")
            async with served(table(old.base_url, new.base_url, route=route(0, shadow=Shadow(ALL)))) as gateway:
                spans = Spans(gateway)
                assert (await call(gateway.port, chat(), headers=CALLERS)).status == 200
                await gateway.settled(1, copies=True)
                by_role = {str((span.attributes or {})["understudy.role"]): span for span in spans.all}
                assert by_role.keys() == {"served", "shadow"}
                assert by_role["shadow"].status.status_code is StatusCode.ERROR
                assert by_role["served"].status.status_code is StatusCode.UNSET

    asyncio.run(main())


def test_trace_headers_reach_only_the_provider_that_is_to_have_them() -> None:
    """By default a provider learns nothing of the caller's traces, and baggage never leaves."""

    async def main() -> None:
        async with raw_server(fine) as provider:
            for sent in (False, True):
                first = table(provider.base_url, providers={"p-old": {"trace_headers": sent}})
                async with served(first) as gateway:
                    assert (await call(gateway.port, chat(), headers=CALLERS)).status == 200
                    assert (f"traceparent: 00-{TRACE}".encode() in provider.requests[-1]) is sent
                    assert (b"tracestate: vendor=1" in provider.requests[-1]) is sent
                    assert b"baggage" not in provider.requests[-1]

    asyncio.run(main())


@pytest.mark.slow
def test_a_gateway_exports_over_otlp_what_is_left_when_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real workers, a real collector's endpoint: every exchange arrives there once, the last ones at the end."""
    exported: list[Any] = []

    async def collect(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        head, _, body = request.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1/traces HTTP/1.1")
        exported.append(ExportTraceServiceRequest.FromString(body))
        writer.write(whole(b"", 200, b"content-type: application/x-protobuf\r\n"))

    async def main() -> None:
        async with raw_server(fine) as provider, raw_server(collect) as collector:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
            async with GatewayProcess(tmp_path, table(provider.base_url), arguments=["--otel"]) as gateway:
                answers = [await call(gateway.port, chat()) for _ in range(12)]
            names = {answer.headers["x-understudy-exchange"] for answer in answers}
            spans = [s for e in exported for r in e.resource_spans for scope in r.scope_spans for s in scope.spans]
            told = [a.value.string_value for s in spans for a in s.attributes if a.key == "understudy.exchange"]
            assert sorted(told) == sorted(names)
            services = {a.value.string_value for e in exported for r in e.resource_spans for a in r.resource.attributes
                        if a.key == "service.name"}  # fmt: skip
            assert services == {"understudy-gateway"}

    asyncio.run(main())


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("absent", "named"),
    [("opentelemetry", "opentelemetry-api"), ("opentelemetry.sdk", "opentelemetry-sdk and opentelemetry-exporter")],
)
def test_what_is_not_installed_is_named_before_anything_starts(tmp_path: Path, absent: str, named: str) -> None:
    """Exit code 2, with what to install."""
    done = python(
        f"import sys; sys.modules[{absent!r}] = None; sys.argv = ['understudy', 'gateway', '--otel', '--table', 'x'];"
        "from understudy.__main__ import main; sys.exit(main())"
    )
    assert done.returncode == 2, done.stderr
    assert named in done.stderr
    assert "pip install" in done.stderr


def test_nothing_of_it_is_loaded_where_it_is_off() -> None:
    """A worker without the option has no module of OpenTelemetry in memory."""
    loaded = "[m for m in sys.modules if m.startswith('opentelemetry')]"
    assert python(f"import sys, understudy.gateway.worker; sys.exit(bool({loaded}))").returncode == 0
