"""How many open streams a GiB of the gateway's memory holds, with clients that read and clients that stopped reading.

The memory of one stream is the slope of the worker's resident memory over several counts of open streams, so that
what the gateway needs once is not charged to the streams, and what it has free is not credited to them. Buffers in
the kernel are not in it: they are bounded by the sizes of the sockets' buffers.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from benchmarks.gateway.figures import slope
from benchmarks.gateway.measure import rss_mb
from benchmarks.gateway.ours import KEYS, key, understudy
from benchmarks.gateway.processes import ahead, provider
from benchmarks.gateway.proxy import WORKLOAD, Setting, request_body

COUNTS = (250, 500, 1000, 1500, 2000)
SETTLE_S = 2.0
READING_PAUSE_MS = 1000
WARM = 50
CASES = ("reading", "not reading")


class Growth(NamedTuple):
    """Resident memory over the number of open streams."""

    case: str
    points: list[tuple[int, float]]
    """Streams and MiB."""

    @property
    def kib_each(self) -> float:
        return slope(self.points) * 1024

    @property
    def per_gib(self) -> float:
        return 1024 * 1024 / self.kib_each if self.kib_each > 0 else float("inf")


class _Client(asyncio.Protocol):
    """Asks for a stream; goes on reading, or stops after the first token."""

    def __init__(self, request: bytes, *, reads: bool) -> None:
        self._request = request
        self._reads = reads
        self._head = b""
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.started.done():
            return
        self._head += data
        if b"data: " in self._head:
            self.started.set_result(None)
            if not self._reads:
                self.transport.pause_reading()
        elif b"\r\n\r\n" in self._head and not self._head.startswith(b"HTTP/1.1 200"):
            self.started.set_exception(RuntimeError(f"no stream but {self._head[:300]!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.started.done():
            self.started.set_exception(RuntimeError(f"the connection ended before the stream began: {exc}"))


async def _open(port: int, number: int, *, reads: bool) -> _Client:
    body = request_body().replace("@@MODEL@@", WORKLOAD).replace("@@USER@@", str(100_000 + number))
    data = body.replace('"stream": false', '"stream": true').encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key(number % KEYS)}\r\n"
    sock = socket.socket()
    if not reads:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", port))
    request = f"{head}content-length: {len(data)}\r\n\r\n".encode() + data
    _, client = await loop.create_connection(lambda: _Client(request, reads=reads), sock=sock)
    async with asyncio.timeout(30):
        await client.started
    return client


async def _grow(port: int, pid: int, counts: Sequence[int], *, reads: bool) -> list[tuple[int, float]]:
    for client in [await _open(port, number, reads=reads) for number in range(WARM)]:
        client.transport.abort()
    await asyncio.sleep(SETTLE_S)
    clients: list[_Client] = []
    points: list[tuple[int, float]] = []
    try:
        for count in counts:
            while len(clients) < count:
                batch = range(len(clients), min(count, len(clients) + 50))
                clients += await asyncio.gather(*(_open(port, number, reads=reads) for number in batch))
            await asyncio.sleep(SETTLE_S)
            gone = sum(client.transport.is_closing() for client in clients)
            if gone:
                raise RuntimeError(f"{gone} of {count} streams are no longer open")
            points.append((count, rss_mb(pid)))
    finally:
        for client in clients:
            client.transport.abort()
    return points


def measured(folder: Path, counts: Sequence[int] = COUNTS, *, first: bool = False) -> list[Growth]:
    """Both cases, each on a gateway of its own; `first`: before all other work on the machine.

    Raises RuntimeError where streams do not open or do not stay.
    """
    found: list[Growth] = []
    for case in CASES:
        reads = case == "reading"
        own = folder / f"streams-{case.replace(' ', '-')}"
        own.mkdir()
        with (
            provider(READING_PAUSE_MS if reads else 0, endless=True) as port,
            understudy(Setting(own, port)) as running,
        ):
            if first:
                ahead(running.pid)
            found.append(Growth(case, asyncio.run(_grow(running.port, running.pid, counts, reads=reads))))
    return found
