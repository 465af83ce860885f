from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from types import SimpleNamespace
from typing import Any, cast

import pytest

from understudy.assign.bucket import bucket
from understudy.core.errors import UsageError
from understudy.core.routing import GatewayKey, Shadow
from understudy.core.variant import Reasoning, Variant
from understudy.gateway.limits import Limits
from understudy.testing.raw import raw_server, whole
from understudy.testing.served import ALL, QUICK, call, chat, read_answer, route, served, table, until
from understudy.wires import openai_chat
from understudy.wires.openai import WIRE as OPENAI

Reply = Callable[[int, bytes, asyncio.StreamWriter], Awaitable[None]]

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def completion(text: str = "fine", model: str = "m-old-2025", **extra: object) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"id": "c1", "model": model, "choices": [choice], "usage": USAGE, **extra}).encode()


def saying(text: str, status: int = 200, extra: bytes = b"") -> Reply:
    async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        body = completion(text) if status == 200 else json.dumps({"error": {"message": text, "code": "boom"}}).encode()
        writer.write(whole(body, status, b"content-type: application/json\r\n" + extra))

    return reply


def events(*texts: str, done: bool = True) -> list[bytes]:
    """The events of a stream, each one piece."""
    pieces = [json.dumps({"model": "m-old-2025", "choices": [{"index": 0, "delta": {"role": "assistant"}}]})]
    pieces += [
        json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}, ensure_ascii=False) for text in texts
    ]
    pieces.append(json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USAGE}))
    return [f"data: {piece}\n\n".encode() for piece in pieces] + ([b"data: [DONE]\n\n"] if done else [])


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def streaming(pieces: Sequence[bytes | float], *, ends: bool | None = True, head: bytes = STREAM_HEAD) -> Reply:
    """Each piece is a chunk of its own; a number waits. `ends` False cuts the connection, None leaves it open."""

    async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for piece in pieces:
            if isinstance(piece, bytes):
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            else:
                await asyncio.sleep(piece)
        if ends:
            writer.write(b"0\r\n\r\n")
        elif ends is False:
            writer.close()

    return reply


async def hang(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def cut(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.close()


def user_with(arm: str, share: int, salt: str = "s1") -> str:
    """A user whom this share puts in that arm."""
    return next(u for n in range(10_000) if (bucket(salt, u := f"user-{n}") < share) == (arm == "candidate"))


def body_of(request: bytes) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(request.partition(b"\r\n\r\n")[2])
    return parsed


# -- the way of a request


def test_the_variant_is_applied_and_the_answer_comes_back_unchanged() -> None:
    """Model, prompt and parameters are the variant's; body, content type and the provider's own headers pass."""

    async def main() -> None:
        answer = completion("grüß dich 🎭", extra_field=[1, 2, {"a": None}])

        async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(
                whole(answer, 200, b"Content-Type: application/json\r\nX-Request-Id: r1\r\nset-cookie: a=b\r\n")
            )

        variant = Variant("old", "p-old", "m-old", "Be kind.", {"temperature": 0.5}, Reasoning(effort="low"))
        async with raw_server(reply) as provider:
            first = table(provider.base_url, variants={"old": variant}, slice_by={"kind": "header:x-kind"})
            async with served(first) as gateway:
                sent = chat("hi", temperature=1, custom={"deep": [1]}, user="u1")
                headers = {"x-kind": "urgent", "authorization": "Bearer app", "x-secret": "1", "openai-project": "pr"}
                asked_at = time.monotonic()
                got = await call(gateway.port, sent, headers=headers)
                took = time.monotonic() - asked_at
                assert (got.status, got.body, got.complete) == (200, answer, True)
                assert got.headers["x-request-id"] == "r1"
                assert "set-cookie" not in got.headers
                assert got.headers["x-understudy-variant"] == "old"
                assert got.headers["x-understudy-epoch"] == "1"
                (request,) = provider.requests
                asked = body_of(request)
                assert asked["model"] == "m-old"
                assert (asked["temperature"], asked["reasoning_effort"], asked["custom"]) == (0.5, "low", {"deep": [1]})
                assert asked["messages"] == [
                    {"role": "system", "content": "Be kind."},
                    {"role": "user", "content": "hi"},
                ]
                head = request.partition(b"\r\n\r\n")[0].lower()
                assert b"authorization: bearer sk-p-old" in head
                assert b"openai-project: pr" in head
                assert b"bearer app" not in head
                assert b"x-secret" not in head
                (record,) = await gateway.settled(1)
                assert record.exchange == got.headers["x-understudy-exchange"]
                assert (record.input_tokens, record.output_tokens, record.finish_reason) == (7, 3, "stop")
                assert (record.status, record.error, record.arm, record.reason) == (200, "", "incumbent", "no_route")
                assert (record.model_requested, record.model_served) == ("chat", "m-old-2025")
                assert (record.unit, record.slices) == ("u1", {"kind": "urgent"})
                assert record.request == sent
                assert record.answer == "grüß dich 🎭"
                assert record.latency_s is not None
                assert record.ttft_s is not None
                assert 0 < record.ttft_s <= record.latency_s <= took

    asyncio.run(main())


def test_a_stream_comes_back_byte_for_byte_at_every_cut() -> None:
    """However the provider's bytes are cut, the client gets the same bytes and the ledger the same reading."""
    whole_stream = b"".join(events("grüß ", "dich ", "🎭 日本"))

    async def main() -> None:
        cuts = {"at": 1}

        async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            at = cuts["at"]
            await streaming([whole_stream[:at], 0.001, whole_stream[at:]])(number, request, writer)

        async with raw_server(reply) as provider, served(table(provider.base_url)) as gateway:
            for at in range(1, len(whole_stream), 5):
                cuts["at"] = at
                got = await gateway.chat(stream=True)
                assert (got.status, got.body, got.complete) == (200, whole_stream, True)
            for record in await gateway.settled(len(range(1, len(whole_stream), 5))):
                assert (record.answer, record.finish_reason, record.error) == ("grüß dich 🎭 日本", "stop", "")
                assert record.streamed
                assert record.output_tokens == 3

    asyncio.run(main())


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("form", [b"%x\r\n%b\r\n", b"%X;x=1\r\n%b\r\n"])
def test_chunks_leave_with_the_framing_they_came_with_or_one_of_our_own(form: bytes, version: str) -> None:
    """Written as usual or not, each chunk is a chunk of the same content; a client of HTTP/1.0 gets no framing."""
    pieces = events(*(f"word {number} " for number in range(30)))

    async def main() -> None:
        async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(STREAM_HEAD)
            for piece in pieces:
                writer.write(form % (len(piece), piece))
                await asyncio.sleep(0.002)
            writer.write(b"0\r\n\r\n")

        async with raw_server(reply) as provider, served(table(provider.base_url)) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            body = chat("hi", stream=True, user="u")
            line = f"POST /v1/chat/completions HTTP/{version}\r\nhost: g\r\nconnection: close\r\n"
            writer.write(f"{line}content-length: {len(body)}\r\n\r\n".encode() + body)
            got = (await reader.read()).partition(b"\r\n\r\n")[2]
            writer.close()
            (record,) = await gateway.settled(1)
            assert record.answer == "".join(f"word {number} " for number in range(30))
            assert (record.error, record.output_tokens, record.ttft_s is not None) == ("", 3, True)
            if version == "1.0":
                assert got == b"".join(pieces)
            else:
                assert _unchunked(got) == b"".join(pieces)

    asyncio.run(main())


def _unchunked(body: bytes) -> bytes:
    """What the chunks hold; only lower case, no extension, and the last chunk at the end are taken."""
    found = b""
    while body != b"0\r\n\r\n":
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        assert size == b"%x" % length
        assert rest[length : length + 2] == b"\r\n"
        found, body = found + rest[:length], rest[length + 2 :]
    return found


def test_the_first_token_arrives_before_the_last_is_written() -> None:
    """A stream is passed on as it comes, and its first token is timed."""

    async def main() -> None:
        seen = asyncio.Event()

        async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            await streaming(events("a")[:2], ends=None)(number, request, writer)
            await seen.wait()
            await streaming(events("b")[1:], head=b"")(number, request, writer)

        async with raw_server(reply) as provider, served(table(provider.base_url)) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            body = chat(stream=True)
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            await asyncio.wait_for(reader.readuntil(b'"a"'), 90)
            await asyncio.sleep(0.1)
            seen.set()
            await reader.readuntil(b"[DONE]")
            writer.close()
            (record,) = await gateway.settled(1)
            assert record.ttft_s is not None
            assert record.latency_s is not None
            assert record.latency_s - record.ttft_s > 0.09

    asyncio.run(main())


# -- assignment and exposure


def test_a_unit_keeps_its_arm_and_a_growing_share_only_adds() -> None:
    """At each share the arm of every user is the golden one, on every request."""

    async def main() -> None:
        async with raw_server(saying("x")) as provider, served(table(provider.base_url)) as gateway:
            users = [f"user-{n}" for n in range(40)]
            epoch = 1
            for share in (10_000, 250_000, 600_000, ALL):
                epoch += 1
                gateway.gateway.apply(table(provider.base_url, epoch=epoch, route=route(share)))
                for user in users:
                    got = [await gateway.chat(user) for _ in range(2)]
                    expected = "new" if bucket("s1", user) < share else "old"
                    assert [g.headers["x-understudy-variant"] for g in got] == [expected] * 2
                    assert got[0].headers["x-understudy-epoch"] == str(epoch)

    asyncio.run(main())


def test_kill_file_and_lease_send_everybody_to_the_incumbent() -> None:
    """Each of them alone outweighs a share of 100 %."""

    async def main() -> None:
        async with raw_server(saying("x")) as provider, served(table(provider.base_url)) as gateway:
            lease = time.time() + 3600
            gateway.gateway.apply(table(provider.base_url, epoch=2, route=route(ALL, lease_until=lease)))
            assert (await gateway.chat("u")).headers["x-understudy-variant"] == "new"
            gateway.gateway.killed = frozenset({"chat"})
            assert (await gateway.chat("u")).headers["x-understudy-variant"] == "old"
            gateway.gateway.killed = frozenset()
            assert (await gateway.chat("u")).headers["x-understudy-variant"] == "new"
            gateway.gateway.now = lambda: lease
            assert (await gateway.chat("u")).headers["x-understudy-variant"] == "old"
            reasons = [record.reason for record in gateway.exchanges]
            assert reasons == ["below_share", "kill_file", "below_share", "lease_expired"]

    asyncio.run(main())


def test_a_request_that_names_nobody_follows_the_policy() -> None:
    """`incumbent` sends it there; `random` draws an arm for each request."""

    async def main() -> None:
        async with raw_server(saying("x")) as provider, served(table(provider.base_url)) as gateway:
            gateway.gateway.apply(table(provider.base_url, epoch=2, route=route(ALL)))
            assert (await gateway.chat()).headers["x-understudy-variant"] == "old"
            gateway.gateway.apply(table(provider.base_url, epoch=3, route=route(500_000), no_unit="random"))
            seen = [(await gateway.chat()).headers["x-understudy-variant"] for _ in range(40)]
            assert set(seen) == {"old", "new"}
            assert gateway.exchanges[0].reason == "no_unit"

    asyncio.run(main())


def test_a_conversation_keeps_its_arm_while_the_share_grows() -> None:
    """A conversation that began with the incumbent stays there at 100 %; a new one of the same user does not."""

    async def main() -> None:
        async with raw_server(saying("x")) as provider, served(table(provider.base_url)) as gateway:

            async def talk(conversation: str) -> str:
                headers = {"x-user-id": "u", "x-talk": conversation}
                return (await call(gateway.port, chat(), headers=headers)).headers["x-understudy-variant"]

            pinned = {"conversation": ("header:x-talk",)}
            gateway.gateway.apply(table(provider.base_url, epoch=2, route=route(0), **pinned))
            assert await talk("begun-in-shadow") == "old"
            gateway.gateway.apply(table(provider.base_url, epoch=3, route=route(ALL), **pinned))
            assert await talk("begun-in-shadow") == "old"
            assert gateway.exchanges[-1].reason == "conversation"
            assert await talk("new") == "new"
            gateway.gateway.apply(table(provider.base_url, epoch=4, route=route(1), **pinned))
            assert await talk("new") == "new"
            assert gateway.exchanges[-1].reason == "conversation"

    asyncio.run(main())


# -- fallback


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (saying("down", 500), "status_5xx"),
        (saying("slow down", 429), "rate_limited"),
        (saying("no such model", 404), "status_4xx"),
        (saying("overloaded", 529), "rate_limited"),
        (hang, "timeout"),
        (cut, "reset"),
        (streaming([b": ping\n\n", b'data: {"error":{"message":"x","code":"overloaded"}}\n\n']), "in_stream"),
        (streaming([events("x")[0]], ends=False), "truncated"),
        (streaming([events("x")[0]]), "truncated"),
        (streaming([events("x")[0], 30.0]), "timeout"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_incumbent_answers_where_the_candidate_fails_before_its_first_content(
    reply: Reply, error: str, stream: bool
) -> None:
    """The user sees a whole answer of the incumbent; the failure stands against the candidate."""

    async def main() -> None:
        good = streaming([*events("rescued")]) if stream else saying("rescued")
        async with (
            raw_server(good) as old,
            raw_server(reply) as new,
            served(table(old.base_url, new.base_url, route=route(ALL)), deadlines=QUICK) as gateway,
        ):
            got = await gateway.chat("u", stream=stream)
            assert (got.status, got.complete) == (200, True)
            assert b"rescued" in got.body
            assert b"error" not in got.body
            assert got.headers["x-understudy-variant"] == "old"
            (record,) = await gateway.settled(1)
            assert (record.arm, record.variant, record.served_variant) == ("candidate", "new", "old")
            assert (record.error, record.masked, record.attempts, record.status) == (error, True, 2, 200)
            assert len(new.requests) == len(old.requests) == 1

    asyncio.run(main())


def test_nobody_listening_at_the_candidate_is_masked_too() -> None:
    """A refused connection costs the user nothing."""

    async def main() -> None:
        async with raw_server(saying("rescued")) as old:
            first = table(old.base_url, "http://127.0.0.1:1/v1", route=route(ALL))
            async with served(first) as gateway:
                got = await gateway.chat("u")
                assert (got.status, got.headers["x-understudy-variant"]) == (200, "old")
                (record,) = await gateway.settled(1)
                assert (record.error, record.masked) == ("connect", True)

    asyncio.run(main())


def test_after_the_first_content_there_is_no_second_answer() -> None:
    """A stream that breaks after content ends with an error event and without its last chunk; nothing is invented."""

    async def main() -> None:
        broken = streaming(events("half an ")[:2], ends=False)
        async with (
            raw_server(saying("rescued")) as old,
            raw_server(broken) as new,
            served(table(old.base_url, new.base_url, route=route(ALL))) as gateway,
        ):
            got = await gateway.chat("u", stream=True)
            assert not got.complete
            assert got.body.startswith(b"".join(events("half an ")[:2]))
            assert b"[DONE]" not in got.body
            assert b'"stop"' not in got.body
            assert b"provider_truncated" in got.body
            assert old.requests == []
            (record,) = await gateway.settled(1)
            assert (record.error, record.masked, record.served_variant) == ("truncated", False, "new")
            assert record.answer == "half an "

    asyncio.run(main())


def test_a_fault_that_is_the_callers_is_not_held_against_the_candidate() -> None:
    """Where both providers refuse a request, the caller gets the incumbent's refusal and the breaker stays closed."""

    async def main() -> None:
        async with (
            raw_server(saying("bad", 400)) as old,
            raw_server(saying("bad", 400)) as new,
            served(table(old.base_url, new.base_url, route=route(ALL))) as gateway,
        ):
            for _ in range(8):
                got = await gateway.chat("u")
                assert got.status == 400
            assert gateway.gateway.open_breakers() == []
            assert len(new.requests) == 8

    asyncio.run(main())


def test_the_breaker_takes_a_dead_candidate_out_after_five_requests() -> None:
    """Users see no failure, the sixth request is not tried on the candidate, and the reason is told."""

    async def main() -> None:
        async with (
            raw_server(saying("fine")) as old,
            raw_server(saying("down", 503)) as new,
            served(table(old.base_url, new.base_url, route=route(ALL))) as gateway,
        ):
            for _ in range(20):
                assert (await gateway.chat("u")).status == 200
            assert len(new.requests) == 5
            (opened,) = gateway.gateway.open_breakers()
            assert opened["workload"] == "chat"
            assert "5 failures in a row" in opened["why"]
            assert [r.reason for r in gateway.exchanges] == ["below_share"] * 5 + ["breaker_open"] * 15
            gateway.gateway.apply(table(old.base_url, new.base_url, epoch=2, route=route(ALL)))
            await gateway.chat("u")
            assert len(new.requests) == 5
            gateway.gateway.apply(table(old.base_url, new.base_url, epoch=3, route=route(ALL, upgrade="u2")))
            await gateway.chat("u")
            assert len(new.requests) == 6

    asyncio.run(main())


# -- honest failure of the incumbent


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (cut, 502, "provider_reset"),
        (hang, 504, "provider_timeout"),
    ],
)
def test_a_provider_that_does_not_answer_is_an_error_in_the_callers_dialect(
    reply: Reply, status: int, code: str
) -> None:
    """Without a candidate to mask, the caller is told, and the connection lives on."""

    async def main() -> None:
        async with raw_server(reply) as provider, served(table(provider.base_url), deadlines=QUICK) as gateway:
            got = await gateway.chat("u")
            assert (got.status, got.complete) == (status, True)
            assert json.loads(got.body)["error"]["code"] == code
            assert "x-understudy-exchange" in got.headers
            (record,) = await gateway.settled(1)
            assert record.status == status
            assert record.served_variant == ""

    asyncio.run(main())


def test_errors_of_a_provider_pass_with_their_retry_after() -> None:
    """A 429 keeps its body and its Retry-After."""

    async def main() -> None:
        async with (
            raw_server(saying("slow down", 429, b"Retry-After: 17\r\n")) as provider,
            served(table(provider.base_url)) as gateway,
        ):
            got = await gateway.chat("u")
            assert (got.status, got.headers["retry-after"]) == (429, "17")
            assert json.loads(got.body)["error"]["message"] == "slow down"
            assert len(provider.requests) == 1
            (record,) = await gateway.settled(1)
            assert record.error == "rate_limited"

    asyncio.run(main())


@pytest.mark.parametrize(("status", "seen"), [(502, 502), (503, 503), (302, 502), (307, 502)])
def test_an_html_page_or_a_redirect_becomes_an_error_in_the_callers_dialect(status: int, seen: int) -> None:
    """A proxy's page is not passed off as an answer, and no redirect is followed or shown."""

    async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        page = b"<html>Bad gateway</html>"
        writer.write(
            whole(page, status, b"content-type: text/html\r\nlocation: http://127.0.0.1:1/\r\nretry-after: 3\r\n")
        )

    async def main() -> None:
        async with raw_server(reply) as provider, served(table(provider.base_url)) as gateway:
            got = await gateway.chat("u")
            assert (got.status, got.headers["content-type"]) == (seen, "application/json")
            assert json.loads(got.body)["error"]["code"] == "provider_error"
            assert "location" not in got.headers
            assert got.headers["retry-after"] == "3"
            assert len(provider.requests) == 1

    asyncio.run(main())


@pytest.mark.parametrize(("encoding", "read"), [("gzip", True), ("deflate", True), ("br", False), ("zstd", False)])
def test_no_encoding_is_asked_for_and_one_that_comes_passes_untouched(encoding: str, read: bool) -> None:
    """The provider is asked for plain bytes whatever the caller takes; what it sends anyway is read where we can."""
    packed = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding, lambda body: b"\x0b" + body)(
        completion("hi")
    )

    async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(packed, 200, f"content-type: application/json\r\ncontent-encoding: {encoding}\r\n".encode()))

    async def main() -> None:
        async with raw_server(reply) as provider, served(table(provider.base_url)) as gateway:
            got = await call(gateway.port, chat(), headers={"accept-encoding": "gzip, deflate, br, zstd"})
            assert (got.status, got.body, got.headers["content-encoding"]) == (200, packed, encoding)
            assert b"\r\naccept-encoding: identity\r\n" in provider.requests[0]
            assert provider.requests[0].count(b"accept-encoding") == 1
            (record,) = await gateway.settled(1)
            assert (record.error, record.output_tokens, record.answer) == (
                "",
                3 if read else None,
                "hi" if read else "",
            )

    asyncio.run(main())


@pytest.mark.parametrize(
    ("wire", "path", "before", "ping", "after"),
    [
        (
            "anthropic",
            "/v1/messages",
            [
                b'event: message_start\ndata: {"type":"message_start","message":{"id":"m"}}\n\n',
                b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
                b'"delta":{"type":"text_delta","text":"hi"}}\n\n',
            ],
            b'event: ping\ndata: {"type": "ping"}\n\n',
            [b'event: message_stop\ndata: {"type":"message_stop"}\n\n'],
        ),
        ("openai", "/v1/chat/completions", events("hi", done=False), b": keep-alive\n\n", [b"data: [DONE]\n\n"]),
        (
            "gemini",
            "/v1beta/models/chat:streamGenerateContent?alt=sse",
            [b'data: {"candidates":[{"content":{"parts":[{"text":"hi"}]}}]}\n\n'],
            b": ping\n\n",
            [b'data: {"candidates":[{"content":{"parts":[{"text":"!"}]},"finishReason":"STOP"}]}\n\n'],
        ),
    ],
)
def test_pings_keep_a_silent_stream_alive_and_nothing_is_added_to_it(
    wire: str, path: str, before: list[bytes], ping: bytes, after: list[bytes]
) -> None:
    """A model that thinks for three times the idle deadline and pings is waited for; the bytes are its own."""
    pauses = [piece for _ in range(6) for piece in (0.5, ping)]

    async def main() -> None:
        async with raw_server(streaming([*before, *pauses, *after])) as provider:
            base = provider.base_url if wire == "openai" else f"http://127.0.0.1:{provider.port}"
            async with served(table(base, providers={"p-old": {"wire": wire}}), deadlines=QUICK) as gateway:
                got = await call(gateway.port, chat(stream=True, max_tokens=9), path=path)
                assert (got.status, got.complete) == (200, True)
                assert got.body == b"".join([*before, *[ping] * 6, *after])
                (record,) = await gateway.settled(1)
                assert record.error == ""
        silent = streaming([*before, 30.0])
        async with raw_server(silent) as provider:
            base = provider.base_url if wire == "openai" else f"http://127.0.0.1:{provider.port}"
            async with served(table(base, providers={"p-old": {"wire": wire}}), deadlines=QUICK) as gateway:
                got = await call(gateway.port, chat(stream=True, max_tokens=9), path=path)
                assert not got.complete
                (record,) = await gateway.settled(1)
                assert record.error == "timeout"

    asyncio.run(main())


def test_a_stream_without_its_terminal_event_is_never_completed_for_the_provider() -> None:
    """A clean end without [DONE] is told as an error."""

    async def main() -> None:
        async with (
            raw_server(streaming([*events("whole?", done=False)])) as provider,
            served(table(provider.base_url)) as gateway,
        ):
            got = await gateway.chat("u", stream=True)
            assert not got.complete
            assert b"[DONE]" not in got.body
            assert b"provider_truncated" in got.body
            (record,) = await gateway.settled(1)
            assert record.error == "truncated"

    asyncio.run(main())


# -- shadow


def test_each_served_request_has_its_copy_and_the_client_sees_nothing_of_it() -> None:
    """A pair is two records: the served exchange and the candidate's answer to the same request."""

    async def main() -> None:
        async with raw_server(saying("old says")) as old, raw_server(saying("new says")) as new:
            first = table(old.base_url, new.base_url, route=route(0, shadow=Shadow(ALL)))
            async with served(first) as gateway:
                got = await gateway.chat("u", text="question")
                assert b"old says" in got.body
                (copy,) = await gateway.settled(1, copies=True)
                (record,) = gateway.exchanges
                assert copy.pair == record.exchange
                assert (copy.role, copy.arm, copy.variant, copy.answer) == ("shadow", "candidate", "new", "new says")
                assert copy.unit == "u"
                assert copy.error == ""
                assert body_of(new.requests[0])["messages"] == body_of(old.requests[0])["messages"]
                assert body_of(new.requests[0])["model"] == "m-new"

    asyncio.run(main())


@pytest.mark.parametrize("reply", [hang, cut, saying("down", 500), streaming([b"data: nonsense\n\n"])])
def test_a_candidate_that_is_ill_in_shadow_leaves_the_primary_alone(reply: Reply) -> None:
    """Every client gets the incumbent's answer; each copy's failure is on record."""

    async def main() -> None:
        async with raw_server(saying("fine")) as old, raw_server(reply) as new:
            first = table(old.base_url, new.base_url, route=route(0, shadow=Shadow(ALL)))
            async with served(first, deadlines=QUICK) as gateway:
                answers = [await gateway.chat(f"u{n}") for n in range(10)]
                assert all(answer.status == 200 and b"fine" in answer.body for answer in answers)
                copies = await gateway.settled(10, copies=True)
                assert all(copy.error for copy in copies)
                assert gateway.gateway.open_breakers() == []

    asyncio.run(main())


def test_no_client_waits_for_a_copy() -> None:
    """Ten clients have their answers, one after the other, while the candidate has not answered one copy."""

    async def main() -> None:
        answered = asyncio.Event()

        async def held(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            await answered.wait()
            await saying("late")(number, request, writer)

        async with raw_server(saying("fine")) as old, raw_server(held) as new:
            first = table(old.base_url, new.base_url, route=route(0, shadow=Shadow(ALL)))
            async with served(first) as gateway:
                answers = [await gateway.chat(f"u{n}") for n in range(10)]
                assert all(b"fine" in answer.body for answer in answers)
                assert gateway.copies == []
                answered.set()
                copies = await gateway.settled(10, copies=True)
                assert [(copy.error, copy.answer) for copy in copies] == [("", "late")] * 10

    asyncio.run(main())


def test_copies_are_bounded_and_what_is_not_made_is_counted() -> None:
    """With two in flight the newest are dropped, each with its reason."""

    async def main() -> None:
        counted = asyncio.Event()

        async def held(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            await counted.wait()
            await saying("late")(number, request, writer)

        async with raw_server(saying("fine")) as old, raw_server(held) as new:
            first = table(old.base_url, new.base_url, route=route(0, shadow=Shadow(ALL, max_in_flight=2)))
            async with served(first) as gateway:
                for n in range(6):
                    await gateway.chat(f"u{n}")
                dropped = await gateway.settled(4, copies=True)
                assert [copy.error for copy in dropped] == ["shadow_busy"] * 4
                await until(lambda: len(new.requests) == 2)
                assert gateway.gateway.mirror.in_flight("chat") == 2
                counted.set()
                await gateway.settled(6, copies=True)
                assert gateway.gateway.mirror.in_flight("chat") == 0
                assert len(new.requests) == 2

    asyncio.run(main())


def test_calls_with_effects_are_never_copied() -> None:
    """A request that would store its answer, or that the candidate itself answers, has no copy."""

    async def main() -> None:
        async with raw_server(saying("fine")) as old, raw_server(saying("new")) as new:
            first = table(old.base_url, new.base_url, route=route(0, shadow=Shadow(ALL)))
            async with served(first) as gateway:
                await gateway.chat("u", store=True)
                await gateway.chat("u", tools=[{"type": "web_search"}])
                gateway.gateway.killed = frozenset({"chat"})
                await gateway.chat("u")
                gateway.gateway.killed = frozenset()
                await gateway.chat("u", text="copied")
                (copy,) = await gateway.settled(1, copies=True)
                assert copy.pair == gateway.exchanges[-1].exchange
                assert len(new.requests) == 1

    asyncio.run(main())


def test_a_sample_is_chosen_by_hash() -> None:
    """At 30 % about 30 % of the requests are copied."""

    async def main() -> None:
        async with raw_server(saying("fine")) as old, raw_server(saying("new")) as new:
            first = table(old.base_url, new.base_url, route=route(0, shadow=Shadow(300_000)))
            async with served(first) as gateway:
                for n in range(200):
                    await gateway.chat(f"u{n}")
                await until(lambda: gateway.gateway.mirror.in_flight("chat") == 0)
                assert 35 <= len(gateway.copies) <= 90

    asyncio.run(main())


def test_a_primary_that_is_asked_too_much_stops_the_copies() -> None:
    """After the incumbent's 429 nothing is copied for a while, and each omission is counted."""

    async def main() -> None:
        async with raw_server(saying("slow down", 429)) as old, raw_server(saying("new")) as new:
            first = table(old.base_url, new.base_url, route=route(0, shadow=Shadow(ALL)))
            async with served(first) as gateway:
                for n in range(3):
                    await gateway.chat(f"u{n}")
                copies = await gateway.settled(3, copies=True)
                assert sorted(copy.error for copy in copies) == ["", "shadow_resting", "shadow_resting"]

    asyncio.run(main())


# -- clients that go away


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_closes_the_providers_connection(stream: bool) -> None:
    """What was asked of the provider ends with the client, before its answer and in the middle of it."""

    async def main() -> None:
        reply = streaming([*events("a", "b")[:3], 30.0]) if stream else hang
        async with raw_server(reply) as provider, served(table(provider.base_url)) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            body = chat(stream=stream)
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            await until(lambda: len(provider.requests) == 1)
            if stream:
                await reader.readuntil(b'"b"')
            writer.transport.abort()
            (record,) = await gateway.settled(1)
            assert record.error == "client_gone"
            assert record.answer == ("ab" if stream else "")
            assert record.status == (200 if stream else 0)
            assert len(gateway.gateway.sessions) == 0
            pools = gateway.gateway.compiler.pools.values()
            await until(lambda: sum(pool.open_connections for pool in pools) == 0)

    asyncio.run(main())


# -- keys, unknown things, the gateway's own endpoints


def key(name: str, *workloads: str) -> GatewayKey:
    return GatewayKey(name, sha256(name.encode()).hexdigest(), workloads or ("*",))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Basic good"}, 401),
        ({"authorization": "Bearer good"}, 200),
        ({"authorization": "bearer good"}, 200),
        ({"authorization": "Bearer limited"}, 403),
        ({"x-understudy-key": "good"}, 200),
    ],
)
def test_a_gateway_with_keys_serves_those_who_have_one(headers: dict[str, str], status: int) -> None:
    """Unknown keys get 401, a key for other workloads 403; nothing of them reaches the provider."""

    async def main() -> None:
        async with raw_server(saying("x")) as provider:
            first = table(provider.base_url, keys=[key("good"), key("limited", "other")])
            async with served(first) as gateway:
                got = await call(gateway.port, chat(), headers=headers)
                assert got.status == status
                if status != 200:
                    assert provider.requests == []
                    assert "message" in json.loads(got.body)["error"]
                else:
                    assert b"good" not in provider.requests[0]

    asyncio.run(main())


def test_a_revoked_key_is_dead_with_the_next_table() -> None:
    """No cache outlives a flip."""

    async def main() -> None:
        async with (
            raw_server(saying("x")) as provider,
            served(table(provider.base_url, keys=[key("a"), key("b")])) as gateway,
        ):
            mine = {"authorization": "Bearer a"}
            assert (await call(gateway.port, chat(), headers=mine)).status == 200
            gateway.gateway.apply(table(provider.base_url, epoch=2, keys=[key("b")]))
            assert (await call(gateway.port, chat(), headers=mine)).status == 401

    asyncio.run(main())


def test_what_is_not_known_is_refused() -> None:
    """Unknown workloads and endpoints get a 404, an unreadable body a 400, in the caller's dialect."""

    async def main() -> None:
        async with raw_server(saying("x")) as provider, served(table(provider.base_url)) as gateway:
            cases = [
                ({"body": b'{"model":"gpt-4o","messages":[]}'}, 404, "unknown_workload"),
                ({"body": chat(), "path": "/v1/files"}, 404, "unknown_endpoint"),
                ({"body": chat(), "method": "PUT"}, 404, "unknown_endpoint"),
                ({"body": b"{"}, 400, "invalid_request"),
                ({"body": b""}, 400, "invalid_request"),
                ({"body": b'{"model":3}'}, 400, "invalid_request"),
                ({"body": chat(), "headers": {"x-understudy-workload": "nope"}}, 404, "unknown_workload"),
            ]
            for given, status, code in cases:
                got = await call(gateway.port, **given)  # type: ignore[arg-type]
                assert (got.status, json.loads(got.body)["error"]["code"]) == (status, code)
            assert provider.requests == []
            named = await call(
                gateway.port, b'{"model":"gpt-4o","messages":[]}', headers={"x-understudy-workload": "chat"}
            )
            assert named.status == 200

    asyncio.run(main())


def test_feedback_health_and_the_list_of_models() -> None:
    """Feedback is accepted and kept; health needs no table, readiness does; models are the workloads."""

    async def main() -> None:
        async with raw_server(saying("x")) as provider, served(table(provider.base_url)) as gateway:
            good = await call(gateway.port, b'{"exchange":"x1","name":"thumb","value":1}', path="/v1/feedback")
            assert good.status == 202
            (kept,) = gateway.feedback
            assert (kept.exchange, kept.name, kept.value) == ("x1", "thumb", 1.0)
            for bad in (b"{}", b"[]", b'{"exchange":"x1","name":"thumb","value":"up"}'):
                assert (await call(gateway.port, bad, path="/v1/feedback")).status == 400
            models = await call(gateway.port, b"", path="/v1/models", method="GET")
            assert [m["id"] for m in json.loads(models.body)["data"]] == ["chat"]
            assert (await call(gateway.port, b"", path="/readyz", method="GET")).status == 200
            gateway.gateway.snapshot = None
            assert (await call(gateway.port, b"", path="/readyz", method="GET")).status == 503
            assert (await call(gateway.port, b"", path="/healthz", method="GET")).status == 200
            assert (await gateway.chat("u")).status == 503

    asyncio.run(main())


@pytest.mark.parametrize(("setting", "request_kept", "answer"), [("off", b"", ""), ("redacted", b"x", "xxxx")])
def test_content_is_kept_only_as_the_workload_allows(setting: str, request_kept: bytes, answer: str) -> None:
    """`off` keeps nothing, `redacted` only what redaction left; usage is there in any case."""

    async def main() -> None:
        async with (
            raw_server(saying("fine")) as provider,
            served(table(provider.base_url, content=setting)) as gateway,
        ):
            await gateway.chat("u", text="secret")
            (record,) = await gateway.settled(1)
            assert record.answer == answer
            assert set(record.request) <= set(request_kept)
            assert record.input_tokens == 7

    asyncio.run(main())


def test_provider_connections_survive_a_flip_of_the_table() -> None:
    """Keep-alive connections are used on after a new epoch."""

    async def main() -> None:
        async with raw_server(saying("x")) as provider, served(table(provider.base_url)) as gateway:
            for epoch in range(2, 8):
                assert (await gateway.chat("u")).status == 200
                gateway.gateway.apply(table(provider.base_url, epoch=epoch))
            assert provider.connections == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (b"data: [DONE]\n\n", ""),
        (b'data: {"error":{"message":"m","code":"overloaded"}}\n\n', "in_stream"),
        (b'data: {"choices":[{"index":0,"delta":{"content":"more"}}]}\n\n', "client_gone"),
    ],
)
def test_a_client_that_leaves_at_the_end_of_a_stream_does_not_change_how_it_ended(last: bytes, error: str) -> None:
    """Clients close at the last event, or at an error, before the provider ends the connection or its chunks."""

    async def main() -> None:
        reply = streaming([*events("a")[:2], last, 30.0])
        async with raw_server(reply) as provider, served(table(provider.base_url)) as gateway:
            body = chat(stream=True)
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            await reader.readuntil(last)
            writer.transport.abort()
            (record,) = await gateway.settled(1)
            assert (record.status, record.error) == (200, error)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", "wants another protocol"),
        (whole(b"{}") + whole(b"{}"), "an answer nobody asked for"),
    ],
)
def test_a_provider_that_breaks_the_protocol_is_no_bug_of_ours(answer: bytes, why: str) -> None:
    """It is told as the provider's failure and nothing is raised into the loop."""
    raised: list[dict[str, object]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))

        async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)

        async with raw_server(reply) as provider, served(table(provider.base_url)) as gateway:
            got = await gateway.chat()
            assert got.status == 502
            assert why in json.loads(got.body)["error"]["message"]
            assert [record.error for record in await gateway.settled(1)] == ["protocol"]

    asyncio.run(main())
    assert raised == []


def test_the_time_for_a_request_to_arrive_does_not_end_the_answer_before_it() -> None:
    """The beginning of a second request came with the first one, whose answer takes longer than a request may."""

    async def main() -> None:
        async def slow(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.6)
            await saying("fine")(number, request, writer)

        limits = Limits(receipt_s=0.2)
        async with raw_server(slow) as provider, served(table(provider.base_url), limits=limits) as gateway:
            body = chat()
            asked = b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: %d\r\n\r\n%b" % (
                len(body),
                body,
            )
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(asked + asked[:20])
            assert (await read_answer(reader)).status == 200
            writer.write(asked[20:])
            assert (await read_answer(reader)).status == 200
            writer.close()

    asyncio.run(main())


def test_a_bug_before_anything_was_asked_is_told_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted where a request is written: its client gets an error, its key and its connection are free again."""
    raised: list[dict[str, object]] = []

    def planted(*_: object) -> None:
        raise RuntimeError("planted")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
        key = GatewayKey("app", sha256(b"gk").hexdigest())
        async with raw_server(saying("fine")) as provider, served(table(provider.base_url, keys=[key])) as gateway:
            operation = SimpleNamespace(peek=openai_chat.peek, apply=planted)
            monkeypatch.setitem(cast(dict[str, Any], OPENAI.operations), "chat.completions", operation)
            headers = {"authorization": "Bearer gk"}
            got = await asyncio.wait_for(call(gateway.port, chat(), headers=headers), 20)
            assert (got.status, json.loads(got.body)["error"]["code"]) == (500, "internal_error")
            assert [record.error for record in await gateway.settled(1)] == ["internal"]
            assert gateway.gateway.in_use == {"app": 0}
            monkeypatch.undo()
            assert (await call(gateway.port, chat(), headers=headers)).status == 200

    asyncio.run(main())
    assert [str(context["exception"]) for context in raised] == ["planted"]


@pytest.mark.parametrize("key", ["sk-1\r", "sk-1\n", "sk-…", " sk-1", "sk-1\x00"])
def test_a_key_that_cannot_be_sent_is_refused_with_its_table_and_not_shown(key: str) -> None:
    """From a file with its line end, or copied with its dots: requests could never be written."""

    async def main() -> None:
        async with raw_server(saying("fine")) as provider, served(table(provider.base_url)) as gateway:
            with pytest.raises(UsageError, match="of the key of provider p-old") as refused:
                gateway.gateway.apply(table(provider.base_url, epoch=2, providers={"p-old": {"api_key": key}}))
            assert "sk-" not in str(refused.value)
            assert (await gateway.chat()).headers["x-understudy-epoch"] == "1"

    asyncio.run(main())


@pytest.mark.parametrize("promised", [0, 100], ids=["all of it", "more than comes"])
def test_a_stream_of_a_stated_length_is_no_less_broken_without_its_end(promised: int) -> None:
    """The error is told within the answer, and not behind a length that the provider stated."""
    told = b"".join(events("half", done=False)[:2])

    async def main() -> None:
        async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
            writer.write(head % (len(told) + promised) + told)
            writer.close()

        async with raw_server(reply) as provider, served(table(provider.base_url)) as gateway:
            got = await gateway.chat(stream=True)
            assert (got.status, got.complete) == (200, False)
            assert got.body.startswith(told)
            assert b'"code":"provider_truncated"' in got.body
            (record,) = await gateway.settled(1)
            assert (record.error, record.answer) == ("truncated", "half")

    asyncio.run(main())


@pytest.mark.parametrize("framed", [True, False])
def test_a_candidates_error_is_masked_however_long_its_page_is(framed: bool) -> None:
    """Debug pages of a framework are longer than what is held back of an answer."""
    page = b"<html>" + b"x" * 300_000

    async def main() -> None:
        async def broken(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            kind = b"content-type: text/html\r\n"
            writer.write(whole(page, 500, kind) if framed else b"HTTP/1.1 500 X\r\n" + kind + b"\r\n" + page)
            if not framed:
                writer.close()

        async with (
            raw_server(saying("fine")) as old,
            raw_server(broken) as new,
            served(table(old.base_url, new.base_url, route=route(ALL))) as gateway,
        ):
            got = await gateway.chat("u")
            assert (got.status, got.headers["x-understudy-variant"]) == (200, "old")
            (record,) = await gateway.settled(1)
            assert (record.masked, record.error, record.status) == (True, "status_5xx", 200)

    asyncio.run(main())


def test_a_candidate_that_says_that_it_failed_is_not_waited_for() -> None:
    """Its error before any content is enough: it may leave its connection open as long as it likes."""
    error = b'data: {"error":{"message":"m","code":"overloaded"}}\n\n'

    async def main() -> None:
        async with (
            raw_server(streaming(events("fine"))) as old,
            raw_server(streaming([error, 60.0])) as new,
            served(table(old.base_url, new.base_url, route=route(ALL))) as gateway,
        ):
            got = await asyncio.wait_for(gateway.chat("u", stream=True), 20)
            assert (got.status, got.complete, got.headers["x-understudy-variant"]) == (200, True, "old")
            (record,) = await gateway.settled(1)
            assert (record.masked, record.error) == (True, "in_stream")

    asyncio.run(main())
