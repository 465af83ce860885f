"""From the journal of an upgrade to its present state, for the controller, the commands and the pages alike. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from understudy.core.errors import DataCorrupt
from understudy.core.evidence import ALL_SLICES, Finding
from understudy.core.playbook import Outcome, Stage
from understudy.core.variant import Variant
from understudy.rollout.journal import Event
from understudy.rollout.machine import EXPOSING, Kind, Place, move

EVERYTHING = "all"
"""How a person names the aggregate over all slices in a waiver or an approval."""


class Waiver(NamedTuple):
    """A signed, expiring acceptance of a failed slice or finding, for the stage it was given in."""

    subject: str
    """A slice, or "slice/kind" for one finding; `EVERYTHING` where the finding speaks of no slice."""
    stage: Stage
    owner: str
    reason: str
    given_at: float
    expires_at: float

    def covers(self, stage: Stage, slice_: str, kind: str, now: float) -> bool:
        """Whether it accepts this finding now."""
        name = slice_ or EVERYTHING
        return self.stage is stage and now < self.expires_at and self.subject in (name, f"{name}/{kind}")


class Approval(NamedTuple):
    """That a person has read the candidate's answers on a slice; `at` in seconds since the epoch."""

    subject: str
    by: str
    why: str
    at: float


class Rest(NamedTuple):
    """A time in which no shadow copies were made, because their budget was spent."""

    since: float
    until: float
    why: str


class Switch(NamedTuple):
    """One exchange of the candidate for another, with both kept: old and new prompt stand side by side."""

    at: float
    by: str
    why: str
    old: Variant
    new: Variant


class EvalRecord(NamedTuple):
    """What a regression eval said, bound to everything it was measured with."""

    id: str
    binding: str
    outcome: Outcome
    failed: tuple[str, ...]
    """Slices that failed and are not critical: each needs a waiver."""
    critical: tuple[str, ...]
    """Slices or cases that failed and cannot be waived."""
    summary: str
    needed: tuple[str, ...]
    """What would decide it, where it is inconclusive."""
    document: str
    """Where the full result lies, relative to the state folder."""


@dataclass(frozen=True, slots=True)
class UpgradeState:
    """Everything that is known of an upgrade. Times are seconds since the epoch."""

    id: str
    workload: str
    incumbent: Variant
    candidate: Variant
    salt: str
    profile: str
    place: Place
    started_at: float
    started_by: str
    why: str
    entered_at: float
    """When the present stage or canary step began."""
    clock_at: float | None
    """When the present clock began; None where none runs."""
    eval: EvalRecord | None = None
    waivers: tuple[Waiver, ...] = ()
    approvals: tuple[Approval, ...] = ()
    switches: tuple[Switch, ...] = ()
    findings: tuple[Finding, ...] = ()
    rests: tuple[Rest, ...] = ()
    baseline: Mapping[str, tuple[float, ...]] | None = None
    """Quantiles of the incumbent frozen at the beginning of the canary, by field."""
    verdict: str = ""
    verdict_clock: int = 0
    promoted_clock: int = 0
    """The clock for which a person gave the word to widen."""
    soaked_at: float | None = None
    exposed_at: float | None = None
    """When users first saw the candidate."""
    taken_over_at: float | None = None
    ended_at: float | None = None
    ended_by: str = ""
    ended_why: str = ""
    seq: int = 0
    hash: str = ""
    epoch: int = 0

    @property
    def stage(self) -> Stage:
        return self.place.stage

    @property
    def step(self) -> int:
        return self.place.step

    @property
    def share(self) -> int:
        return self.place.share

    @property
    def paused(self) -> bool:
        return self.place.paused

    @property
    def clock(self) -> int:
        return self.place.clock

    @property
    def over(self) -> bool:
        return self.stage.over

    @property
    def exposing(self) -> bool:
        """True where users may be answered by the candidate."""
        return self.stage in EXPOSING

    @property
    def tracked(self) -> tuple[str, ...]:
        """Slices that failed in the eval and went on with a waiver: watched one by one from here."""
        return self.eval.failed if self.eval and self.stage is not Stage.REGRESS else ()

    def resting(self, now: float) -> Rest | None:
        """The rest that shadow copies have now, None where they are made."""
        last = self.rests[-1] if self.rests else None
        return last if last is not None and last.since <= now < last.until else None

    def waived(self, finding: Finding, now: float) -> bool:
        return any(w.covers(self.stage, finding.slice, finding.kind, now) for w in self.waivers)


def apply(state: UpgradeState | None, event: Event) -> UpgradeState:
    """The state after one more event. Raises machine.Illegal where the tables do not allow it."""
    place = move(state.place if state else None, event.kind, event.seq, event.data)
    if state is None:
        return _begun(event, place)
    changed = replace(state, place=place, seq=event.seq, hash=event.hash, epoch=event.epoch)
    if (place.stage, place.step) != (state.stage, state.step):
        changed = replace(changed, entered_at=event.at)
    if place.clock != state.clock:
        changed = replace(changed, clock_at=event.at if place.clock else None)
    if place.stage.over:
        changed = replace(changed, ended_at=event.at, ended_by=event.by, ended_why=event.why)
    return _detail(changed, event)


def fold(events: Iterable[Event]) -> UpgradeState:
    """The state of a whole journal. Raises machine.Illegal, and DataCorrupt for an empty one."""
    state: UpgradeState | None = None
    for event in events:
        state = apply(state, event)
    if state is None:
        raise DataCorrupt("an upgrade without any event", remedy="restore the control store from a copy")
    return state


def _begun(event: Event, place: Place) -> UpgradeState:
    data = event.data
    return UpgradeState(
        id=event.upgrade,
        workload=data["workload"],
        incumbent=Variant.from_dict(data["incumbent"]),
        candidate=Variant.from_dict(data["candidate"]),
        salt=data["salt"],
        profile=data["profile"],
        place=place,
        started_at=event.at,
        started_by=event.by,
        why=event.why,
        entered_at=event.at,
        clock_at=event.at,
        seq=event.seq,
        hash=event.hash,
        epoch=event.epoch,
    )


def _detail(state: UpgradeState, event: Event) -> UpgradeState:
    """What an event adds beyond the place."""
    data = event.data
    match event.kind:
        case Kind.EVALUATED:
            return replace(state, eval=eval_record(data))
        case Kind.WAIVED:
            waiver = Waiver(data["subject"], state.stage, data["owner"], event.why, event.at, data["expires_at"])
            kept = tuple(w for w in state.waivers if (w.subject, w.stage) != (waiver.subject, waiver.stage))
            return replace(state, waivers=(*kept, waiver))
        case Kind.APPROVED:
            return replace(
                state, approvals=(*state.approvals, Approval(data["subject"], event.by, event.why, event.at))
            )
        case Kind.SWITCHED:
            new = Variant.from_dict(data["candidate"])
            switch = Switch(event.at, event.by, event.why, state.candidate, new)
            # Whatever was measured or accepted, was so of another candidate.
            return replace(
                state,
                candidate=new,
                switches=(*state.switches, switch),
                eval=None,
                waivers=(),
                approvals=(),
                verdict="",
                findings=(),
            )
        case Kind.BASELINED:
            return replace(state, baseline={field: tuple(values) for field, values in data["quantiles"].items()})
        case Kind.JUDGED:
            return replace(state, verdict=data["verdict"], verdict_clock=state.clock)
        case Kind.PROMOTED:
            return replace(state, promoted_clock=state.clock)
        case Kind.NOTED | Kind.GAVE_UP | Kind.BLOCKED | Kind.ROLLED_BACK:
            known = {(f.kind, f.slice): f for f in state.findings}
            known |= {(f.kind, f.slice): f for f in findings_in(data)}
            return replace(state, findings=tuple(known.values()))
        case Kind.RESTED:
            rests = state.rests
            if rests and event.at < rests[-1].until:  # the former one ends now
                rests = (*rests[:-1], rests[-1]._replace(until=event.at))
            rest = Rest(event.at, data["until"], event.why)
            return replace(state, rests=(*rests, rest) if rest.until > rest.since else rests)
        case Kind.SOAKED:
            return replace(state, soaked_at=event.at)
        case Kind.EXPOSED:
            return replace(state, exposed_at=event.at)
        case Kind.TAKEN_OVER:
            return replace(state, taken_over_at=event.at)
        case _:
            return state


def eval_record(data: Mapping[str, Any]) -> EvalRecord:
    """The record an `evaluated` event carries."""
    return EvalRecord(
        id=data["id"],
        binding=data["binding"],
        outcome=Outcome(data["outcome"]),
        failed=tuple(data["failed"]),
        critical=tuple(data["critical"]),
        summary=data["summary"],
        needed=tuple(data.get("needed", ())),
        document=data["document"],
    )


def eval_data(record: EvalRecord) -> dict[str, Any]:
    """The record as an `evaluated` event carries it."""
    lists = {"failed": list(record.failed), "critical": list(record.critical), "needed": list(record.needed)}
    return {**record._asdict(), **lists, "outcome": str(record.outcome)}


def findings_in(data: Mapping[str, Any]) -> tuple[Finding, ...]:
    """The findings an event carries, as `finding_data` wrote them."""
    return tuple(
        Finding(f["kind"], f.get("slice", ALL_SLICES), f["sentence"], dict(f.get("figures", {})))
        for f in data.get("findings", ())
    )


def finding_data(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings as the journal keeps them."""
    return [f._asdict() for f in findings]
