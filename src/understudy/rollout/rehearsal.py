"""A controller in a world of plain values and virtual time: weeks of an upgrade in milliseconds, for tests and plans.

The controller, the deciding and the journal are the real ones; evidence, evals, the incumbent and the clock are what
the script says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from understudy.config.project import Project
from understudy.core.canonical import digest
from understudy.core.evidence import Finding
from understudy.core.playbook import Outcome, Profile, Verdict
from understudy.rollout.board import MemoryBoard
from understudy.rollout.budget import Spending, midnight
from understudy.rollout.controller import Controller, Turn
from understudy.rollout.fold import EvalRecord, UpgradeState
from understudy.rollout.observation import Probe
from understudy.rollout.ports import EvalStatus, Evidence
from understudy.rollout.store.memory import MemoryStore
from understudy.stages.assessment import Judgement
from understudy.stages.shadow import Coverage
from understudy.stages.shadow import Evidence as ShadowEvidence


@dataclass
class VirtualClock:
    """Time that passes when told to; the wall clock may be made to jump."""

    now: float = 1_750_000_000.0
    mono: float = 0.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.mono

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.mono += seconds


@dataclass
class Script:
    """What the world is like; change it between turns."""

    outcome: Mapping[str, EvalRecord] = field(default_factory=dict)
    """What an eval of a candidate says, by variant name; a clear pass where nothing is scripted."""
    coverage: Coverage | None = field(default_factory=lambda: Coverage(1_000, 1_000))
    pairs: int = 1_000
    drift: tuple[Finding, ...] | None = ()
    judgement: Judgement | None = field(default_factory=lambda: Judgement(Verdict.PASS, "all gates pass"))
    probe: Probe | None = None
    spending: Spending | None = None


@dataclass
class ScriptedEvidence:
    script: Script

    def shadow(self, project: Project, state: UpgradeState, profile: Profile, now: float) -> ShadowEvidence:
        return ShadowEvidence(self.script.coverage, self.script.pairs, self.script.drift)

    def spending(self, state: UpgradeState, now: float) -> Spending:
        return self.script.spending or Spending(midnight(now), 0, 0, 0.0)

    def judge(self, project: Project, state: UpgradeState, profile: Profile, now: float, held_s: float) -> Judgement:
        return self.script.judgement or Judgement(Verdict.INCONCLUSIVE, "nothing measured", ("any data",))

    def baseline(self, state: UpgradeState) -> Mapping[str, tuple[float, ...]] | None:
        return {"latency_s": (0.5, 1.0, 2.0)}

    def score(self, project: Project, state: UpgradeState) -> None:
        return None


@dataclass
class ScriptedEvals:
    """Has every eval's result at the next turn after it was started."""

    script: Script
    started: dict[str, UpgradeState] = field(default_factory=dict)
    salt: str = ""
    """Stands for suites, thresholds and code: another salt is another binding."""

    def binding(self, project: Project, state: UpgradeState) -> str:
        return digest([state.incumbent.fingerprint, state.candidate.fingerprint, self.salt])

    def status(self, binding: str) -> EvalStatus:
        state = self.started.get(binding)
        if state is None:
            return EvalStatus(None)
        scripted = self.script.outcome.get(state.candidate.name)
        if scripted is None:
            return EvalStatus(eval_record(binding, Outcome.PROCEED))
        return EvalStatus(scripted._replace(binding=binding, id=binding))

    def start(self, project: Project, state: UpgradeState, binding: str) -> None:
        self.started[binding] = state

    async def close(self) -> None:
        return None


@dataclass
class ScriptedProber:
    script: Script

    def probe(self, project: Project, state: UpgradeState, now: float) -> Probe | None:
        return self.script.probe

    async def close(self) -> None:
        return None


def eval_record(
    binding: str, outcome: Outcome, *, failed: tuple[str, ...] = (), critical: tuple[str, ...] = ()
) -> EvalRecord:
    """An eval result as a script gives it."""
    return EvalRecord(binding, binding, outcome, failed, critical, f"the eval says {outcome}", (), "")


@dataclass
class Rehearsal:
    """One project with everything around its controller scripted. `controller` makes further ones on the same store."""

    project: Project
    clock: VirtualClock = field(default_factory=VirtualClock)
    script: Script = field(default_factory=Script)
    store: MemoryStore = field(default_factory=MemoryStore)
    evidence: Evidence | None = None
    """Where evidence comes from, instead of the script: a real ledger with traffic of virtual days."""
    board: MemoryBoard = field(init=False)
    evals: ScriptedEvals = field(init=False)
    first: Controller = field(init=False)

    def __post_init__(self) -> None:
        self.board = MemoryBoard(self.clock.wall)
        self.evals = ScriptedEvals(self.script)
        self.first = self.controller("controller")

    def controller(self, name: str) -> Controller:
        return Controller(
            project=self.project,
            reopen=lambda project: self.project,
            store=self.store,
            board=self.board,
            evidence=self.evidence or ScriptedEvidence(self.script),
            evals=self.evals,
            prober=ScriptedProber(self.script),
            clock=self.clock,
            name=name,
            in_thread=False,
        )

    async def turns(self, count: int, every_s: float) -> list[Turn]:
        """So many turns of the first controller, each after `every_s` seconds."""
        made: list[Turn] = []
        for _ in range(count):
            self.clock.pass_(every_s)
            made.append(await self.first.turn())
        return made
