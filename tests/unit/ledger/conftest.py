"""Records to put into a ledger, and the way from records to a lake."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from understudy.core.records import Exchange, Record
from understudy.ledger.committer import Committer
from understudy.ledger.segments import SegmentWriter

Make = Callable[..., Exchange]
Fill = Callable[[Iterable[Record]], Path]


@pytest.fixture
def make() -> Make:
    """An exchange by number; any field can be given."""

    def made(number: int, **fields: Any) -> Exchange:
        given: dict[str, Any] = {
            "exchange": f"x-{number:06d}",
            "workload": "reply",
            "started_at": 1_700_000_000.0 + number,
            "epoch": 1,
            "generation": "g",
            "upgrade": "up-1",
            "stage": "canary",
            "step": 0,
            "variant": "old",
            "served_variant": "old",
            "fingerprint": "f-old",
            "unit": f"u-{number % 7}",
            "status": 200,
        }
        return Exchange(**(given | fields))

    return made


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    """Append records as one worker, commit them, and return the lake."""
    lake = tmp_path / "lake"

    def filled(records: Iterable[Record]) -> Path:
        writer = SegmentWriter(tmp_path / "segments", "w0")
        for record in records:
            writer.append(record)
        writer.close()
        with Committer(tmp_path / "segments", lake) as committer:
            committer.run_once()
        return lake

    return filled
