"""What every measured proxy has in common: how it is described, found, started on its core, and seen to answer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.gateway.cores import PROXY_CORE
from benchmarks.gateway.upstream import TEXT, TOKENS

KEY = "sk-bench-0123456789abcdef"
WORKLOAD = "bench"
CANDIDATE_SHARE = 10
"""Percent of the users whom every proxy that can tell users apart sends to a second variant."""
READY_S = 120.0
PEERS_FOLDER = Path(__file__).resolve().parents[2] / ".venv-peers"
"""Where `make bench-peers` puts what it installs; looked into before the PATH."""


class Setting(NamedTuple):
    """Where the proxy's provider listens, and how much of the traffic is copied to `shadow_port`, if any."""

    folder: Path
    upstream_port: int
    shadow_port: int = 0


class Running(NamedTuple):
    """A proxy that was started: the root of its process tree, its port, and a header it wants with each request."""

    pid: int
    port: int
    header: str = ""


class Proxy(NamedTuple):
    """`does`: its job in this benchmark, in words. `command`: what must be there; "" for what is part of the tree."""

    name: str
    does: str
    start: Callable[[Setting], AbstractContextManager[Running]]
    command: str = ""
    install: str = ""
    """The command that installs it."""
    model: str = WORKLOAD
    """What it is asked for as the model."""
    path: str = "/v1/chat/completions"
    mirrors: bool = False
    """It can copy requests to a second provider."""
    slow: bool = False
    """So slow that fewer connections and a lower rate are used."""
    warm_s: int = 2
    """Seconds of load before it is measured."""

    @property
    def found(self) -> Path | None:
        """The file of its command, None where it is not installed."""
        return Path(sys.executable) if not self.command else find(self.command)


def find(command: str) -> Path | None:
    """A command, or a file below the peers' folder (a pattern); None where there is none."""
    for own in (*PEERS_FOLDER.glob(f"bin/{command}"), *PEERS_FOLDER.glob(command)):
        return own
    on_path = shutil.which(command)
    return Path(on_path) if on_path else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(command: list[str], folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run pinned to the proxy's core, in a group of its own, and end the whole group."""
    with (folder / "out.log").open("wb") as log:
        running = subprocess.Popen(
            ["taskset", "-c", str(PROXY_CORE), *command],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield running
        finally:
            for signum in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(running.pid, signum)
                with suppress(subprocess.TimeoutExpired):
                    running.wait(5)


def until_open(port: int, running: subprocess.Popen[bytes], folder: Path) -> None:
    """Raises RuntimeError where the port does not open."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until and running.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise not_started(folder)


def not_started(folder: Path) -> RuntimeError:
    """With the end of the log."""
    return RuntimeError(f"did not start: {(folder / 'out.log').read_text(errors='replace')[-800:]}")


def request_body() -> str:
    """A chat request of about 1.5 KB; the load script puts a user and the model in."""
    system = "You are a release engineer. Answer in plain words, name the risk first, and keep to the facts. " * 7
    question = "What is the difference between a blue-green deployment and a canary release for a model upgrade? " * 7
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    body = {"model": "@@MODEL@@", "user": "@@USER@@", "stream": False, "temperature": 0.2, "messages": messages}
    return json.dumps(body)


def until_answers(running: Running, proxy: Proxy) -> None:
    """Ask until the provider's own answer comes back. Raises RuntimeError with what came instead."""
    until = time.monotonic() + READY_S / 2
    seen = ""
    while time.monotonic() < until:
        with suppress(OSError):
            status, seen = ask(running, proxy, stream=False)
            if status == 200:
                answer = json.loads(seen)
                if answer["choices"][0]["message"]["content"] == TEXT:
                    return
            elif status < 500 and status != 404:
                break  # it is up and refuses: more of the same would not help
        time.sleep(0.3)
    raise RuntimeError(f"did not answer as the provider does: {seen[:400]}")


def check_stream(running: Running, proxy: Proxy) -> None:
    """Raises RuntimeError where the stream does not bring every token and its end."""
    status, seen = ask(running, proxy, stream=True)
    missing = [number for number in range(TOKENS) if f'" token{number}"' not in seen]
    if status != 200 or missing or "[DONE]" not in seen:
        raise RuntimeError(f"status {status}, {len(missing)} of {TOKENS} tokens missing: {seen[:200]}")


def ask(running: Running, proxy: Proxy, *, stream: bool) -> tuple[int, str]:
    """One request as the load sends it; the status and the whole body."""
    body = request_body().replace("@@MODEL@@", proxy.model).replace("@@USER@@", "100001")
    if stream:
        body = body.replace('"stream": false', '"stream": true')
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}", "x-user-id": "user-100001"}
    if running.header:
        name, _, value = running.header.partition(": ")
        headers[name] = value
    url = f"http://127.0.0.1:{running.port}{proxy.path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
