"""The SDK as apps use it: with the official clients, real gateways and a project on disk."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai

from understudy import sdk
from understudy.core.errors import CannotMeasure, UnderstudyError, UsageError
from understudy.core.routing import GatewayKey, encode
from understudy.core.variant import Variant
from understudy.sdk import sending
from understudy.sdk.emergency import DIRECT, REST_S
from understudy.testing.background import running
from understudy.testing.dialects import Asked, Said
from understudy.testing.provider import Answered, Outcome, ProviderServer
from understudy.testing.served import GatewayProcess, Served, route, served, table
from understudy.testing.server import Reply, Request

VARIANTS = {
    "old": Variant("old", "p-old", "m-old", "Be brief.", {"temperature": 0.5}),
    "new": Variant("new", "p-old", "m-new"),
}


class Provider(ProviderServer):
    """Answers with the model it was asked for, to whoever presents the key, and keeps what it received."""

    def __init__(self) -> None:
        super().__init__(self._say, key="sk-p-old")
        self.asked: list[Asked] = []
        self.headers: list[dict[str, str]] = []

    def _say(self, asked: Asked) -> Outcome:
        self.asked.append(asked)
        return Answered(Said(f"{asked.model} says hello", asked.model, 5, 4))

    def handle(self, request: Request, reply: Reply) -> Any:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        return super().handle(request, reply)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running(Provider) as made:
        yield made


@pytest.fixture
def front(provider: Provider) -> Iterator[Served]:
    with running(lambda: served(_table(provider))) as made:
        yield made


def _table(provider: Provider, **more: Any) -> Any:
    sources = {"conversation": ("header:x-conversation-id",), "slice_by": {"ticket": "header:x-ticket-type"}}
    return table(provider.base_url, variants=VARIANTS, **sources, **more)


@pytest.fixture
def project(tmp_path: Path, provider: Provider) -> dict[str, str]:
    """A project for the workload, as the environment of an app names it."""
    file = tmp_path / "understudy.yaml"
    file.write_text(
        f"""
providers:
  p-old: {{wire: openai, base_url: "{provider.base_url}", api_key: "${{PROVIDER_KEY}}"}}
workloads:
  chat:
    conversation: [header:x-conversation-id]
    slice_by: {{ticket: header:x-ticket-type}}
    incumbent: old
    variants:
      old: {{provider: p-old, model: m-old, system_prompt: "text: Be brief.", params: {{temperature: 0.5}}}}
      new: {{provider: p-old, model: m-new}}
"""
    )
    return {"UNDERSTUDY_CONFIG": str(file), "PROVIDER_KEY": "sk-p-old"}


def closed() -> str:
    """An address where nobody listens."""
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}"


def hello(client: openai.OpenAI, **more: Any) -> Any:
    made = client.chat.completions.with_raw_response
    return made.create(model="anything", messages=[{"role": "user", "content": "Hi"}], **more)


def test_the_official_clients(front: Served, project: dict[str, str]) -> None:
    """Each of them reaches the workload by what the helper gives it, and the ledger knows who asked."""
    desk = sdk.gateway(url=front.base_url, environment=project)
    whose: Any = {"unit": "u-1", "conversation": "c-1", "slices": {"ticket": "refund"}}
    with openai.OpenAI(**desk.openai(**whose), max_retries=0) as one:
        answer = hello(one)
        assert answer.parse().choices[0].message.content == "m-old says hello"
        exchange = answer.headers[sdk.EXCHANGE]
        hello(one, extra_headers=desk.headers(unit="u-2"))
    with anthropic.Anthropic(**desk.anthropic(**whose), max_retries=0) as two:
        message = two.messages.create(model="x", max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
        assert message.content[0].text == "m-old says hello"  # type: ignore[union-attr]
    with genai.Client(**desk.google(**whose)) as three:
        assert three.models.generate_content(model="x", contents="Hi").text == "m-old says hello"
    until(lambda: len(front.exchanges) == 4)
    assert [one.unit for one in front.exchanges] == ["u-1", "u-2", "u-1", "u-1"]
    assert [one.conversation for one in front.exchanges] == ["c-1"] * 4
    assert all(one.slices == {"ticket": "refund"} for one in front.exchanges)

    assert sdk.feedback(exchange, "thumb", True, through=desk)
    assert sdk.flush()
    assert asyncio.run(sdk.feedback_async(exchange, "stars", 4.5, through=desk, raise_errors=True))
    found = [(said.exchange, said.name, said.value, said.workload) for said in front.feedback]
    assert found == [(exchange, "thumb", 1.0, "chat"), (exchange, "stars", 4.5, "chat")]


def test_without_a_project(front: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An app on another machine needs an address and a name; without them it is told so."""
    monkeypatch.chdir(tmp_path)
    desk = sdk.gateway("chat", environment={"UNDERSTUDY_GATEWAY": front.base_url})
    with openai.OpenAI(**desk.openai(unit="u-9"), max_retries=0) as one:
        hello(one)
    until(lambda: len(front.exchanges) == 1)
    assert front.exchanges[0].unit == "u-9"
    with pytest.raises(UsageError, match=r"no understudy\.yaml") as lost:
        sdk.gateway("chat", environment={})
    assert "$UNDERSTUDY_GATEWAY" in lost.value.remedy
    for wrong in ("localhost:8080", "ftp://x", "http://x/?a=1", "http://x:99999", "http://:8080"):
        with pytest.raises(UsageError, match="no address of a gateway"):
            sdk.gateway("chat", url=wrong, environment={})
    with pytest.raises(UsageError, match="the workload 'ch\u00e4t' cannot stand in a header"):
        sdk.gateway("ch\u00e4t", url=front.base_url, environment={})
    with pytest.raises(UsageError, match="the key cannot stand in a header") as refused:
        sdk.gateway("chat", url=front.base_url, key="s3cr3t\n", environment={})
    assert "s3cr3t" not in str(refused.value)


def test_what_no_header_can_say(project: dict[str, str]) -> None:
    """A slice nobody reads and an id with a line break are refused before they are sent."""
    desk = sdk.gateway(url="http://gateway:1/v1/", environment=project)
    assert desk.url == "http://gateway:1"
    assert "s3cr3t" not in repr(sdk.gateway(key="s3cr3t", environment=project))
    for wrong, said in (
        ({"slices": {"colour": "red"}}, "slice colour from no header"),
        ({"unit": "u\r\nx-evil: 1"}, "cannot stand in a header"),
        ({"unit": "ü"}, "cannot stand in a header"),
        ({"unit": 17}, "the unit 17 is no text"),
        ({"unit": 0}, "the unit 0 is no text"),
        ({"slices": {"colour": None}}, "the colour None is no text"),
    ):
        with pytest.raises(UsageError, match=said):
            desk.headers(**wrong)  # type: ignore[arg-type]
    assert desk.headers(unit=None) == desk.headers()  # nobody is signed in
    with pytest.raises(UsageError, match="reads its unit from no header"):
        replace(desk, unit=("body:user",)).headers(unit="u-1")


def test_pins(project: dict[str, str], provider: Provider) -> None:
    """The incumbent until an upgrade is under way; then the candidate is the canary, and production once all have it
    and nobody rolled back. LLM_MODEL wins, and is warned of where it floats."""
    get = sdk.get_model
    assert (get(environment=project), get(sdk.FALLBACK, environment=project)) == ("m-old", "m-old")
    with pytest.raises(UsageError, match="no upgrade of chat is under way"):
        get(sdk.CANARY, "chat", environment=project)
    with pytest.raises(UsageError, match="no tier 'best'"):
        get("best", environment=project)
    with pytest.raises(UsageError, match="no workload 'chta'"):
        get(workload="chta", environment=project)
    file = Path(project["UNDERSTUDY_CONFIG"]).parent / ".understudy" / "routing" / "table.json"
    file.parent.mkdir(parents=True)

    def pins() -> list[str]:
        return [get(tier, environment=project) for tier in (sdk.PRODUCTION, sdk.CANARY, sdk.FALLBACK)]

    file.write_bytes(encode(_table(provider, route=route(50_000, lease_until=time.time() + 60))))
    assert pins() == ["m-old", "m-new", "m-old"]
    file.write_bytes(encode(_table(provider, route=route(1_000_000))))
    assert pins() == ["m-new", "m-new", "m-old"]
    file.write_bytes(encode(_table(provider, route=route(1_000_000, lease_until=time.time() - 1))))
    assert pins() == ["m-old", "m-new", "m-old"]
    file.write_bytes(encode(_table(provider, route=route(1_000_000))))
    (file.parent / "rollback.chat").touch()
    assert pins() == ["m-old", "m-new", "m-old"]
    file.write_text("{")
    with pytest.raises(UnderstudyError, match=r"table\.json is no JSON"):
        get(environment=project)

    with pytest.warns(sdk.FloatingModel, match="LLM_MODEL=gpt-4o floats"):
        assert get(environment={"LLM_MODEL": "gpt-4o"}) == "gpt-4o"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert get(environment={"LLM_MODEL": "gpt-4o-2024-08-06"}) == "gpt-4o-2024-08-06"
        assert get(environment={"LLM_MODEL": "claude-sonnet-4-6"}) == "claude-sonnet-4-6"


def test_feedback_never_harms(
    front: Served, project: dict[str, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead gateway and nonsense are logged and counted, raised only where that was asked for, never waited for."""
    alive = sdk.gateway(url=front.base_url, environment=project)
    dead = replace(alive, url=closed())
    monkeypatch.setattr(sending, "KEPT_S", 0.3)
    before = sdk.counts()
    with caplog.at_level(logging.WARNING, "understudy.sdk"):
        assert sdk.feedback("e-1", "thumb", 1, through=dead)
        for exchange, name, value in (("", "thumb", 1), ("e", "", 1), ("e", "thumb", float("nan")), ("e", "t", "good")):
            assert not sdk.feedback(exchange, name, value, through=alive)  # type: ignore[arg-type]
        assert not asyncio.run(sdk.feedback_async("e-1", "thumb", 1, through=dead))
        assert sdk.flush(30)
    assert sdk.counts() == {"sent": before["sent"], "lost": before["lost"] + 6}
    assert caplog.text.count("did not take the feedback: ConnectError") == 2
    with pytest.raises(CannotMeasure, match="did not take the feedback: ConnectError"):
        sdk.feedback("e", "thumb", 1, through=dead, raise_errors=True)
    with pytest.raises(UsageError, match="names no exchange"):
        sdk.feedback("", "thumb", 1, through=alive, raise_errors=True)
    assert sdk.feedback("e-3", "thumb", 0, through=alive, raise_errors=True)
    assert [said.exchange for said in front.feedback] == ["e-3"]


def test_feedback_finds_its_gateway(
    front: Served, project: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a gateway it goes to the project's; where there is none it is lost, and nobody waits to learn it."""
    monkeypatch.setattr(sending, "_default", None)
    for name, value in {**project, "UNDERSTUDY_GATEWAY": front.base_url}.items():
        monkeypatch.setenv(name, value)
    assert sdk.feedback("e-1", "thumb", 1)
    assert sdk.flush(30)
    assert asyncio.run(sdk.feedback_async("e-2", "thumb", 1))
    assert [(said.exchange, said.workload) for said in front.feedback] == [("e-1", "chat"), ("e-2", "chat")]
    monkeypatch.setattr(sending, "_default", None)
    Path(project["UNDERSTUDY_CONFIG"]).write_text("broken: [")
    before = sdk.counts()["lost"]
    assert sdk.feedback("e-3", "thumb", 1)
    assert sdk.flush(30)
    assert sdk.counts()["lost"] == before + 1
    with pytest.raises(UnderstudyError, match=r"understudy\.yaml:1"):
        sdk.feedback("e-3", "thumb", 1, raise_errors=True)


def test_feedback_does_not_pile_up(project: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that takes connections and never answers costs a bounded queue for a bounded time: the rest is lost,
    and counted one by one."""
    monkeypatch.setattr(sending, "KEPT_S", 2.0)
    monkeypatch.setattr(sending, "TIMEOUT_S", 0.5)
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        stuck = sdk.gateway(url=f"http://127.0.0.1:{silent.getsockname()[1]}", environment=project)
        before = sdk.counts()
        took = [sdk.feedback("e", "thumb", 1, through=stuck) for _ in range(sending.WAITING + 100)]
        assert not all(took)
        assert not sdk.flush(0.0)
        assert sdk.flush(30)
    assert sdk.counts() == {"sent": before["sent"], "lost": before["lost"] + len(took)}


def test_feedback_waits_for_a_gateway_that_is_started_anew(
    provider: Provider, project: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was said while the gateway was away arrives, once."""
    monkeypatch.setattr(sending, "PAUSES_S", (0.01, 0.05))
    address = closed()
    assert sdk.feedback("e-1", "thumb", 1, through=sdk.gateway(url=address, environment=project))
    time.sleep(0.05)
    with (
        running(lambda: served(_table(provider))) as front,
        socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))) as door,
    ):
        passing = threading.Thread(target=_pass_on, args=(door, front.port))
        passing.start()
        assert sdk.flush(30)
        assert [said.exchange for said in front.feedback] == ["e-1"]
        passing.join()


def _pass_on(door: socket.socket, port: int) -> None:
    """Carry one request and its answer between a door and a port."""
    one, _ = door.accept()
    with one, socket.create_connection(("127.0.0.1", port)) as other:
        request = b""
        while not request.rstrip().endswith(b"}"):
            request += one.recv(65536)
        other.sendall(request)
        one.sendall(other.recv(65536))


def test_keys(provider: Provider, project: dict[str, str]) -> None:
    """Where the gateway has keys, the helper presents one, for answers and feedback; without it both are refused."""
    from hashlib import sha256

    keys = (GatewayKey(name="app", hash=sha256(b"app-key").hexdigest(), workloads=("*",)),)
    with running(lambda: served(_table(provider, keys=keys))) as guarded:
        right = sdk.gateway(url=guarded.base_url, environment={**project, "UNDERSTUDY_GATEWAY_KEY": "app-key"})
        with openai.OpenAI(**right.openai(), max_retries=0) as one:
            assert hello(one).status_code == 200
        assert sdk.feedback("e", "thumb", 1, through=right, raise_errors=True)
        wrong = replace(right, key="")
        with openai.OpenAI(**wrong.openai(), max_retries=0) as one, pytest.raises(openai.AuthenticationError):
            hello(one)
        with pytest.raises(UsageError, match=r"refused the feedback \(401\)"):
            sdk.feedback("e", "thumb", 1, through=wrong, raise_errors=True)


def test_the_emergency(provider: Provider, project: dict[str, str]) -> None:
    """With no gateway the incumbent answers, with its prompt and parameters, and learns nothing of users; the gateway
    is tried again after a rest. Embeddings of another model, other hosts and other dialects do not go there."""
    now = [0.0]
    desk = sdk.gateway(url=f"{closed()}/behind/a/path", environment=project)
    transport = sdk.Emergency(desk, environment=project, clock=lambda: now[0])
    with openai.OpenAI(
        **desk.openai(unit="u-1"), http_client=httpx2.Client(transport=transport), max_retries=0
    ) as client:
        answer = hello(client)
        assert answer.parse().choices[0].message.content == "m-old says hello"
        assert (answer.headers[DIRECT], answer.headers.get(sdk.EXCHANGE)) == ("old", None)
        streamed = client.chat.completions.create(model="x", messages=[{"role": "user", "content": "Hi"}], stream=True)
        assert "".join(part.choices[0].delta.content or "" for part in streamed if part.choices) == "m-old says hello"
        assert transport.direct.answered == 2
        asked, headers = provider.asked[0], provider.headers[0]
        assert (asked.model, asked.system) == ("m-old", "Be brief.")
        assert headers["authorization"] == "Bearer sk-p-old"
        assert not {"x-user-id", "x-understudy-workload"} & set(headers)
        with pytest.raises(openai.APIConnectionError):
            client.models.list()
        with running(lambda: served(_table(provider))) as front:
            assert provider.headers[0].get("x-stainless-lang") is None
            desk_again = replace(desk, url=front.base_url.removesuffix("/v1"))
            back = sdk.Emergency(desk_again, environment=project, clock=lambda: now[0])
            back.direct.went(httpx2.ConnectError("planted"))
            with openai.OpenAI(
                **desk_again.openai(), http_client=httpx2.Client(transport=back), max_retries=0
            ) as again:
                assert DIRECT in hello(again).headers
                now[0] += REST_S
                assert DIRECT not in hello(again).headers
    with (
        anthropic.Anthropic(**desk.anthropic(), http_client=httpx2.Client(transport=transport), max_retries=0) as other,
        pytest.raises(anthropic.APIConnectionError),
    ):
        other.messages.create(model="x", max_tokens=9, messages=[{"role": "user", "content": "Hi"}])


def test_no_emergency(provider: Provider, project: dict[str, str], tmp_path: Path) -> None:
    """A gateway that answers with an error, or takes a request and goes away, has decided: nothing is asked twice. A
    key that is not set is found out at the start."""
    with closing(socket.socket()) as rude:
        rude.bind(("127.0.0.1", 0))
        rude.listen(8)
        desk = sdk.gateway(url=f"http://127.0.0.1:{rude.getsockname()[1]}", environment=project)
        client = httpx2.Client(transport=sdk.Emergency(desk, environment=project), timeout=0.2)
        with (
            openai.OpenAI(**desk.openai(), http_client=client, max_retries=0) as one,
            pytest.raises(openai.APITimeoutError),
        ):
            hello(one)
    with running(lambda: served(_table(provider))) as front:
        desk = sdk.gateway(url=front.base_url, environment=project)
        with (
            openai.OpenAI(
                **desk.openai(),
                http_client=httpx2.Client(transport=sdk.Emergency(desk, environment=project)),
                max_retries=0,
            ) as one,
            pytest.raises(openai.NotFoundError),
        ):
            hello(one, extra_headers={"x-understudy-workload": "nobody"})
    assert provider.asked == []
    with pytest.raises(UnderstudyError, match="PROVIDER_KEY is not set"):
        sdk.Emergency(desk, environment={"UNDERSTUDY_CONFIG": project["UNDERSTUDY_CONFIG"]})


async def _with_a_gateway_that_dies(folder: Path, provider: Provider, project: dict[str, str]) -> None:
    async with GatewayProcess(folder, _table(provider), workers=1) as front:
        desk = sdk.gateway(url=f"http://127.0.0.1:{front.port}", environment=project)
        transport = sdk.AsyncEmergency(desk, environment=project)
        client = openai.AsyncOpenAI(**desk.openai(), http_client=httpx2.AsyncClient(transport=transport), max_retries=0)
        ask: Any = {"model": "x", "messages": [{"role": "user", "content": "Hi"}]}
        async with client:
            raw = await client.chat.completions.with_raw_response.create(**ask)
            assert DIRECT not in raw.headers
            assert await sdk.feedback_async(raw.headers[sdk.EXCHANGE], "thumb", 1, through=desk, raise_errors=True)
            for pid in front.pids:
                os.kill(pid, signal.SIGSTOP)
            front.signal(signal.SIGKILL)
            for pid in front.pids:
                os.kill(pid, signal.SIGKILL)
            await front.ended()
            direct = await client.chat.completions.with_raw_response.create(**ask)
            assert (direct.headers[DIRECT], direct.parse().choices[0].message.content) == ("old", "m-old says hello")


@pytest.mark.slow(8)
def test_a_gateway_that_dies(tmp_path: Path, provider: Provider, project: dict[str, str]) -> None:
    """`understudy gateway` answers and takes feedback; killed, the next request is answered by the incumbent."""
    asyncio.run(_with_a_gateway_that_dies(tmp_path / "gateway", provider, project))


def test_what_importing_costs() -> None:
    """The plain import brings in nothing heavy, nor do the helper and feedback."""
    heavy = {"pydantic", "ruamel.yaml", "msgspec", "httpx2", "re2", "uvloop", "typer", "rich"}
    code = "import sys; from understudy.sdk import gateway, feedback, get_model; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "understudy.sdk.sending" in said
    assert not heavy & set(said)


def test_every_name_is_there() -> None:
    """What the package says it has, it has."""
    assert {name for name in sdk.__all__ if getattr(sdk, name) is not None} == set(sdk.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = sdk.nonsense
    assert json.dumps(sdk.counts())


def until(true: Any, within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
