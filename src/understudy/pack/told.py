"""Tells from an upgrade's journal what each stage and each rung of the canary decided, and on what evidence. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.core.playbook import PARTS_PER_MILLION, QUESTIONS, Stage
from understudy.rollout.fold import UpgradeState, apply
from understudy.rollout.journal import Event
from understudy.rollout.machine import Kind
from understudy.rollout.store.base import Kept

Documents = Mapping[str, Mapping[str, Any]]


def documents(kept: Sequence[Kept]) -> dict[str, Mapping[str, Any]]:
    """What decisions rest on, by its hash."""
    return {one.digest: one.document for one in kept}


def visits(journal: Sequence[Event], known: Documents) -> list[dict[str, Any]]:
    """Every time a stage was entered, in order: a stage that a new candidate began again is there again.

    A canary has one for each of its rungs. `ended` is the event that left it, None where it is still there.
    """
    found: list[dict[str, Any]] = []
    state: UpgradeState | None = None
    for event in journal:
        before, state = state, apply(state, event)
        moved = before is None or (before.stage, before.step) != (state.stage, state.step)
        if moved and found:
            found[-1]["until"] = event.at
            found[-1]["ended"] = _ended(event, known)
        if moved and state.stage in QUESTIONS:
            found.append(_visit(event, state))
        elif found and event.kind is Kind.JUDGED:
            found[-1]["judged"].append({"at": event.at, "verdict": event.data["verdict"], "why": event.why})
    return found


def _visit(event: Event, state: UpgradeState) -> dict[str, Any]:
    return {
        "stage": str(state.stage),
        "step": state.step if state.stage is Stage.CANARY else None,
        "share": state.share / PARTS_PER_MILLION,
        "question": QUESTIONS[state.stage],
        "candidate": state.candidate.name,
        "fingerprint": state.candidate.fingerprint,
        "since": event.at,
        "until": None,
        "judged": [],
        "ended": None,
    }


def _ended(event: Event, known: Documents) -> dict[str, Any]:
    named = event.data.get("evidence")
    return {
        "event": str(event.kind),
        "seq": event.seq,
        "by": event.by,
        "why": event.why,
        "trigger": event.data.get("trigger"),
        "evidence": named,
        "document": known.get(named) if named else None,
    }


def acceptances(journal: Sequence[Event], now: float) -> dict[str, list[dict[str, Any]]]:
    """Every waiver and approval that was ever given, also those that a later candidate made void."""
    waivers: list[dict[str, Any]] = []
    approvals: list[dict[str, Any]] = []
    state: UpgradeState | None = None
    for event in journal:
        state = apply(state, event)
        if event.kind is Kind.SWITCHED:
            for one in (*waivers, *approvals):
                one["void"] = one["void"] or _void(one, event.at) or "given for another candidate"
        elif event.kind is Kind.WAIVED:
            given = {"subject": event.data["subject"], "stage": str(state.stage), "owner": event.data["owner"]}
            given |= {"by": event.by, "reason": event.why, "at": event.at, "expires_at": event.data["expires_at"]}
            waivers.append(given | {"candidate": state.candidate.name, "void": ""})
        elif event.kind is Kind.APPROVED:
            given = {"subject": event.data["subject"], "stage": str(state.stage), "by": event.by, "reason": event.why}
            approvals.append(given | {"at": event.at, "candidate": state.candidate.name, "void": ""})
    until = state.ended_at if state is not None and state.ended_at is not None else now
    for one in waivers:
        one["void"] = one["void"] or _void(one, until)
    return {"waivers": waivers, "approvals": approvals}


def _void(one: Mapping[str, Any], now: float) -> str:
    return "expired" if one.get("expires_at", now + 1.0) <= now else ""


def drills(journal: Sequence[Event]) -> list[dict[str, Any]]:
    """The rehearsals of a rollback, with how long each took until every live worker had it, in seconds."""
    return [
        {"at": e.at, "by": e.by, "why": e.why, **{k: e.data.get(k) for k in ("seconds", "workers", "waiting")}}
        for e in journal
        if e.kind is Kind.DRILLED
    ]
