"""A provider whose answers are bytes: each request is answered by a function of the test; every byte is kept.

For what only raw bytes can show: cut answers, resets, odd framing. Scripted providers are in the modules beside."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Answer = Callable[[int, bytes, asyncio.StreamWriter], Awaitable[None]]
"""(how many requests came before, the request, where to write)."""


class RawServer:
    """What a raw provider has seen: its requests byte for byte, connections opened and ended."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.ended = 0
        self.port = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Head and body of a request with a content length. Raises IncompleteReadError where it is cut off."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return head + await reader.readexactly(length)


@asynccontextmanager
async def raw_server(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """A provider on a free port of the loopback interface, which answers with what `answer` writes."""
    state = RawServer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        try:
            while True:
                request = await read_request(reader)
                number = len(state.requests)
                state.requests.append(request)
                await answer(number, request, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            state.ended += 1
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        await asyncio.sleep(0)


def whole(body: bytes, status: int = 200, extra: bytes = b"") -> bytes:
    """An answer with its content length; `extra` are further header lines, each with its line end."""
    return b"HTTP/1.1 %d Any\r\ncontent-length: %d\r\n%s\r\n" % (status, len(body), extra) + body
