"""Every provider that the same requests are sent to: each answers ANSWER to PROMPT asked of MODEL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from understudy.testing.background import running
from understudy.testing.behaviour import Behaviour
from understudy.testing.faulty import FaultProvider
from understudy.testing.provider import ProviderServer
from understudy.testing.recorded import RecordedProvider
from understudy.testing.simulated import SimulatedProvider

MODEL = "model-1"
PROMPT = "[refund] I was charged twice for order 4711. Grüße 🎭"
KEY = "a-key"


@pytest.fixture(params=["recorded", "simulated", "faulty"])
def provider(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ProviderServer]:
    if request.param == "simulated":
        with running(lambda: SimulatedProvider({MODEL: Behaviour()}, key=KEY)) as simulated:
            yield simulated
        return
    if request.param == "faulty":
        with running(lambda: FaultProvider(models=[MODEL], key=KEY)) as faulty:
            yield faulty
        return
    file = tmp_path / "recordings.jsonl"
    output = "We have looked into it: your refund of 12 € is on its way.\n\nKind regards 🎭"
    row = {"case_id": "1", "slice": "refund", "model": MODEL, "prompt": PROMPT, "output": output, "latency_s": 0.2}
    file.write_text(json.dumps(row) + "\n")
    with running(lambda: RecordedProvider([file], key=KEY)) as recorded:
        yield recorded
