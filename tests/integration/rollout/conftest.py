"""A project folder with a simulated provider and the real processes of the product around it."""

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from understudy.config.project import Project, open_project
from understudy.core.playbook import Stage
from understudy.rollout.begin import Request, begin
from understudy.rollout.fold import UpgradeState
from understudy.rollout.journal import Draft, Event
from understudy.rollout.machine import Kind
from understudy.wiring import control

UNDERSTUDY = [sys.executable, "-m", "understudy"]

CONFIG = """
providers:
  sim: {{wire: openai, base_url: "{base_url}"}}
workloads:
  reply:
    incumbent: old
    policy: demo
    unit: [header:x-user-id]
    variants:
      old: {{provider: sim, model: m1, system_prompt: "text:Be kind."}}
      new: {{provider: sim, model: m2, system_prompt: "text:Be kind."}}
      newer: {{provider: sim, model: m2, system_prompt: "text:Be kind and quick."}}
    canary:
      lease: 20s
      ladder: [{{share: 50%, hold: 1h}}, {{share: 100%, hold: 0s}}]
    suites: [suite.yaml]
gateway: {{port: 0, workers: 2}}
"""


def suite(cases: int) -> str:
    rows = "".join(f'  - {{id: c{n}, slice: s{n % 3}, prompt: "Where is my parcel {n}?"}}\n' for n in range(cases))
    grader = '  - {name: closing, type: contains, text: "Kind regards"}\n'
    return f"suite: reply\ncases:\n{rows}graders:\n{grader}score: closing\n"


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
    folder: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def project(self) -> Project:
        return open_project(self.folder / "understudy.yaml")

    def run(self, *arguments: str) -> Ran:
        """A command of the product, to its end; no traceback ever reaches a user."""
        done = subprocess.run(
            [*UNDERSTUDY, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=180, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, wait_for: str = "") -> tuple[subprocess.Popen[str], dict[str, Any]]:
        """A long-running command, and the first JSON line it prints that has the field `wait_for`."""
        process = subprocess.Popen(
            [*UNDERSTUDY, *arguments], cwd=self.folder, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.processes.append(process)
        announced: queue.Queue[dict[str, Any]] = queue.Queue()

        def listen() -> None:
            assert process.stdout
            with process.stdout:
                for line in process.stdout:
                    document = json.loads(line)
                    self.events.append(document)
                    if wait_for in document:
                        announced.put(document)
            announced.put({})

        threading.Thread(target=listen, daemon=True).start()
        document = announced.get(timeout=120) if wait_for else {}
        assert document or not wait_for, f"{arguments} ended before it was ready"
        return process, document

    def state(self) -> UpgradeState:
        async def read() -> UpgradeState:
            async with control(self.project) as (store, _):
                return (await store.upgrades("reply"))[-1]

        return asyncio.run(read())

    def journal(self) -> list[Event]:
        async def read() -> list[Event]:
            async with control(self.project) as (store, _):
                return await store.journal((await store.upgrades("reply"))[-1].id)

        return asyncio.run(read())

    def in_canary(self) -> None:
        """An upgrade whose first step is served, journaled as if the stages before had passed."""

        async def write() -> None:
            async with control(self.project) as (store, board):
                now = time.time()
                state = await begin(self.project, store, board, Request("reply", "new", "ada", "", "t1"), now)
                drafts = [Draft(Kind.OPENED, "ada", ""), Draft(Kind.CLEARED, "ada", "")]
                state = await store.append(state.epoch, state.id, [*drafts, Draft(Kind.CLOCK_STARTED, "ada", "")], now)
                data = {"judged": state.clock, "share": 500_000}
                await store.append(state.epoch, state.id, [Draft(Kind.EXPOSED, "ada", "", data)], now)

        asyncio.run(write())
        assert self.state().stage is Stage.CANARY

    def served(self, port: int, count: int = 40) -> dict[str, int]:
        """Which variant answered, for so many users."""
        seen: dict[str, int] = {}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number in range(count):
            body = json.dumps({"model": "reply", "messages": [{"role": "user", "content": f"parcel {number}?"}]})
            headers = {"content-type": "application/json", "x-user-id": f"user-{number}"}
            connection.request("POST", "/v1/chat/completions", body, headers)
            response = connection.getresponse()
            response.read()
            assert response.status == 200
            variant = response.headers["x-understudy-variant"]
            seen[variant] = seen.get(variant, 0) + 1
        connection.close()
        return seen

    def stop(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)


def eventually(what: Callable[[], Any], within: float = 120.0) -> Any:
    """The first true answer of `what`."""
    deadline = time.monotonic() + within
    while not (got := what()):
        assert time.monotonic() < deadline, f"still {got!r} after {within} s"
        time.sleep(0.1)
    return got


@pytest.fixture
def model() -> dict[str, Any]:
    """How the simulated models behave; a test may override it."""
    return {}


@pytest.fixture
def world(tmp_path: Path, model: dict[str, Any]) -> Iterator[World]:
    behaviour = json.dumps(model)
    models = ["--model", f"m1={behaviour}", "--model", f"m2={behaviour}"]
    command = [sys.executable, "-m", "understudy.testing.simulated", *models]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as provider:
        assert provider.stdout
        base_url = json.loads(provider.stdout.readline())["base_url"]
        (tmp_path / "understudy.yaml").write_text(CONFIG.format(base_url=base_url))
        (tmp_path / "suite.yaml").write_text(suite(60))
        made = World(tmp_path)
        try:
            yield made
        finally:
            made.stop()
            provider.terminate()
