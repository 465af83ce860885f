"""The provider's HTTP server: framing, order, back-pressure, who went away."""

from __future__ import annotations

import asyncio
import struct
from itertools import pairwise
from socket import SO_LINGER, SOL_SOCKET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.testing.served import until
from understudy.testing.server import Connection, Gone, Reply, Request, Server

LAST = b"POST /e HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\n"
ECHO = b"POST /e HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n"


def echo(request: Request, reply: Reply) -> None:
    reply.send(200, request.body, content_type="text/plain")


async def talk(port: int, *pieces: bytes) -> bytes:
    """Send pieces one after another and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def test_keep_alive_serves_many_requests_in_order() -> None:
    """Requests sent ahead on one connection are answered in the order they came, even where the first takes longer."""

    async def slow_first(request: Request, reply: Reply) -> None:
        await asyncio.sleep(0.05 if request.body == b"one" else 0)
        reply.send(200, request.body)

    async def scenario() -> bytes:
        async with Server(slow_first) as server:
            return await talk(server.port, ECHO + b"one" + ECHO + b"and" + LAST + b"two")

    answer = asyncio.run(scenario())
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.index(b"one") < answer.index(b"and") < answer.index(b"two")


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.sets(st.integers(1, 90), max_size=6))
def test_any_cut_of_the_request_bytes_gives_the_same_answer(cuts: set[int]) -> None:
    """How the bytes of a request are cut into packets changes nothing."""
    whole = b"POST /e?a=1 HTTP/1.1\r\nHost: x\r\nX-A: 1\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"
    edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    pieces = [whole[a:b] for a, b in pairwise(edges)]

    async def scenario() -> bytes:
        async with Server(echo) as server:
            return await talk(server.port, *pieces)

    assert asyncio.run(scenario()).endswith(b"connection: close\r\ncontent-length: 5\r\n\r\nhello")


def test_chunked_request_bodies_are_joined() -> None:
    """A body without a length arrives whole."""
    head = b"POST /e HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"

    async def scenario() -> bytes:
        async with Server(echo) as server:
            return await talk(server.port, head, b"3\r\nabc\r\n", b"2\r\nde\r\n", b"0\r\n\r\n")

    assert asyncio.run(scenario()).endswith(b"\r\n\r\nabcde")


@pytest.mark.parametrize(
    "spoiled",
    [
        b"GARBAGE\r\n\r\n",
        b"POST /e HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabc",
        b"POST /e HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"POST /e HTTP/1.1\r\nx y: 1\r\n\r\n",
    ],
)
def test_what_is_not_http_gets_a_400_and_no_second_chance(spoiled: bytes) -> None:
    """Ambiguous or broken framing is refused and the connection closed."""

    async def scenario() -> bytes:
        async with Server(echo) as server:
            return await talk(server.port, spoiled)

    answer = asyncio.run(scenario())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_a_reset_by_the_caller_ends_the_handler() -> None:
    """When the caller resets, the handler's next write raises Gone and its task ends."""
    ended: list[str] = []

    async def stream(request: Request, reply: Reply) -> None:
        reply.start(200)
        try:
            while True:
                reply.write(b"x")
                await asyncio.sleep(0.001)
        except Gone:
            ended.append("gone")
            raise
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def scenario() -> None:
        async with Server(stream) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(ECHO + b"abc")
            await reader.read(10)
            writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            await until(lambda: bool(ended))

    asyncio.run(scenario())
    assert ended in (["gone"], ["cancelled"])


def test_drain_waits_for_a_reader_that_does_not_read() -> None:
    """A handler that drains does not fill the memory on behalf of a caller who does not read."""
    written = 0

    async def endless(request: Request, reply: Reply) -> None:
        nonlocal written
        reply.start(200)
        while True:
            reply.write(b"x" * 65536)
            written += 65536
            await reply.drain()

    async def scenario() -> int:
        async with Server(endless) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
            writer.write(ECHO + b"abc")
            before = -1
            while before < written < 64_000_000:
                before = written
                await asyncio.sleep(0.2)
            writer.transport.abort()
            return written

    assert 0 < asyncio.run(scenario()) < 64_000_000


def test_a_broken_handler_fails_the_block_it_served() -> None:
    """A provider's own bug answers 500 and is raised when the server stops, so no test can pass over it."""

    def broken(request: Request, reply: Reply) -> None:
        raise RuntimeError("planted")

    async def scenario() -> None:
        async with Server(broken) as server:
            answer = await talk(server.port, LAST + b"abc")
            assert answer.startswith(b"HTTP/1.1 500 ")

    with pytest.raises(ExceptionGroup, match="handlers failed") as caught:
        asyncio.run(scenario())
    assert [str(error) for error in caught.value.exceptions] == ["planted"]


def test_abort_resets_the_caller() -> None:
    """`Connection.abort` is a reset, not a clean end."""

    def reset(request: Request, reply: Reply) -> None:
        connection: Connection = reply.connection
        reply.start(200)
        connection.abort()

    async def scenario() -> None:
        async with Server(reset) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(ECHO + b"abc")
            with pytest.raises(ConnectionResetError):
                await reader.read()
                await reader.read()
            writer.close()

    asyncio.run(scenario())
