"""The faulty provider and the chaos proxy, seen from raw sockets: each fault is on the wire and in the ledger."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
import time
import zlib
from collections.abc import Awaitable, Callable
from socket import SO_LINGER, SOL_SOCKET
from typing import NamedTuple

import pytest

from understudy.testing.chaos import ChaosProxy
from understudy.testing.dialects import DIALECTS
from understudy.testing.faults import FAULTS, parse
from understudy.testing.faulty import FaultProvider
from understudy.testing.served import until


class Got(NamedTuple):
    """What came back: all bytes, and how it ended: fin, rst, or open (nothing more within the patience)."""

    raw: bytes
    end: str
    seconds: float

    @property
    def head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        """The body without its chunks."""
        rest = self.raw.partition(b"\r\n\r\n")[2]
        if b"transfer-encoding: chunked" not in self.head:
            return rest
        whole = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            whole += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return whole


def request(model: str, *, stream: bool = True, mark: str = "m1", close: bool = False) -> bytes:
    body = json.dumps(
        {"model": model, "stream": stream, "messages": [{"role": "user", "content": f"#{mark}# hello"}]}
    ).encode()
    closing = b"connection: close\r\n" if close else b""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n%scontent-length: %d\r\n\r\n"
    return head % (closing, len(body)) + body


async def fetch(port: int, data: bytes, patience: float = 60.0, *, first: bytes = b"") -> Got:
    """The answer until its end, or what came of it in that time; `first` is waited for, however long it takes."""
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    raw, end = b"", "open"
    if first:
        raw = await reader.readuntil(first)
    try:
        async with asyncio.timeout(patience):
            while piece := await reader.read(65536):
                raw += piece
            end = "fin"
    except TimeoutError:
        pass
    except ConnectionResetError:
        end = "rst"
    seconds = time.monotonic() - begun
    writer.close()
    return Got(raw, end, seconds)


def run(scenario: Callable[[FaultProvider], Awaitable[Got]]) -> tuple[Got, FaultProvider]:
    async def outer() -> tuple[Got, FaultProvider]:
        async with FaultProvider() as provider:
            return await scenario(provider), provider

    return asyncio.run(outer())


def get(model: str, *, stream: bool = True, patience: float = 60.0, first: bytes = b"") -> tuple[Got, FaultProvider]:
    return run(lambda p: fetch(p.port, request(model, stream=stream, close=True), patience, first=first))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", [*FAULTS, "529"])
def test_every_fault_can_be_planned_in_every_dialect(name: str, dialect: str, stream: bool) -> None:
    """No combination of fault, dialect and streaming is missing or endless to plan."""
    from understudy.testing.dialects import Asked, Turn
    from understudy.testing.faults import plan

    fault = parse(f"f/{name}={'crlf' if name == 'nl' else 1}@1")
    asked = Asked(model="m", turns=(Turn("user", "x"),), stream=stream)
    assert plan(fault, DIALECTS[dialect], asked, "s", reused=False, now=0.0)


@pytest.mark.parametrize(
    ("model", "end", "status"),
    [
        ("f/ok", "fin", b"200"),
        ("f/silent", "open", b""),
        ("f/stall@3", "open", b"200"),
        ("f/rst@pre", "rst", b""),
        ("f/rst@hdr", "rst", b"200"),
        ("f/rst@2", "rst", b"200"),
        ("f/rst@mid", "rst", b"200"),
        ("f/fin@2", "fin", b"200"),
        ("f/eof@2", "fin", b"200"),
        ("f/err@1", "fin", b"200"),
        ("f/529;ra=2", "fin", b"529"),
        ("f/503;html", "fin", b"503"),
    ],
)
def test_how_a_stream_ends(model: str, end: str, status: bytes) -> None:
    """Each fault ends the connection the way its name says."""
    got, _ = get(model, patience=0.5, first=status) if end == "open" else get(model)
    assert got.end == end
    assert got.raw[9:12] == status
    assert (b"[DONE]" in got.raw) == (model == "f/ok")


def test_an_end_without_the_closing_events_is_properly_framed() -> None:
    """`eof` looks complete to HTTP and is not complete to the dialect; `fin` is not complete to HTTP either."""
    eof, _ = get("f/eof@2")
    assert eof.raw.endswith(b"0\r\n\r\n")
    assert b" 0 " in eof.body
    assert b'finish_reason":"stop' not in eof.body
    fin, _ = get("f/fin@2")
    assert not fin.raw.endswith(b"0\r\n\r\n")


def test_a_short_body_promises_more() -> None:
    """`short-cl` sends less than its content-length."""
    got, _ = get("f/short-cl", stream=False)
    promised = int(got.head.partition(b"content-length: ")[2].split(b"\r\n")[0])
    assert got.end == "fin"
    assert len(got.body) < promised


@pytest.mark.parametrize(
    ("options", "header"),
    [("ra=7", b"retry-after: 7"), ("ra-ms=250", b"retry-after-ms: 250"), ("spend", b"x-should-retry: false")],
)
def test_refusals_carry_their_headers(options: str, header: bytes) -> None:
    """The variants of a 429."""
    got, _ = get(f"f/429;{options}")
    assert header in got.head
    assert json.loads(got.body)["error"]["type"] == "rate_limit_error"


def test_a_retry_after_date_lies_ahead() -> None:
    """`ra-date` is an HTTP date so many seconds from now."""
    got, _ = get("f/429;ra-date=3600")
    assert b"retry-after: " in got.head
    assert b" GMT" in got.head


def test_encodings_are_what_they_say_or_lie() -> None:
    """gzip unpacks to the plain answer, in one member or two; the lie does not; the bomb is small and grows."""
    assert b"[DONE]" in gzip.decompress(get("f/gzip")[0].body)
    assert b"[DONE]" in gzip.decompress(get("f/gzip-multi")[0].body)
    assert b"[DONE]" in zlib.decompress(get("f/deflate")[0].body)
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(get("f/gzip-lie")[0].body)
    bomb = get("f/gzip-bomb=20")[0].body
    assert len(bomb) < 100_000
    assert len(gzip.decompress(bomb)) > 20_000_000


def test_pieces_of_one_byte_and_other_line_ends() -> None:
    """`split@all` puts every byte in a chunk of its own; `nl` changes only the line ends."""
    split = get("f/split@all")[0]
    assert split.body.endswith(b"data: [DONE]\n\n")
    assert split.raw.count(b"\r\n1\r\n") >= len(split.body) - 1
    crlf = get("f/nl=crlf;comments")[0].body
    assert b"\r\n\r\n: a comment\r\n\r\n" in crlf
    assert get("f/nl=cr")[0].body.count(b"\n") == 0
    assert get("f/nl=lf;bom")[0].body.startswith(b"\xef\xbb\xbfdata: ")


def test_waiting_is_where_the_name_says() -> None:
    """`slow-hdr` waits before the status line, `ttft` after it, `lat` between the pieces."""
    got, _ = get("f/slow-hdr=0.3")
    assert got.end == "fin"
    assert got.seconds > 0.29
    early, _ = get("f/ttft=60", patience=0.5, first=b"HTTP/1.1 200")
    assert early.raw.startswith(b"HTTP/1.1 200")
    assert b"part 0" not in early.raw
    spread, _ = get("f/lat=0.4")
    assert spread.seconds > 0.38


def test_the_ledger_has_the_bytes_of_each_request_and_answer() -> None:
    """Mark, headers, raw bytes received, payload sent, and how it ended."""
    got, provider = get("f/rst@2")
    (received,) = provider.marked("m1")
    assert (received.fault, received.status, received.pieces, received.terminal) == ("f/rst@2", 200, 2, False)
    assert received.ended == "reset"
    assert bytes(provider.lines[0].raw) == request("f/rst@2", close=True)
    assert received.payload.startswith(b"data: ")
    assert received.payload == got.body


def test_the_ledger_tells_a_caller_who_leaves_and_how() -> None:
    """A FIN and a reset of the caller are told apart, with the time of each."""

    async def scenario() -> tuple[str, str, str, float]:
        async with FaultProvider() as provider:
            for number, reset in enumerate((False, True)):
                reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
                writer.write(request("f/stall@1"))
                # What was received must be read: closing on unread bytes is a reset.
                await asyncio.wait_for(reader.readuntil(b"\n\n\r\n"), 60)
                if reset:
                    writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                else:
                    writer.close()
                left = time.monotonic()
                await until(lambda: provider.lines[number].ended != "open")  # noqa: B023
            return (
                provider.lines[0].ended,
                provider.lines[1].ended,
                provider.ledger[1].ended,
                provider.ledger[1].ended_at - left,
            )

    first, second, ended, delay = asyncio.run(scenario())
    assert (first, second, ended) == ("fin", "rst", "gone")
    assert abs(delay) < 20  # the same clock


def test_faults_can_be_given_to_a_name_and_run_out() -> None:
    """`become` changes what a plain name does while running; `times` heals after so many calls."""

    async def scenario(provider: FaultProvider) -> Got:
        assert (await fetch(provider.port, request("m", close=True))).raw[9:12] == b"200"
        provider.become("m", "f/500;times=2")
        statuses = [(await fetch(provider.port, request("m", close=True))).raw[9:12] for _ in range(3)]
        assert statuses == [b"500", b"500", b"200"]
        with pytest.raises(ValueError, match="names no fault"):
            provider.become("m", "f/sillent")
        return await fetch(provider.port, request("f/sillent", close=True))

    got, _ = run(scenario)
    assert got.raw[9:12] == b"400"


def test_a_stale_connection_answers_once() -> None:
    """`stale` answers the first request of a connection and closes on the second."""

    async def scenario(provider: FaultProvider) -> Got:
        twice = request("f/stale") + request("f/stale", mark="m2")
        return await fetch(provider.port, twice)

    got, provider = run(scenario)
    assert got.end == "fin"
    assert got.raw.count(b"HTTP/1.1 200") == 1
    assert provider.marked("m2")[0].reused
    assert provider.marked("m2")[0].status == 0


def through(proxy_setting: Callable[[ChaosProxy], None], data: bytes, patience: float = 60.0) -> Got:
    async def scenario() -> Got:
        async with FaultProvider() as provider, ChaosProxy(provider.port) as proxy:
            proxy_setting(proxy)
            return await fetch(proxy.port, data, patience)

    return asyncio.run(scenario())


def test_a_proxy_without_faults_changes_nothing() -> None:
    """All bytes pass, and the end is passed on."""
    got = through(lambda proxy: None, request("f/ok", close=True))
    assert got.end == "fin"
    assert b"[DONE]" in got.body


@pytest.mark.parametrize(
    ("changes", "end", "least"),
    [
        ({"latency_s": 0.3}, "fin", 0.29),
        ({"bandwidth": 20_000.0}, "fin", 0.1),
        ({"slice_bytes": 7}, "fin", 0.0),
        ({"slow_close_s": 0.4}, "fin", 0.39),
        ({"limit_bytes": 100}, "fin", 0.0),
        ({"reset_bytes": 100}, "rst", 0.0),
        ({"half_open": True}, "open", 0.0),
    ],
)
def test_each_toxic_does_what_it_says(changes: dict[str, float], end: str, least: float) -> None:
    """Delay, rate, slices, late ends, cuts and silence on the way back to the caller."""
    patience = 1.5 if end == "open" else 60
    got = through(lambda proxy: proxy.set("down", **changes), request("f/ok", close=True), patience)
    assert got.end == end
    assert got.seconds >= least
    assert (b"[DONE]" in got.raw) == (end == "fin" and "limit_bytes" not in changes)
    if changes.keys() & {"limit_bytes", "half_open"}:
        assert len(got.raw) <= 100


def test_a_proxy_refuses_and_comes_back() -> None:
    """A refused port refuses, and answers again on the same port afterwards; open connections can be reset."""

    async def scenario() -> None:
        async with FaultProvider() as provider, ChaosProxy(provider.port) as proxy:
            await proxy.refuse()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", proxy.port)
            await proxy.listen()
            waiting = asyncio.create_task(fetch(proxy.port, request("f/stall@1")))
            await until(lambda: proxy.open == 1 and len(provider.ledger) == 1)
            proxy.reset_all()
            assert (await waiting).end == "rst"

    asyncio.run(scenario())
