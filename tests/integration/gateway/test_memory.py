"""What a connection leaves behind when it is over: nothing."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator

import pytest

from understudy.gateway.relay import Relay
from understudy.gateway.session import Session
from understudy.testing.raw import raw_server, whole
from understudy.testing.served import call, chat, served, table
from understudy.upstream.connection import Connection


def alive() -> Counter[str]:
    return Counter(type(o).__name__ for o in gc.get_objects() if isinstance(o, (Session, Connection, Relay)))


def few(left: Counter[str]) -> bool:
    """The last few may just be closing."""
    return all(count <= 2 for count in left.values())


async def left_of(before: Counter[str]) -> Counter[str]:
    """What is alive beyond `before` once that is few, or still is after a while; the collector is off meanwhile."""
    for _ in range(200):
        if few(left := alive() - before):
            break
        await asyncio.sleep(0.05)
    return left


@pytest.fixture
def before() -> Iterator[Counter[str]]:
    """What is alive before a test, during which the collector is off."""
    gc.collect()
    gc.disable()
    yield alive()
    gc.enable()


def test_a_closed_connection_is_freed_at_once_and_without_the_collector(before: Counter[str]) -> None:
    """Deadlines minutes ahead and a parser's references keep nobody: memory follows the connections that are open."""

    async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(b"{}", 200, b"connection: close\r\n"))
        writer.close()

    async def run() -> Counter[str]:
        async with raw_server(reply) as provider, served(table(provider.base_url)) as gateway:
            for _ in range(20):
                await call(gateway.port, chat())
            await gateway.settled(20)
            return await left_of(before)

    found = asyncio.run(run())
    assert few(found), found


REFUSED = {
    "a header too long": b"POST / HTTP/1.1\r\nhost: g\r\nx-long: " + b"a" * 70_000 + b"\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    "no HTTP": b"NONSENSE\r\n\r\n",
    "a body too large": b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 99999999999\r\n\r\n",
    "an upgrade": b"GET / HTTP/1.1\r\nhost: g\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refused_request_is_freed_with_its_connection(what: str, before: Counter[str]) -> None:
    """What broke a rule, its bytes and its error are not kept for the collector: garbage would add up to gigabytes."""

    async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("nothing of this may reach a provider")

    async def run() -> Counter[str]:
        async with raw_server(reply) as provider, served(table(provider.base_url)) as gateway:
            for _ in range(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                writer.write(REFUSED[what])
                answer = await reader.read()
                assert answer.startswith(b"HTTP/1.1 4"), answer
                writer.close()
            return await left_of(before)

    found = asyncio.run(run())
    assert few(found), found
