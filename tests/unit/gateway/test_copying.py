from __future__ import annotations

import gzip
import json
import zlib

import pytest

from understudy.gateway.copying import WHOLE_LIMIT, Copy
from understudy.wires.registry import wire

OPENAI = wire("openai")
CHAT = OPENAI.endpoint("POST", "/v1/chat/completions")
assert CHAT is not None
BODY = json.dumps(
    {
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "a {b} [c]"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
).encode()


def read(body: bytes, encoding: bytes = b"", *, piece: int = 7) -> Copy:
    copy = Copy(OPENAI, CHAT)
    copy.tell(200, streamed=False, encoding=encoding)
    for at in range(0, len(body), piece):
        copy.add(body[at : at + piece])
    return copy


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (BODY, b""),
        (BODY, b"identity"),
        (gzip.compress(BODY), b"gzip"),
        (gzip.compress(BODY[:50]) + gzip.compress(BODY[50:]), b"gzip"),
        (zlib.compress(BODY), b"deflate"),
    ],
)
def test_an_answer_is_read_through_its_encoding(body: bytes, encoding: bytes) -> None:
    """Plain, gzip of one member or several, and deflate say the same, in pieces of any size."""
    for piece in (1, 7, 1000):
        answer = read(body, encoding, piece=piece).answer()
        assert (answer.text, answer.usage.output_tokens, answer.unreadable) == ("a {b} [c]", 2, False)


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip"])
def test_what_cannot_be_decoded_is_flagged_and_nothing_more(encoding: bytes) -> None:
    """An unknown encoding, or one that lies, makes the copy unreadable, never the answer a failure."""
    copy = read(BODY, encoding)
    answer = copy.answer()
    assert (answer.unreadable, answer.truncated, answer.error, copy.complete) == (True, True, "", True)


RICH = json.dumps(
    {"a": "Grüße 🎭 \u2028", "b": [1, -2.5e-10, True, None, {}], "c": {"d": 'x"\\\n', "e": []}, "f": 1e22}
)


@pytest.mark.parametrize("ascii_only", [True, False])
def test_an_answer_that_ends_anywhere_in_the_middle_is_a_part(ascii_only: bool) -> None:
    """Wherever a JSON answer is cut, in a letter or in a number, it is told from nonsense and from a whole one."""
    whole = json.dumps(json.loads(RICH), ensure_ascii=ascii_only).encode()
    assert [cut for cut in range(1, len(whole)) if not read(whole[:cut], piece=1000).cut_short] == []
    assert not read(whole).cut_short
    assert not read(whole + b"}").cut_short
    assert not read(b"<html>-").cut_short


def test_a_bomb_is_given_up_in_bounded_memory() -> None:
    """A small body that becomes a large one is read no further than the limit."""
    bomb = gzip.compress(b"0" * (WHOLE_LIMIT * 4))
    assert len(bomb) < 100_000
    assert read(bomb, b"gzip", piece=1000).answer().unreadable


def test_every_part_of_an_answer_is_seen_to_be_one() -> None:
    """A JSON answer cut anywhere is cut short; the whole one and plain nonsense are not."""
    assert not read(BODY).cut_short
    assert not read(b"<html></html>").cut_short
    missed = [at for at in range(1, len(BODY)) if not read(BODY[:at]).cut_short]
    assert missed == []
