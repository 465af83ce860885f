"""The provider of the benchmark: a whole answer, or a stream of 50 tokens with a pause between them, at little cost.

Run as a process: prints its port and serves until it is killed. argv: pause between tokens in ms, and `endless` for
streams that go on until the caller leaves.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop

TOKENS = 50
TEXT = (
    "Blue-green and canary releases both lower the risk of a deployment. The first keeps two whole environments and "
    "moves all traffic at once; the second sends a small and fixed share of users to the new version, compares errors, "
    "latency and quality with the old one, and widens the share only while they hold."
)
MODEL = "bench-model-2026-01-01"


def completion() -> bytes:
    """A chat completion of about 1 KB."""
    details = {"cached_tokens": 0, "audio_tokens": 0}
    return json.dumps(
        {
            "id": "chatcmpl-bench0001",
            "object": "chat.completion",
            "created": 1_767_225_600,
            "model": MODEL,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": TEXT, "refusal": None, "annotations": []},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": 310,
                "completion_tokens": 90,
                "total_tokens": 400,
                "prompt_tokens_details": details,
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
            "service_tier": "default",
            "system_fingerprint": "fp_bench",
        }
    ).encode()


def chunks() -> list[bytes]:
    """The stream, one chunk of HTTP a token."""
    events = []
    for number in range(TOKENS):
        choice = {
            "index": 0,
            "delta": {"content": f" token{number}"},
            "logprobs": None,
            "finish_reason": None if number < TOKENS - 1 else "stop",
        }
        event = {
            "id": "chatcmpl-bench0001",
            "object": "chat.completion.chunk",
            "created": 1_767_225_600,
            "model": MODEL,
            "system_fingerprint": "fp_bench",
            "choices": [choice],
        }
        events.append(b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n")
    framed = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    return [*framed, b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"]


BODY = completion()
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
CHUNKS = chunks()


class Provider(asyncio.Protocol):
    """Reads requests that carry a content-length or come in chunks; looks for `"stream": true` in them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pause_s: float, *, endless: bool) -> None:
        self._loop = loop
        self._pause_s = pause_s
        self._endless = endless
        self._buffer = b""
        self._gone = False
        self._paused = False
        self._due = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            length = _body_length(data, end + 4)
            if length < 0 or len(data) < end + 4 + length:
                break
            body, data = data[end + 4 : end + 4 + length], data[end + 4 + length :]
            if b'"stream":true' in body or b'"stream": true' in body:
                self._transport.write(STREAM_HEAD)
                self._next(0)
            else:
                self._transport.write(WHOLE)
        self._buffer = data

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._due >= 0:
            self._loop.call_soon(self._next, self._due)
            self._due = -1

    def _next(self, number: int) -> None:
        if self._gone:
            return
        if self._paused:
            self._due = number  # the reader is slow: go on when it has read
            return
        self._transport.write(CHUNKS[number])
        if self._endless:
            number %= TOKENS - 2  # never the last token
        if number < TOKENS:
            self._loop.call_later(self._pause_s, self._next, number + 1)


def _body_length(data: bytes, start: int) -> int:
    """Bytes of the body that begins at `start`, -1 where that cannot be told yet."""
    head = data[:start].lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        return int(head[at + 17 : head.index(b"\r\n", at + 2)])
    if b"chunked" in head:
        end = data.find(b"\r\n0\r\n\r\n", start - 2)
        return end + 7 - start if end >= 0 else -1
    return 0


async def main() -> None:
    loop = asyncio.get_running_loop()
    pause_s, endless = float(sys.argv[1]) / 1000, "endless" in sys.argv[2:]
    server = await loop.create_server(lambda: Provider(loop, pause_s, endless=endless), "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
