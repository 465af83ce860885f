"""Two real controllers, people, a wild clock and bad data, in any order; after every move the specification holds.

Beside the real thing runs a naive model of a few numbers, and the two are compared. Each planted defect makes the
same machine fail: that is the test of this test.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from understudy.assign.bucket import bucket
from understudy.assign.choose import choose
from understudy.config.project import Project, open_project
from understudy.core.playbook import PARTS_PER_MILLION, Arm, Profile, Stage, Verdict
from understudy.core.routing import check_meaning, decode, encode
from understudy.rollout.begin import Request, begin
from understudy.rollout.controller import Controller
from understudy.rollout.fold import UpgradeState, fold
from understudy.rollout.machine import EXITS
from understudy.rollout.observation import Observation, Policy
from understudy.rollout.publish import Kill, Tripped
from understudy.rollout.rehearsal import Rehearsal, ScriptedEvidence
from understudy.rollout.store.base import Snapshot
from understudy.stages.assessment import Judgement

HOLD, LEASE = 100.0, 50.0
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
    shadow: {{min: {HOLD}s, max: 1000s}}
    canary:
      lease: {LEASE}s
      cycle: 10s
      ladder: [{{share: 1%, hold: {HOLD}s}}, {{share: 25%, hold: {HOLD}s}}, {{share: 100%, hold: 0s}}]
    soak: {{duration: {HOLD}s, retain: {2 * HOLD}s}}
"""
SUITE = 'suite: s\ncases: [{id: a, prompt: "?", reference: "!"}]\ngraders: [{name: g, type: exact}]\nscore: g\n'
UNITS = [f"user-{number}" for number in range(60)]
JUDGEMENTS = {
    "pass": Judgement(Verdict.PASS, "pass"),
    "fail": Judgement(Verdict.FAIL, "fail"),
    "unclear": Judgement(Verdict.INCONCLUSIVE, "unclear", ("more data",)),
    "nothing": None,
}


def project() -> Project:
    folder = Path(tempfile.mkdtemp(prefix="understudy-"))
    (folder / "understudy.yaml").write_text(CONFIG)
    (folder / "suite.yaml").write_text(SUITE)
    return open_project(folder / "understudy.yaml")


class BoldEvidence(ScriptedEvidence):
    """A planted defect: no data counts as a pass."""

    def judge(self, project: Project, state: UpgradeState, profile: Profile, now: float, held_s: float) -> Judgement:
        return self.script.judgement or Judgement(Verdict.PASS, "no data, no problem")


class NaiveDwell(Controller):
    """A planted defect: a step was held as long as the wall clock says."""

    async def _dwell(
        self, snapshot: Snapshot, state: UpgradeState, policy: Policy, watch: Any, seen: Observation
    ) -> float | None:
        return seen.now - state.entered_at


class Rollout(RuleBasedStateMachine):
    """The world and its model. `defect` plants one."""

    defect = ""
    project: Project

    @initialize()
    def begin_world(self) -> None:
        self.world = Rehearsal(self.project)
        self.controllers = [self.controller("a"), self.controller("b")]
        self.number = 0
        self.epoch = 0
        self.exposed_since = 0.0
        self.last: UpgradeState | None = None
        self.was_on: set[str] = set()
        self.read: dict[int, str] = {}
        self.judgement = "pass"
        self.changes = 0

    def controller(self, name: str) -> Controller:
        made = self.world.controller(name)
        if self.defect == "bold":
            made.evidence = BoldEvidence(self.world.script)
        if self.defect == "naive_dwell":
            made.__class__ = NaiveDwell
        return made

    def run_(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(what)

    def state(self) -> UpgradeState | None:
        states = asyncio.run(self.world.store.upgrades())
        return states[-1] if states else None

    # -- what happens

    @precondition(lambda self: self.last is None or self.last.over)
    @rule(depth=st.sampled_from(["draft", "shadow", "canary", "canary", "canary", "soak"]))
    def start(self, depth: str) -> None:
        """Begin an upgrade, and let it come as far as `depth` undisturbed."""
        if self.last is not None and self.last.stage is Stage.DONE:
            return  # what it serves now is the candidate: there is nothing to move to
        self.number += 1
        self.world.board.killed.clear()
        request = Request("reply", "new", "ada", "", f"t{self.number}")
        self.run_(begin(self.project, self.world.store, self.world.board, request, self.world.clock.wall()))
        self.exposed_since, self.was_on, self.last = 0.0, set(), self.state()
        for _ in range(60):
            if self.last is None or self.last.over or str(self.last.stage) == depth:
                return
            self.turns(0, 1, "pass")

    @rule(who=st.sampled_from([0, 1]))
    def turn(self, who: int) -> None:
        self.run_(self.controllers[who].turn())

    @rule(who=st.sampled_from([0, 1]), times=st.sampled_from([2, 5, 8, 12]), says=st.sampled_from(sorted(JUDGEMENTS)))
    def turns(self, who: int, times: int, says: str) -> None:
        """A controller at work for a while on one sort of evidence: what makes the deep stages reachable."""
        self.gates_say(says)
        for _ in range(times):
            self.world.clock.pass_(LEASE / 2)
            self.turn(who)
            self.everything_holds()

    @rule(seconds=st.sampled_from([0.0, 1.0, LEASE - 1, LEASE, HOLD - 1, HOLD, 5_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.pass_(seconds)

    @rule(seconds=st.sampled_from([172_800.0, -172_800.0, HOLD]))
    def wall_clock_jumps(self, seconds: float) -> None:
        self.world.clock.now += seconds

    @rule(what=st.sampled_from(sorted(JUDGEMENTS)))
    def gates_say(self, what: str) -> None:
        self.world.script.judgement = JUDGEMENTS[what]
        self.judgement = what

    @rule(who=st.sampled_from([0, 1]))
    def controller_restarts(self, who: int) -> None:
        self.controllers[who] = self.controller("ab"[who])

    @precondition(lambda self: self.last is not None and not self.last.over)
    @rule(kind=st.sampled_from(["pause", "resume"]))
    def a_person_wishes(self, kind: str) -> None:
        assert self.last is not None
        self.run_(self.world.store.submit(self.last.id, kind, "ada", "", {}, self.world.clock.wall()))

    @precondition(lambda self: self.last is not None and not self.last.over)
    @rule(end=st.sampled_from(["abort", "rollback", "kill file", "breaker"]), who=st.sampled_from([0, 1]))
    def it_ends(self, end: str, who: int) -> None:
        """L1: one turn after any of these, it is over, in whatever stage, paused or not."""
        assert self.last is not None
        if end == "kill file":
            self.world.board.killed["reply"] = Kill("reply", "ada", "now", 0.0)
        elif end == "breaker" and self.last.exposing:
            self.world.board.open_breakers = (Tripped("reply", self.last.id, "5 in a row"),)
        else:
            wish = end if end in ("abort", "rollback") else "rollback"
            self.run_(self.world.store.submit(self.last.id, wish, "ada", "", {}, self.world.clock.wall()))
        self.turn(who)
        self.world.board.open_breakers = ()
        state = self.state()
        assert state is not None and state.over, "an exit was refused"

    @rule(lagging=st.booleans())
    def a_worker_lags(self, lagging: bool) -> None:
        self.world.board.lagging = {"worker-1"} if lagging else set()

    # -- what must hold

    @invariant()
    def everything_holds(self) -> None:
        if not hasattr(self, "world"):
            return
        state = self.state()
        self._epochs()
        self._tables(state)
        if state is not None:
            self._journal(state)
            self._steps(state)
            self._users(state)
        self.last = state

    def _epochs(self) -> None:
        """S2: epochs only rise, in the store and on the board."""
        assert self.world.store.epoch >= self.epoch, "the store's epoch fell"
        self.epoch = self.world.store.epoch
        epochs = [table.epoch for table in self.world.board.tables[-50:]]
        assert epochs == sorted(set(epochs)), "an older table came after a newer one"

    def _tables(self, state: UpgradeState | None) -> None:
        """S11, S13: what is published can be served, and the incumbent is in it as it was."""
        table = self.world.board.newest()
        if table is None:
            return
        check_meaning(table)
        assert decode(json.loads(encode(table))) == table
        route = table.workloads["reply"]
        if route.route is not None and route.route.stage == Stage.CANARY:
            lease = route.route.lease_until
            assert lease is not None and lease <= table.issued_at + LEASE, "a canary without a lease"
        if state is not None and not state.over:
            assert route.variants[route.incumbent].fingerprint == state.incumbent.fingerprint

    def _journal(self, state: UpgradeState) -> None:
        """S1, S6, S12: one active upgrade; the journal is whole and folds to the live state."""
        states = asyncio.run(self.world.store.upgrades())
        assert sum(not s.over for s in states) <= 1, "two active upgrades"
        journal = asyncio.run(self.world.store.journal(state.id))
        assert fold(journal) == state
        if self.last is not None and self.last.id == state.id and self.last.over:
            assert state.place == self.last.place, "what was over came back"

    def _steps(self, state: UpgradeState) -> None:
        """S3, S4, S8: one step at a time, on a pass, held long enough, and never a smaller share."""
        before = self.last
        now = self.world.clock.mono
        if before is None or before.id != state.id:
            return
        if state.place[:2] == before.place[:2]:
            return
        if before.stage is Stage.CANARY and state.stage in (Stage.CANARY, Stage.SOAK):
            assert state.share >= before.share
            assert state.step - before.step == (1 if state.stage is Stage.CANARY else 0), "a step was left out"
            if before.share < PARTS_PER_MILLION:
                assert self.judgement == "pass", f"promoted on {self.judgement}"
                assert now - self.exposed_since >= HOLD, "promoted before its time"
        if before.stage is Stage.SOAK and state.stage is Stage.DONE:
            assert now - self.exposed_since >= 2 * HOLD, "the incumbent was retired early"
        if not state.exposing and before.exposing and state.stage is not Stage.DONE:
            assert state.stage in EXITS.values()
        self.exposed_since = now

    def _users(self, state: UpgradeState) -> None:
        """S5, S7: who has the candidate keeps it while the share grows; after the end nobody has it."""
        table = self.world.board.newest()
        if table is None:
            return
        route = table.workloads["reply"].route
        now = self.world.clock.wall()
        if state.over and state.epoch < table.epoch and state.stage is not Stage.DONE:
            assert route is None, "the candidate is in the table after the end"
        if route is None:
            return
        arms = {u: choose(route, now=now, bucket=bucket(route.salt, u)).arm for u in UNITS}
        on = {unit for unit, arm in arms.items() if arm is Arm.CANDIDATE}
        if route.lease_until is not None and now >= route.lease_until:
            assert not on, "users on the candidate with nobody watching"
            return
        if route.upgrade == state.id:
            assert self.was_on <= on or not on, "somebody was taken off the candidate while it grew"
            self.was_on = on or self.was_on

    def teardown(self) -> None:
        """L1, L5: whatever happened, one wish ends it, and then nobody is served the candidate."""
        if not hasattr(self, "world") or self.defect:
            return
        state = self.state()
        if state is None or state.over:
            return
        self.run_(self.world.store.submit(state.id, "rollback", "ada", "", {}, self.world.clock.wall()))
        self.run_(self.controllers[0].turn())
        table = self.world.board.newest()
        assert table is not None and table.workloads["reply"].route is None


def machine(defect: str) -> type[Rollout]:
    return type(f"Rollout_{defect}", (Rollout,), {"defect": defect, "project": project()})


QUICK = settings(
    max_examples=40, stateful_step_count=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
def test_the_specification_holds_whatever_happens() -> None:
    """S1 to S8, S11 to S13, L1 and L5 hold after every move of every run."""
    run_state_machine_as_test(machine(""), settings=QUICK)


@pytest.mark.slow(30)
@pytest.mark.parametrize("defect", ["bold", "naive_dwell"])
def test_a_planted_defect_is_found(defect: str) -> None:
    """The same machine fails once a defect is planted in what it drives."""
    many = settings(QUICK, derandomize=False, database=None, max_examples=1500, phases=[Phase.generate])
    with pytest.raises(AssertionError):
        run_state_machine_as_test(seed(3)(machine(defect)), settings=many)  # a seed that comes upon both soon
