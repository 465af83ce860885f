"""Events that are read together, against the same ones read one by one."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from understudy.wires.openai_chat import reader

_CALL = {"index": 0, "function": {"name": "look", "arguments": "{}"}}
_USAGE = {"prompt_tokens": 3, "completion_tokens": 5}

texts = st.sampled_from(["a", "grüß", "", "\U0001f3ad", "\ud83d", "x" * 90_000, None])
deltas = st.one_of(
    st.builds(lambda text: {"content": text}, texts),
    st.builds(lambda text: {"content": text, "tool_calls": [_CALL]}, texts),
    st.sampled_from(
        [
            {},
            None,
            {"role": "assistant"},
            {"refusal": "no"},
            {"content": [{"type": "text", "text": "part"}]},
            {"reasoning_content": "hm"},
            {"function_call": {"name": "f", "arguments": "1"}, "content": "and"},
            {"audio": {"data": "x"}, "content": "heard"},
        ]
    ),
)
choices = st.fixed_dictionaries(
    {"delta": deltas, "index": st.sampled_from([0, 0, 0, 1])},
    optional={"finish_reason": st.sampled_from([None, "stop", "length"])},
)
chunks = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.one_of(st.none(), st.lists(choices, max_size=2)),
        "model": st.sampled_from(["m1", "m2", None]),
        "id": st.sampled_from(["c1", "c2"]),
        "system_fingerprint": st.sampled_from(["f1", "f2", ""]),
        "usage": st.sampled_from([None, _USAGE]),
        "error": st.sampled_from([None, {"code": "overloaded"}]),
    },
).map(lambda chunk: json.dumps(chunk).encode())
events = st.one_of(chunks, chunks, chunks, chunks, st.sampled_from([b"[DONE]", b"{", b"{} {}", b"null", b"", b"[1]"]))


@given(st.lists(events, min_size=1, max_size=12), st.booleans())
def test_read_together_or_one_by_one_an_answer_says_the_same(found: list[bytes], ended: bool) -> None:
    """Text in its order, calls, usage, errors, what cannot be read and the end."""
    together, alone = reader(), reader()
    written = [b"data: %b\n\n" % data for data in [*found, *([b"[DONE]"] if ended else [])]]
    together.feed(b"".join(written))
    for event in written:
        for byte in (event[:1], event[1:]):  # cut, so that it is not read as a batch of one
            alone.feed(byte)
    assert together.answer() == alone.answer()
    assert (together.done, together.content_seen) == (alone.done, alone.content_seen)
