"""Grades how a workload is upgraded: the eight ways in which a swap fails, and whether the way back is ready. Pure.

Each check is ok, a gap, or unknown where nothing was seen that would tell; only a gap is a finding. What is looked at
is what the configuration asks for, what the last upgrades really did, and what was tried just now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from understudy.config.schema import WorkloadSection
from understudy.core.lasting import lasting
from understudy.core.playbook import DAY, PARTS_PER_MILLION, Outcome, Profile, Stage
from understudy.core.variant import Variant
from understudy.rollout.fold import EVERYTHING, UpgradeState, Waiver, fold
from understudy.rollout.journal import Event
from understudy.rollout.machine import Kind
from understudy.stages.regress import REGRESSION

OK, GAP, UNKNOWN = "ok", "gap", "unknown"
FAILURES, READINESS = "how swaps fail", "is the way back ready?"
DRILLED_WITHIN_S = 7 * DAY
SOAKED_S = 14 * DAY
QUALITY_MARGIN = 0.02


class Check(NamedTuple):
    """One question with its answer, what it rests on, and what to do about a gap."""

    part: str
    name: str
    verdict: str
    seen: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one workload. None always means that nobody looked."""

    workload: str
    section: WorkloadSection
    profile: Profile
    variants: Mapping[str, Variant]
    suite_slices: Sequence[str] | None
    """Slices of its suites; None where it has no suite."""
    graded_live: bool
    """Whether a grader of its suites can score live answers."""
    priced: Mapping[str, bool]
    """By variant: whether its price is known."""
    journals: Sequence[Sequence[Event]]
    """Of its upgrades, the oldest first."""
    broken: Sequence[str]
    """What the audit of the journals found."""
    drills: Sequence[tuple[float, float | None]]
    """When a rollback was rehearsed, and after how many seconds every worker had it."""
    alerts: bool
    workers: int
    probe: str | None
    """What the target of a rollback said just now: "" is an answer."""
    retires: date | None
    """The first day without the model that a rollback goes back to."""
    today: date
    now: float

    @property
    def last(self) -> UpgradeState | None:
        return fold(self.journals[-1]) if self.journals else None

    @property
    def back(self) -> Variant | None:
        """What a rollback goes back to: the incumbent of the upgrade under way, else the one that serves."""
        last = self.last
        return last.incumbent if last and not last.over else self.variants.get(self.section.incumbent)


def checks(seen: Seen) -> list[Check]:
    """All of them, in the order of the playbook."""
    failures = [_suite, _slices, _shadow, _canary, _flip, _kept, _cheaper, _reasoning]
    ready = [_callable, _prompt, _drill, _parachute, _obeyed, _runbook, _owner, _alerts, _pin, _journal]
    found: list[Check] = []
    for part, asked in ((FAILURES, failures), (READINESS, ready)):
        for ask in asked:
            name, verdict, said, remedy = ask(seen)
            found.append(Check(part, name, verdict, said, "" if verdict == OK else remedy))
    return found


Answer = tuple[str, str, str, str]


# -- the eight ways


def _suite(seen: Seen) -> Answer:
    name, remedy = "upgrading without an eval suite", f"name one under workloads.{seen.workload}.suites"
    if seen.suite_slices is None:
        return name, GAP, "there is no suite: no upgrade can begin", remedy
    ran = [j for j in seen.journals if any(e.kind is Kind.EXPOSED for e in j)]
    without = [j[0].upgrade for j in ran if not any(e.kind is Kind.EVALUATED for e in j)]
    if without:
        return name, GAP, f"{', '.join(without)} reached users without an eval", "never promote by hand past stage 1"
    return name, OK, f"there is a suite; {_count(len(ran), 'upgrade')} reached users, each with an eval", ""


def _slices(seen: Seen) -> Answer:
    name, remedy = "gating on the aggregate alone", "give cases a `slice`, and name live slices under `slice_by`"
    if not seen.suite_slices:
        return name, GAP, "the cases have no slices: a loss on one kind of traffic hides in the mean", remedy
    if not seen.section.slice_by:
        return name, GAP, f"{len(seen.suite_slices)} slices in the eval, none in live traffic", remedy
    critical = f"critical: {', '.join(seen.section.gates.critical) or 'none'}"
    return (
        name,
        OK,
        f"{len(seen.suite_slices)} slices in the eval, by {', '.join(seen.section.slice_by)} live; {critical}",
        "",
    )


def _shadow(seen: Seen) -> Answer:
    name, sample = "skipping shadow", seen.section.shadow.sample
    if sample < PARTS_PER_MILLION:
        said = f"{sample / 10_000:g} % of the requests are shadowed, so a thin slice may never be"
        return name, GAP, said, "set shadow.sample to 100%, with a budget where it costs too much"
    skipped = [
        journal[0].upgrade
        for journal in seen.journals
        if _happened(journal, Kind.EXPOSED) and not _happened(journal, Kind.CLOCK_STARTED)
    ]
    if skipped:
        return name, GAP, f"{', '.join(skipped)} reached users without a shadow", "let the controller promote"
    return name, OK, f"all requests are shadowed, for {lasting(seen.profile.shadow_min_s)} at least", ""


def _canary(seen: Seen) -> Answer:
    name, least = "a canary too short to see anything", max(DAY, seen.profile.cycle_s)
    remedy = f"hold each rung for a full cycle of your users and {lasting(least)} at least: canary.ladder"
    rungs = [step for step in seen.profile.ladder if step.share < PARTS_PER_MILLION]
    short = [f"{step.share / 10_000:g} % for {lasting(step.hold_s)}" for step in rungs if step.hold_s < least]
    if not rungs:
        return name, GAP, "there is no rung below 100 %", remedy
    if short:
        return name, GAP, f"held for less than a cycle: {', '.join(short)}", remedy
    held = ", ".join(f"{step.share / 10_000:g} % for {lasting(step.hold_s)}" for step in rungs)
    return name, OK, held, ""


def _flip(seen: Seen) -> Answer:
    name = "a rollback that is a deployment"
    timed = [took for _, took in seen.drills if took is not None]
    if timed:
        return name, OK, f"one command; the last one took {lasting(timed[-1])} until every worker had it", ""
    said = "one command by design, and never timed here"
    return name, UNKNOWN, said, f"time it: understudy rollback {seen.workload} --drill"


def _kept(seen: Seen) -> Answer:
    name, profile = "the old model removed at the cutover", seen.profile
    remedy = "soak for 14 d at least and keep the incumbent for 30 d: soak.duration, soak.retain"
    if profile.soak_s < SOAKED_S or profile.retain_s < SOAKED_S:
        said = f"a soak of {lasting(profile.soak_s)}, the incumbent kept for {lasting(profile.retain_s)}"
        return name, GAP, said, remedy
    back = seen.back
    if back is None or back.name not in seen.variants:
        return name, GAP, "the variant to go back to is no longer configured", "put it back under variants"
    return name, OK, f"a soak of {lasting(profile.soak_s)}, the incumbent kept for {lasting(profile.retain_s)}", ""


def _cheaper(seen: Seen) -> Answer:
    name = "a lower price bought with quality"
    gate = seen.section.gates.metrics.get("quality")
    if not seen.graded_live and not (gate and gate.source):
        remedy = "give a suite a grader that needs no reference, or gates.quality a source of feedback"
        return name, GAP, "nothing scores live answers, so only the eval sees quality", remedy
    margin = gate.absolute_margin if gate else None
    if margin is not None and margin > QUALITY_MARGIN:
        said = f"the quality gate tolerates a loss of {100 * margin:g} points"
        return name, GAP, said, f"{100 * QUALITY_MARGIN:g}pt at most: gates.quality.margin"
    took = [fold(journal) for journal in seen.journals if _happened(journal, Kind.TAKEN_OVER)]
    accepted: list[str] = []
    for state in took:
        for slice_ in state.eval.failed if state.eval and state.eval.outcome is Outcome.CAUTION else ():
            waiver, fell = _waiver(state, slice_), f"{state.id} took over though {slice_ or EVERYTHING} fell"
            if waiver is None:
                return name, GAP, f"{fell}, and nobody signed for it", f"win it back: understudy tune {seen.workload}"
            until = datetime.fromtimestamp(waiver.expires_at, UTC).date()
            signed = f"{fell}, accepted by {waiver.owner} until {until}: {waiver.reason}"
            if waiver.expires_at <= seen.now and state is took[-1] and state.stage in _SERVING:
                return name, GAP, signed, f"that day is past: win {slice_ or EVERYTHING} back with another upgrade"
            accepted.append(signed)
    lost = "; ".join(accepted) or "nothing took over with a slice that fell"
    return name, OK, f"quality is gated live; {lost}", ""


_SERVING = {Stage.CANARY, Stage.SOAK, Stage.DONE}
"""Where an upgrade that took over has its candidate answer users still."""


def _waiver(state: UpgradeState, slice_: str) -> Waiver | None:
    """The longest waiver of a slice that fell in the eval, given before its candidate took over."""
    given = (w for w in state.waivers if w.given_at <= (state.taken_over_at or 0.0))
    covering = [w for w in given if w.covers(w.stage, slice_, REGRESSION, w.given_at)]
    return max(covering, key=lambda w: w.expires_at, default=None)


def _reasoning(seen: Seen) -> Answer:
    name, incumbent = "crossing into reasoning without a new price", seen.variants.get(seen.section.incumbent)
    across = [
        v.name for v in seen.variants.values() if incumbent and (v.reasoning is None) != (incumbent.reasoning is None)
    ]
    if not across:
        return name, OK, "no variant reasons where the incumbent does not, or the other way round", ""
    unpriced = [variant for variant in across if not seen.priced.get(variant, False)]
    if unpriced:
        said = f"{', '.join(unpriced)} crosses it, and its price is not known"
        return name, GAP, said, "add its model under prices: reasoning tokens are billed as output"
    if "latency" not in seen.section.gates.metrics and "cost" not in seen.section.gates.metrics:
        said = f"{', '.join(across)} crosses it; latency and cost are compared with built-in margins only"
        return name, GAP, said, "say what you can afford: gates.cost.limit, gates.latency.margin"
    return name, OK, f"{', '.join(across)} crosses it; its price is known and cost or latency is gated", ""


# -- the way back


def _callable(seen: Seen) -> Answer:
    name, back = "what we go back to answers", seen.back
    if back is None:
        return name, GAP, "there is nothing to go back to", "configure the incumbent"
    if seen.probe is None:
        return name, UNKNOWN, f"{back.name} was not asked", "ask it now: understudy report --audit --probe"
    if seen.probe:
        return name, GAP, f"{back.name} does not answer: {seen.probe}", "a rollback would break: repair it first"
    return name, OK, f"{back.name} answered just now", ""


def _prompt(seen: Seen) -> Answer:
    name, back = "its prompt is the one that was shipped", seen.back
    shipped = seen.last
    if shipped is None or back is None:
        return name, UNKNOWN, "nothing was shipped through an upgrade yet", "it is known after the first upgrade"
    served = shipped.candidate if shipped.stage is Stage.DONE else shipped.incumbent
    now = seen.variants.get(served.name)
    if now is None:
        return name, GAP, f"{served.name} is no longer configured", "put it back under variants, with its prompt"
    if now.fingerprint != served.fingerprint:
        said = f"{served.name} was edited since: {served.fingerprint[:8]} was shipped, {now.fingerprint[:8]} is written"
        return name, GAP, said, "give the edited one a name of its own, and move to it by an upgrade"
    return name, OK, f"{served.name} is as it was shipped ({now.fingerprint[:8]})", ""


def _drill(seen: Seen) -> Answer:
    name, remedy = "rehearsed in the last week", f"understudy rollback {seen.workload} --drill"
    if not seen.drills:
        return name, GAP, "it was never rehearsed", remedy
    at, took = seen.drills[-1]
    ago = f"{lasting(max(0.0, seen.now - at))} ago"
    if seen.now - at > DRILLED_WITHIN_S:
        return name, GAP, f"the last drill was {ago}", remedy
    if took is None:
        return name, GAP, f"the drill {ago} did not reach every worker", remedy
    return name, OK, f"{ago}, in {lasting(took)}", ""


def _parachute(seen: Seen) -> Answer:
    name, back = "it outlives the time in which we may go back", seen.back
    model = back.model if back else "its model"
    if seen.retires is None:
        remedy = "ask the provider, and say it under models: retires"
        return name, UNKNOWN, f"nobody knows when {model} is shut down", remedy
    days = (seen.retires - seen.today).days
    needed = (seen.profile.soak_s + sum(s.hold_s for s in seen.profile.ladder) + seen.profile.shadow_min_s) / DAY
    if days < needed:
        said = f"{model} is gone on {seen.retires}, in {days} days; an upgrade takes {needed:.0f} days at least"
        return name, GAP, said, f"begin now, or shorten it: understudy plan {seen.workload}"
    return name, OK, f"{model} stays until {seen.retires}, {days} days", ""


def _obeyed(seen: Seen) -> Answer:
    name = "gateways listen"
    if not seen.workers:
        return name, UNKNOWN, "no gateway worker is alive here", "run it where the gateways are"
    return name, OK, f"{_count(seen.workers, 'worker')} alive", ""


def _runbook(seen: Seen) -> Answer:
    said = "nobody can tell from here"
    return "the runbook names the step", UNKNOWN, said, f"write into it: understudy rollback {seen.workload}"


def _owner(seen: Seen) -> Answer:
    remedy = f"workloads.{seen.workload}.owner"
    said = seen.section.owner or "nobody is named who signs off and is called"
    return "somebody owns it", OK if seen.section.owner else GAP, said, remedy


def _alerts(seen: Seen) -> Answer:
    name = "somebody is told of a rollback"
    if seen.alerts:
        return name, OK, "a target asks for rollbacks of this workload", ""
    return name, GAP, "no target asks for them", "alerts: {targets: ...}, see docs/alerts.md"


def _pin(seen: Seen) -> Answer:
    name, served = "it is written down why this model is pinned", seen.section.variants.get(seen.section.incumbent)
    why = served.pin.why if served and served.pin else ""
    remedy = f"workloads.{seen.workload}.variants.{seen.section.incumbent}.pin: since, why"
    return name, OK if why else GAP, why or f"nothing says why {seen.section.incumbent} is pinned", remedy


def _journal(seen: Seen) -> Answer:
    name = "the journal is as it was decided"
    if seen.broken:
        return name, GAP, "; ".join(seen.broken), "understudy ledger verify; restore the control store from a copy"
    count = sum(map(len, seen.journals))
    return name, OK, f"{_count(count, 'event')} of {_count(len(seen.journals), 'upgrade')} follow from each other", ""


def _happened(journal: Iterable[Event], kind: Kind) -> bool:
    return any(event.kind is kind for event in journal)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def as_dict(workload: str, found: Sequence[Check]) -> dict[str, Any]:
    """As `report --audit --json` prints it."""
    counts = {verdict: sum(1 for one in found if one.verdict == verdict) for verdict in (OK, GAP, UNKNOWN)}
    return {"workload": workload, **counts, "checks": [one._asdict() for one in found]}
