"""What is said of a ledger that fails, or takes long, to whoever looks."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from understudy.core.errors import UsageError
from understudy.dashboard.looking import Looking

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from understudy.ledger.queries import Ledger

FILE = """
providers:
  sim: {wire: openai, base_url: "http://127.0.0.1:9/v1"}
workloads:
  reply:
    incumbent: old
    variants: {old: {provider: sim, model: m1}}
    suites: [suite.yaml]
"""
SUITE = """
suite: reply
cases: [{id: c1, prompt: "1 + 1?", reference: "2"}]
graders: [{name: answer, type: exact}]
score: answer
"""


def looking_at(folder: Path) -> Looking:
    from understudy.config.project import open_project

    (folder / "understudy.yaml").write_text(FILE)
    (folder / "suite.yaml").write_text(SUITE)
    return Looking(open_project(folder / "understudy.yaml", {}), patience_s=5.0)


def test_a_reading_that_fails_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An error of ours is handed on as it is; a defect is named on the page, and its place on standard error."""

    def wrong(ledger: Ledger) -> Any:
        raise UsageError("no pair has the slice", remedy="there is refund")

    def defect(ledger: Ledger) -> Any:
        raise KeyError("surprise")

    async def both() -> None:
        looking = looking_at(tmp_path)
        told = await looking.look("wrong", wrong)
        assert (told.value, told.problem) == (None, "no pair has the slice; there is refund")
        assert isinstance(told.error, UsageError)
        broken = await looking.look("defect", defect)
        assert broken.problem.startswith("a defect of understudy: KeyError")
        assert broken.reading_s is None
        assert looking.close()

    asyncio.run(both())
    assert "surprise" in capfd.readouterr().err


def test_a_long_reading_goes_on_once_for_everybody(tmp_path: Path) -> None:
    """Those who do not wait are told that it is read; the next look has what the one reading found."""
    begun: list[int] = []
    go = threading.Event()

    def read(ledger: Ledger) -> str:
        begun.append(1)
        assert go.wait(30)
        return "found"

    async def several() -> None:
        looking = looking_at(tmp_path)
        looking._patience_s = 0.02
        first, second = await asyncio.gather(*(looking.look("much", read, long=True) for _ in range(2)))
        assert first.value is None
        assert second.reading_s is not None
        assert "is being read" in second.problem
        go.set()
        last = await looking.look("much", read, patience_s=30.0)
        assert (last.value, last.problem, last.reading_s) == ("found", "", None)
        assert looking.close()

    asyncio.run(several())
    assert len(begun) == 1
