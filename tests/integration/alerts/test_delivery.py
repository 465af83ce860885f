"""Alerts on their way: targets that take, refuse, hang, fail and come back, and a controller killed meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import os
import queue
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from understudy.alerts import post as posting
from understudy.config.project import Project, open_project
from understudy.core.playbook import Stage
from understudy.core.variant import Variant
from understudy.rollout.journal import Draft
from understudy.rollout.machine import Kind
from understudy.rollout.outbox import Outbox
from understudy.rollout.publish import Kill
from understudy.rollout.rehearsal import Rehearsal
from understudy.rollout.store.base import GIVEN_UP, SENT, WAITING, Post, Store
from understudy.rollout.store.sqlite import open_store

CONFIG = """
providers: {local: {wire: openai, base_url: "http://127.0.0.1:9"}}
workloads:
  reply:
    incumbent: old
    variants:
      old: {provider: local, model: m1}
      new: {provider: local, model: m2}
"""
SECRET = "a-secret-of-forty-characters-0123456789"
TOKEN = "TOKEN-IN-THE-ADDRESS"


@dataclass
class Webhook:
    """A receiver on loopback; `behave` is what it does with each request: a status, "hang" or "trickle"."""

    behave: int | str = 204
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    heard: queue.Queue[str] = field(default_factory=queue.Queue)
    free: threading.Event = field(default_factory=threading.Event)
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self.server
        return f"http://127.0.0.1:{self.server.server_port}/{TOKEN}"

    def ids(self) -> list[str]:
        return [headers["idempotency-key"] for headers, _ in self.taken]


@pytest.fixture
def webhook() -> Iterator[Callable[..., Webhook]]:
    """Makes receivers; all are ended with the test."""
    made: list[Webhook] = []

    def make(behave: int | str = 204) -> Webhook:
        hook = Webhook(behave)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.heard.put(self.headers["idempotency-key"])
                if hook.behave == "hang":
                    hook.free.wait(30)
                    return
                status = 200 if isinstance(hook.behave, str) else hook.behave
                if status < 300:
                    hook.taken.append(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(status)
                if status == 302:
                    self.send_header("location", f"http://127.0.0.1:{self.server.server_address[1]}/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                return

        hook.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        hook.server.daemon_threads = True
        threading.Thread(target=hook.server.serve_forever, args=(0.02,), daemon=True).start()
        made.append(hook)
        return hook

    yield make
    for hook in made:
        hook.free.set()
        if hook.server:
            hook.server.shutdown()
            hook.server.server_close()


def project(folder: Path, **targets: str) -> Project:
    """A project whose targets have their addresses in the environment."""
    lines = "".join(f"    {name}: {{url: '${{{name.upper()}}}', secret: '${{KEY}}'}}\n" for name in targets)
    (folder / "understudy.yaml").write_text(CONFIG + (f"alerts:\n  targets:\n{lines}" if lines else ""))
    return open_project(folder / "understudy.yaml", {"KEY": SECRET, **{n.upper(): url for n, url in targets.items()}})


async def rolled_back(store: Store, name: str = "u1", now: float | None = None) -> None:
    """An upgrade that ended now: one event that people are told of."""
    at = time.time() if now is None else now
    data = {"workload": "reply", "incumbent": Variant("old", "local", "m1").as_dict(), "salt": "s"}
    data |= {"candidate": Variant("new", "local", "m2").as_dict(), "profile": "interactive"}
    state = await store.begin((await store.read()).epoch, name, Draft(Kind.STARTED, "ada", "", data), at)
    draft = Draft(Kind.ROLLED_BACK, "controller", "errors doubled", {"trigger": "gate"})
    await store.append(state.epoch, name, [draft], at)


def run(folder: Path, body: Callable[[Store], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = await open_store(folder / ".understudy" / "control.db")
        try:
            await body(store)
        finally:
            await store.close()

    (folder / ".understudy").mkdir(exist_ok=True)
    asyncio.run(whole())


def outbox(store: Store, clock: Callable[[], float] = time.time) -> Outbox:
    return Outbox(store, clock, lambda project, state: None)


async def looked(box: Outbox, store: Store, of: Project) -> int:
    return await box.look(of, await store.read(), None, time.time())


def test_an_alert_is_taken_once_and_signed(tmp_path: Path, webhook: Callable[..., Webhook]) -> None:
    """The receiver can check who sent it; two controllers and many looks make one delivery."""
    hook = webhook()
    of = project(tmp_path, ops=hook.url)

    async def body(store: Store) -> None:
        await rolled_back(store)
        first, second = outbox(store), outbox(store)
        assert [await looked(first, store, of), await looked(second, store, of)] == [1, 0]
        await asyncio.gather(first.send(of), second.send(of))
        await first.close(5.0)
        await second.close(5.0)
        await first.send(of)
        await first.close(5.0)
        (kept,) = await store.posts()
        assert (kept.state, kept.attempts, kept.problem) == (SENT, 1, "")

    run(tmp_path, body)
    ((headers, sent),) = hook.taken
    assert json.loads(sent)["kinds"] == ["rolled_back", "gate_failed"]
    when, mac = (part.split("=")[1] for part in headers["x-understudy-signature"].split(","))
    assert hmac.compare_digest(mac, hmac.new(SECRET.encode(), f"{when}.".encode() + sent, hashlib.sha256).hexdigest())
    assert headers["idempotency-key"] == "u1:2"


@pytest.mark.parametrize(
    ("behave", "problem"),
    [
        (500, "answered 500"),
        (404, "answered 404"),
        (302, "answered 302"),
        ("hang", "no answer within"),
        (0, "ConnectError"),
    ],
)
def test_a_target_that_fails_is_asked_again_later(
    tmp_path: Path,
    webhook: Callable[..., Webhook],
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
    behave: Any,
    problem: str,
) -> None:
    """Refusing, failing, redirecting and hanging: it waits longer each time, is sent when the target is back, and
    neither its address nor the secret is anywhere to read."""
    if behave == "hang":
        monkeypatch.setattr(posting, "WHOLE_S", 0.2)
    caplog.set_level(logging.DEBUG)
    hook = webhook(behave or 204)
    url = hook.url
    if behave == 0:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}/{TOKEN}"
    now = time.time()

    async def body(store: Store) -> None:
        nonlocal now
        await rolled_back(store)
        box = outbox(store, lambda: now)
        of = project(tmp_path, ops=url)
        await box.look(of, await store.read(), None, now)
        now += 1.0
        for attempt, wait in ((1, 1.0), (2, 2.0), (3, 4.0)):
            await box.send(of)
            await box.close(5.0)
            (kept,) = await store.posts()
            assert (kept.state, kept.attempts, kept.next_at) == (WAITING, attempt, now + wait)
            assert problem in kept.problem and TOKEN not in kept.problem and SECRET not in kept.problem
            now += wait
        hook.behave = 204
        hook.free.set()
        of = project(tmp_path, ops=hook.url)
        await box.send(of)
        await box.close(5.0)
        assert [p.state for p in await store.posts()] == [SENT]

    run(tmp_path, body)
    assert hook.ids() == ["u1:2"]
    assert TOKEN not in caplog.text and SECRET not in caplog.text


def test_a_machine_that_cannot_send_fails_no_turn(
    tmp_path: Path, webhook: Callable[..., Webhook], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that the environment names wrongly is a problem of the post, and no error of whoever looks."""
    monkeypatch.setenv("HTTP_PROXY", "nonsense://proxy")
    monkeypatch.setenv("ALL_PROXY", "nonsense://proxy")
    hook = webhook()
    of = project(tmp_path, ops=hook.url)

    async def body(store: Store) -> None:
        await rolled_back(store)
        box = outbox(store)
        await looked(box, store, of)
        await box.send(of)
        await box.close(5.0)
        await box.send(of)
        (kept,) = await store.posts()
        assert kept.state == WAITING and "HTTPS_PROXY" in kept.problem and TOKEN not in kept.problem

    run(tmp_path, body)


def test_what_no_attempt_delivers_is_given_up(tmp_path: Path, webhook: Callable[..., Webhook]) -> None:
    """After three days, and at once where the target is no longer configured; a variable that is not set is named."""
    hook = webhook(500)
    of = project(tmp_path, ops=hook.url)

    async def body(store: Store) -> None:
        old = Post("u0:1", "ops", time.time() - 4 * 86_400, {"id": "u0:1"}, next_at=1.0)
        unset = old._replace(alert="u0:2", target="pager", at=time.time())
        await store.queue([old, unset, old._replace(alert="u0:3", target="gone")])
        box = outbox(store)
        both = project(tmp_path, ops=hook.url, pager="")
        await box.send(both)
        await box.close(5.0)
        found = {post.alert: post for post in await store.posts()}
        assert (found["u0:1"].state, found["u0:3"].state) == (GIVEN_UP, GIVEN_UP)
        assert "PAGER is not set" in found["u0:2"].problem and found["u0:2"].state == WAITING
        await box.send(of)

    run(tmp_path, body)


def test_a_webhook_that_hangs_delays_neither_a_rollback_nor_another_target(
    tmp_path: Path, webhook: Callable[..., Webhook]
) -> None:
    """The turn that rolls back ends, and the next ones too, while the target has not answered; the other one has."""
    dead, alive = webhook("hang"), webhook()
    (tmp_path / "suite.yaml").write_text(
        "suite: reply\ncases: [{id: a, prompt: b}]\ngraders: [{name: s, type: min_length, characters: 1}]\nscore: s\n"
    )
    of = project(tmp_path, dead=dead.url, alive=alive.url)

    async def body(store: Store) -> None:
        world = Rehearsal(of)
        controller = world.controller("controller")
        controller.alerts = Outbox(world.store, world.clock.wall, lambda project, state: None)
        await rolled_back(world.store, "before", world.clock.wall())
        await controller.turn()
        assert await asyncio.to_thread(dead.heard.get, True, 10.0) == "before:2"
        data = {"workload": "reply", "incumbent": Variant("old", "local", "m1").as_dict(), "salt": "s"}
        data |= {"candidate": Variant("new", "local", "m2").as_dict(), "profile": "interactive"}
        await world.store.begin(world.store.epoch, "u2", Draft(Kind.STARTED, "ada", "", data), world.clock.wall())
        world.board.killed["reply"] = Kill("reply", "bob", "fire", world.clock.wall())
        turn = await controller.turn()
        assert turn.written == ("u2 rolled_back",) and turn.problems == ()
        assert (await world.store.upgrades())[-1].stage is Stage.ROLLED_BACK
        for _ in range(200):
            await controller.turn()
            if "u2:2" in alive.ids():
                break
            await asyncio.sleep(0.02)
        assert set(alive.ids()) == {"before:2", "u2:2"}
        assert dead.taken == [] and {p.state for p in await world.store.posts() if p.target == "dead"} == {WAITING}
        await controller.alerts.close()

    run(tmp_path, body)


def test_nothing_is_lost_between_decision_and_outbox(tmp_path: Path, webhook: Callable[..., Webhook]) -> None:
    """An event that was journaled by a process that died right after it is told by the next one that looks."""
    hook = webhook()
    of = project(tmp_path, ops=hook.url)
    run(tmp_path, rolled_back)

    async def later(store: Store) -> None:
        box = outbox(store)
        assert await looked(box, store, of) == 1
        await box.send(of)
        await box.close(5.0)

    run(tmp_path, later)
    assert hook.ids() == ["u1:2"]


class Forgetful(Outbox):
    """Planted: calls a post sent before it was."""

    async def _claimed(self, one: Post) -> bool:
        await self.store.settle_post(one._replace(state=SENT))
        return True


@pytest.mark.parametrize(("made", "kept"), [(Outbox, True), (Forgetful, False)])
def test_a_sender_that_dies_on_the_way_loses_nothing(
    tmp_path: Path, webhook: Callable[..., Webhook], made: type[Outbox], kept: bool
) -> None:
    """Cancelled while the target has the request: the post still waits. The planted outbox loses it and is found."""
    hook = webhook("hang")
    of = project(tmp_path, ops=hook.url)

    async def body(store: Store) -> None:
        await rolled_back(store)
        box = made(store, time.time, lambda project, state: None)
        await looked(box, store, of)
        await box.send(of)
        await asyncio.to_thread(hook.heard.get, True, 10.0)
        await box.close()
        assert (await store.posts(state=WAITING) != []) is kept

    run(tmp_path, body)


@pytest.mark.slow(8)
def test_a_controller_that_is_killed_on_the_way(tmp_path: Path, webhook: Callable[..., Webhook]) -> None:
    """kill -9 while a target holds the request: the next controller sends the same alert, by the same id; and what it
    prints has neither address nor secret."""
    hook = webhook("hang")
    project(tmp_path, ops=hook.url)
    run(tmp_path, rolled_back)
    environment = {**os.environ, "OPS": hook.url, "KEY": SECRET}
    command = [sys.executable, "-m", "understudy", "controller", "--json"]
    killed = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert hook.heard.get(timeout=60) == "u1:2"
    killed.send_signal(signal.SIGKILL)
    said, _ = killed.communicate(timeout=30)
    assert hook.taken == []
    hook.behave = 204
    with sqlite3.connect(tmp_path / ".understudy" / "control.db") as raw:  # as if the killed one's time was over
        assert raw.execute("UPDATE posts SET next_at = 0 WHERE state = 'waiting'").rowcount == 1
    raw.close()
    again = subprocess.run(
        [*command, "--once"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert hook.ids() == ["u1:2"]
    printed = said + again.stdout + again.stderr
    assert TOKEN not in printed and SECRET not in printed and "Traceback" not in printed
