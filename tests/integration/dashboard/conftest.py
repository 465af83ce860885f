"""A project with a real control store and a real ledger, and its dashboard on a real socket, in a thread."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import pytest
from tests.records import exchange, fill

from understudy.config.project import DashboardUser, Project, open_project
from understudy.dashboard.access import Access, hashed
from understudy.dashboard.app import make_app
from understudy.dashboard.facts import Facts
from understudy.dashboard.looking import Looking
from understudy.dashboard.serving import listen, serve, url_of
from understudy.rollout import operate
from understudy.rollout.begin import Request, begin
from understudy.rollout.fold import UpgradeState
from understudy.rollout.journal import Draft, Event
from understudy.rollout.machine import Kind
from understudy.testing.background import running
from understudy.wiring import Reopener, control

KEY, READER = "a-key-that-acts-and-is-long", "a-key-that-reads-and-is-long"
PAIRS = 60
T = TypeVar("T")
Says = Callable[[str, int], str]
"""What stands in a field of the n-th record."""

CONFIG = """
providers:
  sim: {wire: openai, base_url: "http://127.0.0.1:9/v1"}
workloads:
  reply:
    owner: support
    incumbent: old
    policy: interactive
    unit: [header:x-user-id]
    slice_by: {ticket: header:x-ticket-type}
    variants:
      old: {provider: sim, model: m1, system_prompt: "text:Be kind."}
      new: {provider: sim, model: m2, system_prompt: "text:Be kind."}
    canary: {sign_off: [refund]}
    gates: {critical: [refund]}
    suites: [suite.yaml]
  other:
    incumbent: old
    variants:
      old: {provider: sim, model: m1}
    suites: [suite.yaml]
"""
SUITE = """
suite: reply
cases: [{id: c1, prompt: "1 + 1?", reference: "2"}]
graders: [{name: answer, type: exact}]
score: answer
"""


def aside(work: Coroutine[Any, Any, T]) -> T:
    """Run it in a thread: a browser that is driven from this one has a loop here."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def ordinary(what: str, n: int) -> str:
    """Text as it usually is."""
    return {
        "asked": f"Where is order {n}?",
        "served": f"Hello, and thank you for writing to us. Order {n} is on its way. Kind regards, your support team",
        "copied": f"Order {n} is on its way.",
        "user": f"user-{n}",
        "model": "m1-2026",
        "error": "timeout",
        "why": "users wait for it",
        "by": "controller",
        "sentence": "satisfaction: undecided. 0.908 with the incumbent, 0.887 with the candidate.",
    }[what]


def gate(metric: str, slice_: str, verdict: str, sentence: str) -> dict[str, Any]:
    """One gate as an assessment keeps it."""
    numbers = {"incumbent": 0.908, "candidate": 0.887, "estimate": -0.021, "low": -0.095, "high": 0.052}
    evidence = {"log_e": 0.1, "log_e_needed": 5.7, "log_e_pass": 2.9, "log_e_pass_needed": 3.0}
    return {
        "metric": metric,
        "slice": slice_,
        "kind": "mean",
        "direction": "higher",
        "verdict": verdict,
        "critical": bool(slice_),
        "required": True,
        **numbers,
        **evidence,
        "tolerated": 0.1,
        "n": 239,
        "units": 243,
        "clusters": 200,
        "strata": 3,
        "missing": ["more data"] if verdict == "inconclusive" else [],
        "decidable_in_s": None,
        "overdue": False,
        "sentence": sentence,
    }


async def upgrade(project: Project, says: Says) -> None:
    """An upgrade whose first rung is served, with findings of its shadow and a look at its canary."""
    async with control(project) as (store, board):
        now = time.time() - 3_600
        asked = Request("reply", "new", says("by", 0), says("why", 0), "t1")
        state = await begin(project, store, board, asked, now)
        by = says("by", 1)
        found = [{"kind": "closing", "slice": "", "sentence": says("sentence", 1), "figures": {}}]
        for draft in (
            Draft(Kind.OPENED, by, says("why", 1)),
            Draft(Kind.CLEARED, by, says("why", 2)),
            Draft(Kind.CLOCK_STARTED, by, says("why", 3)),
            Draft(Kind.NOTED, by, says("why", 4), {"findings": found}),
        ):
            now += 60
            state = await store.append(state.epoch, state.id, [draft], now)
        data = {"judged": state.clock, "share": 10_000}
        state = await store.append(state.epoch, state.id, [Draft(Kind.EXPOSED, by, says("why", 5), data)], now + 60)
        sentence = says("sentence", 2)
        look = {
            "stage": "canary",
            "decision": "hold",
            "verdict": "inconclusive",
            "sentence": sentence,
            "to": None,
            "missing": [says("sentence", 3)],
            "findings": [],
            "at": time.time(),
            "held_s": 3_000.0,
            "problem": says("error", 2),
            "details": {
                "gates": [
                    gate("quality", "", "pass", says("sentence", 4)),
                    gate("satisfaction", "", "inconclusive", sentence),
                    gate("satisfaction", "ticket=refund", "fail", sentence),
                ]
            },
        }
        await store.save_assessment(state.id, look, time.time())
        await operate.published(project, store, board, by)
        exchanges = []
        for n in range(PAIRS):
            common = {
                "upgrade": state.id,
                "stage": "shadow",
                "step": -1,
                "started_at": time.time() - 3_000 + n,
                "unit": says("user", n),
                "slices": {"ticket": "refund" if n % 2 else "delivery"},
                "request": json.dumps({"messages": [{"role": "user", "content": says("asked", n)}]}).encode(),
                "latency_s": 0.2 + n / 1_000,
                "ttft_s": 0.1,
                "output_tokens": 20,
                "model_requested": "reply",
            }
            served = {"fingerprint": state.incumbent.fingerprint, "model_served": says("model", n)}
            exchanges.append(exchange(n, **common, **served, answer=says("served", n), generation="g"))
            copied = {"role": "shadow", "pair": f"x-{n:06d}", "exchange": f"x-{n:06d}-s", "arm": "candidate"}
            names = {"variant": "new", "served_variant": "new", "fingerprint": state.candidate.fingerprint}
            copy = {**common, **copied, **names, "model_served": says("model", n), "answer": says("copied", n)}
            exchanges.append(exchange(n, **copy))
        exchanges.append(exchange(PAIRS, **{**common, "unit": says("user", PAIRS), "error": says("error", 1)}))
        fill(project.paths.state, exchanges)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Site:
    """A dashboard that listens, and a browser of sorts that keeps its cookie."""

    project: Project
    url: str
    cookie: str = ""
    forgery: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def ask(self, method: str, path: str, body: str | bytes | None = None, **headers: str) -> Answer:
        """One request; a header with an empty value is left out."""
        given = {"host": self.host, "cookie": self.cookie, **{k.replace("_", "-"): v for k, v in headers.items()}}
        connection = http.client.HTTPConnection(self.host, timeout=30)
        connection.request(method, path, body, {name: value for name, value in given.items() if value})
        response = connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read().decode())
        connection.close()
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def sign_in(self, key: str = KEY) -> Answer:
        answer = self.ask("POST", "/sign-in", urlencode({"key": key}), origin=self.url)
        self.cookie = answer.headers.get("set-cookie", "").partition(";")[0]
        if self.cookie:
            found = re.search(r'name="forgery" value="([^"]+)"', self.get("/w/reply/ask/pause").text)
            assert found
            self.forgery = found[1]
        return answer

    def send(self, path: str, **fields: str | list[str]) -> Answer:
        """A form of ours."""
        return self.ask("POST", path, urlencode({"forgery": self.forgery, **fields}, doseq=True), origin=self.url)

    def api(self, method: str, path: str, document: Any = None, key: str = KEY) -> Answer:
        body = None if document is None else json.dumps(document)
        kind = "application/json" if document is not None else ""
        return self.ask(method, f"/api{path}", body, authorization=f"Bearer {key}", content_type=kind, cookie="")

    def state(self) -> UpgradeState:
        async def read() -> UpgradeState:
            async with control(self.project) as (store, _):
                return (await store.upgrades("reply"))[-1]

        return aside(read())

    def journal(self) -> list[Event]:
        async def read() -> list[Event]:
            async with control(self.project) as (store, _):
                return await store.journal((await store.upgrades("reply"))[-1].id)

        return aside(read())


@contextmanager
def dashboard(project: Project, looking: Looking | None = None) -> Iterator[Site]:
    """The dashboard of a project, with one who acts and one who reads."""
    users = (DashboardUser("operator", hashed(KEY), True), DashboardUser("reader", hashed(READER), False))

    @asynccontextmanager
    async def serving() -> AsyncIterator[str]:
        listening = listen("127.0.0.1", 0)
        facts = Facts(project, Reopener(project), control, looking or Looking(project, patience_s=60.0))
        access = Access(users, random=lambda: secrets.token_urlsafe(32))
        stop, ready = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(serve(make_app(facts, access, linked=False), listening, stop, ready.set))
        await ready.wait()
        try:
            yield url_of(listening)
        finally:
            stop.set()
            await task

    with running(serving) as url:
        yield Site(project, url)


def planted(folder: Path, says: Says = ordinary) -> Project:
    """A project in that folder, with an upgrade in canary and pairs in its ledger."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "understudy.yaml").write_text(CONFIG)
    (folder / "suite.yaml").write_text(SUITE)
    project = open_project(folder / "understudy.yaml", {})
    aside(upgrade(project, says))
    return project


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A dashboard that is only looked at."""
    with dashboard(planted(tmp_path_factory.mktemp("shared"))) as site:
        site.sign_in()
        yield site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """One that a test may act on."""
    with dashboard(planted(tmp_path)) as site:
        site.sign_in()
        yield site


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Site]:
    """One whose ledger never answers."""
    held = threading.Event()

    class Stuck(Looking):
        def _the_ledger(self) -> Any:
            held.wait(60)
            raise AssertionError("nobody waits for this")

    with dashboard(project := planted(tmp_path), Stuck(project)) as site:
        site.sign_in()
        yield site
        held.set()
