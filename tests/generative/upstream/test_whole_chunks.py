"""Chunks that are passed on as they came, against the parser: however an answer is cut, both say the same."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from understudy.core.routing import Provider
from understudy.upstream.connection import Connection, Headers, Receiver
from understudy.upstream.failure import Failure
from understudy.upstream.origin import origin_of
from understudy.upstream.pool import Pool
from understudy.upstream.wheel import Wheel

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


class Taking(Receiver):
    """Takes an answer; `through`: whole chunks as they came, once the answer has begun."""

    def __init__(self, *, through: bool) -> None:
        self.connection = None
        self._through = through
        self.content = b""
        self.sent = b""
        """What a client would get, with its framing."""
        self.over = ""
        self.came_whole = 0

    def head(self, status: int, headers: Headers) -> None:
        pass

    def data(self, chunk: bytes) -> None:
        self._take(chunk)
        if self._through and self.connection is not None:
            self.connection.pass_whole(self.whole)

    def whole(self, framed: bytes, start: int) -> None:
        self.came_whole += 1
        self.content += framed[start:-2]
        self.sent += framed

    def end(self, chunk: bytes) -> None:
        self._take(chunk)
        self.over = "complete"

    def failed(self, failure: Failure) -> None:
        self._take(failure.rest)
        self.over = f"{failure.kind}: {failure.message}"

    def _take(self, chunk: bytes) -> None:
        self.content += chunk
        if chunk:
            self.sent += b"%x\r\n%b\r\n" % (len(chunk), chunk)


async def taken(reads: Sequence[bytes], *, through: bool) -> Taking:
    """What a receiver gets of an answer that comes in these reads, on a connection of its own."""
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop)
    pool = Pool(origin_of(Provider(name="main", wire="openai", base_url="http://127.0.0.1:9/v1")), wheel)
    ours, theirs = socket.socketpair()
    try:
        _, connection = await loop.create_connection(lambda: Connection(pool), sock=ours)
        receiver = Taking(through=through)
        connection.begin(receiver, b"POST / HTTP/1.1\r\n\r\n", b"", streamed=True)
        for read in reads:
            if connection.closed or receiver.over:
                break
            pool.buffer[: len(read)] = read
            with suppress(httptools.HttpParserError):  # a second answer: the loop would be told, the receiver was
                connection.buffer_updated(len(read))
        connection.cancel()
        await asyncio.sleep(0)
        return receiver
    finally:
        theirs.close()
        pool.close()
        wheel.close()
        await asyncio.sleep(0)


def unframed(sent: bytes) -> bytes:
    """The body a client's own parser makes of it. Raises where it is not well chunked."""
    parts: list[bytes] = []

    class Client:
        def on_body(self, part: bytes) -> None:
            parts.append(part)

    httptools.HttpResponseParser(Client()).feed_data(HEAD + sent + LAST)
    return b"".join(parts)


contents = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.integers(1, 2100).map(lambda n: b"x" * n),
    st.sampled_from([b"\r\n", b"5\r\n", b"\r\n6\r\n", b"1\r\nx\r\n", b"0\r\n\r\n"]),
    st.sampled_from([15, 16, 255, 256]).map(lambda n: b"a" * n),
)


def _written(content: bytes, form: str) -> bytes:
    size = len(content)
    match form:
        case "usual":
            return b"%x\r\n%b\r\n" % (size, content)
        case "capitals":
            return b"%X\r\n%b\r\n" % (size, content)
        case "zeros":
            return b"%05x\r\n%b\r\n" % (size, content)
        case "extension":
            return b"%x;a=b\r\n%b\r\n" % (size, content)
        case "too long":
            return b"%x\r\n%b\r\n" % (size + 1, content)
        case "too short":
            return b"%x\r\n%b\r\n" % (max(size - 1, 1), content)
        case "bare ends":
            return b"%x\n%b\n" % (size, content)
        case "other ends":
            return b"%x\r\n%b--" % (size, content)
        case "signed":
            return b"+%x\r\n%b\r\n" % (size, content)
        case "spaced":
            return b"%x \r\n%b\r\n" % (size, content)
        case _:
            return content


FORMS = ("usual", "usual", "usual", "usual", "capitals", "zeros", "extension")
WRONG = ("too long", "too short", "bare ends", "other ends", "signed", "spaced", "bare")


@st.composite
def answers(draw: st.DrawFn) -> list[bytes]:
    """The reads of an answer: pieces mostly well written, cut between them and anywhere."""
    chunks = draw(st.lists(st.tuples(contents, st.sampled_from(FORMS)), min_size=1, max_size=8))
    pieces = [_written(content, form) for content, form in chunks]
    if draw(st.integers(0, 3)) == 0:
        pieces.insert(draw(st.integers(0, len(pieces))), _written(draw(contents), draw(st.sampled_from(WRONG))))
    pieces.append(draw(st.sampled_from([LAST, b"0\r\nx: y\r\n\r\n", b"", b"0\r\n", b"0;a\r\n\r\nmore"])))
    body = b"".join(pieces)
    between = [sum(map(len, pieces[:number])) for number in range(1, len(pieces))]
    cuts = draw(st.sets(st.one_of(st.sampled_from(between or [0]), st.integers(0, len(body))), max_size=12))
    return list(_cut(HEAD + body, sorted({len(HEAD) + cut for cut in cuts})))


def _cut(data: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        if start < end:
            yield data[start:end]


@given(answers())
@example([HEAD, b"2\r\n\r\n\r\n", b"6\r\nhello!\r\n", LAST])
@example([HEAD, b"5\r\nhello\r\n6\r\n", b"1\r\nx\r\n\r\n", LAST])
@example([HEAD + b"5\r\nhello\r\n", b"5\r\nhel", b"1\r\nx\r\n", LAST])
@example([HEAD + b"5\r\nhello\r\n", b"5\r\nhello--", LAST])
@example([HEAD + b"5\r\nhello\r\n", b"5\r\nhello\r\n1", b"6\r\nhello!\r\n", LAST])
@example([HEAD + b"5\r\nhello\r\n0\r\n", b"1\r\nx\r\n"])
def test_what_passes_as_it_came_is_what_the_parser_reads(reads: list[bytes]) -> None:
    """Content, end and refusal are the same with and without; what leaves is well chunked and means the same."""

    async def main() -> tuple[Taking, Taking]:
        return await taken(reads, through=False), await taken(reads, through=True)

    parsed, passed = asyncio.run(main())
    assert passed.content == parsed.content
    assert passed.over == parsed.over
    assert unframed(passed.sent) == passed.content


@pytest.mark.parametrize("form", ["usual", "capitals"])
def test_usual_chunks_are_not_parsed(form: str) -> None:
    """From the second one on each read that is one whole chunk passes as it came; written otherwise, none does."""
    chunks = [_written(bytes([65 + number]) * 300, form) for number in range(9)]
    passed = asyncio.run(taken([HEAD + chunks[0], *chunks[1:], LAST], through=True))
    assert passed.over == "complete"
    assert passed.came_whole == (8 if form == "usual" else 0)


def test_after_a_cut_chunk_the_next_ones_pass_again() -> None:
    """Chunks in pieces, or several in one read, are the parser's; what follows them is not."""
    one = b"3\r\nabc\r\n"
    reads = [HEAD + one, one[:4], one[4:], one, one + one, one, one + one[:2], one[2:], one, LAST]
    passed = asyncio.run(taken(reads, through=True))
    assert (passed.content, passed.over, passed.came_whole) == (b"abc" * 9, "complete", 3)
