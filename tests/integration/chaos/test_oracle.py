"""The oracle itself: it is silent about a story that fits together, and names each way in which one does not."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import msgspec
import pytest
from benchmarks.chaos.client import Saw
from benchmarks.chaos.oracle import violations
from benchmarks.chaos.world import Evidence

from understudy.core.records import Exchange
from understudy.testing.faulty import Received

BODY = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\ndata: [DONE]\n\n'


def story() -> Evidence:
    """One streamed request, answered in full, received once, recorded once."""
    saw = Saw("r1", "openai", True, status=200, payload=BODY, framed=True, end="complete", ended_at=1.0)
    call = Received("r1", "inc", "f/ok", "/v1/chat/completions", {}, b"", 0, False, 0.0, status=200)
    call.terminal, call.payload, call.digest, call.ended = True, BODY, sha256(BODY).hexdigest(), "complete"
    record = Exchange(
        exchange="x1", workload="openai", started_at=0.0, epoch=1, generation="g", unit="r1", status=200, attempts=1
    )
    return Evidence(saw=[saw], received={"inc": [call], "cand": []}, records=[record], lost={})


def _records(evidence: Evidence, **changes: object) -> None:
    evidence.records[0] = msgspec.structs.replace(evidence.records[0], **changes)


def _second_call(e: Evidence) -> None:
    e.received["inc"].append(e.received["inc"][0])


def _unsent(e: Evidence) -> None:
    e.received["inc"][0].terminal = False


def _changed(e: Evidence) -> None:
    e.saw[0].payload = e.saw[0].payload.replace(b"x", b"y")


def _quiet(e: Evidence) -> None:
    e.saw[0].payload = e.saw[0].payload.replace(b"data: [DONE]\n\n", b"")


def _hung(e: Evidence) -> None:
    e.saw[0].end = "timeout"


def _odd(e: Evidence) -> None:
    e.saw[0].status, e.saw[0].payload = 502, b"<html>"


def _unframed(e: Evidence) -> None:
    e.saw[0].framed = False


def _stray(e: Evidence) -> None:
    e.saw.clear()
    e.records.clear()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_second_call, "called 2 times, the ledger counts 1"),
        (_unsent, "no provider completed"),
        (_changed, "bytes are not the provider's"),
        (_quiet, "ends as if it were whole, and is not"),
        (_hung, "no answer and no error"),
        (_odd, "no error of its dialect"),
        (_unframed, "the ledger says nothing went wrong"),
        (_stray, "requests nobody sent"),
        (lambda e: e.records.clear(), "not in the ledger"),
        (lambda e: e.records.append(e.records[0]), "2 records of one request"),
        (lambda e: _records(e, error="timeout"), "the ledger says timeout"),
        (lambda e: _records(e, status=502), "the ledger says 502"),
        (lambda e: e.lost.update(gap=3), "nobody counted"),
        (lambda e: setattr(e, "log", "Traceback (most recent call last):\n  x\nValueError: y"), "ValueError: y"),
    ],
)
def test_each_lie_is_found(spoil: Callable[[Evidence], None], sentence: str) -> None:
    """Whatever one of the three ledgers says differently is named."""
    evidence = story()
    assert violations(evidence) == []
    spoil(evidence)
    assert any(sentence in text for text in violations(evidence)), violations(evidence)
