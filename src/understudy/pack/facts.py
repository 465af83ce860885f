"""Gathers what is known of one upgrade as one JSON document; what is not there any more is named, never left blank.

Nothing is worked out here that a command does not say too: the state is the fold of the journal, the rows of the eval
are those of its result, the gates those that the decision was made on, the figures of traffic the ledger's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from understudy import __version__
from understudy.config.project import Project
from understudy.core.canonical import digest
from understudy.core.errors import CannotMeasure, DataCorrupt, UnderstudyError, UsageError
from understudy.core.playbook import PROFILES, Stage
from understudy.core.variant import Variant
from understudy.evals import result as results
from understudy.evals.prompts import side_by_side
from understudy.ledger.lake import Decision
from understudy.ledger.projection import project as by_month
from understudy.ledger.queries import Ledger
from understudy.ledger.stores import lake_of
from understudy.ledger.verify import verify
from understudy.pack import told
from understudy.pack.agreement import agreements
from understudy.registry.hosting import known
from understudy.rollout import status
from understudy.rollout.audit import Audit
from understudy.rollout.compared import compared
from understudy.rollout.fold import UpgradeState, fold
from understudy.rollout.following import Progress, unseen
from understudy.rollout.history import changes, spans
from understudy.rollout.journal import Event
from understudy.rollout.machine import Kind
from understudy.rollout.store.base import Kept, Publication, Store

FORMAT = 1
Found = TypeVar("Found")


class Stored(NamedTuple):
    """What the control store knows of one upgrade."""

    state: UpgradeState
    journal: list[Event]
    kept: list[Kept]
    assessment: Mapping[str, Any] | None
    held_s: float | None
    publications: list[Publication]
    generation: str
    others: tuple[str, ...]
    """The other upgrades of the workload, oldest first."""


async def stored(store: Store, workload: str, wanted: str) -> Stored:
    """The upgrade of this id, or the latest. The chain of its journal is not checked here: see `integrity`.

    Raises CannotMeasure where there was none yet, UsageError for an unknown id, DataCorrupt where its events cannot be
    read at all.
    """
    known = await store.upgrades(workload)
    if not known:
        begin = f"begin one with `understudy upgrade start {workload} --candidate VARIANT`"
        raise CannotMeasure(f"workload {workload} has had no upgrade yet", remedy=begin)
    names = [state.id for state in known]
    if wanted and wanted not in names:
        raise UsageError(f"workload {workload} has no upgrade {wanted!r}", remedy=f"there is {', '.join(names)}")
    name = wanted or names[-1]
    _, entries = await store.entries()
    journal = [event_of(entry) for entry in entries if entry.upgrade == name]
    snapshot = await store.read()
    state, progress = fold(journal), snapshot.progress.get(name)
    return Stored(
        state,
        journal,
        await store.evidence(name),
        await store.assessment(name),
        progress.held_s if progress and progress.clock == state.clock else None,
        await store.publications(limit=10_000),
        snapshot.generation,
        tuple(other for other in names if other != name),
    )


def event_of(entry: Decision) -> Event:
    row = entry._asdict()
    row.pop("workload")
    try:
        return Event(**{**row, "kind": Kind(entry.kind), "data": json.loads(entry.data)})
    except ValueError as error:
        raise DataCorrupt(
            f"event {entry.seq} of upgrade {entry.upgrade} cannot be read: {error}",
            remedy="the control store was edited; `understudy ledger verify` says what else is wrong",
        ) from error


class Gathering:
    """Asks for one part after another and remembers which could not be had, and why."""

    def __init__(self) -> None:
        self.missing: list[dict[str, str]] = []

    def lacks(self, part: str, what: str) -> None:
        self.missing.append({"part": part, "what": what})

    def ask(self, part: str, ask: Callable[[], Found]) -> Found | None:
        """The answer, or None and a word among what is missing."""
        try:
            return ask()
        except UnderstudyError as error:
            self.lacks(part, error.message)
            return None


def document(
    project: Project, found: Stored, audit: Audit, now: float, examples: int = 0, progress: Progress = unseen
) -> dict[str, Any]:
    """The whole pack, with so many `examples` of answers beside each finding; none by default, as users wrote them.

    progress: is told how many more pairs of the shadow were read.
    """
    state, gathering = found.state, Gathering()
    known = told.documents(found.kept)
    visits = told.visits(found.journal, known)
    ledger = Ledger(lake_of(project))
    try:
        evals = _evals(project, found.journal, gathering, examples)
        upgrade = _upgrade(project, found, now)
        if upgrade["deadline"] is None:
            gathering.lacks("deadline", f"nobody says when {state.incumbent.model} is shut down")
        exposure = changes([found.journal], found.publications)
        served = gathering.ask("served", lambda: _served(ledger, state))
        parts = {
            "upgrade": upgrade,
            "change": _change(project, state),
            "stages": _with_gaps(visits, state, found.assessment, gathering),
            "evals": evals,
            "shadow": _shadow(project, found, gathering, examples, now, progress),
            "acceptance": told.acceptances(found.journal, now),
            "findings": [finding._asdict() for finding in state.findings],
            "exposure": exposure,
            "served": served,
            "price": gathering.ask("price", lambda: _price(ledger, state, evals, gathering)),
            "rollback": _rollback(found, exposure, served, gathering),
            "agreement": _agreement(evals, visits, found.assessment, state, gathering),
            "integrity": _integrity(project, found, audit, gathering),
            "journal": {
                "events": [event.as_dict() for event in found.journal],
                "evidence": {kept.digest: {"at": kept.at, "document": dict(kept.document)} for kept in found.kept},
            },
        }
    finally:
        ledger.close()
    head = {"format": FORMAT, "made_at": now, "made_by": f"understudy {__version__}", "examples": examples}
    return {**head, **parts, "missing": gathering.missing}


def _upgrade(project: Project, found: Stored, now: float) -> dict[str, Any]:
    state = found.state
    section = project.config.workloads.get(state.workload)
    profile = project.profile(state.workload) if section else PROFILES[state.profile]
    said = status.upgrade(state, profile, found.assessment)
    return {
        **said,
        "workload": state.workload,
        "owner": section.owner if section else "",
        "still_configured": section is not None,
        "over": state.over,
        "lasted_s": (state.ended_at or now) - state.started_at,
        "others": list(found.others),
        "deadline": _deadline(project, state.incumbent),
    }


def _deadline(project: Project, incumbent: Variant) -> str | None:
    """When the incumbent's model is shut down, and who says so."""
    if incumbent.provider not in project.config.providers:
        return None
    found = known(project.config, incumbent.provider, incumbent.model)
    retirement = found.lifetime.retirement if found.lifetime else None
    if retirement is None:
        return None
    word = "is shut down on" if retirement.kind == "announced" else "is not shut down before"
    return f"{incumbent.model} {word} {retirement.day}{found.where} ({retirement.source})"


def _change(project: Project, state: UpgradeState) -> dict[str, Any]:
    section = project.config.workloads.get(state.workload)

    def why(variant: Variant) -> str:
        switched = next((s.why for s in reversed(state.switches) if s.new.fingerprint == variant.fingerprint), "")
        configured = section.variants.get(variant.name) if section else None
        return switched or (configured.why if configured else "")

    def pin(variant: Variant) -> dict[str, str] | None:
        configured = section.variants.get(variant.name) if section else None
        return configured.pin.model_dump() if configured and configured.pin else None

    return {
        "incumbent": {**state.incumbent.as_dict(), "pin": pin(state.incumbent)},
        "candidate": {**state.candidate.as_dict(), "pin": pin(state.candidate)},
        "difference": side_by_side(state.incumbent, state.candidate, why(state.candidate)).as_dict(),
        "retuned": [
            {"at": s.at, "by": s.by, **side_by_side(s.old, s.new, s.why).as_dict(), "new": s.new.as_dict()}
            for s in state.switches
        ],
    }


def _with_gaps(
    visits: list[dict[str, Any]], state: UpgradeState, assessment: Mapping[str, Any] | None, gathering: Gathering
) -> list[dict[str, Any]]:
    """The stages, the present one with its latest assessment; a decision whose evidence was not kept is named."""
    for visit in visits:
        ended = visit["ended"]
        name = _named(visit)
        if ended is None:
            visit["present"] = dict(assessment) if assessment and not state.over else None
            if visit["present"] is None:
                gathering.lacks(name, "no controller has assessed it yet")
        elif ended["evidence"] and ended["document"] is None:
            why = "was not kept: the decision was made by a version that kept only its hash"
            gathering.lacks(name, f"the evidence {ended['evidence'][:12]} of event {ended['seq']} {why}")
        elif not ended["evidence"] and not visit["judged"] and visit["stage"] in (Stage.CANARY, Stage.SOAK):
            gathering.lacks(name, f"it was left before its gates were judged ({ended['event'].replace('_', ' ')})")
    if not state.over:
        gathering.lacks("upgrade", f"it is not over: this is what is known in stage {state.stage}")
    reached = {visit["stage"] for visit in visits}
    for stage in (Stage.REGRESS, Stage.SHADOW, Stage.CANARY, Stage.SOAK):
        if stage not in reached:
            gathering.lacks(str(stage), "the upgrade has not come to this stage")
    return visits


def _named(visit: Mapping[str, Any]) -> str:
    return f"canary at {100 * visit['share']:g} %" if visit["stage"] == Stage.CANARY else str(visit["stage"])


def _evals(project: Project, journal: Sequence[Event], gathering: Gathering, examples: int) -> list[dict[str, Any]]:
    """Every eval the upgrade was decided by, as its result was saved."""
    found: list[dict[str, Any]] = []
    for event in journal:
        if event.kind is not Kind.EVALUATED:
            continue
        path = project.paths.state / event.data["document"]
        loaded = gathering.ask("regress", lambda path=path: results.load(path))  # type: ignore[misc]
        row = {"seq": event.seq, "at": event.at, "summary": event.why, "id": event.data["id"]}
        row |= {"outcome": event.data["outcome"], "result": None}
        if loaded is not None and loaded.bound.id != event.data["binding"]:
            gathering.lacks("regress", f"the result of eval {event.data['id']} was replaced by {loaded.bound.id}")
        elif loaded is not None:
            row["result"] = {**loaded.as_dict(), "examples": loaded.as_dict()["examples"][:examples]}
        found.append(row)
    return found


def _shadow(
    project: Project, found: Stored, gathering: Gathering, examples: int, now: float, progress: Progress
) -> dict[str, Any] | None:
    if found.state.stage in (Stage.DRAFT, Stage.REGRESS) or not any(e.kind is Kind.CLEARED for e in found.journal):
        return None
    return gathering.ask("shadow", lambda: compared(project, found.state, found.held_s, "", examples, now, progress))


def _served(ledger: Ledger, state: UpgradeState) -> dict[str, Any]:
    """Who was served what when, in sums: no unit is named."""
    seen = [row for row in spans(ledger.history(state.workload)) if row["upgrade"] == state.id]
    if not seen:
        raise CannotMeasure(f"the ledger has no answer of upgrade {state.id}", remedy="")
    return {
        "spans": seen,
        "counts": [row._asdict() for row in ledger.counts(state.workload, upgrade=state.id)],
        "slices": [row._asdict() for row in ledger.by_slice(state.workload, upgrade=state.id)],
    }


def _price(
    ledger: Ledger, state: UpgradeState, evals: Sequence[Mapping[str, Any]], gathering: Gathering
) -> dict[str, Any]:
    months = [month._asdict() for month in by_month(ledger.spent(state.workload, since=state.started_at))]
    if not months:
        gathering.lacks("price", "the ledger has no traffic since the upgrade began to project a month from")
    unknown = [month["variant"] for month in months if month["usd"] is None]
    if unknown:
        gathering.lacks("price", f"no price is known of {', '.join(unknown)}: an unknown price is not 0")
    result = evals[-1]["result"] if evals else None
    measures = result["measures"] if result else []
    return {"months": months, "eval": next((m for m in measures if m["name"] == "cost_usd"), None)}


def _rollback(
    found: Stored, exposure: Sequence[Mapping[str, Any]], served: Mapping[str, Any] | None, gathering: Gathering
) -> dict[str, Any]:
    state, drills = found.state, told.drills(found.journal)
    if not drills:
        gathering.lacks("rollback", "no drill of a rollback was held while the upgrade was under way")
    went: dict[str, Any] | None = None
    if state.stage is Stage.ROLLED_BACK:
        event = found.journal[-1]
        candidate = [s for s in (served or {}).get("spans", ()) if s["served_variant"] == state.candidate.name]
        last = max((s["last_at"] for s in candidate), default=None)
        effective = next((c["effective_s"] for c in reversed(exposure) if c["seq"] == event.seq), None)
        went = {"at": event.at, "by": event.by, "why": event.why, "trigger": event.data.get("trigger")}
        went |= {"effective_s": effective, "last_candidate_at": last}
        if effective is None:
            gathering.lacks("rollback", "nobody measured when the last worker followed the rollback")
    return {"drills": drills, "went": went}


def _agreement(
    evals: Sequence[Mapping[str, Any]],
    visits: Sequence[Mapping[str, Any]],
    assessment: Mapping[str, Any] | None,
    state: UpgradeState,
    gathering: Gathering,
) -> list[dict[str, Any]]:
    """The last eval beside the last canary verdict: the evidence of one upgrade adds up over its rungs."""
    panels = [v["ended"]["document"]["details"].get("gates") for v in visits if _judged(v)]
    if not state.over and state.stage is Stage.CANARY and assessment:
        panels.append(assessment.get("details", {}).get("gates"))
    panels = [panel for panel in panels if panel]
    result = evals[-1]["result"] if evals else None
    if result is None or not panels:
        lacking = "an eval result" if result is None else "a verdict of the canary's gates"
        gathering.lacks("agreement", f"what the eval foretold cannot be compared without {lacking}")
        return []
    rows = [result["aggregate"], *result["slices"]]
    return [one._asdict() for one in agreements(rows, panels[-1])]


def _judged(visit: Mapping[str, Any]) -> bool:
    return visit["stage"] == Stage.CANARY and bool(visit["ended"]) and visit["ended"]["document"] is not None


def _integrity(project: Project, found: Stored, audit: Audit, gathering: Gathering) -> dict[str, Any]:
    state = found.state
    mine = [sentence for sentence in audit.broken if state.id in sentence]
    altered = [kept.digest for kept in found.kept if digest(dict(kept.document)) != kept.digest]
    counted = gathering.ask("integrity", lambda: verify(project.paths.segments, lake_of(project)).as_dict())
    if counted is not None:
        counted = {name: value for name, value in counted.items() if name != "boots"}
    return {
        "events": len(found.journal),
        "head": found.journal[-1].hash,
        "generation": found.generation,
        "broken": mine,
        "elsewhere": len(audit.broken) - len(mine),
        "copied": audit.copied,
        "evidence": len(found.kept),
        "evidence_changed": altered,
        "ledger": counted,
        "in_order": not mine and not altered and (counted is None or bool(counted["in_order"])),
    }
