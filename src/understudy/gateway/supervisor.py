"""Owns the listening sockets and the worker processes: starts them, starts a dead one again, restarts them in turn.

Every worker has a socket of its own on the one port (SO_REUSEPORT), and the supervisor keeps it open: connections
that arrive while a worker is dead wait for its successor instead of being refused. It serves nothing itself.

A worker writes a byte into a pipe every second from its event loop. One whose loop stands still (stopped, stuck in a
call that does not return) writes none, is killed, and started again. A pipe and no file: a full disk kills nobody.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.core.errors import UnderstudyError, UsageError
from understudy.gateway.worker import Settings

SEND_BUFFER = 32 * 1024
READY_S = 120.0
"""For a worker that neither serves nor ends: on a machine with much else to do one takes half a minute to start."""
STOP_S = 40.0
"""Longer than a worker's own time for draining."""
FREE_S = 1.0
"""For a port to become free: workers whose supervisor was killed let go of it at once, but not in no time."""
HUNG_S = 10.0
"""A worker that has given no sign of life for this long is killed: nobody it holds is answered any more."""
_AWAY_S = 2.0
"""If we ourselves were not run for this long, silence says nothing about the workers."""
_SHORT_LIFE_S = 2.0
_MAX_BACKOFF_S = 5.0
_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


class WorkersFailed(UnderstudyError):
    """A worker could not start; its own words are on standard error."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `port` 0 takes a free one."""

    table: Path
    segments: Path
    host: str
    port: int
    workers: int
    exposed: bool
    tls_cert: str = ""
    tls_key: str = ""
    log: bool = False
    otel: bool = False


@dataclass(slots=True)
class _Seat:
    """One worker's place: its name and socket stay, processes come and go."""

    name: str
    socket: socket.socket
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    short_lives: int = 0
    start_after: float = 0.0
    pulse: int = -1
    """The end of the pipe on which the process says that it serves, and then that it lives."""
    pulse_due: float = 0.0
    leaving: list[tuple[subprocess.Popen[bytes], float]] = field(default_factory=list)
    """Former processes that drain, and when each has to have ended."""


class Supervisor:
    """`run` returns the exit code. Raises UsageError where the address cannot be listened on."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        sockets = _listen(plan.host, plan.port, plan.workers)
        self.port: int = sockets[0].getsockname()[1]
        self._seats = [_Seat(f"w{index}-{self.port}", sock) for index, sock in enumerate(sockets)]
        self._looked_at = time.monotonic()
        self._alive_read, self._alive_write = os.pipe()  # workers see its end when we are gone, however we went

    @property
    def url(self) -> str:
        host = f"[{self.plan.host}]" if ":" in self.plan.host else self.plan.host
        return f"{'https' if self.plan.tls_cert else 'http'}://{host}:{self.port}"

    def run(self, ready: Callable[[str], None]) -> int:
        """Start all workers, call `ready` with the URL, and look after them until SIGTERM or SIGINT."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        try:
            for seat in self._seats:
                self._start(seat)
            for seat in self._seats:
                if not _ready(seat):
                    raise WorkersFailed(f"worker {seat.name} did not start", remedy="see the message above")
            ready(self.url)
            while True:
                info = signal.sigtimedwait(_WATCHED, 0.2)
                match info.si_signo if info else 0:
                    case signal.SIGTERM | signal.SIGINT:
                        return 0
                    case signal.SIGHUP:
                        self._restart_in_turn()
                    case _:
                        self._look_after()
        finally:
            self._end()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _start(self, seat: _Seat) -> None:
        """Start a worker on the seat's socket."""
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        settings = Settings(
            name=seat.name,
            table=self.plan.table,
            segments=self.plan.segments,
            socket_fd=seat.socket.fileno(),
            ready_fd=write,
            parent_fd=self._alive_read,
            exposed=self.plan.exposed,
            tls_cert=self.plan.tls_cert,
            tls_key=self.plan.tls_key,
            log=self.plan.log,
            otel=self.plan.otel,
        )
        seat.started_at = time.monotonic()
        _close_pulse(seat)
        seat.pulse, seat.pulse_due = read, seat.started_at + READY_S
        try:
            seat.process = subprocess.Popen(
                [sys.executable, "-m", "understudy.gateway.worker", *settings.arguments()],
                pass_fds=(settings.socket_fd, write, self._alive_read),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
            )
        finally:
            os.close(write)

    def _started(self, seat: _Seat) -> bool:
        """`_start`, and False where the system gives no process now: the other workers serve on."""
        try:
            self._start(seat)
        except OSError as error:
            sys.stderr.write(f"worker {seat.name} cannot be started now: {error.strerror or error}\n")
            return False
        return True

    def _look_after(self) -> None:
        """Start again what has died; one that dies at once over and over is given growing pauses."""
        now = time.monotonic()
        was_away, self._looked_at = now - self._looked_at > _AWAY_S, now
        for seat in self._seats:
            seat.leaving = [(process, until) for process, until in seat.leaving if not _left(process, now > until)]
            process = seat.process
            if _pulsed(seat):
                seat.pulse_due = now + HUNG_S  # from its first sign on: the time to start is over then
            elif was_away:
                seat.pulse_due = max(seat.pulse_due, now + HUNG_S)
            elif process is not None and now > seat.pulse_due and process.poll() is None:
                sys.stderr.write(f"worker {seat.name} has stood still for {HUNG_S:g} s; killing it\n")
                _kill(seat)
            if process is not None and process.poll() is not None:
                seat.process = None
                short = now - seat.started_at < _SHORT_LIFE_S
                seat.short_lives = seat.short_lives + 1 if short else 0
                pause = min(0.1 * 2**seat.short_lives, _MAX_BACKOFF_S) if seat.short_lives > 1 else 0.0
                seat.start_after = now + pause
                sys.stderr.write(f"worker {seat.name} ended ({_manner(process.returncode)}); starting it again\n")
            if seat.process is None and now >= seat.start_after and not self._started(seat):
                seat.start_after = now + _MAX_BACKOFF_S

    def _restart_in_turn(self) -> None:
        """A new worker takes each socket before the old one lets go of it: no request is lost."""
        for seat in self._seats:
            former, pulse = seat.process, seat.pulse
            seat.process, seat.pulse = None, -1
            if not self._started(seat) or not _ready(seat):
                sys.stderr.write(f"worker {seat.name} could not be started anew; the former one stays\n")
                _kill(seat)
                _close_pulse(seat)
                seat.process, seat.pulse = former, pulse
                return
            if former is not None:
                former.terminate()
                seat.leaving.append((former, time.monotonic() + STOP_S))
            if pulse >= 0:
                os.close(pulse)

    def _end(self) -> None:
        leaving = [process for seat in self._seats for process, _ in seat.leaving]
        processes = [seat.process for seat in self._seats if seat.process is not None] + leaving
        for process in processes:
            process.terminate()
        until = time.monotonic() + STOP_S
        for process in processes:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for seat in self._seats:
            seat.socket.close()
            _close_pulse(seat)
        os.close(self._alive_read)
        os.close(self._alive_write)


def _listen(host: str, port: int, workers: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        _wait_until_free(family, address)
        for _ in range(workers):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if workers > 1:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # Inherited by what is accepted: the system would else keep megabytes for a client that does not read.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            sock.bind(address if len(sockets) == 1 else sockets[0].getsockname())
            sock.listen(4096)
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            remedy="stop what uses that port, or give another one with --port (0 takes a free one)",
        ) from error
    return sockets


def _wait_until_free(family: int, address: Any) -> None:
    """Raises OSError where somebody listens there and does not leave: sockets that may share a port would be given a
    part of its clients each, and another project's gateway shares it too.
    """
    give_up = time.monotonic() + FREE_S
    while True:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() > give_up:
                    raise
            else:
                return
        time.sleep(0.02)


def _kill(seat: _Seat) -> None:
    if seat.process is not None:
        seat.process.kill()
        seat.process.wait()


def _close_pulse(seat: _Seat) -> None:
    if seat.pulse >= 0:
        os.close(seat.pulse)
        seat.pulse = -1


def _pulsed(seat: _Seat) -> bool:
    """Whether the worker has given a sign of life since the last look."""
    try:
        return seat.pulse >= 0 and bool(os.read(seat.pulse, 4096))
    except BlockingIOError:
        return False


def _left(process: subprocess.Popen[bytes], overdue: bool) -> bool:
    """Whether a process that drains has ended; one that does not end in time is killed."""
    if process.poll() is None and overdue:
        process.kill()
        process.wait()
    return process.returncode is not None


def _ready(seat: _Seat) -> bool:
    """Wait for the worker's byte; False where its end of the pipe closed first or the time is over."""
    readable, _, _ = select.select([seat.pulse], [], [], READY_S)
    seat.pulse_due = time.monotonic() + HUNG_S
    return bool(readable) and os.read(seat.pulse, 1) == b"1"


def _manner(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
