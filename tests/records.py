"""Records to put into a ledger, and the way from records to a lake."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from understudy.core.records import Exchange, Record
from understudy.ledger.committer import Committer
from understudy.ledger.lake import Lake
from understudy.ledger.segments import SegmentWriter

BEGAN = 1_700_000_000.0


def exchange(number: int, **fields: Any) -> Exchange:
    """An exchange by number, of a canary; any field can be given."""
    given: dict[str, Any] = {
        "exchange": f"x-{number:06d}",
        "workload": "reply",
        "started_at": BEGAN + number,
        "epoch": 1,
        "generation": "g",
        "upgrade": "up-1",
        "stage": "canary",
        "step": 0,
        "variant": "old",
        "served_variant": "old",
        "fingerprint": "f-old",
        "status": 200,
    }
    return Exchange(**(given | fields))


def fill(folder: Path, records: Iterable[Record], worker: str = "w0", **lake: Any) -> Lake:
    """Append records as one worker, and commit them to the lake beside the segments."""
    writer = SegmentWriter(folder / "segments", worker)
    for record in records:
        writer.append(record)
    writer.close()
    made = Lake(folder / "lake", **lake)
    with Committer(folder / "segments", made) as committer:
        committer.run_once()
    return made
