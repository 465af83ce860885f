"""The commands about the ledger, as a user runs them: output, --json and exit codes."""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from understudy.core.errors import CannotMeasure, UsageError
from understudy.core.moment import moment, said
from understudy.core.records import Exchange
from understudy.core.variant import Variant
from understudy.ledger.queries import Ledger
from understudy.ledger.segments import SegmentWriter
from understudy.rollout.journal import Draft
from understudy.rollout.machine import Kind
from understudy.rollout.store.sqlite import open_store

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
        epoch=1,
        generation="g",
        **({"started_at": 1_700_000_000.0 + number} | given | fields),
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
    assert "2 decisions of 1 upgrade follow from each other" in run(project, "ledger", "verify")
    with sqlite3.connect(project / ".understudy" / "control.db") as raw:
        raw.execute("UPDATE events SET by = 'somebody else' WHERE seq = 2")
    raw.close()
    found = json.loads(run(project, "ledger", "verify", "--json", code=1))
    assert found["in_order"] is False
    assert found["decisions"]["broken"] == [
        "event 2 of upgrade reply-1 (opened, by somebody else) was changed after it was decided"
    ]
    assert "event 2 of upgrade reply-1" in run(project, "ledger", "verify", code=1)


def test_costs_are_made_with_the_prices_of_the_configuration(project: Path) -> None:
    """`commit` uses the YAML's price before the list, `cost` shows what comes of it, and a jump of the list waits."""
    state = project / ".understudy"
    prices = "prices: {house: {input: 3, output: 10, cached_input: 0.5, as_of: '2026-01-31'}}\n"
    (project / "understudy.yaml").write_text(CONFIG + prices)
    writer = SegmentWriter(state / "segments", "w2")
    used = {"input_tokens": 1_000, "output_tokens": 200, "cached_tokens": 400, "reasoning_tokens": 50}
    for number, model in enumerate(["house", "gpt-4-0613", "nobody-knows"]):
        writer.append(make(60 + 864 * number, model_served=model, served_variant=model, **used))
    writer.close()
    run(project, "ledger", "commit")
    run(project, "ledger", "export", "o.jsonl", "--json")
    rows = {row["model_served"]: row for row in map(json.loads, (project / "o.jsonl").read_text().splitlines())}
    house, listed, unknown = rows["house"], rows["gpt-4-0613"], rows["nobody-knows"]
    # By hand: 600 x 3 + 400 x 0.5 + 200 x 10 = 4,000 dollars a million; 1,000 x 30 + 200 x 60 = 42,000.
    assert (house["cost_usd"], house["cost_source"], house["cost_as_of"]) == (0.004, "config", "2026-01-31")
    assert (listed["cost_usd"], listed["cost_as_of"]) == (pytest.approx(0.042), "2023-11-14")
    assert (unknown["cost_usd"], unknown["cost_source"]) == (None, "")
    months = {each["variant"]: each for each in json.loads(run(project, "ledger", "cost", "--json"))["months"]}
    # 13 exchanges in 1,788 s are 18,845.6 in 30 days; each would cost 0.004 with `house`.
    assert months["house"]["exchanges"] == pytest.approx(13 / 1_788 * 30 * 86_400)
    assert months["house"]["usd"] == pytest.approx(13 / 1_788 * 30 * 86_400 * 0.004)
    assert (months["house"]["cached_tokens"], months["house"]["reasoning_tokens"]) == (400, 50)
    assert months["nobody-knows"]["usd"] is None
    assert "gpt-4-0613" in run(project, "ledger", "prices")
    book = json.loads((state / "prices.json").read_text())
    book["gpt-4-0613"] = {**book["gpt-4-0613"], "tiers": [[-1, 3.0, 6.0, 3.0]]}
    (state / "prices.json").write_text(json.dumps(book))
    writer = SegmentWriter(state / "segments", "w3")
    writer.append(make(9_000, model_served="gpt-4-0613", **used))
    writer.close()
    run(project, "ledger", "commit")
    waiting = json.loads(run(project, "ledger", "prices", "--json", code=1))["prices"][0]["waiting"]
    assert waiting["tiers"] == [{"above": -1, "input": 30.0, "output": 60.0, "cached": 30.0}]
    run(project, "ledger", "export", "p.jsonl", "--unit", "u0", "--json")
    held = json.loads((project / "p.jsonl").read_text().splitlines()[-1])
    assert (held["cost_usd"], held["cost_source"][-7:]) == (pytest.approx(0.0042), " (held)")
    assert "is used from now on" in run(project, "ledger", "prices", "--accept", "gpt-4-0613")
    run(project, "ledger", "prices", "--accept", "gpt-4-0613", code=2)


@pytest.mark.slow
def test_a_committer_takes_over_prices_and_retention_while_it_runs(project: Path) -> None:
    """A file with a mistake is said and changes nothing; a good one counts from then on, for exchanges of then."""
    file = project / "understudy.yaml"
    numbers = itertools.count(100)
    file.write_text(CONFIG + PRICED.format(1))
    command = [UNDERSTUDY, "ledger", "commit", "--watch", "0.1"]
    with subprocess.Popen(command, cwd=project, stdout=-1, stderr=-1, text=True) as committer:
        try:
            assert committer.stdout is not None
            assert committer.stderr is not None
            assert json.loads(committer.stdout.readline())["ready"]
            assert priced(project, numbers) == 1.0
            file.write_text(CONFIG + PRICED.format(-2))
            assert "understudy.yaml" in committer.stderr.readline()
            assert priced(project, numbers) == 1.0
            file.write_text(CONFIG + PRICED.format(3) + "retention: {exchanges: 30d}\n")
            until(lambda: priced(project, numbers) == 3.0)
            # The ten that were there at first are of 2023.
            until(lambda: min((a.started_at for a in there(project)), default=0.0) > time.time() - 3_600)
        finally:
            committer.terminate()
            committer.communicate(timeout=60)
    assert json.loads(run(project, "ledger", "verify", "--json"))["in_order"]


PRICED = "prices: {{house: {{input: {}, output: 10}}}}\n"


def priced(project: Path, numbers: Iterator[int]) -> float | None:
    """What a million tokens cost that are written now."""
    number = next(numbers)
    writer = SegmentWriter(project / ".understudy" / "segments", f"w{number}")
    used = {"model_served": "house", "input_tokens": 1_000_000, "output_tokens": 0}
    writer.append(make(number, **{**used, "started_at": time.time()}))
    writer.close()
    found: list[float | None] = []

    def committed() -> bool:
        found[:] = [a.cost_usd for a in there(project) if a.exchange == f"x-{number:06d}"]
        return bool(found)

    until(committed)
    return found[0]


def there(project: Path) -> list[Exchange]:
    """The exchanges in the lake; none while an expiry removes the file that is being read."""
    ledger = Ledger(project / ".understudy" / "lake")
    try:
        return list(ledger.exchanges(workload="reply"))
    except CannotMeasure as error:
        assert "ask again" in error.remedy
        return []
    finally:
        ledger.close()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


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
