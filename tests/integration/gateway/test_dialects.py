"""Every dialect in front of every other: what the caller speaks, what the provider speaks, and handles in between."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from contextlib import suppress
from hashlib import sha256
from typing import Any

import pytest
import trustme

from understudy.core.routing import GatewayKey, Shadow
from understudy.gateway.limits import Limits
from understudy.testing.behaviour import Behaviour
from understudy.testing.raw import raw_server, whole
from understudy.testing.served import ALL, Served, call, chat, route, served, table, until
from understudy.testing.simulated import SimulatedProvider
from understudy.upstream.deadlines import Deadlines

WIRES = ("openai", "anthropic", "gemini")
TEXT = "Please tell me about the weather in Lisbon."


def asked(wire: str, *, stream: bool) -> tuple[str, bytes]:
    """Path and body of a chat in this dialect."""
    match wire:
        case "openai":
            body: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": TEXT}], "stream": stream}
            return "/v1/chat/completions", json.dumps(body).encode()
        case "anthropic":
            messages = [{"role": "user", "content": TEXT}]
            body = {"model": "chat", "max_tokens": 500, "messages": messages, "stream": stream}
            return "/v1/messages", json.dumps(body).encode()
        case _:
            body = {"contents": [{"role": "user", "parts": [{"text": TEXT}]}]}
            method = "streamGenerateContent?alt=sse" if stream else "generateContent"
            return f"/v1beta/models/chat:{method}", json.dumps(body).encode()


def base_url(provider: SimulatedProvider, wire: str) -> str:
    return provider.base_url if wire == "openai" else f"http://127.0.0.1:{provider.port}"


def said(wire: str, body: bytes, *, stream: bool) -> str:
    """The text of an answer in this dialect."""
    values = [body]
    if stream:
        values = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ") and line != b"data: [DONE]"]
    text = ""
    for value in values:
        event = json.loads(value)
        match wire:
            case "openai":
                for choice in event["choices"]:
                    text += choice["delta" if stream else "message"].get("content") or ""
            case "anthropic" if stream:
                text += event.get("delta", {}).get("text", "")
            case "anthropic":
                text += "".join(part["text"] for part in event["content"])
            case _:
                parts = event["candidates"][0].get("content", {}).get("parts", [])
                text += "".join(part.get("text", "") for part in parts)
    return text


@pytest.mark.parametrize(("front", "behind", "stream"), list(itertools.product(WIRES, WIRES, (False, True))))
def test_a_caller_is_answered_in_its_own_dialect(front: str, behind: str, stream: bool) -> None:
    """Whatever the provider speaks, the caller reads a whole answer, and the ledger the same text and usage."""

    async def main() -> None:
        async with SimulatedProvider({"m-old": Behaviour(latency_s=0)}) as provider:
            extra = {"p-old": {"wire": behind}}
            first = table(base_url(provider, behind), providers=extra)
            async with served(first, deadlines=Deadlines()) as gateway:
                path, body = asked(front, stream=stream)
                got = await call(gateway.port, body, path=path, headers={"anthropic-version": "2023-06-01"})
                assert (got.status, got.complete) == (200, True), got.body
                text = said(front, got.body, stream=stream)
                (record,) = await gateway.settled(1)
                assert len(text) > 10
                assert record.answer == text
                assert (record.error, record.streamed) == ("", stream)
                assert record.finish_reason
                if not (stream and behind == "openai"):  # which states usage in a stream only to who asks for it
                    assert record.output_tokens

    asyncio.run(main())


@pytest.mark.parametrize(("front", "behind"), [("openai", "anthropic"), ("anthropic", "gemini"), ("gemini", "openai")])
def test_a_candidate_of_another_dialect_is_shadowed_served_and_masked(front: str, behind: str) -> None:
    """An upgrade may cross dialects: its copies are read, its answers carried over, its failures masked."""

    async def main() -> None:
        models = {"m-old": Behaviour(latency_s=0), "m-new": Behaviour(latency_s=0)}
        async with SimulatedProvider(models) as provider:
            extra = {"p-old": {"wire": front}, "p-new": {"wire": behind}}
            urls = base_url(provider, front), base_url(provider, behind)
            headers = {"x-user-id": "u", "anthropic-version": "2023-06-01"}
            path, body = asked(front, stream=False)
            first = table(*urls, providers=extra, route=route(0, shadow=Shadow(ALL)))
            async with served(first, deadlines=Deadlines()) as gateway:
                await call(gateway.port, body, path=path, headers=headers)
                (copy,) = await gateway.settled(1, copies=True)
                assert (copy.error, copy.status) == ("", 200)
                assert len(copy.answer) > 10
                gateway.gateway.apply(table(*urls, epoch=2, providers=extra, route=route(ALL)))
                got = await call(gateway.port, body, path=path, headers=headers)
                assert got.headers["x-understudy-variant"] == "new"
                assert len(said(front, got.body, stream=False)) > 10
                provider.set("m-new", error_share=1.0)
                got = await call(gateway.port, body, path=path, headers=headers)
                assert (got.status, got.headers["x-understudy-variant"]) == (200, "old")
                assert gateway.exchanges[-1].masked

    asyncio.run(main())


@pytest.mark.parametrize("behind", ["anthropic", "gemini"])
def test_responses_that_nobody_keeps_are_carried_to_a_candidate(behind: str) -> None:
    """Copied, served and masked like a chat; one that is to be kept is the incumbent's alone, and no failure."""

    async def main() -> None:
        models = {"m-old": Behaviour(latency_s=0), "m-new": Behaviour(latency_s=0)}
        async with SimulatedProvider(models) as provider:
            extra = {"p-new": {"wire": behind}}
            urls = provider.base_url, base_url(provider, behind)

            async def ask(gateway: Served, **members: Any) -> tuple[str, Any]:
                body = json.dumps({"model": "chat", "input": "hello", **members}).encode()
                got = await call(gateway.port, body, path="/v1/responses", headers={"x-user-id": "u"})
                assert got.status == 200
                return got.headers["x-understudy-variant"], got.body

            first = table(*urls, providers=extra, route=route(0, shadow=Shadow(ALL)))
            async with served(first, deadlines=Deadlines()) as gateway:
                await ask(gateway, store=False)
                (copy,) = await gateway.settled(1, copies=True)
                assert (copy.error, copy.status, len(copy.answer) > 10) == ("", 200, True)
                gateway.gateway.apply(table(*urls, epoch=2, providers=extra, route=route(ALL)))
                variant, body = await ask(gateway, store=False)
                answer = json.loads(body)
                assert (variant, answer["object"], answer["status"]) == ("new", "response", "completed")
                assert len(answer["output"][0]["content"][0]["text"]) > 10
                variant, body = await ask(gateway, store=False, stream=True)
                assert variant == "new"
                assert body.count(b"event: response.completed") == 1
                for kept in ({}, {"store": True}, {"store": False, "tools": [{"type": "web_search"}]}):
                    assert (await ask(gateway, **kept))[0] == "old"
                assert gateway.gateway.snapshot is not None
                assert gateway.gateway.snapshot.lanes["chat"].breaker.why == ""
                assert not any(record.masked for record in gateway.exchanges)
                provider.set("m-new", error_share=1.0)
                assert (await ask(gateway, store=False))[0] == "old"
                assert gateway.exchanges[-1].masked

    asyncio.run(main())


def test_what_cannot_be_carried_over_is_told() -> None:
    """The answer and the ledger name the fields that the provider's dialect has no place for."""

    async def main() -> None:
        async with SimulatedProvider({"m-old": Behaviour(latency_s=0)}) as provider:
            first = table(base_url(provider, "anthropic"), providers={"p-old": {"wire": "anthropic"}})
            async with served(first) as gateway:
                got = await gateway.chat("u", logit_bias={"1": 2})
                assert got.status == 200
                assert "logit_bias" in got.headers["x-understudy-not-carried"]
                (record,) = await gateway.settled(1)
                assert "logit_bias" in record.not_carried

    asyncio.run(main())


@pytest.mark.parametrize("wire", WIRES)
def test_errors_of_the_gateway_are_in_the_callers_dialect(wire: str) -> None:
    """An unknown workload is a 404 each SDK can read."""

    async def main() -> None:
        async with served(table("http://127.0.0.1:1/v1")) as gateway:
            path, body = asked(wire, stream=False)
            got = await call(gateway.port, body.replace(b'"chat"', b'"nope"'), path=path.replace("/chat:", "/nope:"))
            assert got.status == 404
            error = json.loads(got.body)["error"]
            assert "nope" in error["message"]
            assert ("status" in error) == (wire == "gemini")

    asyncio.run(main())


async def respond(gateway: Served, previous: str = "", user: str = "u") -> tuple[int, str, str]:
    """Status, variant and id of a response in the responses dialect."""
    body: dict[str, Any] = {"model": "chat", "input": "hello"}
    if previous:
        body["previous_response_id"] = previous
    got = await call(gateway.port, json.dumps(body).encode(), path="/v1/responses", headers={"x-user-id": user})
    return got.status, got.headers.get("x-understudy-variant", ""), json.loads(got.body).get("id", "")


def test_a_request_that_refers_to_an_answer_goes_to_the_arm_that_gave_it() -> None:
    """A handle binds: not the share, not the breaker sends it elsewhere, and where its arm is gone that is said."""

    def answering(name: str) -> Any:
        async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}
            body = {"id": f"resp_{name}_{number}", "object": "response", "status": "completed", "output": [item]}
            writer.write(whole(json.dumps(body).encode(), 200, b"content-type: application/json\r\n"))

        return reply

    async def main() -> None:
        async with raw_server(answering("old")) as old, raw_server(answering("new")) as new:
            urls = old.base_url, new.base_url
            async with served(table(*urls, route=route(ALL))) as gateway:
                status, variant, first = await respond(gateway)
                assert (status, variant) == (200, "new")
                gateway.gateway.apply(table(*urls, epoch=2, route=route(1)))
                assert (await respond(gateway))[1] == "old"
                assert (await respond(gateway, first))[1] == "new"
                assert (await respond(gateway, "resp_from_before"))[1] == "old"
                gateway.gateway.killed = frozenset({"chat"})
                assert (await respond(gateway, first))[0] == 409

    asyncio.run(main())


def test_a_key_cannot_have_everything_at_once() -> None:
    """Beyond its limit a key gets 429 with Retry-After; another key does not notice; ended requests count no more."""

    def key(name: str) -> GatewayKey:
        return GatewayKey(name, sha256(name.encode()).hexdigest(), ("*",))

    async def main() -> None:
        held = asyncio.Event()

        async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            await held.wait()
            writer.write(whole(b'{"choices":[]}', 200, b"content-type: application/json\r\n"))

        async with raw_server(reply) as provider:
            first = table(provider.base_url, keys=[key("greedy"), key("honest")])
            async with served(first, limits=Limits(key_requests=5)) as gateway:
                greedy = {"authorization": "Bearer greedy"}
                for _ in range(2):
                    held.clear()
                    before = len(provider.requests)
                    asking = [asyncio.create_task(call(gateway.port, chat(), headers=greedy)) for _ in range(12)]
                    await until(lambda: sum(task.done() for task in asking) == 7)  # noqa: B023
                    other = {"authorization": "Bearer honest"}
                    honest = asyncio.create_task(call(gateway.port, chat(), headers=other))
                    await until(lambda: len(provider.requests) == before + 6)  # noqa: B023
                    held.set()
                    assert (await honest).status == 200
                    statuses = sorted(answer.status for answer in await asyncio.gather(*asking))
                    assert statuses == [200] * 5 + [429] * 7
                assert gateway.gateway.in_use == {"greedy": 0, "honest": 0}

    asyncio.run(main())


@pytest.mark.parametrize("wire", WIRES)
def test_a_key_that_asks_too_often_is_told_when_to_come_back(wire: str) -> None:
    """Beyond its requests a minute a key gets 429 with Retry-After in its dialect; nothing of it reaches a provider."""

    async def main() -> None:
        async with SimulatedProvider({"m-old": Behaviour(latency_s=0)}) as provider:
            keys = [GatewayKey(n, sha256(n.encode()).hexdigest(), requests_per_minute=m) for n, m in LIMITED.items()]
            first = table(base_url(provider, wire), providers={"p-old": {"wire": wire}}, keys=keys)
            async with served(first) as gateway:
                path, body = asked(wire, stream=False)

                async def ask(key: str) -> Any:
                    return await call(gateway.port, body, path=path, headers={"authorization": f"Bearer {key}"})

                assert [(await ask("slow")).status for _ in range(4)] == [200, 200, 200, 429]
                refused = await ask("slow")
                assert 1 <= int(refused.headers["retry-after"]) <= 20
                error = json.loads(refused.body)["error"]
                assert "3 requests a minute" in error["message"]
                kind = {"openai": "rate_limit_error", "anthropic": "rate_limit_error", "gemini": "RESOURCE_EXHAUSTED"}
                assert error["status" if wire == "gemini" else "type"] == kind[wire]
                assert (await ask("free")).status == 200
                gateway.gateway.apply(table(base_url(provider, wire), epoch=2, keys=keys))
                assert (await ask("slow")).status == 429  # a flip of the table is no new minute
                assert len(await gateway.settled(4)) == 4
                assert gateway.gateway.refused == {("slow", "requests_per_minute"): 3}

    asyncio.run(main())


LIMITED = {"slow": 3, "free": None}


def test_limits_of_the_table_hold_from_the_next_request_on() -> None:
    """A key's own number of requests at once, and the size of a body, come and go with the table."""

    async def main() -> None:
        held = asyncio.Event()

        async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            await held.wait()
            writer.write(whole(b'{"choices":[]}', 200, b"content-type: application/json\r\n"))

        async with raw_server(reply) as provider:
            app = GatewayKey("app", sha256(b"app").hexdigest(), concurrent=2)
            other = GatewayKey("other", sha256(b"other").hexdigest())
            limits = {"body": 2048, "key_requests": 3, "of_a_later_version": 1}
            async with served(table(provider.base_url, keys=[app, other], limits=limits)) as gateway:

                async def ask(key: str, text: str = "hello") -> Any:
                    return await call(gateway.port, chat(text), headers={"authorization": f"Bearer {key}"})

                assert (await ask("app", "x" * 4096)).status == 413
                asking = [asyncio.create_task(ask(key)) for key in ["app"] * 4 + ["other"] * 5]
                await until(lambda: sum(task.done() for task in asking) == 4)
                held.set()
                statuses = [answer.status for answer in await asyncio.gather(*asking)]
                assert sorted(statuses[:4]) == [200] * 2 + [429] * 2
                assert sorted(statuses[4:]) == [200] * 3 + [429] * 2
                gateway.gateway.apply(table(provider.base_url, epoch=2, keys=[app, other]))
                assert (await ask("app", "x" * 4096)).status == 200

    asyncio.run(main())


def test_a_provider_is_reached_through_the_proxy_of_the_environment(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request of an app goes through the CONNECT tunnel to a provider whose name only the proxy knows."""
    ours = trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("models.example").configure_cert(context)
    asked: list[bytes] = []

    async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(b'{"choices":[]}', 200, b"content-type: application/json\r\n"))

    async def main() -> None:
        async with raw_server(reply, tls=context) as provider:

            async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                asked.append(await reader.readuntil(b"\r\n\r\n"))
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", provider.port)
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

                async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                    with suppress(OSError):
                        while data := await source.read(65536):
                            sink.write(data)
                        sink.close()

                await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

            proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
            trusted = {"p-old": {"ca_file": str(tmp_path / "ca.pem")}}
            async with served(table("https://models.example/v1", providers=trusted)) as gateway:
                assert (await gateway.chat("u")).status == 200
            (opening,) = asked
            assert opening.startswith(b"CONNECT models.example:443 HTTP/1.1\r\n")
            assert b"sk-p-old" not in opening
            assert b"authorization: Bearer sk-p-old" in provider.requests[0]
            proxy.close()

    asyncio.run(main())


def test_a_provider_behind_tls_is_checked(tmp_path: Any) -> None:
    """With its own authority a TLS provider answers; without it the caller is told, and no request is sent."""
    ours = trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("127.0.0.1").configure_cert(context)

    async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(b'{"choices":[]}', 200, b"content-type: application/json\r\n"))

    async def main() -> None:
        async with raw_server(reply, tls=context) as provider:
            url = f"https://127.0.0.1:{provider.port}/v1"
            trusted = {"p-old": {"ca_file": str(tmp_path / "ca.pem")}}
            async with served(table(url, providers=trusted)) as gateway:
                assert (await gateway.chat("u")).status == 200
            async with served(table(url)) as gateway:
                got = await gateway.chat("u")
                assert got.status == 502
                assert "certificate" in json.loads(got.body)["error"]["message"]
            assert len(provider.requests) == 1

    asyncio.run(main())


def test_a_stream_that_cannot_be_carried_over_is_the_providers_failure() -> None:
    """The incumbent answers where nothing was shown yet; else the caller is told at once and the ledger says so."""
    whole_stream = b'data: {"id":"a","model":"m","choices":[{"index":0,"delta":{"content":"fine"}}]}\n\n'
    odd = b'data: {"choices":[{"index":0,"delta":{"content":{"not":"text"}}}]}\n\n'
    end = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    answers = {"m-new": odd + end, "m-old": whole_stream + end}

    async def main() -> None:
        async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            told = answers["m-new" if b"m-new" in request else "m-old"]
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            writer.write(b"%x\r\n%b\r\n" % (len(told), told))
            if b"m-new" not in request and end in told:
                writer.write(b"0\r\n\r\n")  # the others say no more and leave their connection open

        async with raw_server(reply) as provider:
            path, body = asked("anthropic", stream=True)
            headers = {"x-user-id": "u", "anthropic-version": "2023-06-01"}
            async with served(table(provider.base_url, route=route(ALL))) as gateway:
                got = await call(gateway.port, body, path=path, headers=headers)
                assert (said("anthropic", got.body, stream=True), got.complete) == ("fine", True)
                (record,) = await gateway.settled(1)
                assert (record.masked, record.error) == (True, "unreadable")
                answers["m-old"] = whole_stream + odd
                gateway.gateway.apply(table(provider.base_url, epoch=2))
                got = await call(gateway.port, body, path=path, headers=headers)
                assert b"event: error" in got.body
                record = (await gateway.settled(2))[1]
                assert (record.status, record.error, record.answer) == (200, "unreadable", "fine")
                pools = gateway.gateway.compiler.pools.values()
                await until(lambda: sum(pool.open_connections for pool in pools) <= 1)

    asyncio.run(main())


def test_an_endless_answer_is_not_kept_to_be_carried_over() -> None:
    """What must be whole before it is told in another dialect has a limit: then the provider is left alone."""

    async def main() -> None:
        async def endless(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{"id":"')
            while not writer.is_closing():
                writer.write(b"x" * 1024 * 1024)
                await writer.drain()

        async with raw_server(endless) as provider, served(table(provider.base_url)) as gateway:
            path, body = asked("anthropic", stream=False)
            got = await call(gateway.port, body, path=path, headers={"anthropic-version": "2023-06-01"})
            assert (got.status, b"is not carried over" in got.body) == (502, True)
            assert [record.error for record in await gateway.settled(1)] == ["protocol"]

    asyncio.run(main())
