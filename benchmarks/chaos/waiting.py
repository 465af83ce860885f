"""How long a process waited for a processor: what a busy machine adds to every duration, taken off again.

Linux keeps it in /proc/PID/schedstat for the main thread: nanoseconds on a processor, nanoseconds in the queue for one.
A duration less the waiting of those who took part is what it would have been on a machine of one's own.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

PAUSE_S = 0.003


def waited(*pids: int) -> float:
    """Seconds that these processes have waited for a processor so far, together; 0 for one that is gone."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / 1e9


def stood_still(port: int, worker: int, stop: int) -> Iterable[float]:
    """Ask a gateway's worker for its health over and over until `stop` (a descriptor) is at its end; yields the
    seconds each answer took, less the waiting of both.

    A prober that itself was kept waiting finds its connection closed as idle: it takes another, and asks again.
    """
    me, connection = os.getpid(), socket.create_connection(("127.0.0.1", port))
    try:
        while not select.select([stop], [], [], PAUSE_S)[0]:
            before, begun = waited(me, worker), time.monotonic()
            if _alive(connection):
                yield max(0.0, time.monotonic() - begun - (waited(me, worker) - before))
            else:
                connection.close()
                connection = socket.create_connection(("127.0.0.1", port))
    finally:
        connection.close()


def _alive(connection: socket.socket) -> bool:
    """Ask once; False where the connection was closed."""
    answer = b""
    try:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: g\r\n\r\n")
        while not answer.endswith(b'"alive"}'):
            answer += (part := connection.recv(4096))
            if not part:
                return False
    except ConnectionError:
        return False
    return True


@asynccontextmanager
async def probing(port: int, worker: int) -> AsyncIterator[list[float]]:
    """What `stood_still` finds, from a process of its own, in the list when the context is over."""
    lags: list[float] = []
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.chaos.waiting", str(port), str(worker)),
        cwd=root,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        await process.stdout.readline()  # it has begun
        yield lags
    finally:
        said, _ = await process.communicate(b"")  # the end of its input is its sign to stop
    lags += json.loads(said)


def main() -> None:
    """A line after the first answer, and all that was found in the end."""
    lags = []
    for lag in stood_still(int(sys.argv[1]), int(sys.argv[2]), sys.stdin.fileno()):
        if not lags:
            print(flush=True)
        lags.append(lag)
    json.dump(lags, sys.stdout)


if __name__ == "__main__":
    main()
