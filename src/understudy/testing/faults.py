"""What a faulty provider does, by model name: `f/NAME=VALUE@PLACE;OPTION=VALUE;...` becomes a list of steps. Pure.

`PLACE` counts pieces of content: `f/rst@3` resets after the third. Whole answers are cut into pieces too, so the same
names work there. Names:

    ok                     an answer without fault
    NNN                    that status; options ra=S (retry-after), ra-date=S, ra-ms=MS, spend, html, empty, to=URL
    silent                 the request is read, nothing is ever sent
    slow-hdr=S  ttft=S     S seconds before the headers; S seconds between headers and the first content
    lat=S                  the pieces are spread over S seconds
    stall@K  ping-only@K   nothing more after K pieces; only pings for ever (option every=S)
    pings=N@K              N pings after K pieces, then the rest
    rst@pre  rst@hdr       reset before the status line; after the headers
    rst@K  rst@mid         reset after K pieces; in the middle of one
    fin@K                  the connection is closed after K pieces, in the middle of the body
    eof@K                  the body ends properly after K pieces, without the closing events
    short-cl               a content-length larger than the body
    err@K                  an error event after K pieces, then a proper end of the body
    split@N  split@all     the body in chunks of N bytes, of one byte
    nl=crlf  nl=cr         other line ends; options bom, comments, multiline
    bad-json@K  unknown@K  a broken event, an event nobody knows, after K pieces
    huge-line=MB  tiny=N   one line of that size; N events of one letter
    infinite               content for ever (option size=BYTES a piece)
    wrong-type             a stream that says it is text/html
    gzip deflate           encoded; also gzip-multi (two members), gzip-bomb=MB, gzip-lie (says so, is not)
    stale                  the second request on a connection finds it closed
    close-after=S          the connection is closed S seconds after an answer that promised to keep it
    hop                    hop-by-hop headers, a cookie and a server's own headers
    1xx=N  big-header=KB   N interim answers first; a header of that size
    other-model=NAME       an answer that names another model

Options for all: times=N (only the first N calls, then ok), pieces=N (12), every=S.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from math import inf
from typing import NamedTuple

from understudy.testing.dialects import Asked, Dialect, Said, Script
from understudy.testing.dialects.base import input_tokens
from understudy.testing.server import REASONS

PREFIX = "f/"
PIECES = 12

_NAME = re.compile(r"([a-z0-9-]+)(?:=([^@;]*))?(?:@([a-z0-9]+))?")
_BY_STATUS = re.compile(r"[1-5]\d\d")


class Wait(NamedTuple):
    """Do nothing for so long; `inf` is for ever."""

    seconds: float


class Send(NamedTuple):
    """Bytes as they are; `payload` is the part of them that is body, for the provider's own ledger."""

    data: bytes
    payload: bytes = b""
    pieces: int = 0
    terminal: bool = False


class Forever(NamedTuple):
    """The same bytes again and again, with back-pressure."""

    data: bytes
    every_s: float


class Reset(NamedTuple):
    """Close the connection with a TCP reset."""


class Close(NamedTuple):
    """Close the connection in order (FIN)."""


class Done(NamedTuple):
    """The answer is complete; the connection serves the next request."""

    close_after_s: float | None = None


Step = Wait | Send | Forever | Reset | Close | Done


@dataclass(frozen=True, slots=True)
class Fault:
    """A model name taken apart. `place` is "" where none was given."""

    name: str
    value: str = ""
    place: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def number(self, option: str, default: float) -> float:
        return float(self.options.get(option, default))

    @property
    def pieces(self) -> int:
        """How many pieces come before the fault."""
        return int(self.place) if self.place.isdigit() else 0


def parse(model: str) -> Fault:
    """The fault a model name asks for. Raises ValueError with the name where it is none of the known ones."""
    first, *options = model.removeprefix(PREFIX).split(";")
    match = _NAME.fullmatch(first)
    if match is None or not model.startswith(PREFIX) or not (match[1] in FAULTS or _BY_STATUS.fullmatch(match[1])):
        raise ValueError(f"{model!r} names no fault; known: {', '.join(FAULTS)} and statuses like f/529;ra=2")
    pairs = (option.partition("=") for option in options)
    return Fault(match[1], match[2] or "", match[3] or "", {key: value for key, _, value in pairs})


def plan(fault: Fault, dialect: Dialect, asked: Asked, serial: str, *, reused: bool, now: float) -> list[Step]:
    """The steps of one answer. `reused` tells whether the connection has carried an answer before."""
    act = Act(fault, dialect, asked, serial, now)
    if _BY_STATUS.fullmatch(fault.name):
        return refusal(act)
    if fault.name == "stale":
        return [Close()] if reused else act.answer()
    return FAULTS[fault.name](act)


class Act:
    """One answer in the making: its parts and how they are framed."""

    def __init__(self, fault: Fault, dialect: Dialect, asked: Asked, serial: str, now: float) -> None:
        self.fault = fault
        self.dialect = dialect
        self.asked = asked
        self.now = now
        self.said = said(asked, fault)
        if asked.stream:
            self.script = dialect.script(asked, self.said, serial)
        else:
            body = dialect.whole(self.said, serial)
            step = -(-len(body) // int(fault.number("pieces", PIECES)))
            parts = tuple(body[at : at + step] for at in range(0, len(body), step))
            self.script = Script((), parts[:-1], parts[-1:], "application/json")

    @property
    def body(self) -> bytes:
        return b"".join(self.script.parts())

    def head(self, *headers: str, content_type: str = "", length: int | None = None, status: int = 200) -> Send:
        """Status line and headers; whole answers have a content-length, streams are chunked."""
        lines = [
            f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}",
            f"content-type: {content_type or self.script.content_type}",
        ]
        if length is not None:
            lines.append(f"content-length: {length}")
        elif self.asked.stream:
            lines.append("transfer-encoding: chunked")
        else:
            lines.append(f"content-length: {len(self.body)}")
        return Send("\r\n".join([*lines, *headers, "", ""]).encode("latin-1"))

    def framed(self, payload: bytes, *, pieces: int = 0, terminal: bool = False) -> Send:
        if not self.asked.stream:
            return Send(payload, payload, pieces, terminal)
        return Send(b"%x\r\n%s\r\n" % (len(payload), payload) if payload else b"", payload, pieces, terminal)

    def ping(self) -> bytes:
        """What keeps this answer alive; inside one JSON value only white space does."""
        return self.dialect.ping() if self.asked.stream and not self.asked.json_array else b"\n"

    def error_event(self, status: int, message: str) -> bytes:
        """An error inside this answer, after its status was 200."""
        if not self.asked.stream:
            return self.dialect.error(status, message)
        if self.asked.json_array:
            comma = b"" if self.fault.pieces == 0 else b",\r\n"
            return comma + self.dialect.error(status, message) + b"]"
        return self.dialect.error_event(status, message)

    def end(self) -> Send:
        """The end of the body's framing."""
        return Send(b"0\r\n\r\n" if self.asked.stream else b"")

    def until(self, pieces: int) -> list[Step]:
        """Headers, opening, and so many pieces of content."""
        steps: list[Step] = [self.head(), self.framed(b"".join(self.script.opening))]
        return steps + [self.framed(piece, pieces=1) for piece in self.script.pieces[:pieces]]

    def rest(self, pieces: int) -> list[Step]:
        """What comes after so many pieces, to a proper end."""
        steps: list[Step] = [self.framed(piece, pieces=1) for piece in self.script.pieces[pieces:]]
        return [*steps, self.framed(b"".join(self.script.closing), terminal=True), self.end(), Done()]

    def answer(self) -> list[Step]:
        return self.until(0) + self.rest(0)

    def as_body(self, body: bytes, *headers: str, content_type: str = "", chunk: int = 0) -> list[Step]:
        """A body of one's own, framed as this answer is."""
        size = chunk or max(1, len(body))
        length = None if self.asked.stream else len(body)
        parts = [self.framed(body[at : at + size]) for at in range(0, len(body), size)]
        parts[-1] = parts[-1]._replace(terminal=True)
        return [self.head(*headers, content_type=content_type, length=length), *parts, self.end(), Done()]


def said(asked: Asked, fault: Fault) -> Said:
    """A text that names its prompt, with letters of every length in UTF-8."""
    name = hashlib.blake2b(asked.last_user.encode(), digest_size=4).hexdigest()
    words = [f"answer {name} part {n} ÄØ€🎭" for n in range(int(fault.number("pieces", PIECES)))]
    model = fault.value if fault.name == "other-model" else asked.model
    return Said(" ".join(words), model, input_tokens(asked), output_tokens=7 * len(words))


def refusal(act: Act) -> list[Step]:
    """A status other than 200."""
    fault, status = act.fault, int(act.fault.name)
    headers: list[str] = []
    for option, value in fault.options.items():
        match option:
            case "ra":
                headers.append(f"retry-after: {value}")
            case "ra-date":
                headers.append(f"retry-after: {formatdate(act.now + float(value), usegmt=True)}")
            case "ra-ms":
                headers.append(f"retry-after-ms: {value}")
            case "to":
                headers.append(f"location: {value}")
            case "spend":
                headers.append("x-should-retry: false")
    if "html" in fault.options:
        body, kind = b"<html><body><h1>%d</h1>cloudfront</body></html>" % status, "text/html"
    elif "empty" in fault.options:
        body, kind = b"", "application/json"
    else:
        why = "you have reached your specified API usage limits" if "spend" in fault.options else "a planted fault"
        body, kind = act.dialect.error(status, why), "application/json"
    head = act.head(*headers, content_type=kind, length=len(body), status=status)
    return [head, Send(body, body, terminal=True), Done()]


def _slow_headers(act: Act) -> list[Step]:
    return [Wait(float(act.fault.value)), *act.answer()]


def _slow_first(act: Act) -> list[Step]:
    return [*act.until(0), Wait(float(act.fault.value)), *act.rest(0)]


def _latency(act: Act) -> list[Step]:
    pause = Wait(float(act.fault.value) / (len(act.script.pieces) or 1))
    steps: list[Step] = act.until(0)
    for piece in act.script.pieces:
        steps += [pause, act.framed(piece, pieces=1)]
    return steps + act.rest(len(act.script.pieces))


def _stall(act: Act) -> list[Step]:
    return [*act.until(act.fault.pieces), Wait(inf)]


def _ping_only(act: Act) -> list[Step]:
    ping = act.framed(act.ping()).data
    return [*act.until(act.fault.pieces), Forever(ping, act.fault.number("every", 0.05))]


def _pings(act: Act) -> list[Step]:
    """Some pings between two pieces, each in its own time, and then the rest: no reason to give up."""
    pause = Wait(act.fault.number("every", 0.05))
    steps = act.until(act.fault.pieces)
    for _ in range(int(act.fault.value)):
        steps += [pause, act.framed(act.ping())]
    return steps + act.rest(act.fault.pieces)


def _reset(act: Act) -> list[Step]:
    match act.fault.place:
        case "pre":
            return [Reset()]
        case "hdr":
            return [act.head(), Wait(0.02), Reset()]
        case "mid":
            piece = act.script.pieces[1]
            half = piece[: len(piece) // 2]
            size = b"%x\r\n" % len(piece) if act.asked.stream else b""
            return [*act.until(1), Send(size + half, half), Wait(0.02), Reset()]
        case _:
            return [*act.until(act.fault.pieces), Wait(0.02), Reset()]


def _fin(act: Act) -> list[Step]:
    return [*act.until(act.fault.pieces), Close()]


def _eof(act: Act) -> list[Step]:
    """A whole answer has no proper end short of its length: there it is JSON cut off, with a length to match."""
    if act.asked.stream:
        return [*act.until(act.fault.pieces), act.end(), Done()]
    return act.as_body(b"".join(act.script.pieces[: act.fault.pieces]) or b"{")


def _short_length(act: Act) -> list[Step]:
    half = act.body[: len(act.body) // 2]
    return [act.head(length=len(act.body) + 100), Send(half, half), Close()]


def _error_event(act: Act) -> list[Step]:
    event = act.error_event(int(act.fault.number("status", 529)), "overloaded")
    if not act.asked.stream:
        return act.as_body(event)
    return [*act.until(act.fault.pieces), act.framed(event), act.end(), Done()]


def _split(act: Act) -> list[Step]:
    size = 1 if act.fault.place == "all" else max(1, act.fault.pieces)
    return act.as_body(act.body, chunk=size)


def _newlines(act: Act) -> list[Step]:
    line_end = {"crlf": b"\r\n", "cr": b"\r", "lf": b"\n"}[act.fault.value or "lf"]
    body = act.body.replace(b"\r\n", b"\n")
    if "comments" in act.fault.options:
        body = body.replace(b"\n\n", b"\n\n: a comment\n\n")
    if "multiline" in act.fault.options:
        # A newline inside JSON is white space: the event means the same on two data lines.
        body = body.replace(b'data: {"', b'data: {\ndata: "')
    if "bom" in act.fault.options:
        body = b"\xef\xbb\xbf" + body
    return act.as_body(body.replace(b"\n", line_end), chunk=int(act.fault.number("chunk", 7)))


def _inserted(event: bytes, act: Act) -> list[Step]:
    return [*act.until(act.fault.pieces), act.framed(event), *act.rest(act.fault.pieces)]


def _bad_json(act: Act) -> list[Step]:
    return _inserted(b'data: {"choices": [{"delta": {"content": \n\n', act)


def _unknown(act: Act) -> list[Step]:
    return _inserted(b'event: brand.new\ndata: {"type": "brand.new", "x": [1, 2]}\n\n', act)


def _huge_line(act: Act) -> list[Step]:
    block = b"x" * 65536
    steps = [*act.until(1), act.framed(b"data: ")]
    steps += [act.framed(block)] * int(float(act.fault.value) * 16)
    return [*steps, act.framed(b"\n\n"), *act.rest(1)]


def _tiny(act: Act) -> list[Step]:
    piece = act.script.pieces[0]
    return [*act.until(1), *[act.framed(piece, pieces=1)] * int(act.fault.value), *act.rest(1)]


def _infinite(act: Act) -> list[Step]:
    piece = act.script.pieces[0]
    size = int(act.fault.number("size", len(piece)))
    return [*act.until(1), Forever(act.framed(piece * max(1, size // len(piece))).data, act.fault.number("every", 0))]


def _wrong_type(act: Act) -> list[Step]:
    return act.as_body(act.body, content_type="text/html", chunk=200)


def gzipped(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(body) + packer.flush()


def _encoded(act: Act) -> list[Step]:
    body, name = act.body, act.fault.name
    match name:
        case "deflate":
            return act.as_body(zlib.compress(body), "content-encoding: deflate", chunk=50)
        case "gzip-multi":
            half = len(body) // 2
            packed = gzipped(body[:half]) + gzipped(body[half:])
        case "gzip-bomb":
            packed = gzipped(body + b" " * int(float(act.fault.value) * 1_000_000))
        case "gzip-lie":
            packed = body
        case _:
            packed = gzipped(body)
    return act.as_body(packed, "content-encoding: gzip", chunk=50 if name != "gzip-bomb" else 65536)


def _close_after(act: Act) -> list[Step]:
    return [*act.answer()[:-1], Done(close_after_s=float(act.fault.value or 0))]


def _hop(act: Act) -> list[Step]:
    headers = ("connection: x-private", "x-private: 1", "keep-alive: timeout=5", "set-cookie: a=b", "x-request-id: r1")
    return [act.head(*headers), *act.answer()[1:]]


def _interim(act: Act) -> list[Step]:
    return [*[Send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")] * int(act.fault.value), *act.answer()]


def _big_header(act: Act) -> list[Step]:
    return [act.head("x-big: " + "b" * int(float(act.fault.value) * 1024)), *act.answer()[1:]]


FAULTS: dict[str, Callable[[Act], list[Step]]] = {
    "ok": Act.answer,
    "other-model": Act.answer,
    "stale": Act.answer,
    "silent": lambda act: [Wait(inf)],
    "slow-hdr": _slow_headers,
    "ttft": _slow_first,
    "lat": _latency,
    "stall": _stall,
    "ping-only": _ping_only,
    "pings": _pings,
    "rst": _reset,
    "fin": _fin,
    "eof": _eof,
    "short-cl": _short_length,
    "err": _error_event,
    "split": _split,
    "nl": _newlines,
    "bad-json": _bad_json,
    "unknown": _unknown,
    "huge-line": _huge_line,
    "tiny": _tiny,
    "infinite": _infinite,
    "wrong-type": _wrong_type,
    "gzip": _encoded,
    "gzip-multi": _encoded,
    "gzip-bomb": _encoded,
    "gzip-lie": _encoded,
    "deflate": _encoded,
    "close-after": _close_after,
    "hop": _hop,
    "1xx": _interim,
    "big-header": _big_header,
}
