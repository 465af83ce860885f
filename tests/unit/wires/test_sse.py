"""Server-sent events as the HTML standard frames them."""

from __future__ import annotations

import pytest

from understudy.wires.jsonarray import JsonArrayParser
from understudy.wires.sse import Event, SseParser


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [Event(b"", b"a")]),
        (b"data:a\r\n\r\n", [Event(b"", b"a")]),
        (b"data: a\r\r", [Event(b"", b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Event(b"", b"a")]),
        (b": hello\n\ndata: a\n: in between\ndata: b\n\n", [Event(b"", b"a\nb")]),
        (b"event: x\ndata:  a\n\n", [Event(b"x", b" a")]),
        (b"event: x\n\ndata: a\n\n", [Event(b"", b"a")]),
        (b"data\n\n", [Event(b"", b"")]),
        (b"data: a\n\ndata: never finished\n", [Event(b"", b"a")]),
        (b"data: a\n\ndata: b", [Event(b"", b"a")]),
        (b"data: a\n\ndata:  b\n\ndata: \n\n", [Event(b"", b"a"), Event(b"", b" b"), Event(b"", b"")]),
        (b"data: a\ndata: b\n\ndata: c\n\n", [Event(b"", b"a\nb"), Event(b"", b"c")]),
        (b"data: a\n\n\ndata: b\n\n", [Event(b"", b"a"), Event(b"", b"b")]),
        (b"data: a\n\nevent: x\ndata: b\n\n", [Event(b"", b"a"), Event(b"x", b"b")]),
        (b"data: a\n\ndata: b\r\n\n", [Event(b"", b"a"), Event(b"", b"b")]),
        (b"data: a\n\n: ping\n\ndata: b\n\n", [Event(b"", b"a"), Event(b"", b"b")]),
        (b"id: 1\nretry: 5\nunknown: z\n\n", []),
        (b"", []),
    ],
)
def test_framing(stream: bytes, events: list[Event]) -> None:
    """Ends of lines, marks, comments, fields and blank lines mean what the standard says, wherever they are cut."""
    assert SseParser().feed(stream) == events
    for cut in range(len(stream)):
        parser = SseParser()
        assert parser.feed(stream[:cut]) + parser.feed(stream[cut:]) == events, cut


def test_an_event_above_the_limit_is_named_and_let_go() -> None:
    """Too long an event keeps its name, loses its data, and the next one is read again."""
    for step in (1, 7, 1000):
        parser = SseParser(limit=50)
        stream = b"event: big\ndata: " + b"x" * 200 + b"\n\ndata: small\n\n"
        events = [e for i in range(0, len(stream), step) for e in parser.feed(stream[i : i + step])]
        assert events == [Event(b"big", b"", overflow=True), Event(b"", b"small")]


def test_a_line_without_end_takes_no_memory() -> None:
    """Fifty megabytes without a line feed leave a few bytes behind."""
    parser = SseParser(limit=1000)
    for _ in range(50):
        assert parser.feed(b"y" * 1_000_000) == []
    assert len(parser._tail) <= 64


def test_array_elements() -> None:
    """Brackets in strings, escapes and nesting do not end an element; the closing bracket ends the array."""
    parser = JsonArrayParser()
    stream = rb'[ {"a": "]}\"\\"} , {"b": [1, [2]]}, [3]' + b"\r\n]"
    elements = [e.data for i in range(len(stream)) for e in parser.feed(stream[i : i + 1])]
    assert elements == [rb'{"a": "]}\"\\"}', b'{"b": [1, [2]]}', b"[3]"]
    assert parser.closed


def test_array_element_above_the_limit() -> None:
    """Too long an element is reported without its data, and the next one is read again."""
    parser = JsonArrayParser(limit=20)
    assert parser.feed(b'[{"a":"' + b"x" * 100 + b'"},{"b":1}]') == [Event(b"", b"", True), Event(b"", b'{"b":1}')]
