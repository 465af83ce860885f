"""Requests that two HTTP parsers could read differently: each is refused whole, or forwarded exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket

import pytest

from understudy.gateway.limits import Limits
from understudy.gateway.session import Session
from understudy.testing.raw import raw_server, whole
from understudy.testing.served import chat, served, table, until

BODY = chat()
SMUGGLED = b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nx-smuggled: 1\r\ncontent-length: 2\r\n\r\n{}"
LINE = b"POST /v1/chat/completions HTTP/1.1\r\n"


def request(*headers: bytes, line: bytes = LINE, body: bytes = BODY, host: bytes = b"host: g") -> bytes:
    lines = [header for header in (host, *headers) if header]
    return line + b"\r\n".join(lines) + b"\r\n\r\n" + body


def lengths() -> list[tuple[str, bytes]]:
    """Content-length in every form that is no plain number, and twice."""
    right = b"%d" % len(BODY)
    wrong = [
        b"+" + right, b"-1", b"0x10", right + b" ", right + b"a", right + b",", right + b", " + right, b"", b" ",
        right + b".0", b"1e2", b"\x0b" + right, right + b"\x00", b'"' + right + b'"', b"9" * 20, b"9" * 400,
        b"18446744073709551616", b"-0", b"0 0", b"1_0", "２".encode(), right + b";x=1", b"=" + right,
    ]  # fmt: skip
    cases = [(f"content-length {value[:24]!r}", request(b"content-length: " + value)) for value in wrong]
    cases += [
        (f"twice {one!r} {other!r}", request(b"content-length: " + one, b"Content-Length: " + other))
        for one, other in ((right, right), (right, b"0"), (b"0", right), (right, b"+" + right), (b"2", right))
    ]
    return cases


def codings() -> list[tuple[str, bytes]]:
    """Transfer-encoding beside a length, twice, misspelled and in unusual clothes."""
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    values = [
        b"chunked, identity", b"identity", b"chunked, chunked", b"gzip", b"chunked, gzip", b"xchunked", b"chunkedx",
        b"chunked;q=1", b'"chunked"', b"chunked,", b",chunked", b"x, chunked, y", b"", b"chunk", b"\x0bchunked",
        b"chunked\x0b", b"chunked\x00", b"cow", b"'chunked'", b"chunked\xff",
    ]  # fmt: skip
    cases = [(f"coding {value!r}", request(b"transfer-encoding: " + value, body=chunked)) for value in values]
    length = b"content-length: %d" % len(BODY)
    for name, value in itertools.product(
        (b"transfer-encoding", b"Transfer-Encoding", b"TRANSFER-ENCODING"), (b"chunked", b"Chunked", b"identity", b"x")
    ):
        cases.append((f"length and {name!r} {value!r}", request(length, name + b": " + value, body=chunked)))
        cases.append((f"{name!r} {value!r} and length", request(name + b": " + value, length, body=chunked)))
    cases += [
        ("coding twice", request(b"transfer-encoding: chunked", b"transfer-encoding: chunked", body=chunked)),
        ("coding twice, other", request(b"transfer-encoding: chunked", b"transfer-encoding: identity", body=chunked)),
        ("coding twice, same line end", request(b"transfer-encoding: identity", b"transfer-encoding: chunked")),
        (
            "coding and HTTP/1.0",
            request(b"transfer-encoding: chunked", line=LINE.replace(b"1.1", b"1.0"), body=b"0\r\n\r\n" + SMUGGLED),
        ),
    ]  # fmt: skip
    return cases


def chunk_forms() -> list[tuple[str, bytes]]:
    """Chunks whose sizes, extensions and line ends are not what the standard says."""
    bodies = [
        b"-1\r\n", b"+2\r\n{}\r\n0\r\n\r\n", b"0x2\r\n{}\r\n0\r\n\r\n", b" 2\r\n{}\r\n0\r\n\r\n", b"g\r\n",
        b"2 \r\n{}\r\n0\r\n\r\n", b"2\t\r\n{}\r\n0\r\n\r\n", b"2\n{}\n0\n\n", b"2\r{}\r0\r\r", b"2\r\n{}0\r\n\r\n",
        b"2\r\n{}X\r\n0\r\n\r\n", b"2\r\n{}\n0\r\n\r\n", b"2\r\n{}\r0\r\n\r\n", b"2;a\nb\r\n{}\r\n0\r\n\r\n",
        b"2;a\rb\r\n{}\r\n0\r\n\r\n", b"2;\x00\r\n{}\r\n0\r\n\r\n", b"ffffffffffffffff1\r\n{}\r\n",
        b"\r\n{}\r\n0\r\n\r\n",
        b";x\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\n0\r\nbad trailer\r\n\r\n", b"2\r\n{}\r\n0\r\n: x\r\n\r\n",
        b"2\r\n{}\r\n0\r\nx-t: a\x00b\r\n\r\n", b"2\r\n{}\r\n0\n\n", b"2_0\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\r\n00x\r\n\r\n",
        b"1e1\r\n{}\r\n", "２\r\n{}\r\n0\r\n\r\n".encode(), b"2\x0b\r\n{}\r\n0\r\n\r\n", b"2\r\n\n{}\r\n0\r\n\r\n",
    ]  # fmt: skip
    return [(f"chunks {body[:24]!r}", request(b"transfer-encoding: chunked", body=body)) for body in bodies]


def header_forms() -> list[tuple[str, bytes]]:
    """Names and values with bytes that some parsers trim, join or end a line at."""
    length = b"content-length: %d" % len(BODY)
    odd = [
        b"content-length : %d" % len(BODY), b" content-length: %d" % len(BODY), b"\tx: 1", b"x\x00: 1", b"x\x0b: 1",
        b"x y: 1", b"x: a\x00b", b"x: a\rb", b"x: a\nb: c", b": 1", b"x", b"x(: 1", b"x): 1", b"x@: 1", b"x[: 1",
        b"x\\: 1", b'x": 1', b"x/: 1", b"x?: 1", b"x=: 1", b"x{: 1", b"x\x7f: 1", b"x\xff: 1", "é: 1".encode(),
        b"x:\x00", b"x: 1\r\n folded", b"x: 1\r\n\tfolded", b"x: \x01", b"x: \x7f", b"transfer-encoding\x00: chunked",
        b"transfer-encoding : chunked", b"transfer-encoding\t: chunked", b"x: 1\n", b"x: 1\n\n", b"\r: 1", b"\nx: 1",
    ]  # fmt: skip
    cases = [(f"header {line!r}", request(length, line)) for line in odd]
    return cases + [(f"header first {line!r}", request(line, length)) for line in odd]


def request_lines() -> list[tuple[str, bytes]]:
    """Methods, targets and versions beside the standard, and hosts that are missing, doubled or elsewhere."""
    length = b"content-length: %d" % len(BODY)
    lines = [
        b"POST /v1/chat/completions HTTP/1.1\n", b"POST /v1/chat/completions\r\n",
        b"POST  /v1/chat/completions HTTP/1.1\r\n",
        b"POST /v1/chat/completions  HTTP/1.1\r\n", b" POST /v1/chat/completions HTTP/1.1\r\n",
        b"POST\t/v1/chat/completions HTTP/1.1\r\n", b"POST /v1/chat/completions HTTP/1.1 \r\n",
        b"POST /v1/chat/completions HTTP/1.2\r\n", b"POST /v1/chat/completions HTTP/2.0\r\n",
        b"POST /v1/chat/completions HTTP/9.9\r\n", b"POST /v1/chat/completions HTTP/1\r\n",
        b"POST /v1/chat/completions http/1.1\r\n", b"POST /v1/chat/completions HTTPS/1.1\r\n",
        b"POST /v1/chat/completions HTTP/1.1x\r\n", b"POST /v1/chat/completions HTTP/0.9\r\n",
        b"POST /v1/chat completions HTTP/1.1\r\n", b"POST /v1/chat\x00completions HTTP/1.1\r\n",
        b"POST http://127.0.0.1:1/v1/chat/completions HTTP/1.1\r\n",
        b"POST https://evil/v1/chat/completions HTTP/1.1\r\n",
        b"POST //evil/v1/chat/completions HTTP/1.1\r\n", b"POST * HTTP/1.1\r\n",
        b"POST v1/chat/completions HTTP/1.1\r\n",
        b"CONNECT evil:443 HTTP/1.1\r\n", b"CONNECT / HTTP/1.1\r\n", b"PO ST / HTTP/1.1\r\n",
        b"post /v1/chat/completions HTTP/1.1\r\n",
        b"P\x00ST / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01\r\n", b"PRI * HTTP/2.0\r\n", b"GET\r\n",
        b"POST /v1/chat/completions?\r\nHTTP/1.1\r\n", b"POST ?/v1/chat/completions HTTP/1.1\r\n",
    ]  # fmt: skip
    cases = [(f"line {line!r}", request(length, line=line)) for line in lines]
    cases += [
        ("no host", request(length, host=b"")),
        ("two hosts", request(length, b"Host: other")),
        ("two keys", request(length, b"authorization: Bearer a", b"Authorization: Bearer b")),
        ("two workloads", request(length, b"x-understudy-workload: chat", b"X-Understudy-Workload: other")),
        ("upgrade", request(length, b"connection: upgrade", b"upgrade: h2c", b"http2-settings: AAA")),
        (
            "websocket",
            request(b"connection: upgrade", b"upgrade: websocket", line=LINE.replace(b"POST", b"GET"), body=b""),
        ),
        ("expectation", request(length, b"expect: 200-maybe")),
        ("no length", request() + SMUGGLED),
    ]  # fmt: skip
    return cases


CORPUS = lengths() + codings() + chunk_forms() + header_forms() + request_lines()

TOLERATED = {
    # White space that the standard lets a recipient skip, and an empty element of a list: one request, clearly framed.
    f"content-length {b'%d ' % len(BODY)!r}",
    "coding b',chunked'",
}


def test_the_corpus_is_as_large_as_promised() -> None:
    """At least 150 different requests."""
    assert len({raw for _, raw in CORPUS}) >= 150


async def exchange(port: int, raw: bytes, answers: int = 0) -> bytes:
    """What the gateway says to these bytes: so many answers, or else until it closes or says nothing more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = b""
    try:
        writer.write(raw)
        while answers == 0 or said.count(b"HTTP/1.1 ") < answers:
            chunk = await asyncio.wait_for(reader.read(65536), 20 if answers else 0.25)
            if not chunk:
                break
            said += chunk
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return said


def outcome(name: str, raw: bytes) -> tuple[bytes, list[bytes]]:
    async def main() -> tuple[bytes, list[bytes]]:
        async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(whole(b'{"choices":[]}', 200, b"content-type: application/json\r\n"))

        async with raw_server(reply) as provider, served(table(provider.base_url)) as gateway:
            said = await exchange(gateway.port, raw + SMUGGLED, answers=2 if name in TOLERATED else 0)
            await asyncio.sleep(0.01)
            return said, provider.requests

    return asyncio.run(main())


@pytest.mark.parametrize(("name", "raw"), CORPUS, ids=[name for name, _ in CORPUS])
def test_an_ambiguous_request_never_becomes_two(name: str, raw: bytes) -> None:
    """It is refused with a 4xx and the connection closed, or waited for; what follows it is never another request."""
    said, received = outcome(name, raw)
    assert all(b"x-smuggled" not in request for request in received)
    statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", said)
    if name in TOLERATED:
        assert len(received) == 1
    else:
        assert received == [], statuses
        assert statuses in ([], [b"400"], [b"404"], [b"411"], [b"413"], [b"417"], [b"505"])


def test_a_plain_request_after_another_is_answered() -> None:
    """The probe itself works: two good requests on one connection are two answers."""
    good = request(b"content-length: %d" % len(BODY))

    async def main() -> None:
        async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(whole(b'{"choices":[]}', 200, b"content-type: application/json\r\n"))

        async with raw_server(reply) as provider, served(table(provider.base_url)) as gateway:
            said = await exchange(gateway.port, good + good, answers=2)
            assert said.count(b"HTTP/1.1 200") == 2
            assert len(provider.requests) == 2

    asyncio.run(main())


async def answering(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(whole(b'{"choices":[]}', 200, b"content-type: application/json\r\n"))


def test_an_answer_to_head_has_no_body() -> None:
    """A body would be read as the beginning of the next answer; a probe may ask with HEAD."""

    async def main() -> None:
        async with raw_server(answering) as provider, served(table(provider.base_url)) as gateway:
            lines = (b"HEAD /healthz", b"HEAD /v1/chat/completions", b"GET /healthz")
            asked = b"".join(line + b" HTTP/1.1\r\nhost: g\r\n\r\n" for line in lines)
            said = await exchange(gateway.port, asked, answers=3)
            first, second, third = (part.partition(b"\r\n\r\n") for part in said.split(b"HTTP/1.1 ")[1:])
            assert (first[0][:3], first[2]) == (b"200", b"")
            assert b"content-length: 18" in first[0]
            assert (second[0][:3], second[2]) == (b"404", b"")
            assert third[2] == b'{"status":"alive"}'

    asyncio.run(main())


def test_what_stands_behind_a_body_is_no_header() -> None:
    """A proxy in front looks at headers; a trailer must not bring past it who asks, or for which workload."""

    async def main() -> None:
        async with raw_server(answering) as provider, served(table(provider.base_url)) as gateway:
            trailers = b"x-user-id: somebody\r\nx-understudy-workload: other\r\nopenai-project: p\r\n"
            body = b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(BODY), BODY, trailers)
            said = await exchange(gateway.port, request(b"transfer-encoding: chunked", body=body), answers=1)
            assert said.startswith(b"HTTP/1.1 200")
            assert b"openai-project" not in provider.requests[0]
            (record,) = await gateway.settled(1)
            assert (record.unit, record.workload) == ("", "chat")

    asyncio.run(main())


@pytest.mark.parametrize("endless", [b"0\r\nx: ", b"1;"], ids=["trailers", "an extension"])
def test_what_is_sent_beside_a_body_is_bounded(endless: bytes) -> None:
    """Nothing of it counts for the limit of bodies, and who sends it has shown no key yet."""

    async def main() -> None:
        async with raw_server(answering) as provider, served(table(provider.base_url)) as gateway:
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(request(b"transfer-encoding: chunked", body=b"1\r\n{\r\n" + endless))
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < 16 * 1024 * 1024:
                    writer.write(b"a" * 65536)
                    await writer.drain()
                    sent += 65536
            writer.close()
            assert sent < 16 * 1024 * 1024

    asyncio.run(main())


def test_a_large_request_does_not_count_for_the_head_of_the_next() -> None:
    """Its body may come in one read with the beginning of the request behind it."""
    large = chat("x" * 100_000)
    first, second = request(b"content-length: %d" % len(large), body=large), request(b"content-length: %d" % len(BODY))

    async def main() -> None:
        async with raw_server(answering) as provider, served(table(provider.base_url)) as gateway:
            for head, answered in ((second, 2), (second[:-2] + b"x: " + b"a" * 70_000 + b"\r\n\r\n", 1)):
                before = len(gateway.exchanges)
                _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                await until(lambda: bool(gateway.gateway.sessions), 20)
                (session,) = gateway.gateway.sessions
                assert isinstance(session, Session)
                # Reads cut as nobody can cut them from outside.
                session.data_received(first + head[:30])
                await gateway.settled(before + 1)
                session.data_received(head[30:])
                await gateway.settled(before + answered)
                writer.close()
                await until(lambda: not gateway.gateway.sessions, 20)
                assert len(gateway.exchanges) == before + answered

    asyncio.run(main())


def test_who_does_not_read_gets_no_further_answers() -> None:
    """Answers that wait for a client are bounded however many it asks for, and it is idle again once it has read."""
    answer = b'{"choices":[],"a":"' + b"z" * 12_000 + b'"}'

    async def main() -> None:
        async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(whole(answer, 200, b"content-type: application/json\r\n"))

        limits = Limits(idle_s=1.0, write_s=30.0)
        async with raw_server(reply) as provider, served(table(provider.base_url), limits=limits) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=4096)
            await until(lambda: bool(gateway.gateway.sessions), 20)
            (session,) = gateway.gateway.sessions
            assert isinstance(session, Session)
            session.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            asked = 0
            while asked < 2000 and session.transport.get_write_buffer_size() <= limits.buffer:
                writer.write(request(b"content-length: %d" % len(BODY)))
                asked += 1
                await gateway.settled(asked)
            for _ in range(5):
                writer.write(request(b"content-length: %d" % len(BODY)))
            await asyncio.sleep(0.1)
            assert len(provider.requests) == asked < 2000
            assert session.transport.get_write_buffer_size() < 65536
            said = await asyncio.wait_for(reader.read(-1), 30)  # until the gateway ends what is idle
            writer.close()
            assert said.count(b"HTTP/1.1 200") == asked + 5

    asyncio.run(main())


@pytest.mark.parametrize(("version", "interim"), [(b"1.1", 1), (b"1.0", 0)])
def test_only_who_knows_interim_answers_is_told_to_go_on(version: bytes, interim: int) -> None:
    """A client of HTTP/1.0 would take it for its answer."""

    async def main() -> None:
        async with raw_server(answering) as provider, served(table(provider.base_url)) as gateway:
            line = LINE.replace(b"1.1", version)
            length = b"content-length: %d" % len(BODY)
            said = await exchange(
                gateway.port, request(length, b"expect: 100-continue", line=line), answers=interim + 1
            )
            assert re.findall(rb"HTTP/1\.1 (\d+)", said) == [b"100"] * interim + [b"200"]

    asyncio.run(main())
