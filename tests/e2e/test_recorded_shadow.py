"""Real recorded answers of two pinned models through the gateway, with every request shadowed.

The suite asks composite numbers only, where the new model is better (70.4 to 98.0): the eval lets it pass, as evals do
that cover half of the traffic. Shadow sees all of it and names the drift.
"""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from .world import RECORDINGS, Customer, World, eventually, world

REQUESTS = 2_000

CONFIG = """
providers:
  recorded: {{wire: openai, base_url: "{base_url}"}}
workloads:
  prime:
    owner: number-theory
    slice_by: {{kind: "header:x-kind"}}
    content: full
    incumbent: old
    variants:
      old: {{provider: recorded, model: gpt-4-0314}}
      new: {{provider: recorded, model: gpt-4-0613}}
    suites: [composite.yaml]
"""

SUITE = """
suite: composite
cases: composite.jsonl
graders:
  - {name: answer, type: regex_match, pattern: '\\[(yes|no)\\]', ignore_case: true, equals: reference}
score: answer
"""


@pytest.mark.alone
@pytest.mark.slow
def test_every_shadowed_pair_is_kept_and_the_drift_is_named(tmp_path: Path) -> None:
    """2,000 requests make 2,000 pairs, and the report names length and format."""
    source = RECORDINGS / "prime.jsonl.gz"
    if not source.exists():
        pytest.skip(f"the recordings are not at {source}")
    with gzip.open(source, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    asked = [(row["prompt"], row["slice"]) for row in rows if row["model"] == "gpt-4-0314"]
    with (tmp_path / "composite.jsonl").open("w") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows if row["slice"] == "composite")
    (tmp_path / "composite.yaml").write_text(SUITE)
    with world(tmp_path) as here:
        _, replay = here.start("replay", "serve", "--recordings", str(source), "--port", "0", "--json")
        (tmp_path / "understudy.yaml").write_text(CONFIG.format(base_url=f"http://127.0.0.1:{replay['port']}/v1"))
        _, up = here.start("up", "--port", "0", "--no-dashboard", "--json")
        assert here.run("upgrade", "start", "prime", "--candidate", "new").code == 0
        eventually(lambda: shadowing(here), within=180)
        # The report counts from the moment on at which all traffic was seen to be copied; until then it is not due.
        eventually(lambda: send(up["port"], asked, 40) == {200: 40} and copied(here), within=180)
        assert send(up["port"], asked, REQUESTS) == {200: REQUESTS}
        report = eventually(lambda: complete_report(here), within=180, every=1)
    assert report["pairs"] == report["coverage"]["served"] == report["coverage"]["copies"]
    kinds = {finding["kind"] for finding in report["findings"]}
    assert any("length" in kind for kind in kinds), kinds
    assert len(kinds) > 1, kinds


def shadowing(here: World) -> bool:
    status = here.status("prime")
    return status["upgrade"]["stage"] == "shadow" and status["exposure"]["effective"]


def copied(here: World) -> bool:
    """Whether the clock of the shadow runs."""
    assessment = here.status("prime")["upgrade"]["assessment"]
    return assessment is not None and assessment["stage"] == "shadow" and bool(assessment["clock"])


def complete_report(here: World) -> dict[str, Any] | None:
    report = here.run("shadow", "report", "prime", "--json").json
    return report if report.get("pairs", 0) >= REQUESTS else None


def send(port: int, asked: list[tuple[str, str]], requests: int) -> dict[int, int]:
    """So many requests from eight customers at once; returns how often each status came back."""

    def some(part: int) -> list[int]:
        mine = [asked[i % len(asked)] for i in range(part, requests, 8)]
        with closing(Customer("127.0.0.1", port)) as customer:
            return [customer.ask("prime", p, user=f"u{i}", **{"x-kind": k})[0] for i, (p, k) in enumerate(mine)]

    with ThreadPoolExecutor(8) as pool:
        seen = [code for part in pool.map(some, range(8)) for code in part]
    return {code: seen.count(code) for code in set(seen)}
