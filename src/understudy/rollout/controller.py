"""One turn of the controller: observe, decide, perform. All its I/O is here and behind `ports`; the deciding is not.

It can be killed at any line. What is written is one transaction (journal) or one rename (table); everything else is
worked out anew in the next turn. Two of them do no harm: every write is a compare-and-swap, and the loser just looks
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from understudy.config.project import Project
from understudy.core.errors import DataCorrupt, UnderstudyError
from understudy.core.playbook import Profile, Stage
from understudy.core.routing import RoutingTable, check_meaning
from understudy.rollout import dwell, table
from understudy.rollout.board import Board
from understudy.rollout.budget import Spending, midnight, sentence
from understudy.rollout.fold import UpgradeState
from understudy.rollout.machine import Illegal
from understudy.rollout.observation import Observation, Policy
from understudy.rollout.ports import Clock, Evals, Evidence, Prober
from understudy.rollout.publish import Heartbeat, Overtaken, acknowledged, has_served
from understudy.rollout.reconcile import CONTROLLER, Plan, decide, sees
from understudy.rollout.store.base import Publication, Snapshot, Stale, Store
from understudy.stages.assessment import Judgement
from understudy.stages.shadow import Evidence as ShadowEvidence

if TYPE_CHECKING:
    from understudy.rollout.outbox import Outbox

SAVE_EVERY_S = 2.0
"""How often watched time and an unchanged assessment are written down at least."""
ALERTS_S = 3.0
"""How long a controller that is told to stop waits for alerts that are under way; the others stay in the outbox."""
ADD_EVERY_S = 0.5
"""Watched time is added in pieces of at least so much: each is a durable write."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn came to, for logs and tests."""

    epoch: int
    written: tuple[str, ...] = ()
    """Journal events of this turn, as "upgrade kind"."""
    published: int | None = None
    problems: tuple[str, ...] = ()


_ClockOf = tuple[Stage, int]


@dataclass
class _Reading:
    """What one look at the ledger gave, and the clock it speaks of."""

    clock: _ClockOf
    at: float
    shadow: ShadowEvidence | None = None
    spending: Spending | None = None
    judgement: Judgement | None = None
    baseline: dict[str, tuple[float, ...]] | None = None
    problem: str = ""
    took_s: float = 0.0


@dataclass
class _Watch:
    """What a controller remembers of an upgrade between turns; losing it costs nothing but a reading."""

    clock: _ClockOf | None = None
    added_at: float | None = None
    """Monotonic time up to which watched time was added."""
    evidence_at: float | None = None
    read_at: float | None = None
    reading: asyncio.Task[_Reading] | None = None
    took_s: float = 0.0
    shadow: ShadowEvidence | None = None
    spending: Spending | None = None
    judgement: Judgement | None = None
    baseline: dict[str, tuple[float, ...]] | None = None
    problem: str = ""
    saved_at: float = 0.0
    shown: str = ""

    def every_s(self, profile: Profile) -> float:
        """Seconds between the beginnings of two readings: half of the time at most is spent reading."""
        return max(reading_interval(profile), 2 * self.took_s)

    def sees(self, now: float, profile: Profile) -> bool:
        """Whether what was read of the evidence is fresh enough to go on by."""
        return sees(self.evidence_at, now, lease_s=profile.lease_s, every_s=self.every_s(profile), took_s=self.took_s)


@dataclass
class Controller:
    """Carries all upgrades of one project. `reopen` gives the project as it is on disk now, and may raise."""

    project: Project
    reopen: Callable[[Project], Project]
    store: Store
    board: Board
    evidence: Evidence
    evals: Evals
    prober: Prober
    clock: Clock
    name: str = CONTROLLER
    alerts: Outbox | None = None
    """Who tells people; nobody in virtual time."""
    in_thread: bool = True
    """Whether evidence is read in a thread; a test in virtual time reads it in line."""
    _watches: dict[str, _Watch] = field(default_factory=dict)
    _config_problem: str = ""
    _one_reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def turn(self) -> Turn:
        """Look at everything once and do what follows. Raises StoreUnavailable where there is no store to go by."""
        now = self.clock.wall()
        # Read before the store is: another controller may publish meanwhile.
        published_before, beats = await _published(self.board), await self.board.heartbeats()
        snapshot = await self.store.read()
        self._reread(snapshot)
        problems = [self._config_problem] if self._config_problem else []
        written: list[str] = []
        published: int | None = None
        restored = _restored(published_before, beats, snapshot, now)
        if restored:
            return Turn(snapshot.epoch, problems=(*problems, restored))
        problems += await self._alert(snapshot, published_before, now)
        try:
            for state in snapshot.upgrades:
                if not state.over and state.workload in self.project.config.workloads:
                    snapshot, kinds = await self._carry(snapshot, state, now)
                    written += [f"{state.id} {kind}" for kind in kinds]
            if written:
                snapshot = await self.store.read()
            published = await self._publish(snapshot, now)
            await self._settle(snapshot, now)
        except (Stale, Overtaken):
            pass  # somebody else wrote first: what they wrote is looked at in the next turn
        problems += [watch.problem for watch in self._watches.values() if watch.problem]
        if written:
            problems += await self._alert(snapshot, await _published(self.board), now)
        return Turn(snapshot.epoch, tuple(written), published, tuple(problems))

    async def close(self) -> None:
        readings = [watch.reading for watch in self._watches.values() if watch.reading is not None]
        await asyncio.gather(*readings, return_exceptions=True)
        await self.evals.close()
        await self.prober.close()
        if self.alerts is not None:
            await self.alerts.close(ALERTS_S)
        await self.store.close()

    async def _alert(self, snapshot: Snapshot, published: RoutingTable | None, now: float) -> list[str]:
        """Queue what people should know, and see what waits on its way; what cannot be told is a problem to name."""
        if self.alerts is None:
            return []
        try:
            await self.alerts.look(self.project, snapshot, published, now)
            await self.alerts.send(self.project)
        except UnderstudyError as error:
            return [f"alerts: {error.message}"]
        return []

    def _reread(self, snapshot: Snapshot) -> None:
        """Take the configuration as it is now; while it is wrong, the last good one stays in force [S11]."""
        try:
            fresh = self.reopen(self.project)
            missing = missing_for(fresh, snapshot)
        except UnderstudyError as error:
            self._config_problem = f"the configuration is wrong, the last good one stays in force: {error}"
            return
        if missing and not missing_for(self.project, snapshot):
            self._config_problem = f"the last good configuration stays in force: {missing}"
            return
        self.project, self._config_problem = fresh, missing

    # -- observe and decide

    async def _carry(self, snapshot: Snapshot, state: UpgradeState, now: float) -> tuple[Snapshot, list[str]]:
        """Observe one upgrade, decide, journal. Raises Stale."""
        profile = self.project.profile(state.workload)
        policy = policy_of(self.project, state.workload, profile)
        watch = self._watches.setdefault(state.id, _Watch())
        seen = await self._observe(snapshot, state, policy, watch, now)
        wishes = [wish for wish in snapshot.intents if wish.upgrade == state.id]
        plan = decide(state, seen, policy, wishes)
        if plan.run_eval:
            self.evals.start(self.project, state, plan.run_eval)
        kinds = await self._write(snapshot, state, plan, now)
        await self._show(state, plan, seen, watch, now)
        return (replace(snapshot, epoch=snapshot.epoch + 1) if kinds else snapshot), kinds

    async def _write(self, snapshot: Snapshot, state: UpgradeState, plan: Plan, now: float) -> list[str]:
        if plan.drafts:
            try:
                await self.store.append(snapshot.epoch, state.id, plan.drafts, now, plan.handled, _rests_on(plan))
            except Illegal as error:
                raise AssertionError(f"the plan for {state} is illegal: {error}") from error
            return [str(draft.kind) for draft in plan.drafts]
        if plan.handled:
            await self.store.close_intents(plan.handled)
        return []

    async def _observe(
        self, snapshot: Snapshot, state: UpgradeState, policy: Policy, watch: _Watch, now: float
    ) -> Observation:
        variants = self.project.variants(state.workload)
        beats = [beat for beat in await self.board.heartbeats() if beat.live(now)]
        published = await _published(self.board)
        seen = Observation(
            now=now,
            configured_candidate=variants.get(state.candidate.name),
            configured_incumbent=variants.get(state.incumbent.name),
            acknowledged=acknowledged(beats, published, now) if published and beats else None,
            open_breakers=tuple(
                f"{beat.worker} ({tripped.why})"
                for beat in beats
                for tripped in beat.open_breakers
                if tripped.upgrade == state.id
            ),
            kill=(await self.board.kills()).get(state.workload),
            probe=self.prober.probe(self.project, state, now) if state.exposing else None,
        )
        seen = self._eval_seen(state, seen)
        held_s = await self._dwell(snapshot, state, policy, watch, seen)
        await self._read_evidence(state, policy.profile, watch, now, held_s or 0.0)
        return replace(
            seen,
            shadow=watch.shadow,
            spending=watch.spending,
            judgement=watch.judgement,
            baseline=watch.baseline,
            held_s=held_s,
        )

    def _eval_seen(self, state: UpgradeState, seen: Observation) -> Observation:
        if state.stage not in (Stage.REGRESS, Stage.SHADOW):
            return seen
        try:
            binding = self.evals.binding(self.project, state)
        except UnderstudyError as error:
            return replace(seen, eval_note=f"the eval cannot be run: {error.message}")
        status = self.evals.status(binding)
        return replace(seen, binding=binding, eval=status.record, eval_note=status.note)

    async def _dwell(
        self, snapshot: Snapshot, state: UpgradeState, policy: Policy, watch: _Watch, seen: Observation
    ) -> float | None:
        """Add the time since the last addition to the present clock, where the stage was really in effect."""
        if not state.clock:
            return None
        before = snapshot.progress.get(state.id)
        if before and before.clock == state.clock and 0 <= seen.now - before.watched_until < ADD_EVERY_S:
            return before.held_s
        mono = self.clock.monotonic()
        elapsed = None if watch.added_at is None else mono - watch.added_at
        watch.added_at = mono
        if state.stage is Stage.SHADOW and state.resting(seen.now):
            in_effect = False  # a shadow without copies sees nothing
        else:
            in_effect = not state.exposing or (seen.acknowledged is not None and seen.acknowledged.effective)
        if in_effect and (not state.exposing or watch.sees(seen.now, policy.profile)):
            limit = policy.profile.lease_s
            after = dwell.watched(
                before, upgrade=state.id, clock=state.clock, now=seen.now, elapsed_s=elapsed, limit_s=limit
            )
        else:
            after = dwell.skipped(before, upgrade=state.id, clock=state.clock, now=seen.now)
        if after != before:
            await self.store.save_progress(before, after)
        return after.held_s

    async def _read_evidence(
        self, state: UpgradeState, profile: Profile, watch: _Watch, now: float, held_s: float
    ) -> None:
        """Have the ledger read when the last reading is old, or was of another stage or step.

        A reading may take seconds and goes on beside the turns: kill files, breakers, wishes and leases never wait.
        """
        if watch.clock != (state.stage, state.clock):
            # Another step, or another candidate: what was read speaks of the one before.
            watch.clock, watch.read_at, watch.judgement, watch.shadow = (state.stage, state.clock), None, None, None
        if watch.reading is not None and watch.reading.done():
            self._take(watch, watch.reading.result())
            watch.reading = None
        due = watch.read_at is None or not 0 <= now - watch.read_at < watch.every_s(profile)
        if state.stage not in (Stage.SHADOW, Stage.CANARY, Stage.SOAK) or watch.reading is not None or not due:
            return
        watch.read_at = now
        if self.in_thread:
            watch.reading = asyncio.create_task(self._read_in_thread(state, profile, now, held_s))
        else:
            self._take(watch, self._read(state, profile, now, held_s))

    async def _read_in_thread(self, state: UpgradeState, profile: Profile, now: float, held_s: float) -> _Reading:
        """One reading at a time: two of them would only take the interpreter from each other, and from the turns."""
        async with self._one_reading:
            return await asyncio.to_thread(self._read, state, profile, now, held_s)

    def _read(self, state: UpgradeState, profile: Profile, now: float, held_s: float) -> _Reading:
        """One reading of the ledger; what goes wrong is part of it."""
        began = self.clock.monotonic()
        reading = _Reading((state.stage, state.clock), now)
        budget = self.project.config.workloads[state.workload].shadow.budget
        try:
            if budget.usd_per_day is not None and state.stage is not Stage.SOAK:
                reading.spending = self.evidence.spending(state, now)
            if state.stage is Stage.SHADOW:
                reading.shadow = self.evidence.shadow(self.project, state, profile, now)
            else:
                if state.stage is Stage.CANARY and state.baseline is None:
                    found = self.evidence.baseline(state)
                    reading.baseline = dict(found) if found else None
                    state = replace(state, baseline=reading.baseline)
                self.evidence.score(self.project, state)
                reading.judgement = self.evidence.judge(self.project, state, profile, now, held_s)
        except UnderstudyError as error:
            reading.problem = f"{state.workload}: the evidence cannot be read: {error.message}"
        reading.took_s = self.clock.monotonic() - began
        return reading

    @staticmethod
    def _take(watch: _Watch, reading: _Reading) -> None:
        """Make a finished reading the present one, unless the upgrade has moved on since it began."""
        watch.problem, watch.took_s = reading.problem, reading.took_s
        if reading.problem:
            # What was read before may no longer be so: nothing moves forward on it.
            watch.shadow = watch.judgement = None
            return
        watch.evidence_at, watch.spending = reading.at, reading.spending
        if reading.clock == watch.clock:
            watch.shadow, watch.judgement, watch.baseline = reading.shadow, reading.judgement, reading.baseline

    async def _show(self, state: UpgradeState, plan: Plan, seen: Observation, watch: _Watch, now: float) -> None:
        """Keep the assessment for `status`, when it says something new or the last one is old."""
        document = plan.assessment.as_dict() | {
            "stage": str(state.stage),
            "step": state.step,
            "clock": state.clock,
            "held_s": seen.held_s,
            "by": self.name,
            "spending": self._spending(state, watch, now),
            "problem": watch.problem or self._config_problem,
        }
        said = f"{plan.assessment.decision}{state.clock}{state.stage}{plan.assessment.verdict}"
        if said != watch.shown or abs(now - watch.saved_at) >= SAVE_EVERY_S:
            await self.store.save_assessment(state.id, document, now)
            watch.shown, watch.saved_at = said, now

    def _spending(self, state: UpgradeState, watch: _Watch, now: float) -> str:
        """What shadow copies have cost of their budget, "" where they have none."""
        usd_per_day = self.project.config.workloads[state.workload].shadow.budget.usd_per_day
        known = watch.spending is not None and watch.spending.since == midnight(now)
        if usd_per_day is None or watch.spending is None or not known or state.resting(now):
            return ""
        return sentence(watch.spending, usd_per_day)

    # -- perform

    async def _publish(self, snapshot: Snapshot, now: float) -> int | None:
        """Issue the table these upgrades ask for, where the published one is another or a lease runs out."""
        return await publish_table(
            self.project, self.store, self.board, snapshot, now, self.name, await self._leases(snapshot, now)
        )

    async def _leases(self, snapshot: Snapshot, now: float) -> dict[str, float]:
        """The leases to issue: renewed where this controller sees, else as they were."""
        published = await _published(self.board)
        leases = table.leases_of(published) if published else {}
        for state in snapshot.upgrades:
            watch = self._watches.get(state.id)
            if state.workload not in self.project.config.workloads or watch is None:
                continue
            profile = self.project.profile(state.workload)
            lease_s = profile.lease_s
            remaining = leases.get(state.id, now) - now
            due = state.stage is Stage.CANARY and not lease_s * 2 / 3 <= remaining <= lease_s
            if due and watch.sees(now, profile):
                leases[state.id] = now + lease_s
        return leases

    async def _settle(self, snapshot: Snapshot, now: float) -> None:
        """Forget a finished upgrade once the configuration names its candidate; clear kill files that have served."""
        for state in snapshot.upgrades:
            section = self.project.config.workloads.get(state.workload)
            if state.stage is Stage.DONE and section and section.incumbent == state.candidate.name:
                await self.store.settle(state.id)
        published = await _published(self.board)
        for workload, kill in (await self.board.kills()).items():
            if has_served(kill, published, snapshot.active(workload) is not None, now):
                await self.board.remove_kill(workload)


def _rests_on(plan: Plan) -> dict[str, Any] | None:
    """The assessment, where an event of the plan names it by its hash: then it is kept as it was decided on."""
    return plan.assessment.as_dict() if any("evidence" in draft.data for draft in plan.drafts) else None


def reading_interval(profile: Profile) -> float:
    """Seconds between two readings of the ledger."""
    return min(60.0, max(0.3, profile.cycle_s / 10))


def missing_for(project: Project, snapshot: Snapshot) -> str:
    """What an upgrade under way needs and the configuration does not have any more, "" where nothing is missing."""
    for state in snapshot.upgrades:
        if state.over:
            continue
        if state.workload not in project.config.workloads:
            return f"workload {state.workload} is gone, and its upgrade {state.id} is under way"
        for variant in (state.incumbent, state.candidate):
            if variant.provider not in project.config.providers:
                return f"provider {variant.provider} is gone, and upgrade {state.id} needs it for {variant.name}"
    return ""


def policy_of(project: Project, workload: str, profile: Profile) -> Policy:
    """What the configuration asks for on a workload."""
    section = project.config.workloads[workload]
    return Policy(
        profile=profile,
        sample=section.shadow.sample,
        usd_per_day=section.shadow.budget.usd_per_day,
        suites=len(section.suites),
        manual=section.canary.promote == "manual",
        sign_off=tuple(section.canary.sign_off),
    )


def sources_of(project: Project) -> table.Sources:
    """What the configuration contributes to the routing table."""
    workloads = project.config.workloads
    return table.Sources(
        workloads=workloads,
        variants={name: project.variants(name) for name in workloads},
        providers=project.providers(),
        keys=project.gateway_keys(),
        limits=project.gateway_limits(),
        privacy=project.privacy(),
    )


async def _published(board: Board) -> RoutingTable | None:
    """The published table; None too where it was cut or edited, as it is about to be written anew."""
    try:
        return await board.read()
    except DataCorrupt:
        return None


def _restored(published: RoutingTable | None, beats: Sequence[Heartbeat], snapshot: Snapshot, now: float) -> str:
    """Whether the store is an older copy than a table it once issued: then it must not be believed.

    published, beats: the table and what workers said of theirs, as they were before the store was read.
    """
    tables = [(published.generation, published.epoch)] if published else []
    tables += [(beat.generation, beat.epoch) for beat in beats if beat.live(now)]
    ahead = max((epoch for generation, epoch in tables if generation == snapshot.generation), default=0)
    if ahead <= snapshot.epoch:
        return ""
    return (
        f"the control store is at epoch {snapshot.epoch}, gateways are at {ahead}: it was restored from "
        "an older copy; nothing is changed until `understudy controller --reseal` accepts it"
    )


async def publish_table(
    project: Project,
    store: Store,
    board: Board,
    snapshot: Snapshot,
    now: float,
    by: str,
    leases: dict[str, float] | None = None,
    *,
    anyway: str = "",
) -> int | None:
    """Issue a table where the published one differs from what the upgrades ask for; `anyway` gives a reason to issue
    one of the same content. Returns its epoch, None where nothing was issued. Raises Stale and Overtaken.
    """
    published = await _published(board)
    if leases is None:
        leases = table.leases_of(published) if published else {}
    wanted = table.build(
        sources_of(project),
        snapshot.upgrades,
        generation=snapshot.generation,
        epoch=snapshot.epoch,
        issued_at=now,
        leases=leases,
    )
    check_meaning(wanted)
    why = anyway
    if published is None or published.generation != wanted.generation:
        why = "first table of this control store"
    elif not table.same(published, wanted):
        why = "the routes changed"
    elif table.leases_of(published) != table.leases_of(wanted):
        why = "lease"
    if not why:
        return None
    epoch = await store.bump(snapshot.epoch, at_least=await board.epoch())
    await board.write(replace(wanted, epoch=epoch))
    if why != "lease":
        await store.published(Publication(epoch, now, by, why, table.content_digest(wanted), None))
    return epoch
