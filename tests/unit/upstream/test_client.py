from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager

import pytest
import trustme
import uvloop
from msgspec.structs import replace

from understudy.core.errors import UsageError
from understudy.core.routing import Provider
from understudy.testing.raw import RawServer, raw_server, whole
from understudy.testing.served import until
from understudy.upstream.client import Client, Response
from understudy.upstream.connection import Connection, Headers, Receiver
from understudy.upstream.deadlines import Deadlines
from understudy.upstream.failure import Failure, Kind, UpstreamError
from understudy.upstream.origin import origin_of
from understudy.upstream.pool import Pool
from understudy.upstream.wheel import Wheel
from understudy.wires.base import WireRequest

REQUEST = WireRequest("/chat/completions", (("x-extra", "1"),), b'{"model":"m"}')
SHORT = Deadlines(headers_s=0.2, first_token_s=0.3, idle_s=0.2)


def client_of(server: RawServer, deadlines: Deadlines | None = None, **fields: str) -> Client:
    base = fields.pop("base_url", server.base_url)
    provider = Provider(name="main", wire="openai", base_url=base, **fields)
    return Client({"main": provider}, lambda name: f"sk-{name}", deadlines=deadlines)


FRAMED = (b"POST / HTTP/1.1\r\nhost: p\r\ncontent-length: 0\r\n\r\n", b"")


class Waiting(Receiver):
    """Remembers which connection its answer came by; `over` is "" or what failed."""

    def __init__(self) -> None:
        self.connection = None
        self.came_by: Connection | None = None
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def head(self, status: int, headers: Headers) -> None:
        self.came_by = self.connection

    def data(self, chunk: bytes) -> None:
        pass

    def end(self, chunk: bytes) -> None:
        self.over.set_result("")

    def failed(self, failure: Failure) -> None:
        self.over.set_result(failure.message)


class Slow(Waiting):
    """Has its connection wait a while after each read, as the connection of a client that reads slowly does."""

    def data(self, chunk: bytes) -> None:
        connection = self.connection
        if connection is not None:
            connection.pause()
            asyncio.get_running_loop().call_later(0.15, connection.resume)


@asynccontextmanager
async def pool_to(server: RawServer, deadlines: Deadlines | None = None) -> AsyncIterator[Pool]:
    """A pool of connections to a server."""
    provider = Provider(name="main", wire="openai", base_url=server.base_url)
    wheel = Wheel(asyncio.get_running_loop())
    pool = Pool(origin_of(provider), wheel, deadlines=deadlines)
    try:
        yield pool
    finally:
        pool.close()
        wheel.close()


Reply = Callable[[int, bytes, asyncio.StreamWriter], Awaitable[None]]


def replying(*parts: bytes | float) -> Reply:
    """Write the parts; a number waits that many seconds."""

    async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            if isinstance(part, bytes):
                writer.write(part)
                await writer.drain()
            else:
                await asyncio.sleep(part)

    return reply


def one(reply: Reply, deadlines: Deadlines | None = None) -> tuple[Response | UpstreamError, RawServer]:
    """Send one request to a server with this reply."""

    async def main() -> tuple[Response | UpstreamError, RawServer]:
        async with raw_server(reply) as server:
            client = client_of(server, deadlines)
            try:
                return await client.send("main", REQUEST), server
            except UpstreamError as error:
                return error, server
            finally:
                await client.close()

    return asyncio.run(main())


def test_a_whole_answer_comes_back_as_it_was_sent() -> None:
    """Status, headers and body arrive; the request carries path, key, host and body."""
    response, server = one(replying(whole(b'{"ok":true}', 503, b"Retry-After: 7\r\n")))
    assert isinstance(response, Response)
    assert (response.status, response.body) == (503, b'{"ok":true}')
    assert ("retry-after", "7") in response.headers
    assert 0 < response.ttft_s <= response.latency_s
    (request,) = server.requests
    assert request.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n" % server.port)
    assert b"sk-main" in request
    assert b"x-extra: 1\r\n" in request
    assert request.endswith(b'\r\n\r\n{"model":"m"}')


def test_an_answer_cut_at_any_byte_of_its_framing_reads_the_same() -> None:
    """Chunked answers are read the same, however TCP cuts them."""
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"

    async def main() -> None:
        cut = {"at": 0}

        async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(answer[: cut["at"]])
            await writer.drain()
            await asyncio.sleep(0.001)
            writer.write(answer[cut["at"] :])

        async with raw_server(reply) as server:
            client = client_of(server)
            for at in range(1, len(answer)):
                cut["at"] = at
                assert (await client.send("main", REQUEST)).body == b"hello world"
            assert server.connections == 1
            await client.close()

    asyncio.run(main())


def test_informational_answers_are_skipped() -> None:
    """A 103 before the answer is no answer."""
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    response, _ = one(replying(early, whole(b"done")))
    assert isinstance(response, Response)
    assert (response.status, response.body) == (200, b"done")
    assert all(name != "link" for name, _ in response.headers)


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """Close-delimited bodies are whole when the provider closes cleanly."""

    async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        writer.close()

    response, _ = one(reply)
    assert isinstance(response, Response)
    assert response.body == b"all of it"


def test_a_redirect_is_returned_and_never_followed() -> None:
    """The key stays with the provider's own host."""
    response, server = one(replying(whole(b"", 307, b"location: http://127.0.0.1:1/elsewhere\r\n")))
    assert isinstance(response, Response)
    assert response.status == 307
    assert len(server.requests) == 1


async def _reset(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def _cut(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    writer.close()


async def _cut_chunk(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
    writer.close()


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (_reset, Kind.RESET),
        (_cut, Kind.TRUNCATED),
        (_cut_chunk, Kind.TRUNCATED),
        (replying(30.0), Kind.TIMEOUT),
        (replying(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe", 30.0), Kind.TIMEOUT),
        (replying(b"SSH-2.0-OpenSSH_9.2\r\n"), Kind.PROTOCOL),
        (replying(b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"), Kind.PROTOCOL),
        (replying(b"HTTP/1.1 200 OK\r\n" + b"x-a: 1\r\n" * 30000), Kind.PROTOCOL),
    ],
)
def test_each_failure_has_its_kind(reply: Reply, kind: Kind) -> None:
    """A failure says what happened, names the provider, and is raised within the deadlines."""
    error, _ = one(reply, SHORT if kind is Kind.TIMEOUT else None)
    assert isinstance(error, UpstreamError)
    assert error.kind is kind
    assert error.sent
    assert "provider" in error.remedy


def test_a_trickle_ends_at_the_total_deadline() -> None:
    """Bytes that keep coming extend the idle deadline, not the total one."""
    drip = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n", 0.1] * 300]
    error, _ = one(replying(*drip), Deadlines(total_s=0.8))
    assert isinstance(error, UpstreamError)
    assert error.kind is Kind.TIMEOUT


def test_silence_ends_at_the_total_deadline_where_that_is_the_shortest() -> None:
    """Who sets the total alone is not kept waiting for the others."""
    error, _ = one(replying(20.0), Deadlines(total_s=0.5))
    assert isinstance(error, UpstreamError)
    assert "within 0.5 s" in str(error)


def test_a_receiver_that_waits_now_and_again_does_not_outlive_the_total_deadline() -> None:
    """Each look at the time may find the connection waiting for its client: the total counts all the same."""
    drip = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n", 0.01] * 3000]

    async def main() -> None:
        async with raw_server(replying(*drip)) as server, pool_to(server, Deadlines(total_s=0.8)) as pool:
            slow = Slow()
            pool.send(slow, *FRAMED, streamed=True)
            async with asyncio.timeout(15):
                assert "within 0.8 s" in await slow.over

    asyncio.run(main())


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_made_while_the_process_stood_still_is_not_late(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """The time to connect is the provider's, not what a starved process needs to see that it is connected."""

    async def main() -> None:
        async with raw_server(replying(whole(b"x"))) as server, pool_to(server, Deadlines(connect_s=0.3)) as pool:
            waiting = Waiting()
            pool.send(waiting, *FRAMED, streamed=False)
            asyncio.get_running_loop().call_soon(time.sleep, 1.0)
            assert await waiting.over == ""

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def test_a_provider_that_never_takes_a_connection_is_given_up() -> None:
    """A full backlog leaves a handshake unanswered: after connect_s that is a failure that was not sent."""

    async def main() -> None:
        with socket.socket() as full, ExitStack() as callers:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for _ in range(4):
                caller = callers.enter_context(socket.socket())
                caller.setblocking(False)
                caller.connect_ex(full.getsockname())
            server = RawServer()
            server.port = full.getsockname()[1]
            client = client_of(server, Deadlines(connect_s=0.3))
            with pytest.raises(UpstreamError, match=r"took longer than 0\.3 s") as caught:
                await client.send("main", REQUEST)
            assert caught.value.kind is Kind.TIMEOUT
            assert not caught.value.sent
            await client.close()

    asyncio.run(main())


def test_nothing_listening_is_a_connect_failure_that_was_not_sent() -> None:
    """A refused connection is provably unsent."""

    async def main() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            server = RawServer()
            server.port = taken.getsockname()[1]
            client = client_of(server)
            with pytest.raises(UpstreamError) as caught:
                await client.send("main", REQUEST)
            assert caught.value.kind is Kind.CONNECT
            assert not caught.value.sent
            await client.close()

    asyncio.run(main())


def test_connections_are_kept_used_again_and_closed_when_idle() -> None:
    """Requests one after another share a connection; an idle one is closed after keep_alive_s."""

    async def main() -> None:
        async with raw_server(replying(whole(b"x"))) as server:
            client = client_of(server, Deadlines(keep_alive_s=1.0))
            for _ in range(5):
                await client.send("main", REQUEST)
            assert server.connections == 1
            await until(lambda: server.ended == 1)
            await client.send("main", REQUEST)
            assert server.connections == 2
            await client.close()

    asyncio.run(main())


def test_a_connection_is_let_go_before_its_provider_closes_it() -> None:
    """What the provider says it waits counts, though our own limit is longer."""

    async def main() -> None:
        async with raw_server(replying(whole(b"x", 200, b"keep-alive: timeout=1\r\n"))) as server:
            client = client_of(server, Deadlines(keep_alive_s=60.0))
            await client.send("main", REQUEST)
            await until(lambda: server.ended == 1)
            await client.close()

    asyncio.run(main())


def test_a_connection_whose_end_was_seen_carries_no_more_requests() -> None:
    """Between the provider's end and the loop's word that the connection is lost, a request takes another one."""

    async def main() -> None:
        async with raw_server(replying(whole(b"x"))) as server, pool_to(server) as pool:
            first, second = Waiting(), Waiting()
            pool.send(first, *FRAMED, streamed=False)
            await first.over
            kept = first.came_by
            assert kept is not None
            kept.eof_received()
            pool.send(second, *FRAMED, streamed=False)
            assert await second.over == ""
            assert second.came_by is not kept

    asyncio.run(main())


def test_a_request_that_was_given_up_in_its_own_turn_never_leaves() -> None:
    """What waits for the end of the turn is not sent on a connection that was closed meanwhile."""

    async def main() -> None:
        async with raw_server(replying(whole(b"x"))) as server, pool_to(server) as pool:
            first, second = Waiting(), Waiting()
            pool.send(first, *FRAMED, streamed=False)
            await first.over
            assert first.came_by is not None
            pool.outbox.put(first.came_by, b"")  # the first of a turn does not wait
            pool.send(second, *FRAMED, streamed=False)
            pool.cancel(second)
            await until(lambda: server.ended == 1)
            assert len(server.requests) == 1
            assert not second.over.done()

    asyncio.run(main())


def test_bytes_after_an_answer_never_become_the_next_answer() -> None:
    """An answer with another glued to it spoils the connection, not the next caller."""

    async def main() -> None:
        async with raw_server(replying(whole(b"mine") + whole(b"smuggled"))) as server:
            client = client_of(server)
            for _ in range(3):
                with pytest.raises(UpstreamError) as caught:
                    await client.send("main", REQUEST)
                assert caught.value.kind is Kind.PROTOCOL
            assert server.connections == 3
            await client.close()

    asyncio.run(main())


def test_a_cancelled_call_closes_its_connection() -> None:
    """Who stops waiting stops paying: the provider sees the end."""

    async def main() -> None:
        async with raw_server(replying(30.0)) as server:
            client = client_of(server)
            call = asyncio.create_task(client.send("main", REQUEST))
            await until(lambda: len(server.requests) == 1)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await until(lambda: client._pools["main"].open_connections == 0)
            await client.close()

    asyncio.run(main())


def test_many_calls_at_once_each_get_their_own_answer() -> None:
    """Concurrent calls never see each other's bodies."""

    async def echo(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.01)
        writer.write(whole(request.partition(b"\r\n\r\n")[2]))

    async def main() -> None:
        async with raw_server(echo) as server:
            client = client_of(server, Deadlines(connect_s=30))
            bodies = [b'{"n":%d}' % n for n in range(200)]
            answers = await asyncio.gather(*(client.send("main", replace(REQUEST, body=body)) for body in bodies))
            assert [answer.body for answer in answers] == bodies
            await client.close()

    asyncio.run(main())


def test_tls_trusts_the_given_authority_and_no_other(tmp_path: object) -> None:
    """`ca_file` is what certificates are checked against; a wrong one is a connect failure that says so."""
    import ssl
    from pathlib import Path

    folder = Path(str(tmp_path))
    ours, theirs = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(folder / "ours.pem")
    theirs.cert_pem.write_to_path(folder / "theirs.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("127.0.0.1").configure_cert(context)

    async def main() -> None:
        async with raw_server(replying(whole(b"private")), tls=context) as server:
            url = f"https://127.0.0.1:{server.port}/v1"
            good = client_of(server, base_url=url, ca_file=str(folder / "ours.pem"))
            assert (await good.send("main", REQUEST)).body == b"private"
            await good.close()
            bad = client_of(server, base_url=url, ca_file=str(folder / "theirs.pem"))
            with pytest.raises(UpstreamError) as caught:
                await bad.send("main", REQUEST)
            assert caught.value.kind is Kind.CONNECT
            assert "certificate" in caught.value.message
            await bad.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "url", ["ftp://x/", "127.0.0.1:80", "http://", "http://h:99999/", "http://u:p@h/", "http://h/?k=1"]
)
def test_a_base_url_that_cannot_be_used_is_refused(url: str) -> None:
    """A bad base_url is a usage error naming it."""
    client = client_of(RawServer(), base_url=url)

    async def main() -> None:
        with pytest.raises(UsageError, match="base_url"):
            await client.send("main", REQUEST)
        await client.close()

    asyncio.run(main())


def test_a_key_with_a_line_break_never_becomes_a_header() -> None:
    """A newline in a key is refused before anything is sent."""

    async def main() -> None:
        async with raw_server(replying(whole(b"x"))) as server:
            provider = Provider(name="main", wire="openai", base_url=server.base_url)
            client = Client({"main": provider}, lambda name: "sk-1\r\nx-evil: 1")
            with pytest.raises(UsageError, match="line break"):
                await client.send("main", REQUEST)
            assert server.connections == 0
            await client.close()

    asyncio.run(main())


def test_an_unknown_provider_names_the_known_ones() -> None:
    """A typo in a provider's name is a usage error."""
    client = client_of(RawServer())
    with pytest.raises(UsageError, match="mian") as caught:
        asyncio.run(client.send("mian", REQUEST))
    assert "main" in caught.value.remedy
