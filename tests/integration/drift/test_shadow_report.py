"""`understudy shadow report` on a real ledger: segments written, committed to the lake, and read back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from understudy.core.records import Exchange
from understudy.ledger.committer import Committer
from understudy.ledger.segments import SegmentWriter
from understudy.testing.behaviour import Behaviour
from understudy.testing.writer import draw, reply

UNDERSTUDY = Path(sys.executable).parent / "understudy"


def run(folder: Path, *arguments: str, columns: int = 100) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("UNDERSTUDY")}
    return subprocess.run(
        [UNDERSTUDY, *arguments],
        cwd=folder,
        env={**clean, "COLUMNS": str(columns)},
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The example project with an upgrade begun on it: its folder, and what `upgrade status` says."""
    folder = tmp_path_factory.mktemp("begun")
    assert run(folder, "init").returncode == 0
    started = run(folder, "upgrade", "start", "reply-drafting", "--candidate", "small-2")
    assert started.returncode == 0, started.stderr
    status = json.loads(run(folder, "upgrade", "status", "reply-drafting", "--json").stdout)
    return folder, status["upgrade"]


@pytest.fixture
def upgrade(begun: tuple[Path, dict[str, Any]], tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of it for one test."""
    shutil.copytree(begun[0], tmp_path, dirs_exist_ok=True)
    return tmp_path, begun[1]


def exchanges(upgrade: Mapping[str, Any], count: int, candidate: Behaviour) -> Iterator[Exchange]:
    """What a gateway logs in shadow: served answers and copies, every fortieth copy lost to a timeout."""
    now = time.time()
    for number in range(count):
        kind = ("refund", "delivery")[number % 2]
        prompt = f"[{kind}] ticket {number} about order {1000 + number}"
        for role, arm, behaviour in (("served", "incumbent", Behaviour()), ("shadow", "candidate", candidate)):
            lost = role == "shadow" and number % 40 == 39
            variant = upgrade[arm]
            yield Exchange(
                exchange=f"{role}-{number:05}",
                pair="" if role == "served" else f"served-{number:05}",
                workload="reply-drafting",
                started_at=now + number / 1000,
                epoch=1,
                generation="g",
                role=role,
                upgrade=upgrade["id"],
                stage="shadow",
                arm=arm,
                variant=variant["name"],
                served_variant=upgrade["incumbent"]["name"] if role == "served" else "",
                fingerprint=variant["fingerprint"],
                unit=f"user-{number % 60}",
                slices={"ticket": kind},
                status=0 if lost else 200,
                error="timeout" if lost else "",
                latency_s=0.5 + draw(role, number),
                output_tokens=50,
                finish_reason="stop",
                request=prompt.encode(),
                answer="" if lost else reply(variant["name"], prompt, "", behaviour, 1),
            )


def record(folder: Path, rows: Iterator[Exchange]) -> None:
    state = folder / ".understudy"
    writer = SegmentWriter(state / "segments", "w0")
    for row in rows:
        writer.append(row)
    writer.close()
    committer = Committer(state / "segments", state / "lake")
    committer.run_once()
    committer.close()


def test_a_drifting_candidate_is_reported_with_examples(upgrade: tuple[Path, dict[str, Any]]) -> None:
    """Findings first, in sentences; pairs side by side; the figures; exit code 1."""
    folder, begun = upgrade
    record(folder, exchanges(begun, 200, Behaviour(closing=False)))
    done = run(folder, "shadow", "report", "reply-drafting")
    assert done.returncode == 1, done.stderr
    assert "Would" not in done.stderr
    text = " ".join(done.stdout.split())
    assert "195 copies of 200 served (98 %); lost: 5 timeout" in text
    assert (
        '1. 0 % of the answers end with the closing line ("kind regards, your support team"), 100 % did before.' in text
    )
    assert "incumbent, served" in text
    assert "closing line" in text

    data = json.loads(run(folder, "shadow", "report", "--json", "--examples", "3").stdout)
    assert [(f["kind"], f["slice"], f["waived"]) for f in data["findings"]] == [("closing", "", False)]
    assert len(data["findings"][0]["examples"]) == 3
    assert data["findings"][0]["examples"][0]["incumbent"].endswith("Kind regards, your support team")
    assert data["coverage"] == {"served": 200, "copies": 195, "lost": {"timeout": 5}}
    assert {row["slice"] for row in data["rows"]} == {"", "ticket=refund", "ticket=delivery"}

    one = run(folder, "shadow", "report", "--slice", "ticket=refund")
    assert one.returncode == 1
    assert "ticket=refund" in one.stdout
    assert "ticket=delivery" not in one.stdout.partition("1 finding")[2]
    unknown = run(folder, "shadow", "report", "--slice", "ticket=refnd")
    assert unknown.returncode == 2
    assert "did you mean ticket=refund?" in unknown.stderr


def test_a_candidate_like_the_incumbent_has_nothing_to_report(upgrade: tuple[Path, dict[str, Any]]) -> None:
    """No finding: exit code 0, and every figure is still shown."""
    folder, begun = upgrade
    record(folder, (row for row in exchanges(begun, 120, Behaviour()) if not row.error))
    done = run(folder, "shadow", "report")
    assert done.returncode == 0, done.stdout
    assert "Nothing a user would notice." in done.stdout
    assert "first person /100" in done.stdout


@pytest.mark.parametrize("columns", [80, 140])
def test_the_report_fits_the_terminal(upgrade: tuple[Path, dict[str, Any]], columns: int) -> None:
    """Nothing is wider than the terminal it is printed to."""
    folder, begun = upgrade
    record(folder, exchanges(begun, 120, Behaviour(length=0.5, tone="cold")))
    done = run(folder, "shadow", "report", columns=columns)
    assert done.returncode == 1
    assert max(len(line) for line in done.stdout.splitlines() if "│" in line) <= columns


def test_without_enough_pairs_nothing_is_claimed(upgrade: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """No upgrade, no pairs, too few pairs: exit code 3 and what to do; another upgrade's id: exit code 2."""
    folder, begun = upgrade
    none = run(folder, "shadow", "report")
    assert none.returncode == 3
    assert "has no pairs of the candidate small-2, 20 are the least" in none.stderr
    record(folder, exchanges(begun, 12, Behaviour()))
    few = run(folder, "shadow", "report", "--json")
    assert few.returncode == 3
    assert "has 12 pairs" in json.loads(few.stdout)["message"]
    other = run(folder, "shadow", "report", "--upgrade", "nope")
    assert other.returncode == 2
    assert f"there is {begun['id']}" in other.stderr

    fresh = tmp_path / "fresh"
    assert run(folder, "init", str(fresh)).returncode == 0
    never = run(fresh, "shadow", "report")
    assert never.returncode == 3
    assert "has had no upgrade yet" in never.stderr
    assert not (fresh / ".understudy").exists()
