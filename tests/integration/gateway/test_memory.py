"""What a connection leaves behind when it is over: nothing."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter

from understudy.gateway.relay import Relay
from understudy.gateway.session import Session
from understudy.testing.raw import raw_server, whole
from understudy.testing.served import call, chat, served, table
from understudy.upstream.connection import Connection


def alive() -> Counter[str]:
    return Counter(type(o).__name__ for o in gc.get_objects() if isinstance(o, (Session, Connection, Relay)))


def test_a_closed_connection_is_freed_at_once_and_without_the_collector() -> None:
    """Deadlines minutes ahead and a parser's references keep nobody: memory follows the connections that are open."""

    async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(b"{}", 200, b"connection: close\r\n"))
        writer.close()

    async def run() -> Counter[str]:
        async with raw_server(reply) as provider, served(table(provider.base_url)) as gateway:
            for _ in range(20):
                await call(gateway.port, chat())
            await gateway.settled(20)
            await asyncio.sleep(0.1)
            return alive()

    gc.collect()
    before = alive()
    gc.disable()
    try:
        found = asyncio.run(run())
    finally:
        gc.enable()
    # The last few may just be closing.
    assert all((found - before)[name] <= 2 for name in ("Session", "Connection", "Relay")), found
