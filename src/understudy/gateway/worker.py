"""One process that serves: owns the loop, the listening socket handed to it, the table's polling, the ledger's writer.

Started by `supervisor`, one per core. It ends on SIGTERM, and when its supervisor has gone, after the requests that
are under way.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import uvloop

from understudy.core.errors import DataCorrupt, UnderstudyError
from understudy.core.records import Exchange, Record
from understudy.core.routing import HEARTBEAT_FOLDER, Privacy, RoutingTable
from understudy.gateway import bugs, tracing
from understudy.gateway.core import Gateway
from understudy.gateway.meter import Meters
from understudy.gateway.metrics import SUFFIX, Metrics, exposition, log_line
from understudy.gateway.pins import Pins
from understudy.gateway.session import Session
from understudy.gateway.table import TableReader, replace_file
from understudy.ledger import sealing
from understudy.ledger.redact import Redactor
from understudy.ledger.segments import SegmentWriter

POLL_S = 0.1
PULSE_S = 1.0
METRICS_S = 1.0
SWITCH_S = 0.0005
"""A request that comes while a thread writes files waits no longer than this for the interpreter; Python's 5 ms were
the tail of the added latency."""
METRICS_STALE_S = 10.0
PINS_FILE = "pins"
METERS_FILE = "meters"
_FLAGS = ("exposed", "log", "otel")


@dataclass(frozen=True, slots=True)
class Settings:
    """`exposed`: the socket can be reached from other machines, so a table without keys is refused."""

    name: str
    table: Path
    segments: Path
    socket_fd: int
    ready_fd: int
    parent_fd: int
    exposed: bool
    tls_cert: str = ""
    tls_key: str = ""
    log: bool = False
    """One line of JSON on standard output for each exchange."""
    otel: bool = False
    """A span of OpenTelemetry for each exchange."""

    def arguments(self) -> list[str]:
        """The command line that `main` reads back."""
        flags = [f"--{k.replace('_', '-')}={getattr(self, k)}" for k in self.__slots__ if k not in _FLAGS]
        return flags + [f"--{name}" for name in _FLAGS if getattr(self, name)]


class Worker:
    """Make it inside the running loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self._log: list[bytes] = []
        self._logs = settings.log
        self._metrics_file = settings.table.parent / HEARTBEAT_FOLDER / f"{settings.name}{SUFFIX}"
        seal = sealing.configured()
        self._seals = seal is not None
        self.ledger = SegmentWriter(settings.segments, settings.name, seal=seal)
        folder = settings.table.parent
        self.gateway = Gateway(
            self._record, redact=_redactor, pins=Pins(folder / PINS_FILE), meters=Meters(folder / METERS_FILE)
        )
        self.gateway.exposition = self._exposition
        self._tracing = tracing.configured() if settings.otel else None
        if self._tracing is not None:
            self.gateway.trace(self._tracing)
        self.reader = TableReader(settings.table, settings.name, self._apply)
        self._stop = asyncio.Event()
        self._complained = ""
        self._metrics_due = 0.0

    async def run(self) -> None:
        """Serve until told to stop, then drain."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stop.set)
        loop.add_reader(self.settings.parent_fd, self._stop.set)
        self.reader.start(time.time())  # the newest table before the first connection
        await self._turn()
        listener = socket.socket(fileno=self.settings.socket_fd)
        tls = _tls(self.settings)
        server = await loop.create_server(
            lambda: cast(asyncio.Protocol, Session(self.gateway)),
            sock=listener,
            backlog=4096,
            ssl=tls,
            # It is nobody's session yet, and no limit of ours counts or times it.
            ssl_handshake_timeout=self.gateway.limits.receipt_s if tls else None,
        )
        _tame_collector()
        sys.setswitchinterval(SWITCH_S)
        polling = loop.create_task(self._poll())
        self._pulse()
        await self._stop.wait()
        loop.remove_reader(self.settings.parent_fd)
        server.close()
        self.reader.step_aside()
        await self._drain()
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        self.reader.leave()
        if self._log:
            await asyncio.to_thread(self._write, None, self._log)
        self.gateway.close()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)
        await asyncio.to_thread(self.ledger.close)
        if self.ledger.untraced:
            self._complain(f"{self.ledger.untraced} records are lost, and no file counts them: there never was space")

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self._turn()
            except Exception as error:  # what comes next is looked at all the same: a rollback above all
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a bug in the gateway", "exception": error}
                )
                await asyncio.sleep(1.0)

    async def _turn(self) -> None:
        """Look for a new table and acknowledge it; the files are touched in a thread, a slow disk stops no request."""
        opened = await asyncio.to_thread(self._look)
        self.reader.take(time.time())
        self.gateway.trip(opened)
        self.gateway.killed = self.reader.killed
        breakers = self.gateway.open_breakers()
        facts = {
            "breakers": [breaker["workload"] for breaker in breakers],
            "breaker_details": breakers,
            "connections": len(self.gateway.sessions),
            "draining": self.gateway.draining,
        }
        now = time.time()
        counted = self._facts() if now >= self._metrics_due else None
        lines, self._log = self._log, []
        if lines or counted is not None or self.reader.due(now, facts):
            try:
                await asyncio.to_thread(self._tell, now, facts, counted, lines)
            except OSError as error:
                self._complain(f"the heartbeat cannot be written: {error}")
        if self.reader.status != "serving":
            self._complain(self.reader.status)
        elif trouble := self.ledger.trouble():
            self._complain(trouble)

    def _pulse(self) -> None:
        """Tell the supervisor that the loop turns. Not part of the polling: that waits for the disk."""
        with suppress(BlockingIOError, BrokenPipeError):  # it is busy itself, or has gone: the parent's pipe says so
            os.write(self.settings.ready_fd, b"1")
        asyncio.get_running_loop().call_later(PULSE_S, self._pulse)

    def _tell(self, now: float, facts: dict[str, Any], counted: dict[str, Any] | None, lines: list[bytes]) -> None:
        """Write all that is due. Raises OSError where the folder cannot be written."""
        self.reader.beat(now, facts)
        self._write(counted, lines)

    def _look(self) -> list[tuple[str, str, str]]:
        self.reader.look()
        return self.reader.open_elsewhere()

    def _record(self, record: Record) -> None:
        self.ledger.append(record)
        self.metrics.record(record)
        if self._logs and isinstance(record, Exchange):
            self._log.append(log_line(record))

    def _write(self, counted: dict[str, Any] | None, lines: list[bytes]) -> None:
        """Runs in a thread: files must not hold up requests."""
        if lines:
            sys.stdout.buffer.write(b"\n".join(lines) + b"\n")
            sys.stdout.buffer.flush()
        if counted is not None:
            self._metrics_due = time.time() + METRICS_S
            replace_file(self._metrics_file, msgspec.json.encode(counted))

    def _gauges(self) -> list[tuple[str, list[tuple[str, str]], float]]:
        snapshot = self.gateway.snapshot
        gauges: list[tuple[str, list[tuple[str, str]], float]] = [
            ("understudy_connections", [], len(self.gateway.sessions)),
            ("understudy_epoch", [], snapshot.epoch if snapshot else -1),
        ]
        for breaker in self.gateway.open_breakers():
            gauges.append(("understudy_breaker_open", [("workload", breaker["workload"])], 1))
        return gauges

    def _facts(self) -> dict[str, Any]:
        return {**self.metrics.facts(self.gateway.refused), "gauges": self._gauges()}

    def _exposition(self) -> bytes:
        """Our own counts as they are, the others' as they last wrote them."""
        found: list[tuple[str, Any]] = [(self.settings.name, self._facts())]
        for file in sorted(self._metrics_file.parent.glob(f"*{SUFFIX}")):
            if file == self._metrics_file or file.stat().st_mtime < time.time() - METRICS_STALE_S:
                continue
            with suppress(OSError, msgspec.DecodeError):  # its worker is just being replaced
                found.append((file.stem, msgspec.json.decode(file.read_bytes())))
        return exposition(found)

    async def _drain(self) -> None:
        """Let what is under way end; cut off what outlasts the time for it."""
        gateway = self.gateway
        gateway.draining = True
        for session in list(gateway.sessions):
            session.drain()
        try:
            async with asyncio.timeout(gateway.limits.drain_s):
                await gateway.empty()
        except TimeoutError:
            self._complain(f"cutting off {len(gateway.sessions)} connections after {gateway.limits.drain_s:g} s")
        for session in list(gateway.sessions):
            session.stop()
        await asyncio.sleep(0.05)  # the last bytes leave

    def _apply(self, table: RoutingTable) -> None:
        if self.settings.exposed and not table.keys:
            raise DataCorrupt(
                f"epoch {table.epoch} has no gateway keys, and this gateway can be reached from other machines",
                remedy="add gateway.keys to understudy.yaml, or listen on 127.0.0.1",
            )
        if table.privacy.encrypted and not self._seals:
            raise DataCorrupt(
                f"epoch {table.epoch} wants content encrypted, and {sealing.VARIABLE} is not set here",
                remedy=f"start the gateway with {sealing.VARIABLE} in its environment",
            )
        self.gateway.apply(table)

    def _complain(self, message: str) -> None:
        """Once for each new trouble, on standard error."""
        if message != self._complained:
            self._complained = message
            sys.stderr.write(f"{self.settings.name}: {message}\n")


def _redactor(privacy: Privacy) -> Redactor:
    return Redactor(privacy.patterns, fields=privacy.fields)


def _tame_collector() -> None:
    """What was imported is never garbage, and a request leaves no cycles: look for them seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.tls_cert, settings.tls_key or None)
    context.set_alpn_protocols(["http/1.1"])
    return context


def main(arguments: Sequence[str] | None = None) -> int:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    parser = argparse.ArgumentParser()
    for name in ("--name", "--tls-cert", "--tls-key"):
        parser.add_argument(name, default="")
    for name in ("--table", "--segments"):
        parser.add_argument(name, type=Path, required=True)
    for name in ("--socket-fd", "--ready-fd", "--parent-fd"):
        parser.add_argument(name, type=int, required=True)
    for name in _FLAGS:
        parser.add_argument(f"--{name}", action="store_true")
    settings = Settings(**vars(parser.parse_args(arguments)))

    async def serve() -> None:
        bugs.watch(asyncio.get_running_loop(), settings.name)
        await Worker(settings).run()

    try:
        uvloop.run(serve())
    except UnderstudyError as error:
        sys.stderr.write(f"{settings.name}: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
