"""The commands about the ledger, as a user runs them: output, --json and exit codes."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from understudy.cli.moment import moment, said
from understudy.core.errors import UsageError
from understudy.core.records import Exchange
from understudy.core.variant import Variant
from understudy.ledger.segments import SegmentWriter
from understudy.rollout.journal import Draft
from understudy.rollout.machine import Kind
from understudy.rollout.store.sql import open_store

UNDERSTUDY = str(Path(sys.executable).parent / "understudy")
CONFIG = """
providers:
  local: {wire: openai, base_url: "http://127.0.0.1:9"}
workloads:
  reply:
    incumbent: old
    variants:
      old: {provider: local, model: old-1, system_prompt: "text:Be brief."}
"""


def make(number: int, **fields: Any) -> Exchange:
    given: dict[str, Any] = {"variant": "old", "served_variant": "old", "reason": "no_route", "unit": f"u{number % 2}"}
    return Exchange(
        exchange=f"x-{number:06d}",
        workload="reply",
        started_at=1_700_000_000.0 + number,
        epoch=1,
        generation="g",
        **(given | fields),
    )


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run([UNDERSTUDY, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in which one worker wrote ten exchanges of two users."""
    (tmp_path / "understudy.yaml").write_text(CONFIG)
    writer = SegmentWriter(tmp_path / ".understudy" / "segments", "w0")
    for number in range(10):
        writer.append(make(number))
    writer.close()
    return tmp_path


def test_a_ledger_is_committed_verified_asked_exported_and_erased(project: Path) -> None:
    """The whole way, each step with one JSON document and its exit code."""
    assert json.loads(run(project, "ledger", "verify", "--json"))["waiting"] == 10
    assert json.loads(run(project, "ledger", "commit", "--json"))["exchanges"] == 10
    found = json.loads(run(project, "ledger", "verify", "--json"))
    assert (found["in_order"], found["committed"], found["waiting"]) == (True, 10, 0)
    served = json.loads(run(project, "who-served", "-u", "u1", "--at", said(1_700_000_005.0)[:19] + "Z", "--json"))
    assert (served["exchange"], served["served_variant"]) == ("x-000005", "old")
    assert served["why"] == "no upgrade gave the candidate traffic"
    assert json.loads(run(project, "ledger", "export", "u1.jsonl", "--unit", "u1", "--json"))["exchanges"] == 5
    assert json.loads(run(project, "ledger", "erase", "--unit", "u1", "--json"))["exchanges"] == 5
    run(project, "who-served", "-u", "u1", code=3)
    assert json.loads(run(project, "ledger", "expire", "--keep", "feedback=30d", "--json")) == {"feedback": 0}
    assert "every one of 10 numbers is accounted for" in run(project, "ledger", "verify")


def test_a_suite_is_made_from_traffic_and_single_findings_are_added(project: Path) -> None:
    """One command makes the suite, the same command with --exchange adds a finding; exit code 3 without content."""
    run(project, "suite", "from-ledger", "reply", "--since", "2023-01-01", code=3)
    body = json.dumps({"messages": [{"role": "user", "content": "why?"}]}).encode()
    writer = SegmentWriter(project / ".understudy" / "segments", "w1")
    writer.append(make(50, served_variant="old", request=body, answer="so"))
    writer.append(make(51, served_variant="new", request=body, answer="different"))
    writer.close()
    run(project, "ledger", "commit")
    asked = ("suite", "from-ledger", "reply", "--to", "s.yaml", "--json")
    assert json.loads(run(project, *asked, "--since", "2023-01-01", "--by", "slice"))["added"] == 1
    assert json.loads(run(project, *asked, "--exchange", "x-000051"))["added"] == 1
    run(project, *asked, "--by", "colour", code=2)


def test_a_damaged_segment_is_a_finding(project: Path) -> None:
    """Exit code 1, and the figure that is wrong."""
    (segment,) = (project / ".understudy" / "segments").glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[300] ^= 255
    segment.write_bytes(data)
    assert json.loads(run(project, "ledger", "verify", "--json", code=1))["in_order"] is False
    run(project, "ledger", "commit")
    assert "uncounted" in run(project, "ledger", "verify", code=1)


def test_a_decision_that_was_edited_is_a_finding(project: Path) -> None:
    """The commit copies decisions, verify says that they are in order, and which one is not after a row was edited."""
    draft = Draft(Kind.STARTED, "ada", "cheaper", {
        "workload": "reply", "incumbent": Variant("old", "local", "1").as_dict(),
        "candidate": Variant("new", "local", "2").as_dict(), "salt": "s", "profile": "interactive",
    })  # fmt: skip

    async def begun() -> None:
        store = await open_store(project / ".understudy" / "control.db")
        await store.begin(0, "reply-1", draft, 1.0)
        await store.append(1, "reply-1", [Draft(Kind.OPENED, "controller", "a suite is there")], 2.0)
        await store.close()

    asyncio.run(begun())
    assert json.loads(run(project, "ledger", "commit", "--json"))["decisions"] == 2
    assert "2 decisions of 1 upgrades follow from each other" in run(project, "ledger", "verify")
    with sqlite3.connect(project / ".understudy" / "control.db") as raw:
        raw.execute("UPDATE events SET by = 'somebody else' WHERE seq = 2")
    raw.close()
    found = json.loads(run(project, "ledger", "verify", "--json", code=1))
    assert found["in_order"] is False
    assert found["decisions"]["broken"] == [
        "event 2 of upgrade reply-1 (opened, by somebody else) was changed after it was decided"
    ]
    assert "event 2 of upgrade reply-1" in run(project, "ledger", "verify", code=1)


def test_wrong_arguments_are_usage_errors(project: Path) -> None:
    """Another workload, a time that is none, a file we cannot write: exit code 2."""
    run(project, "who-served", "-u", "u", "-w", "replay", code=2)
    run(project, "who-served", "-u", "u", "--at", "yesterday", code=2)
    run(project, "ledger", "export", "out.xml", code=2)
    run(project, "ledger", "erase", "--unit", "", code=2)
    run(project, "ledger", "commit", "--watch", "0", code=2)
    run(project, "ledger", "expire", "--keep", "exchanges=soon", code=2)
    run(project, "ledger", "expire", "--keep", "everything=90d", code=2)


def test_moments_are_utc_unless_they_say_otherwise() -> None:
    """A day begins at midnight UTC; an offset counts."""
    assert moment("1970-01-02") == 86_400.0
    assert moment("1970-01-01T01:00+01:00") == 0.0
    assert said(0.0) == "1970-01-01 00:00:00 UTC"
    with pytest.raises(UsageError):
        moment("1700000000")
