"""Streams of the corpus told in every other dialect say the same there, wherever they were cut on their way."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from understudy.wires.base import Answer, Endpoint
from understudy.wires.registry import wire
from understudy.wires.translate import Back, stream

PATHS = {
    "openai": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/w:streamGenerateContent?alt=sse",
    "gemini-array": "/v1beta/models/w:streamGenerateContent",
}
CORPUS = [
    path
    for path in sorted((Path(__file__).parent / "corpus").glob("*.stream"))
    if not path.name.startswith(("openai.responses", "gemini.stream_generate_content.array"))
]
PAIRS = [(path, app) for path, app in itertools.product(CORPUS, PATHS) if not path.name.startswith(app)]


def endpoint_of(app: str) -> Endpoint:
    endpoint = wire(app.partition("-")[0]).endpoint("POST", PATHS[app])
    assert endpoint
    return endpoint


def told(path: Path, app: str, pieces: list[bytes]) -> bytes:
    carrying = stream(Back(endpoint_of(app), path.name.partition(".")[0], True, True))
    return b"".join(carrying.feed(piece) for piece in pieces) + carrying.finish()


def said(endpoint: Endpoint, data: bytes) -> Answer:
    reader = wire(endpoint.wire).reader(endpoint)
    reader.feed(data)
    return reader.answer()


@pytest.mark.parametrize(("path", "app"), PAIRS, ids=lambda v: v.stem if isinstance(v, Path) else v)
def test_the_same_is_said(path: Path, app: str) -> None:
    """Text, tool calls, counts, and whether it was complete are the same in the other dialect."""
    name, _, rest = path.name.partition("--")[0].partition(".")
    original = said(Endpoint(name, rest, "", ""), path.read_bytes())
    there = said(endpoint_of(app), told(path, app, [path.read_bytes()]))
    assert (there.text, there.tool_calls, there.complete) == (original.text, original.tool_calls, original.complete)
    assert bool(there.error) is (not original.complete)
    assert there.unreadable is False
    if original.complete and original.usage.output_tokens is not None:
        assert there.usage.output_tokens == original.usage.output_tokens
        assert there.usage.cached_tokens == original.usage.cached_tokens


@pytest.mark.parametrize(("path", "app"), PAIRS, ids=lambda v: v.stem if isinstance(v, Path) else v)
def test_wherever_it_was_cut(path: Path, app: str) -> None:
    """The bytes the app gets do not depend on how the provider's bytes were cut."""
    data = path.read_bytes()
    whole = told(path, app, [data])
    assert [at for at in range(0, len(data), 3) if told(path, app, [data[:at], data[at:]]) != whole] == []
