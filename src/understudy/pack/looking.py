"""Looks at what the self-audit asks for: configuration, suites, journals, heartbeats, and the incumbent on demand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from understudy.config.project import Project
from understudy.evals.live import live_graders
from understudy.evals.setup import load_suites
from understudy.ledger.prices import Price, Prices
from understudy.pack.facts import event_of
from understudy.pack.selfaudit import Seen
from understudy.registry.hosting import last_day
from understudy.rollout.audit import Audit
from understudy.rollout.board import Board
from understudy.rollout.journal import Event
from understudy.rollout.machine import Kind
from understudy.rollout.probing import ask
from understudy.rollout.store.base import Publication, Store

DRILL = "drill"
"""How the reason of a published table begins that only rehearsed."""


async def look(
    project: Project, store: Store | None, board: Board, workload: str, audit: Audit, *, probe: bool
) -> Seen:
    """Everything there is to see of a workload. Raises ConfigError for a suite, DataCorrupt for an unreadable journal.

    `store` is None where there was no upgrade yet.
    """
    now = time.time()
    section = project.workload(workload)
    suites = load_suites(project, workload) if section.suites else []
    states = await store.upgrades(workload) if store else []
    _, entries = await store.entries() if store else ([], [])
    journals = [[event_of(entry) for entry in entries if entry.upgrade == state.id] for state in states]
    publications = await store.publications(limit=10_000) if store else []
    seen = Seen(
        workload=workload,
        section=section,
        profile=project.profile(workload),
        variants=project.variants(workload),
        suite_slices=sorted({name for suite in suites for name in suite.slices if name}) if suites else None,
        graded_live=bool(suites) and bool(live_graders(suites).counting),
        priced=_priced(project, workload, now),
        journals=journals,
        broken=[said for said in audit.broken if any(state.id in said for state in states)],
        drills=drills(journals, publications),
        alerts=_told(project, workload),
        workers=sum(1 for beat in await board.heartbeats() if beat.live(now)),
        probe=None,
        retires=None,
        today=datetime.fromtimestamp(now, UTC).date(),
        now=now,
    )
    back = seen.back
    if back is None:
        return seen
    answered = await ask(project, back) if probe and back.provider in project.config.providers else None
    return replace(seen, probe=answered, retires=last_day(project.config, back))


def drills(journals: Sequence[Sequence[Event]], published: Sequence[Publication]) -> list[tuple[float, float | None]]:
    """Every rehearsal, the oldest first: by the journals of upgrades, and by the tables issued at other times."""
    found = {p.at: p.effective_s for p in published if p.why.startswith(DRILL)}
    for journal in journals:
        for event in journal:
            if event.kind is Kind.DRILLED and event.data["workers"]:
                found[event.at] = None if event.data["waiting"] else event.data["seconds"]
    return sorted(found.items())


def _priced(project: Project, workload: str, now: float) -> dict[str, bool]:
    prices = Prices({m: Price(one.input, one.output, one.cached_input) for m, one in project.config.prices.items()})
    return {name: prices.known(variant.model, now) for name, variant in project.variants(workload).items()}


def _told(project: Project, workload: str) -> bool:
    return any(
        (not target.on or "rolled_back" in target.on) and ("*" in target.workloads or workload in target.workloads)
        for target in project.config.alerts.targets.values()
    )
