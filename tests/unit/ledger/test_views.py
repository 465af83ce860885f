"""Questions asked while somebody removes what they read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.core.errors import CannotMeasure
from understudy.ledger import views
from understudy.ledger.engines.duck import DuckDB
from understudy.ledger.export import export
from understudy.ledger.lake import Lake, Table
from understudy.ledger.metrics import MetricSpec
from understudy.ledger.queries import Ledger
from understudy.ledger.retention import DAY, expire

NOW = 1_700_000_000.0
QUESTIONS: dict[str, Callable[[Ledger], Any]] = {
    "exchanges": lambda ledger: [each.exchange for each in ledger.exchanges(workload="reply")],
    "counts": lambda ledger: ledger.counts("reply"),
    "sums": lambda ledger: ledger.sums([MetricSpec("error", "count")], workload="reply", upgrade="up-1", cycle_s=DAY),
    "pairs": lambda ledger: list(ledger.pairs(workload="reply", upgrade="up-1")),
    "new pairs": lambda ledger: [
        batch.pairs
        for batch in ledger.new_pairs(None, workload="reply", upgrade="up-1", fingerprint="f-new", since=0.0)[
            0
        ].batches()
    ],
}


@pytest.fixture
def lake(fill: Any, make: Any) -> Lake:
    """A pair that is to expire, and one of today."""
    pairs = [
        [
            make(number, started_at=at),
            make(number + 1, started_at=at, role="shadow", pair=f"x-{number:06d}", fingerprint="f-new"),
        ]
        for number, at in ((0, NOW - 9 * DAY), (2, NOW))
    ]
    return Lake(fill([record for pair in pairs for record in pair]))


@pytest.fixture(params=["bind", "run"])
def removed_meanwhile(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Before the engine binds files, or runs over those it has bound, an expiry takes one of them away, once."""
    removed: list[int] = []
    engine = getattr(DuckDB, request.param)

    def meanwhile(self: DuckDB, *given: Any) -> Any:
        if not removed:
            removed.append(0)
            found = expire({Table.EXCHANGES: 7 * DAY}, segments=tmp_path / "segments", lake=tmp_path / "lake", now=NOW)
            removed[0] = found[Table.EXCHANGES]
        return engine(self, *given)

    monkeypatch.setattr(DuckDB, request.param, meanwhile)
    return removed


@pytest.mark.parametrize("asked", QUESTIONS)
def test_a_question_is_answered_though_files_go_meanwhile(lake: Lake, removed_meanwhile: list[int], asked: str) -> None:
    """The answer is that of a ledger without what was removed."""
    found = QUESTIONS[asked](Ledger(lake))
    assert removed_meanwhile == [2]
    assert found == QUESTIONS[asked](Ledger(lake))


def test_an_export_is_made_though_files_go_meanwhile(lake: Lake, removed_meanwhile: list[int], tmp_path: Path) -> None:
    """It has what is left."""
    assert export(lake=lake, to=tmp_path / "out.jsonl") == 2
    assert removed_meanwhile == [2]


def test_a_file_that_is_lost_is_not_asked_for_again(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the table that is not there is said at once: nobody removed it who may."""
    (lost, *_) = lake.files(Table.EXCHANGES)
    Path(lost).unlink()
    asked = []
    monkeypatch.setattr(DuckDB, "_view", lambda *given, real=DuckDB._view: asked.append(1) or real(*given))
    with pytest.raises(CannotMeasure, match="cannot be read") as error:
        Ledger(lake).counts("reply")
    assert not isinstance(error.value, views.Removed)
    assert len(asked) == 1
