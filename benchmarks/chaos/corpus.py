"""Hostile requests, as bytes: framing that two parsers could read differently, headers that lie, JSON that bites."""

from __future__ import annotations

import json
from collections.abc import Iterator

BODY = json.dumps({"model": "openai", "messages": [{"role": "user", "content": "#evil# x"}]}).encode()
INNER = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nx-user-id: evil\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
)
"""A request hidden in the body of another: it must never be carried out."""

START = b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nx-user-id: outer\r\ncontent-type: application/json\r\n"
OUTER = json.dumps({"model": "openai", "messages": [{"role": "user", "content": "#outer# x"}]}).encode()


def _chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def smuggling() -> Iterator[tuple[str, bytes]]:
    """Names and bytes. In each, a parser that reads the framing otherwise finds INNER as a request of its own."""
    length = b"content-length: %d\r\n" % len(OUTER)
    te_names = (
        b"transfer-encoding",
        b"Transfer-Encoding",
        b"TRANSFER-ENCODING",
        b"transfer_encoding",
        b"transfer-encoding ",
    )
    te_values = (
        b"chunked",
        b" chunked",
        b"chunked ",
        b"CHUNKED",
        b"\tchunked",
        b"xchunked",
        b"chunked, identity",
        b"identity, chunked",
        b"chunked;q=1",
        b"gzip, chunked",
        b'"chunked"',
        b"chunked\x0b",
        b"chunked,chunked",
        b"\x00chunked",
        b"",
        b"identity",
    )
    for name in te_names:
        for value in te_values:
            framing = name + b":" + value + b"\r\n"
            yield f"CL.TE {name!r} {value!r}", START + length + framing + b"\r\n" + b"0\r\n\r\n" + INNER
    for name in te_names[3:]:
        yield f"TE only {name!r}", START + name + b": chunked\r\n\r\n" + _chunked(OUTER) + INNER
    for value in (
        b"+5",
        b"-1",
        b"0x10",
        b"1 1",
        b"1,1",
        b"5, 5",
        b"",
        b" ",
        b"9" * 30,
        b"1e2",
        b"\xb2",
        b"5;x",
        b"5\x00",
        b"0_5",
    ):
        yield f"length {value!r}", START + b"content-length: " + value + b"\r\n\r\n" + OUTER + INNER
    for pair in ((b"5", b"6"), (b"%d" % len(OUTER), b"0"), (b"0", b"%d" % len(OUTER)), (b"7", b"7")):
        lines = b"".join(b"content-length: " + value + b"\r\n" for value in pair)
        yield f"two lengths {pair}", START + lines + b"\r\n" + OUTER + INNER
    two = (b"chunked", b"identity"), (b"identity", b"chunked"), (b"chunked", b"chunked")
    for pair in two:
        lines = b"".join(b"transfer-encoding: " + value + b"\r\n" for value in pair)
        yield f"two encodings {pair}", START + lines + b"\r\n" + _chunked(OUTER) + INNER
    yield from _chunks()
    yield from _lines(length)


def _chunks() -> Iterator[tuple[str, bytes]]:
    chunked = START + b"transfer-encoding: chunked\r\n\r\n"
    size = b"%x" % len(OUTER)
    sizes = (
        b"0x" + size,
        b"+" + size,
        b"-" + size,
        size + b" ",
        b" " + size,
        size + b";ext=a\nb",
        size + b";ext\r",
        size + b"\x00",
        b"f" * 17,
        b"f" * 16,
        size + b"\n",
        b"",
        b"g",
        size + b";" + b"a" * 70_000,
        b"1_0",
        size + b"\t",
        size + b';a="\r\n"',
        b"0" * 200 + size,
    )
    for value in sizes:
        yield f"chunk size {value[:30]!r}", chunked + value + b"\r\n" + OUTER + b"\r\n0\r\n\r\n" + INNER
    for end in (
        b"\n0\r\n\r\n",
        b"\r\r0\r\n\r\n",
        b"0\r\n\r\n",
        b"xx0\r\n\r\n",
        b"\r\n0\n\n",
        b"\r\n0\r\n\n",
        b"\r\n0\r\n \r\n\r\n",
    ):
        yield f"chunk end {end!r}", chunked + size + b"\r\n" + OUTER + end + INNER
    for trailer in (
        b"content-length: 3",
        b"transfer-encoding: chunked",
        b"host: other",
        b"x: a\nb: c",
        b" folded",
        b"no colon",
    ):
        yield f"trailer {trailer!r}", chunked + size + b"\r\n" + OUTER + b"\r\n0\r\n" + trailer + b"\r\n\r\n" + INNER


def _lines(length: bytes) -> Iterator[tuple[str, bytes]]:
    """Request lines and header lines that are not quite right."""
    rest = b"host: gateway\r\nx-user-id: outer\r\n" + length + b"\r\n" + OUTER + INNER
    lines = (
        b"POST http://evil/v1/chat/completions HTTP/1.1",
        b"POST //evil/v1/chat/completions HTTP/1.1",
        b"POST /v1/chat/completions HTTP/1.1 HTTP/1.1",
        b"POST  /v1/chat/completions HTTP/1.1",
        b"POST /v1/chat/completions\tHTTP/1.1",
        b"POST /v1/chat/completions HTTP/2.0",
        b"POST /v1/chat/completions HTTP/9.9",
        b"POST /v1/chat/completions HTTP/1",
        b"POST /v1/chat/completions http/1.1",
        b"POST /v1/chat/completions",
        b"CONNECT evil:443 HTTP/1.1",
        b"POST /v1/chat/completions#x HTTP/1.1",
        b"POST * HTTP/1.1",
        b"PO ST /v1/chat/completions HTTP/1.1",
        b"POST /v1/chat\x00/completions HTTP/1.1",
        b"PRI * HTTP/2.0",
        b" POST /v1/chat/completions HTTP/1.1",
        b"GET /v1/chat/completions HTTP/0.9",
        b"POST evil HTTP/1.1",
    )
    for line in lines:
        yield f"line {line!r}", line + b"\r\n" + rest
    start = b"POST /v1/chat/completions HTTP/1.1\r\n"
    headers = (
        b"bad header: 1",
        b"bad\x00: 1",
        b"x: a\x00b",
        b"x: a\rb",
        b"x: a\nb: c",
        b": empty",
        b"no colon",
        b" folded: 1",
        b"x: 1\r\n folded",
        b"x: 1\r\n\tfolded",
        b"x\x0b: 1",
        b"x : 1",
        b"\xff: 1",
        b"x(y): 1",
        b"host: second",
        b"x-user-id: second",
        b"content-length : 5",
        b"content-length\t: 5",
        b"Content-Length:\n 5",
        b"x-understudy-workload: a\r\nx-understudy-workload: b",
        b"authorization: a\r\nauthorization: b",
        b"upgrade: h2c\r\nconnection: upgrade",
        b"upgrade: websocket\r\nconnection: upgrade",
        b"connection: content-length",
        b"expect: 200-ok",
        b"expect: 100-continue, x",
    )
    for header in headers:
        yield f"header {header!r}", start + header + b"\r\n" + rest
    yield "bare LF", (start + rest).replace(b"\r\n", b"\n")
    yield "bare CR", (start + rest).replace(b"\r\n", b"\r")
    yield "no host", start + length + b"\r\n" + OUTER + INNER
    yield "leading CRLFs", b"\r\n\r\n" + start + rest
    yield "NULs first", b"\x00\x00" + start + rest
    yield "TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500


def hostile_json() -> Iterator[tuple[str, bytes]]:
    """Bodies on which careless parsers fall over. Every one asks for the workload `openai`, or nothing at all."""
    text = b'"messages":[{"role":"user","content":"#json# x"}]'
    model = b'"model":"openai"'
    yield "5,000 digits", b'{%s,%s,"n":%s}' % (model, text, b"9" * 5000)
    yield "depth 100,000", b'{%s,%s,"x":%s%s}' % (model, text, b"[" * 100_000, b"]" * 100_000)
    yield "depth 900", b'{%s,%s,"x":%s%s}' % (model, text, b"[" * 900, b"]" * 900)
    yield "lone surrogate", b'{%s,"messages":[{"role":"user","content":"#json# \\ud800"}]}' % model
    yield "lone surrogate as user", b'{%s,%s,"user":"\\udfff"}' % (model, text)
    yield "NaN", b'{%s,%s,"temperature":NaN}' % (model, text)
    yield "Infinity", b'{%s,%s,"temperature":-Infinity}' % (model, text)
    yield "1e999", b'{%s,%s,"temperature":1e999}' % (model, text)
    yield "NUL in text", b'{%s,"messages":[{"role":"user","content":"#json# \\u0000"}]}' % model
    yield "raw NUL", b'{%s,"messages":[{"role":"user","content":"#json# \x00"}]}' % model
    yield "not UTF-8", b'{%s,"messages":[{"role":"user","content":"#json# \xff\xfe"}]}' % model
    yield "UTF-16", '{"model":"openai"}'.encode("utf-16")
    yield "BOM", b"\xef\xbb\xbf{%s,%s}" % (model, text)
    yield "model twice", b'{"model":"elsewhere",%s,%s}' % (text, model)
    yield "model twice, other last", b'{%s,%s,"model":"elsewhere"}' % (model, text)
    yield "model escaped", b'{"m\\u006fdel":"openai",%s}' % text
    yield "model escaped and plain", b'{%s,%s,"m\\u006fdel":"elsewhere"}' % (model, text)
    yield "messages twice", b'{%s,"messages":[],%s}' % (model, text)
    yield "array", b"[1,2]"
    yield "string", b'"openai"'
    yield "nothing", b""
    yield "two documents", b'{%s,%s}{"x":1}' % (model, text)
    yield "trailing comma", b"{%s,%s,}" % (model, text)
    yield "comment", b"{%s,%s/* x */}" % (model, text)
    yield "model is a number", b'{"model":7,%s}' % text
    yield "model is null", b'{"model":null,%s}' % text
    yield "model is huge", b'{"model":"%s",%s}' % (b"a" * 100_000, text)
    yield "stream is a string", b'{%s,%s,"stream":"yes"}' % (model, text)
    yield "100,000 keys", b"{%s,%s,%s}" % (model, text, b",".join(b'"k%d":1' % n for n in range(100_000)))
    yield "messages is an object", b'{%s,"messages":{"role":"user"}}' % model
    yield "proto", b'{%s,%s,"__proto__":{"x":1},"constructor":1}' % (model, text)
