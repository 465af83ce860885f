"""The controller on a real ledger in virtual time: planted defects and slow drift, from rows to the journal."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from understudy.config.project import Project, open_project
from understudy.core.playbook import Profile, Stage
from understudy.core.records import Exchange
from understudy.ledger.committer import Committer
from understudy.ledger.segments import SegmentWriter
from understudy.rollout.begin import Request, begin
from understudy.rollout.evidence import LedgerEvidence
from understudy.rollout.fold import UpgradeState
from understudy.rollout.journal import Event
from understudy.rollout.rehearsal import Rehearsal
from understudy.stages.shadow import Coverage
from understudy.stages.shadow import Evidence as ShadowEvidence

HOUR = 3_600.0
CONFIG = """
providers:
  local: {wire: openai, base_url: "http://127.0.0.1:9/v1"}
workloads:
  reply:
    incumbent: old
    variants:
      old: {provider: local, model: model-1}
      new: {provider: local, model: model-2}
    suites: [suite.yaml]
    gates:
      errors: {margin: 5pt}
      latency: {margin: 5pt, critical: true}
      cost: {margin: 10%, must_have_data: false}
    shadow: {min: 100s, max: 1h}
    canary:
      lease: 2h
      cycle: 1h
      ladder: [{share: 50%, hold: 6h}, {share: 100%, hold: 0s}]
    soak: {duration: 20h, retain: 20h}
"""
SUITE = """
suite: reply
cases: [{id: one, prompt: "1 + 1?", reference: "2"}]
graders: [{name: answer, type: exact}]
"""

Fields = Callable[[bool, float, random.Random], Mapping[str, Any]]
"""What an answer is like: of the candidate or not, hours since the take-over (below 0 before it), chance."""


class ShadowPassed(LedgerEvidence):
    """Evidence from the ledger, with a shadow that found nothing."""

    def shadow(self, project: Project, state: UpgradeState, profile: Profile, now: float) -> ShadowEvidence:
        return ShadowEvidence(Coverage(1_000, 1_000), 1_000, ())


@dataclass
class Living:
    """An upgrade whose users ask every hour, until it is over."""

    folder: Path
    answers: Fields
    users: int = 400
    draw: random.Random = field(default_factory=lambda: random.Random(7))
    number: int = 0

    def serve(self, state: UpgradeState, at: float) -> None:
        """One hour of answers, committed to the lake."""
        writer = SegmentWriter(self.folder / "segments", f"w{self.number}")
        since = (at - state.taken_over_at) / HOUR if state.taken_over_at else -1.0
        for user in range(self.users):
            # A user is below the share or not, whatever the hour; at 100 % everybody is.
            chosen = state.exposing and (user * 2_654_435_761 % 1_000_000) < state.share
            self.number += 1
            given: dict[str, Any] = {
                "exchange": f"x-{self.number:08d}",
                "workload": "reply",
                "started_at": at + HOUR * user / self.users,
                "epoch": 1,
                "generation": "g",
                "upgrade": state.id,
                "stage": str(state.stage),
                "step": state.step,
                "arm": "candidate" if chosen else "incumbent",
                "reason": "below_share" if chosen else "above_share",
                "variant": "new" if chosen else "old",
                "served_variant": "new" if chosen else "old",
                "unit": f"user-{user}",
                "status": 200,
                "latency_s": 1.0 + self.draw.random(),
            }
            writer.append(Exchange(**{**given, **self.answers(chosen, since, self.draw)}))
        writer.close()
        with Committer(self.folder / "segments", self.folder / "lake") as committer:
            committer.run_once()

    def play(self, hours: int = 60) -> tuple[UpgradeState, list[Event], dict[str, Any]]:
        """The end of the upgrade, its journal and its last assessment."""
        (self.folder / "understudy.yaml").write_text(CONFIG)
        (self.folder / "suite.yaml").write_text(SUITE)
        project = open_project(self.folder / "understudy.yaml")
        evidence = ShadowPassed(self.folder / "lake")
        world = Rehearsal(project, evidence=evidence)

        async def run() -> tuple[UpgradeState, list[Event], dict[str, Any]]:
            request = Request("reply", "new", "ada", "cheaper", "t1")
            state = await begin(project, world.store, world.board, request, world.clock.wall())
            for _ in range(hours):
                if state.exposing:
                    self.serve(state, world.clock.wall())
                await world.turns(2, HOUR / 2)
                (state,) = await world.store.upgrades()
                if state.over:
                    break
            return state, await world.store.journal(state.id), dict(await world.store.assessment(state.id) or {})

        try:
            return asyncio.run(run())
        finally:
            evidence.close()


def calm(candidate: bool, hours: float, draw: random.Random) -> Mapping[str, Any]:
    """One answer in a hundred is slow and one in two hundred fails, whoever gives it."""
    slow = {"latency_s": 4.0} if draw.random() < 0.02 else {}
    return slow | ({"error": "timeout", "status": 504} if draw.random() < 0.005 else {})


def rolled_back(events: list[Event]) -> Event:
    (event,) = [event for event in events if event.kind == "rolled_back"]
    return event


@pytest.mark.slow
def test_a_calm_upgrade_ends_well(tmp_path: Path) -> None:
    """With equal arms it soaks to the end; each critical tail is watched over the cycles that were over."""
    state, _, said = Living(tmp_path, calm).play()
    assert state.stage is Stage.DONE
    tails = {tail["metric"]: tail for tail in said["details"]["tails"]}
    assert {"errors", "latency_p50", "latency_p95", "latency_p99"} <= set(tails)
    assert all(tail["verdict"] == "inconclusive" for tail in tails.values())
    assert tails["latency_p99"]["critical"]
    assert tails["latency_p99"]["cycles"] >= 18
    assert "holds after" in tails["latency_p99"]["sentence"]


@pytest.mark.slow
def test_a_tail_that_slips_late_goes_back(tmp_path: Path) -> None:
    """Ten quiet hours at 100 %, then ever more slow answers: seen while the mean over the soak is still allowed."""

    def slipping(candidate: bool, hours: float, draw: random.Random) -> Mapping[str, Any]:
        more = max(0.0, hours - 10.0) * 0.03
        return {"latency_s": 4.0} if draw.random() < 0.02 + more else {}

    state, events, said = Living(tmp_path, slipping).play()
    assert state.stage is Stage.ROLLED_BACK
    event = rolled_back(events)
    assert event.data["trigger"] == "slow_tail"
    assert "has slipped since the candidate took over" in event.why
    assert "no chance any more" in event.why
    assert {finding["kind"] for finding in event.data["findings"]} == {"slow_tail"}
    assert all(gate["verdict"] != "fail" for gate in said["details"]["gates"])
    since = (event.at - (state.taken_over_at or 0.0)) / HOUR
    assert 11.0 < since < 18.0
    alarmed = [tail for tail in said["details"]["tails"] if tail["verdict"] == "fail"]
    assert alarmed
    assert all(tail["lately"] > tail["allowed"] > tail["incumbent"] for tail in alarmed)


def test_a_burst_of_failures_goes_back_without_statistics(tmp_path: Path) -> None:
    """Half of the candidate's answers fail from the third hour of the canary on: the guard needs fifty of them."""
    made = 0

    def breaking(candidate: bool, hours: float, draw: random.Random) -> Mapping[str, Any]:
        nonlocal made
        made += candidate
        # Masked: the incumbent answered, nobody noticed, and it counts all the same.
        broken = candidate and made > 400 and draw.random() < 0.5
        return {"error": "status_5xx", "masked": True, "served_variant": "old"} if broken else {}

    state, events, said = Living(tmp_path, breaking).play()
    assert (state.stage, state.taken_over_at) == (Stage.ROLLED_BACK, None)
    event = rolled_back(events)
    assert event.data["trigger"] == "hard_guard"
    assert "fails so hard that no statistics are needed" in event.why
    assert "status_5xx failures in a row" in event.why or "among the last 50 answers" in event.why
    assert said["details"]["hard_guard"]


@pytest.mark.parametrize("error", ["client_gone", "status_4xx"])
def test_what_the_candidate_cannot_help_trips_no_guard(tmp_path: Path, error: str) -> None:
    """Clients that go away, and requests that the incumbent refused as well, are nobody's failure."""

    def beside(candidate: bool, hours: float, draw: random.Random) -> Mapping[str, Any]:
        if not candidate or draw.random() > 0.5:
            return {}
        return {"error": error, "masked": error == "status_4xx", "status": 400}

    state, events, _ = Living(tmp_path, beside).play(hours=8)
    assert not [event for event in events if event.data.get("trigger") == "hard_guard"]
    if error == "client_gone":
        assert state.stage is not Stage.ROLLED_BACK
