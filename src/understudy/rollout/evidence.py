"""Reads the ledger for the stages: coverage and drift for shadow, the gates' verdict for canary and soak.

Synchronous; a controller calls it in a thread. What the figures mean is decided by `drift`, `gates` and `stages`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from understudy import __version__
from understudy.config.project import Project
from understudy.core.canonical import digest
from understudy.core.evidence import ALL_SLICES, Sums
from understudy.core.playbook import PARTS_PER_MILLION, Arm, Profile, Stage, Verdict
from understudy.core.records import Exchange
from understudy.evals.live import LiveGraders, live_graders
from understudy.evals.setup import load_suites
from understudy.gates.guards import Assigned, HardGuard, blamed
from understudy.gates.panel import Look, judge, judge_tallies
from understudy.gates.soak import tails
from understudy.ledger.answers import Answer
from understudy.ledger.lake import Lake, Score
from understudy.ledger.queries import Ledger
from understudy.rollout import gating
from understudy.rollout.budget import Spending, midnight
from understudy.rollout.fold import UpgradeState
from understudy.rollout.following import Following
from understudy.rollout.reconcile import rung
from understudy.stages.assessment import Judgement
from understudy.stages.shadow import Coverage
from understudy.stages.shadow import Evidence as ShadowEvidence

SCORES_AT_ONCE = {Arm.CANDIDATE: 2_000, Arm.INCUMBENT: 500}
"""Exchanges graded in one reading, the newest: all of them where traffic is thin, else a sample of every cycle of every
step. Of the incumbent's there are a hundred times as many at 1 %, and its own sample is never what a gate waits for.
"""
LATE_S = 300.0
"""A cycle of the soak is over so long after its end: the last answers have to be committed first."""
COVERAGE_WINDOW_S = 3_600.0
"""While the clock waits, coverage is looked at over so long at most."""


@dataclass
class LedgerEvidence:
    """What one controller reads; the ledger is opened with the first reading."""

    lake: Lake
    _ledger: Ledger | None = None
    _following: dict[str, Following] = field(default_factory=dict)
    _gathered: dict[str, gating.Gathered] = field(default_factory=dict)
    """By workload: of the upgrade that was judged last."""
    _graders: dict[str, tuple[float, LiveGraders]] = field(default_factory=dict)

    @property
    def ledger(self) -> Ledger:
        if self._ledger is None:
            self._ledger = Ledger(self.lake)
        return self._ledger

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def shadow(self, project: Project, state: UpgradeState, profile: Profile, now: float) -> ShadowEvidence:
        window = min(COVERAGE_WINDOW_S, max(2.0, profile.cycle_s / 4))
        since = state.clock_at if state.clock and state.clock_at else max(state.entered_at, now - window)
        rests = [(rest.since, rest.until) for rest in state.rests if rest.until > since]
        found = self.ledger.shadow_coverage(workload=state.workload, upgrade=state.id, since=since, without=rests)
        coverage = Coverage(found.served, found.copies, found.lost)
        if not state.clock:
            return ShadowEvidence(coverage, 0, None, {"coverage": _coverage(coverage)})
        drift = self._followed(state).read(self.ledger)
        shown = [row.as_dict() for row in drift.rows if row.flagged or row.slice == ALL_SLICES]
        details = {"coverage": _coverage(coverage), "pairs": drift.pairs, "rows": shown, "thin": dict(drift.thin)}
        return ShadowEvidence(coverage, drift.pairs, drift.findings if drift.enough else None, details)

    def spending(self, state: UpgradeState, now: float) -> Spending:
        since = midnight(now)
        copies = [row for row in self.ledger.spent(state.workload, since=since) if row.role == "shadow"]
        return Spending(
            since,
            copies=sum(row.exchanges for row in copies),
            priced=sum(row.priced for row in copies),
            usd=sum(row.cost_usd or 0.0 for row in copies),
        )

    def _followed(self, state: UpgradeState) -> Following:
        since = state.clock_at or state.entered_at
        known = self._following.get(state.id)
        if known is None or (known.fingerprint, known.since) != (state.candidate.fingerprint, since):
            known = Following(state.workload, state.id, state.candidate.fingerprint, since)
            self._following[state.id] = known
        return known

    def baseline(self, state: UpgradeState) -> Mapping[str, tuple[float, ...]] | None:
        """Frozen from the shadow; from the canary's own incumbent answers where there was none.

        None without latencies: answers that were committed between two readings would else freeze a part for good.
        """
        found: dict[str, tuple[float, ...]] = {}
        for name in gating.FROZEN.values():
            for stage in (Stage.SHADOW, Stage.CANARY):
                values = self.ledger.quantiles(
                    name,
                    gating.QUANTILES,
                    workload=state.workload,
                    arm="incumbent",
                    upgrade=state.id,
                    stage=str(stage),
                ).values
                if values:
                    found[name] = values
                    break
        return found if "latency_s" in found else None

    def score(self, project: Project, state: UpgradeState) -> None:
        graders = self._live_graders(project, state.workload)
        if not graders.graders:
            return
        fresh = [
            exchange
            for arm, limit in SCORES_AT_ONCE.items()
            for exchange in self.ledger.exchanges(
                workload=state.workload,
                upgrade=state.id,
                arm=arm,
                since=state.exposed_at,
                ungraded_by=_SEEN,
                newest=True,
                limit=limit,
            )
        ]
        at = time.time()
        rows: list[Score] = []
        for exchange in fresh:
            rows += [
                Score(exchange.exchange, state.workload, name, value, at)
                for name, value in graders.scores(_graded(exchange)).items()
            ]
            rows.append(Score(exchange.exchange, state.workload, _SEEN, 1.0, at))
        if rows:
            self.ledger.add_scores(rows)

    def judge(self, project: Project, state: UpgradeState, profile: Profile, now: float, held_s: float) -> Judgement:
        """The guard first, then the gates; what was judged, and by which code, is part of the details."""
        guard = self._guard(state)
        found = gating.guarded(guard) if guard else self._judged(project, state, profile, now, held_s)
        binds = {
            "gates": found.details.get("bound_to", ""),
            "incumbent": state.incumbent.fingerprint,
            "candidate": state.candidate.fingerprint,
            "baseline": digest(state.baseline),
            "code": __version__,
        }
        return replace(found, details={**found.details, "binds": binds})

    def _judged(self, project: Project, state: UpgradeState, profile: Profile, now: float, held_s: float) -> Judgement:
        section = project.workload(state.workload)
        graded = self._live_graders(project, state.workload)
        names = {grader.label for grader in graded.graders} | ({"quality"} if graded.counting else set())
        chosen = gating.metrics(section.gates, profile, names, state.baseline or {})
        specs = [metric.spec for metric in chosen]
        parts = self.ledger.sums_in_parts(specs, workload=state.workload, upgrade=state.id, cycle_s=profile.cycle_s)
        if state.stage is Stage.SOAK:
            self._gathered.pop(state.workload, None)
            sums = [row for part in parts for row in part if row.stratum.stage != Stage.SHADOW]
            return _soak(chosen, sums, held_s, profile, now)
        step = rung(profile, state.share)
        gathered = self._gathered.get(state.workload)
        if gathered is None or gathered.upgrade != state.id:
            gathered = self._gathered[state.workload] = gating.Gathered(state.id)
        tallies = gathered.of(parts)
        live = gating.slices_in(tallies)
        critical = gating.live_names(section.gates.critical, live)
        waived = gating.live_names(
            (w.subject for w in state.waivers if w.stage is state.stage and now < w.expires_at), live
        )
        matured = now - state.entered_at >= profile.feedback_window_s
        panel = judge_tallies(
            [metric.gate for metric in chosen],
            tallies,
            slices=live,
            critical_slices=critical,
            look=Look(step.widen, held_s, state.step, matured),
            assigned=self._assigned(state, profile),
        )
        return gating.judgement(panel, gating.live_names(state.tracked, live), critical, waived)

    def _guard(self, state: UpgradeState) -> str:
        """Why to go back at once, "" for no reason: the candidate's last answers, of all workers together."""
        guard = HardGuard()
        found = self.ledger.endings(
            workload=state.workload,
            upgrade=state.id,
            arm=Arm.CANDIDATE,
            since=state.exposed_at or 0.0,
            newest=guard.window,
        )
        return guard.tripped([blamed(one.error, one.status, masked=one.masked) for one in found])

    def _assigned(self, state: UpgradeState, profile: Profile) -> list[Assigned]:
        """The users each arm got on each rung so far, beside the share that was asked for."""
        units = {(row.step, row.arm): row.units for row in self.ledger.drawn(state.workload, state.id)}
        return [
            Assigned(
                step,
                rung_.share / PARTS_PER_MILLION,
                units.get((step, Arm.INCUMBENT), 0),
                units.get((step, Arm.CANDIDATE), 0),
            )
            for step, rung_ in enumerate(profile.ladder[: state.step + 1])
        ]

    def _live_graders(self, project: Project, workload: str) -> LiveGraders:
        known = self._graders.get(workload)
        if known is None or time.monotonic() - known[0] > 60.0:
            known = (time.monotonic(), live_graders(load_suites(project, workload)))
            self._graders[workload] = known
        return known[1]


def _coverage(coverage: Coverage) -> dict[str, Any]:
    return {"served": coverage.served, "copies": coverage.copies, "lost": dict(coverage.lost)}


def _soak(
    chosen: Sequence[gating.Metric], sums: Sequence[Sums], held_s: float, profile: Profile, now: float
) -> Judgement:
    """At 100 % nobody is left to compare with: the limits come from what the incumbent did during the canary.

    The limits see the whole soak at once; what slips late is seen by the tails.
    """
    gates = [metric.gate for metric in chosen]
    closed = math.floor((now - min(LATE_S, profile.cycle_s / 4)) / profile.cycle_s)
    matured = math.floor((now - profile.feedback_window_s) / profile.cycle_s)
    watched = tails(gates, sums, closed=closed, matured=min(closed, matured))
    limits = gating.remembered(gates, sums)
    if not limits:
        alone = Judgement(Verdict.INCONCLUSIVE, "The incumbent left no figures to hold the soak against.")
        return gating.slipped(alone, watched)
    panel = judge(limits, [row for row in sums if row.stratum.stage == Stage.SOAK], elapsed_s=held_s)
    return gating.slipped(gating.judgement(panel, (), (), ()), watched)


def _graded(answer: Answer) -> Exchange:
    """What the graders look at."""
    return Exchange(
        exchange=answer.exchange,
        workload=answer.workload,
        started_at=answer.started_at,
        epoch=0,
        generation="",
        status=answer.status,
        error=answer.error,
        answer=answer.answer,
        tool_calls=answer.tool_calls,
        truncated_content=answer.truncated_content,
    )


_SEEN = "_seen"
"""The grader under which an exchange is noted that was looked at, whether or not it could be scored."""
