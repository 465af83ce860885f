"""A real server on the wires: takes what an SDK sends, carries it to a provider's dialect and back to the SDK's.

The provider behind it answers in its own dialect what the request asks for: JSON where a format is wanted, a call
where there are tools and no result yet, an error where the user says "fail <status>", else a greeting. What it
understood of each request is kept in `asks`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from understudy.core.variant import Variant
from understudy.wires.base import Answer, Usage, WireError
from understudy.wires.registry import NAMES, recognise, wire
from understudy.wires.translate import Back, answer, request, stream
from understudy.wires.translation import anthropic, anthropic_stream, gemini, gemini_stream, openai, openai_stream
from understudy.wires.translation.neutral import (
    Ask,
    CallDelta,
    CallStart,
    Dialect,
    End,
    Finish,
    Losses,
    PieceWriter,
    Reply,
    Start,
    Text,
    TextDelta,
    ToolCall,
    ToolResult,
)

DIALECTS: dict[str, Dialect] = {"openai": openai, "anthropic": anthropic, "gemini": gemini}
GREETING = "Grüße, 世界 👋"
USAGE = Usage(100, 40, 30, 20)


@dataclass
class Front:
    """The running server and what went through it."""

    target: str
    port: int = 0
    asks: list[Ask] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    """What our readers made of the bytes that went to the SDK."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def reply_to(ask: Ask) -> Reply:
    last = ask.turns[-1].parts
    if ask.format:
        return Reply("r-1", "m-1", [Text('{"city":"Bern","days":3}')], Finish("stop"), USAGE)
    if ask.tools and not any(isinstance(part, ToolResult) for part in last):
        calls = [ToolCall(f"call_{n}", ask.tools[0].name, json.dumps({"city": city})) for n, city in enumerate("AB")]
        return Reply("r-1", "m-1", [Text("Let me see."), *calls], Finish("tool_calls"), USAGE)
    return Reply("r-1", "m-1", [Text(GREETING)], Finish("stop"), USAGE)


def streamed(target: str, reply: Reply, *, cut: bool, error: bool) -> bytes:
    writers: dict[str, PieceWriter] = {
        "openai": openai_stream.Writer(Losses(), include_usage=True),
        "anthropic": anthropic_stream.Writer(Losses()),
        "gemini": gemini_stream.Writer(Losses(), array=False),
    }
    writer, number = writers[target], 0
    out = writer.write(Start(reply.id, reply.model, Usage(100)))
    for part in reply.parts:
        if isinstance(part, Text):
            out += b"".join(writer.write(TextDelta(c)) for c in part.text)
        else:
            out += writer.write(CallStart(number, part.id, part.name))
            out += writer.write(CallDelta(number, part.arguments[:5])) + writer.write(
                CallDelta(number, part.arguments[5:])
            )
            number += 1
    if error:
        return out + wire(target).error_event("overloaded", "too many at once")
    return out if cut else out + writer.write(End(reply.finish, reply.usage))


def handler_for(front: Front) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            """Nothing is logged."""

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            found = recognise("GET", self.path, headers)
            assert found
            self._send(200, found.wire.models_body(["reply-drafting", "triage"]))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found = recognise("POST", self.path, headers)
            if found is None:
                self._send(404, b"{}")
                return
            front.keys.append(found.wire.key_in(headers, self.path.partition("?")[2]))
            try:
                peeked = found.wire.peek(found.endpoint, self.path, body)
                carried = request(found.endpoint, self.path, body, front.target)
            except WireError as refused:
                self._send(refused.status, found.wire.error_body(refused.status, "invalid", str(refused)))
                return
            assert peeked.model == "reply-drafting"
            assert peeked.stream is carried.back.streamed
            front.losses += [loss.what for loss in carried.losses]
            sent = wire(front.target).apply(
                carried.endpoint, carried.path, carried.body, Variant("v", "p", "m-1", "Front.")
            )
            front.paths.append(sent.path)
            self._answer(carried.back, sent.body)

        def _answer(self, back: Back, body: bytes) -> None:
            ask = DIALECTS[front.target].read_ask(json.loads(body), Losses())
            front.asks.append(ask)
            words = " ".join(part.text for part in ask.turns[-1].parts if isinstance(part, Text)).split()
            if words[:1] == ["fail"]:
                status = int(words[1])
                failed = wire(front.target).error_body(status, "too_many", "slow down")
                self._send(status, answer(back, status, failed).body)
                return
            reply = reply_to(ask)
            if not back.streamed:
                provider = json.dumps(DIALECTS[front.target].write_reply(reply, Losses())).encode()
                told = answer(back, 200, provider).body
                front.answers.append(wire(back.source.wire).read(back.source, 200, told))
                self._send(200, told)
                return
            provider = streamed(front.target, reply, cut=words[:1] == ["cut"], error=words[:1] == ["error"])
            self._stream(back, provider)

        def _stream(self, back: Back, provider: bytes) -> None:
            carrying = stream(back)
            reader = wire(back.source.wire).reader(back.source)
            array = back.source.name.endswith(".array")
            self.send_response(200)
            self.send_header("content-type", "application/json" if array else "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            pieces = [carrying.feed(provider[i : i + 37]) for i in range(0, len(provider), 37)]
            pieces.append(carrying.finish())
            for piece in pieces:
                reader.feed(piece)
            front.answers.append(reader.answer())  # before the app can have seen the end
            for piece in filter(None, pieces):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


@pytest.fixture(params=NAMES)
def front(request: pytest.FixtureRequest) -> Iterator[Front]:
    """A server in front of a provider of each dialect in turn."""
    front = Front(request.param)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_for(front)) as server:
        server.daemon_threads = False
        front.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield front
        finally:
            server.shutdown()
            thread.join()
