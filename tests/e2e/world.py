"""A project folder with real processes around it, as a user would start them; everything is stopped at the end."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.cli.asking import status_of
from understudy.config.project import open_project
from understudy.wiring import control

UNDERSTUDY = str(Path(sys.executable).parent / "understudy")
RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "data" / "llmdrift"


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class World:
    """One project folder and the processes that were started in it."""

    folder: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    listeners: list[threading.Thread] = field(default_factory=list)

    def run(self, *arguments: str, timeout: float = 240) -> Ran:
        """A command of the product, to its end."""
        done = subprocess.run(
            [UNDERSTUDY, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert "a defect of understudy" not in done.stderr + done.stdout, done.stderr + done.stdout
        return Ran(done.returncode, done.stdout, done.stderr)

    def status(self, workload: str) -> dict[str, Any]:
        """What `upgrade status` says, without a process of its own: for whoever asks until something has happened."""

        async def read() -> dict[str, Any]:
            project = open_project(self.folder / "understudy.yaml")
            async with control(project) as opened:
                return await status_of(project, opened, workload)

        return asyncio.run(read())

    def start(self, *arguments: str, ready: float = 120) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        """A long-running command; returns it and the JSON line with a port that it prints when it is ready."""
        log = (self.folder / f"{arguments[0]}-{len(self.processes)}.log").open("w")
        process = subprocess.Popen(
            [UNDERSTUDY, *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        announced: queue.Queue[dict[str, Any]] = queue.Queue()

        def listen() -> None:
            assert process.stdout
            with process.stdout, log:
                for line in process.stdout:
                    document = json.loads(line)
                    if "port" in document:
                        announced.put(document)
            announced.put({})

        self.listeners.append(threading.Thread(target=listen, daemon=True))
        self.listeners[-1].start()
        document = announced.get(timeout=ready)
        assert document, f"{arguments} ended before it was ready: {Path(log.name).read_text()}"
        return process, document

    def launch(self, *arguments: str) -> subprocess.Popen[str]:
        """A long-running command that has nothing to announce; what it says goes to VERB.out."""
        with (self.folder / f"{arguments[0]}.out").open("w") as said:
            process = subprocess.Popen(
                [UNDERSTUDY, *arguments],
                cwd=self.folder,
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)
        for listener in self.listeners:
            listener.join(5)

    def example(self) -> int:
        """What `understudy init` writes, its provider running on a free port; returns that port."""
        assert self.run("init").code == 0
        _, replay = self.start("replay", "serve", "--recordings", "recordings/replies.jsonl", "--port", "0", "--json")
        self.edit("understudy.yaml", ":9100/", f":{replay['port']}/")
        return int(replay["port"])

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file of the project; `old` has to be there."""
        file = self.folder / name
        text = file.read_text()
        assert old in text, f"{old!r} is not in {name}"
        file.write_text(text.replace(old, new))


@contextmanager
def world(folder: Path) -> Iterator[World]:
    made = World(folder)
    try:
        yield made
    finally:
        made.stop()


def eventually(what: Callable[[], Any], *, within: float, every: float = 0.2) -> Any:
    """The first true answer of `what`; fails with its last answer when none comes in time."""
    deadline = time.monotonic() + within
    while True:
        got = what()
        if got:
            return got
        if time.monotonic() > deadline:
            raise AssertionError(f"still {got!r} after {within} s")
        time.sleep(every)


class Customer:
    """A client as the provider SDKs are: keep-alive, and one more try on a connection that broke under it."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.connection = http.client.HTTPConnection(host, port, timeout=60)
        self.broken = 0

    def close(self) -> None:
        self.connection.close()

    def ask(self, workload: str, prompt: str, *, user: str, **headers: str) -> tuple[int, dict[str, str], Any]:
        body = json.dumps({"model": workload, "messages": [{"role": "user", "content": prompt}]})
        sent = {"content-type": "application/json", "x-user-id": user, **headers}
        for attempt in (1, 2, 3):
            try:
                self.connection.request("POST", "/v1/chat/completions", body, sent)
                answer = self.connection.getresponse()
                text = answer.read()
                return answer.status, {k.lower(): v for k, v in answer.getheaders()}, json.loads(text)
            except (OSError, http.client.HTTPException):
                self.broken += 1
                self.connection.close()
                self.connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
                if attempt == 3:
                    raise
                time.sleep(0.1)
        raise AssertionError("unreachable")
