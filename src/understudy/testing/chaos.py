"""A TCP proxy that spoils what passes through it: late, slow, cut in slices, cut off, reset, half open.

Faults are set for each direction and take effect on open connections too. Nothing here knows HTTP.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

READ = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxics:
    """What happens to the bytes of one direction. The defaults do nothing."""

    latency_s: float = 0.0
    """Each piece is held back so long."""
    bandwidth: float = 0.0
    """Bytes a second; 0 is unlimited."""
    slice_bytes: int = 0
    """Pieces are cut to at most so many bytes, each a packet of its own; 0 leaves them."""
    limit_bytes: int = -1
    """The connection is closed after so many bytes; -1 is never."""
    reset_bytes: int = -1
    """The connection is reset after so many bytes; -1 is never."""
    half_open: bool = False
    """Bytes are taken and never passed on, nor is the end of the stream; the connection stays open."""
    slow_close_s: float = 0.0
    """The end of the stream is passed on so much later."""


Direction = Literal["up", "down"]


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: ChaosProxy, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.near = near
        self.far = far

    def reset(self) -> None:
        for writer in (self.near, self.far):
            sock: Any = writer.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def close(self) -> None:
        self.near.close()
        self.far.close()

    async def carry(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._pump(direction, reader, writer)
        except OSError:
            # One side reset: the other side shall see the same.
            self.reset()

    async def _pump(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on until either side ends."""
        passed = 0
        while data := await reader.read(READ):
            toxics = self.proxy.toxics[direction]
            if toxics.half_open:
                continue
            if toxics.latency_s:
                await asyncio.sleep(toxics.latency_s)
            step = toxics.slice_bytes or len(data)
            for at in range(0, len(data), step):
                piece = data[at : at + step]
                toxics = self.proxy.toxics[direction]
                allowed = [n - passed for n in (toxics.limit_bytes, toxics.reset_bytes) if n >= 0]
                if allowed and len(piece) >= min(allowed):
                    writer.write(piece[: max(0, min(allowed))])
                    await writer.drain()
                    self.reset() if 0 <= toxics.reset_bytes <= passed + len(piece) else self.close()
                    return
                writer.write(piece)
                await writer.drain()
                passed += len(piece)
                self.proxy.passed[direction] += len(piece)
                await asyncio.sleep(len(piece) / toxics.bandwidth if toxics.bandwidth else 0)
        if self.proxy.toxics[direction].half_open:
            await asyncio.Event().wait()
        await asyncio.sleep(self.proxy.toxics[direction].slow_close_s)
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()


class ChaosProxy:
    """`async with ChaosProxy(port) as proxy:` passes `proxy.port` on to a port of the same machine.

    "up" is the way to the target, "down" the way back.
    """

    def __init__(self, target_port: int, *, target_host: str = "127.0.0.1", port: int = 0) -> None:
        self._target = (target_host, target_port)
        self.port = port
        self.toxics: dict[Direction, Toxics] = {"up": Toxics(), "down": Toxics()}
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        self.accepted = 0
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    @property
    def root_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.root_url}/v1"

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._links)

    def set(self, direction: Direction, **changes: Any) -> None:
        """Change faults of one direction, from the next piece on. Raises TypeError for a fault that does not exist."""
        self.toxics[direction] = dataclasses.replace(self.toxics[direction], **changes)

    def reset_all(self) -> None:
        """Reset every open connection."""
        for link in list(self._links):
            link.reset()

    async def refuse(self) -> None:
        """Stop listening: new connections are refused, open ones go on."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def listen(self) -> None:
        """Listen (again), on the same port."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.get_running_loop().create_task(self._join(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            # The target is not there: the caller sees a reset, as it would see a refusal.
            writer.transport.abort()
            return
        link = _Link(self, writer, far_writer)
        self._links.add(link)
        try:
            await asyncio.gather(link.carry("up", reader, far_writer), link.carry("down", far_reader, writer))
        finally:
            self._links.discard(link)
            link.close()

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        self.reset_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
