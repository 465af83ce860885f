"""What no operation stands for: who may ask whose provider for it, and that it passes as it came."""

from __future__ import annotations

import asyncio
import gzip
import json
from hashlib import sha256
from typing import Any

import pytest

from understudy.core.routing import GatewayKey, RoutingTable, Shadow
from understudy.gateway.pins import Pins
from understudy.testing.raw import raw_server, whole
from understudy.testing.served import ALL, Answer, Served, call, chat, route, served, table

NAMED = {"x-understudy-workload": "chat"}
BYTES = bytes(range(256))


async def echo(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(whole(b'{"ok":true}', 200, b"content-type: application/json\r\nx-its-own: yes\r\n"))


async def sound(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(whole(BYTES, 200, b"content-type: audio/mpeg\r\n"))


def line_of(request: bytes) -> str:
    return request.partition(b"\r\n")[0].decode()


def at(provider: Any, wire: str = "openai", **fields: Any) -> RoutingTable:
    """A table whose incumbent speaks this dialect."""
    base = provider.base_url if wire == "openai" else f"http://127.0.0.1:{provider.port}"
    return table(base, providers={"p-old": {"wire": wire}}, **fields)


@pytest.mark.parametrize(
    ("wire", "method", "path", "arrives"),
    [
        ("openai", "POST", "/v1/moderations", "POST /v1/moderations"),
        ("openai", "POST", "/v1/audio/speech?x=%20y", "POST /v1/audio/speech?x=%20y"),
        ("openai", "POST", "/v1/images/generations", "POST /v1/images/generations"),
        ("openai", "POST", "/v1/completions", "POST /v1/completions"),
        ("gemini", "POST", "/v1beta/models/e-1:embedContent?key=mine&a=b", "POST /v1beta/models/e-1:embedContent?a=b"),
        ("gemini", "POST", "/v1beta/models/e-1:batchEmbedContents", "POST /v1beta/models/e-1:batchEmbedContents"),
    ],
)
def test_a_call_that_only_asks_a_model_passes_as_it_came(wire: str, method: str, path: str, arrives: str) -> None:
    """Method, path, query and body are the caller's; the key is ours; the answer comes back byte for byte."""

    async def main() -> None:
        async with raw_server(sound) as provider, served(at(provider, wire)) as gateway:
            headers = {**NAMED, "content-type": "multipart/form-data; boundary=b", "authorization": "Bearer mine"}
            got = await call(gateway.port, BYTES, method=method, path=path, headers=headers)
            assert (got.status, got.body, got.headers["content-type"]) == (200, BYTES, "audio/mpeg")
            (request,) = provider.requests
            assert line_of(request) == f"{arrives} HTTP/1.1"
            head, _, body = request.partition(b"\r\n\r\n")
            assert body == BYTES
            assert b"content-type: multipart/form-data; boundary=b" in head
            assert b"sk-p-old" in head
            assert b"mine" not in head
            (record,) = await gateway.settled(1)
            assert (record.endpoint, record.variant, record.served_variant, record.status) == (
                "other",
                "old",
                "old",
                200,
            )

    asyncio.run(main())


@pytest.mark.parametrize(
    ("method", "path", "headers", "code"),
    [
        ("POST", "/v1/moderations", {}, "unknown_endpoint"),
        ("POST", "/v1/moderations", {"x-understudy-workload": "nope"}, "unknown_workload"),
        ("GET", "/v1/files", NAMED, "unknown_endpoint"),
        ("GET", "/v1/moderations", NAMED, "unknown_endpoint"),
        ("POST", "/v1/fine_tuning/jobs", NAMED, "unknown_endpoint"),
        ("POST", "/v1/audio/../files", NAMED, "unknown_endpoint"),
        ("POST", "/v1/audio/%2e%2e", NAMED, "unknown_endpoint"),
        ("POST", "/v1/audio/%2fadmin", NAMED, "unknown_endpoint"),
        ("POST", "/v1/audio/..%5cx", NAMED, "unknown_endpoint"),
        ("POST", "/v1/../admin", NAMED, "unknown_endpoint"),
        ("POST", "/v2/moderations", NAMED, "unknown_endpoint"),
        ("POST", "/admin", NAMED, "unknown_endpoint"),
        ("GET", "/", NAMED, "unknown_endpoint"),
        ("OPTIONS", "/v1/moderations", NAMED, "unknown_endpoint"),
        ("GET", "/v1/models/nope", {}, "unknown_workload"),
        ("GET", "/v1beta/models/nope", {"x-goog-api-key": "k"}, ""),
    ],
)
def test_what_no_rule_allows_is_denied_and_reaches_nobody(
    method: str, path: str, headers: dict[str, str], code: str
) -> None:
    """Without the header, outside of the dialect's API, about the account, or with another path hidden in it: 404."""

    async def main() -> None:
        async with raw_server(echo) as provider, served(at(provider)) as gateway:
            got = await call(gateway.port, b"{}", method=method, path=path, headers=headers)
            assert got.status == 404
            assert json.loads(got.body)["error"].get("code", 404) == (code or 404)
            assert provider.requests == []

    asyncio.run(main())


def test_listed_paths_pass_and_their_neighbours_do_not() -> None:
    """A listed path opens what lies below it, for this workload; "*" opens the API, and a caller's own key does too."""

    async def statuses(gateway: Served, *lines: tuple[str, str]) -> list[int]:
        made = [await call(gateway.port, b"", method=m, path=p, headers=NAMED) for m, p in lines]
        return [answer.status for answer in made]

    async def main() -> None:
        files = [("GET", "/v1/files"), ("DELETE", "/v1/files/f-1"), ("GET", "/v1/files/f-1/content")]
        others = [("GET", "/v1/filesystem"), ("GET", "/v1/batches"), ("GET", "/v1/files/../batches"), ("GET", "/v2/x")]
        async with raw_server(echo) as provider:
            async with served(at(provider, passthrough=("/v1/files",))) as gateway:
                assert await statuses(gateway, *files, *others) == [200] * 3 + [404] * 4
                assert [line_of(each) for each in provider.requests] == [f"{m} {p} HTTP/1.1" for m, p in files]
            async with served(at(provider, passthrough=("*",))) as gateway:
                assert await statuses(gateway, *files, *others) == [200] * 5 + [404] * 2
            before = len(provider.requests)
            own = table(provider.base_url, providers={"p-old": {"pass_through_key": True, "api_key": ""}})
            async with served(own) as gateway:
                headers = {**NAMED, "authorization": "Bearer mine"}
                got = await call(gateway.port, b"", method="GET", path="/v1/files", headers=headers)
                assert got.status == 200
                assert b"authorization: Bearer mine" in provider.requests[before]
        async with (
            raw_server(echo) as provider,
            served(at(provider, "anthropic", passthrough=("/v1/messages/batches",))) as gateway,
        ):
            assert await statuses(gateway, ("POST", "/v1/messages/batches"), ("GET", "/v1/files")) == [200, 404]
            assert line_of(provider.requests[0]) == "POST /v1/messages/batches HTTP/1.1"

    asyncio.run(main())


def test_keys_guard_what_passes_as_they_guard_the_rest() -> None:
    """No key 401, a key for another workload 403, beyond its limit 429; nothing of these reaches the provider."""

    def key(name: str, **fields: Any) -> GatewayKey:
        return GatewayKey(name, sha256(name.encode()).hexdigest(), **fields)

    async def main() -> None:
        keys = [key("mine", requests_per_minute=2), key("other", workloads=("elsewhere",))]
        async with raw_server(echo) as provider, served(at(provider, keys=keys)) as gateway:

            async def ask(presented: str) -> Answer:
                headers = {**NAMED, "authorization": f"Bearer {presented}"}
                return await call(gateway.port, b"{}", path="/v1/moderations", headers=headers)

            assert [(await ask(name)).status for name in ("", "other", "mine", "mine", "mine")] == [
                401,
                403,
                200,
                200,
                429,
            ]
            assert len(provider.requests) == 2
            assert gateway.gateway.in_use["mine"] == 0

    asyncio.run(main())


def test_what_passes_has_no_part_in_an_upgrade() -> None:
    """All users get the candidate, all requests are copied: what passes goes to the incumbent alone, uncounted."""

    async def main() -> None:
        async with raw_server(echo) as old, raw_server(echo) as new:
            under = route(ALL, shadow=Shadow(ALL))
            async with served(table(old.base_url, new.base_url, route=under)) as gateway:
                for _ in range(6):
                    assert (await call(gateway.port, b"{}", path="/v1/moderations", headers=NAMED)).status == 200
                assert (len(old.requests), len(new.requests)) == (6, 0)
                records = await gateway.settled(6)
                assert {(r.upgrade, r.stage, r.arm) for r in records} == {("", "", "incumbent")}
                assert gateway.copies == []

    asyncio.run(main())


def test_a_workload_is_shown_as_one_model() -> None:
    """GET of one model answers for those that the list names, in the caller's dialect."""

    async def main() -> None:
        async with raw_server(echo) as provider, served(at(provider)) as gateway:
            found = await call(gateway.port, b"", method="GET", path="/v1/models/chat")
            assert (found.status, json.loads(found.body)["id"]) == (200, "chat")
            gemini = await call(gateway.port, b"", method="GET", path="/v1beta/models/chat")
            assert json.loads(gemini.body)["name"] == "models/chat"
            assert provider.requests == []

    asyncio.run(main())


# -- what is stored


def answering(name: str) -> Any:
    async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}
        body = {"id": f"resp_{name}_{number}", "object": "response", "status": "completed", "output": [item]}
        writer.write(whole(json.dumps(body).encode(), 200, b"content-type: application/json\r\n"))

    return reply


async def respond(gateway: Served, **fields: Any) -> tuple[int, str, str]:
    """Status, variant and id of a response."""
    body = json.dumps({"model": "chat", "input": "hello", **fields}).encode()
    got = await call(gateway.port, body, path="/v1/responses", headers={"x-user-id": "u"})
    return got.status, got.headers.get("x-understudy-variant", ""), json.loads(got.body).get("id", "")


def test_a_stored_response_is_asked_of_the_arm_that_gave_it(tmp_path: Any) -> None:
    """Read, cancel, list and delete go where it is, over flips, restarts and other users' shares, until it is gone."""

    async def main() -> None:
        async with raw_server(answering("old")) as old, raw_server(answering("new")) as new:
            urls = old.base_url, new.base_url

            async def stored(gateway: Served, name: str, method: str = "GET", more: str = "") -> tuple[int, str]:
                got = await call(gateway.port, b"", method=method, path=f"/v1/responses/{name}{more}")
                return got.status, got.headers.get("x-understudy-variant", "")

            async with served(table(*urls, route=route(ALL)), pins=Pins(tmp_path / "pins")) as gateway:
                _, variant, first = await respond(gateway)
                assert variant == "new"
            async with served(table(*urls, epoch=2, route=route(1)), pins=Pins(tmp_path / "pins")) as gateway:
                for method, more in (("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")):
                    assert await stored(gateway, first, method, more) == (200, "new")
                    assert line_of(new.requests[-1]) == f"{method} /v1/responses/{first}{more} HTTP/1.1"
                assert await stored(gateway, "resp_of_before") == (200, "old")
                assert (await respond(gateway, previous_response_id=first))[1] == "new"
                asked = len(new.requests)
                gateway.gateway.killed = frozenset({"chat"})
                assert (await stored(gateway, first))[0] == 409
                assert (await respond(gateway, previous_response_id=first))[0] == 409
                gateway.gateway.killed = frozenset()
                gateway.gateway.apply(table(*urls, epoch=3))  # rolled back: there is no candidate any more
                assert await stored(gateway, first) == (200, "old")  # whose provider says that it has no such thing
                assert (await respond(gateway, previous_response_id=first))[1] == "old"
                assert len(new.requests) == asked

    asyncio.run(main())


def test_a_conversation_of_the_provider_stays_where_it_was_made() -> None:
    """Where the arms have different accounts it is the incumbent's; a null refers to nothing and binds nobody."""

    async def main() -> None:
        async with (
            raw_server(answering("old")) as old,
            raw_server(answering("new")) as new,
            served(table(old.base_url, new.base_url, route=route(ALL), passthrough=("*",))) as gateway,
        ):
            made = await call(gateway.port, b"{}", path="/v1/conversations", headers=NAMED)
            assert (made.status, made.headers["x-understudy-variant"]) == (200, "old")
            assert (await respond(gateway, conversation="conv_1"))[1] == "old"
            assert (await respond(gateway, conversation={"id": "conv_1"}))[1] == "old"
            assert (await respond(gateway, previous_response_id=None, conversation=None))[1] == "new"

    asyncio.run(main())


def test_unknown_fields_of_known_endpoints_pass() -> None:
    """What a provider will understand next year reaches it today, in every dialect."""

    async def main() -> None:
        async with raw_server(echo) as provider, served(at(provider)) as gateway:
            await call(gateway.port, chat(x_next_year={"a": [1.50, None]}))
            assert b'"x_next_year":{"a":[1.5,null]}' in provider.requests[0].replace(b" ", b"")

    asyncio.run(main())


def test_a_packed_body_passes_as_what_it_is_and_is_refused_where_it_must_be_read() -> None:
    """A provider that got it without the header would take it for nonsense; the caller is told what is wrong."""
    packed = gzip.compress(b'{"model":"chat","input":"x"}')

    async def main() -> None:
        async with raw_server(echo) as provider, served(at(provider)) as gateway:
            headers = {"content-encoding": "gzip", **NAMED}
            assert (await call(gateway.port, packed, path="/v1/moderations", headers=headers)).status == 200
            head, _, body = provider.requests[0].partition(b"\r\n\r\n")
            assert (b"\r\ncontent-encoding: gzip" in head, body) == (True, packed)
            got = await call(gateway.port, packed, headers=headers)
            assert (got.status, json.loads(got.body)["error"]["code"]) == (415, "packed_body")
            assert len(provider.requests) == 1

    asyncio.run(main())
