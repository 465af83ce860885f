"""Every kind of gate, from the words in understudy.yaml over rows of a real ledger to its verdict."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from understudy.config.project import Project, open_project
from understudy.core.playbook import Stage
from understudy.core.records import Exchange, Feedback, Record
from understudy.ledger.committer import Committer
from understudy.ledger.lake import Score
from understudy.ledger.segments import SegmentWriter
from understudy.rollout.begin import Request, begin
from understudy.rollout.evidence import LedgerEvidence
from understudy.rollout.fold import UpgradeState
from understudy.rollout.rehearsal import Rehearsal
from understudy.stages.assessment import Judgement

HOUR = 3_600.0
USERS, EACH = 900, 3


class Case(NamedTuple):
    gate: str
    """The line under `gates:`."""
    metric: str
    kind: str
    says: str
    """Part of the sentence of the failing gate."""


CASES = [
    Case("errors: {margin: 3pt}", "errors", "count", "errors"),
    Case("timeouts: {source: 'error:timeout', margin: 3pt}", "timeouts", "count", "timeouts"),
    Case("quality: {margin: 5pt, critical: true}", "quality", "mean", "quality"),
    Case("refusals: {margin: 3pt}", "refusals", "count", "refusals"),
    Case("invalid_format: {margin: 3pt}", "invalid_format", "count", "invalid_format"),
    Case("satisfaction: {margin: 8pt}", "satisfaction", "mean", "satisfaction"),
    Case("solved: {source: 'feedback:solved', margin: 8pt}", "solved", "mean", "solved"),
    Case("win_rate: {margin: 8pt}", "win_rate", "mean", "win_rate"),
    Case("latency: {margin: 6pt}", "latency_p95", "exceedance", "latency_p95"),
    Case("ttft: {margin: 6pt}", "ttft_p95", "exceedance", "ttft_p95"),
    Case("cost: {margin: 10%, limit: 0.05}", "cost", "log_mean", "cost"),
    Case("cost: {margin: 10%, limit: 0.05}", "cost_usd", "mean", "cost_usd"),
    Case("length: {source: 'field:output_tokens', direction: lower, margin: 10%}", "length", "mean", "length"),
]
GATES = "\n".join(f"      {line}" for line in dict.fromkeys(case.gate for case in CASES))
CONFIG = f"""
providers:
  local: {{wire: openai, base_url: "http://127.0.0.1:9/v1"}}
workloads:
  reply:
    incumbent: old
    variants:
      old: {{provider: local, model: model-1}}
      new: {{provider: local, model: model-2}}
    suites: [suite.yaml]
    shadow: {{min: 100s, max: 1000s}}
    canary:
      cycle: 6h
      feedback_window: 2h
      ladder: [{{share: 50%, hold: 1h}}, {{share: 100%, hold: 0s}}]
    gates:
{GATES}
"""
SUITE = """
suite: reply
cases: [{id: one, prompt: "?", reference: "x"}]
graders:
  - {name: kind, type: contains, text: "kind regards"}
  - {name: form, type: json_valid, weight: 0}
  - {name: willing, type: refusal, weight: 0}
score: kind
"""


def in_canary(folder: Path) -> tuple[Project, UpgradeState, float]:
    """An upgrade that has just come to its first rung, with the quantiles of the incumbent frozen."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "understudy.yaml").write_text(CONFIG)
    (folder / "suite.yaml").write_text(SUITE)
    project = open_project(folder / "understudy.yaml")
    world = Rehearsal(project)

    async def run() -> UpgradeState:
        state = await begin(project, world.store, world.board, Request("reply", "new", "a", "b", "t"), world.clock.now)
        while state.stage is not Stage.CANARY or not state.baseline:
            await world.turns(1, 60.0)
            (state,) = await world.store.upgrades()
        return replace(state, baseline={"latency_s": (0.5, 1.0, 2.0), "ttft_s": (0.5, 1.0, 2.0)})

    return project, asyncio.run(run()), world.clock.now


def answer(worse: bool, user: int, draw: random.Random) -> Mapping[str, Any]:
    """An answer of the incumbent, or of a candidate that is worse in everything."""
    text = {"reply": "It comes on Monday, kind regards"}
    fields: dict[str, Any] = {"answer": json.dumps(text), "latency_s": 0.4, "ttft_s": 0.2, "output_tokens": 100}
    fields["cost_usd"] = 0.01
    luck = draw.random()
    if worse and luck < 0.15:
        return fields | {"error": "timeout", "status": 504, "answer": ""}
    if worse and luck < 0.40:
        fields["answer"] = "I'm sorry, but I can't help with that."
    if draw.random() < (0.3 if worse else 0.02):
        fields |= {"latency_s": 1.5, "ttft_s": 1.5}
    if worse:
        fields |= {"cost_usd": 0.08, "output_tokens": 160 + user % 7}
    return fields | {
        "output_tokens": fields["output_tokens"] + user % 5,
        "cost_usd": fields["cost_usd"] * (1 + luck / 9),
    }


def records(state: UpgradeState, at: float, *, bad: bool) -> Iterator[tuple[Exchange, bool]]:
    draw = random.Random(5)
    for number in range(USERS * EACH):
        user = number % USERS
        candidate = user % 2 == 0
        given: dict[str, Any] = {
            "exchange": f"x-{number:06d}",
            "workload": "reply",
            "started_at": at + number,
            "epoch": 1,
            "generation": "g",
            "upgrade": state.id,
            "stage": "canary",
            "step": state.step,
            "arm": "candidate" if candidate else "incumbent",
            "reason": "below_share" if candidate else "above_share",
            "variant": "new" if candidate else "old",
            "unit": f"user-{user}",
            "status": 200,
        }
        yield Exchange(**{**given, **answer(bad and candidate, user, draw)}), bad and candidate


def fill(folder: Path, state: UpgradeState, at: float, *, bad: bool) -> Path:
    draw = random.Random(6)
    rows: list[Record] = []
    scores: list[Score] = []
    for exchange, worse in records(state, at, bad=bad):
        rows.append(exchange)
        for name in ("satisfaction", "solved"):
            happy = float(draw.random() < (0.5 if worse else 0.9))
            rows.append(Feedback(exchange=exchange.exchange, name=name, value=happy, at=at))
        won = float(draw.random() < (0.2 if worse else 0.5))
        scores.append(Score(exchange.exchange, "reply", "win_rate", won, at))
    writer = SegmentWriter(folder / "segments", "w0")
    for row in rows:
        writer.append(row)
    writer.close()
    with Committer(folder / "segments", folder / "lake") as committer:
        committer.run_once()
    evidence = LedgerEvidence(folder / "lake")
    try:
        evidence.ledger.add_scores(scores)
    finally:
        evidence.close()
    return folder / "lake"


def judged(folder: Path, *, bad: bool, traffic: bool = True, waited_s: float = 6 * HOUR) -> Judgement:
    project, state, now = in_canary(folder)
    lake = fill(folder, state, now, bad=bad) if traffic else folder / "lake"
    evidence = LedgerEvidence(lake)
    try:
        for _ in range(3):
            evidence.score(project, state)
        return evidence.judge(project, state, project.profile("reply"), now + waited_s, waited_s)
    finally:
        evidence.close()


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the same gates say of an equal candidate, of a worse one, and of no traffic at all."""
    folder = tmp_path_factory.mktemp("gates")
    found = {
        "equal": judged(folder / "equal", bad=False),
        "worse": judged(folder / "worse", bad=True),
        "nothing": judged(folder / "nothing", bad=False, traffic=False),
        "early": judged(folder / "early", bad=True, waited_s=HOUR),
    }
    return {
        name: {"all": one, **{gate["metric"]: gate for gate in one.details["gates"] if not gate["slice"]}}
        for name, one in found.items()
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.metric)
def test_from_a_line_to_a_verdict(case: Case, verdicts: dict[str, dict[str, Any]]) -> None:
    """An equal candidate passes, a worse one fails with a sentence, and no data decides nothing."""
    equal, worse = verdicts["equal"][case.metric], verdicts["worse"][case.metric]
    assert equal["kind"] == worse["kind"] == case.kind
    assert equal["verdict"] == "pass", equal
    assert worse["verdict"] == "fail", worse
    assert case.says in worse["sentence"]
    assert worse["n"] > 100
    assert worse["log_e"] >= worse["log_e_needed"]
    nothing = verdicts["nothing"].get(case.metric)
    assert nothing is None or nothing["verdict"] == "inconclusive"


def test_together(verdicts: dict[str, dict[str, Any]]) -> None:
    """One verdict over all, bound to what was judged; nothing measured is no pass."""
    equal, worse, nothing = (verdicts[name]["all"] for name in ("equal", "worse", "nothing"))
    assert (equal.verdict, worse.verdict, nothing.verdict) == ("pass", "fail", "inconclusive")
    assert equal.details["bound_to"] == worse.details["bound_to"] != ""
    assert nothing.missing
    for one in (equal, worse, nothing):
        assert one.details["binds"]["gates"] == one.details["bound_to"]
        assert len({one.details["binds"][arm] for arm in ("incumbent", "candidate")}) == 2
        assert all(one.details["binds"].values())


def test_feedback_matures(verdicts: dict[str, dict[str, Any]]) -> None:
    """An hour into a step whose feedback takes two, nothing is said of satisfaction, and errors fail all the same."""
    early = verdicts["early"]
    for metric in ("satisfaction", "solved"):
        assert early[metric]["verdict"] == "inconclusive"
        assert early[metric]["missing"] == ["its feedback window has not passed"]
    assert early["errors"]["verdict"] == "fail"
