"""Decides what becomes of a person's wish: the events it makes, or a refusal with what is missing. Pure.

A wish is kept in the store until it is answered, so it may be written while no controller lives. Rolling back and
aborting are always granted; they also come before any other wish that waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from understudy.config.durations import seconds
from understudy.core.errors import Refused, UsageError
from understudy.core.playbook import Decision, Stage
from understudy.core.variant import Variant
from understudy.rollout.fold import EVERYTHING, UpgradeState
from understudy.rollout.journal import Draft
from understudy.rollout.machine import Kind, move
from understudy.rollout.store.base import Handled, Intent
from understudy.stages.assessment import Assessment


class Wish(StrEnum):
    """What a person can ask of an upgrade."""

    PROMOTE = "promote"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    ROLLBACK = "rollback"
    WAIVE = "waive"
    APPROVE = "approve"
    SWITCH = "switch"
    RETUNE = "retune"
    GIVE_UP = "give_up"
    DRILLED = "drilled"
    NOTE = "note"


EXITS = (Wish.ROLLBACK, Wish.ABORT)


def expiry(until: str, now: float) -> float:
    """When a waiver ends, from "14d" or "2026-12-24" (its last second, UTC). Raises UsageError."""
    try:
        day = datetime.strptime(until, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        try:
            return now + seconds(until)
        except ValueError:
            raise UsageError(
                f"--until {until!r} is neither a duration nor a day", remedy="write 14d, 12h or 2026-12-24"
            ) from None
    return (day + timedelta(days=1)).timestamp() - 1


def foremost(wishes: Sequence[Intent]) -> Intent:
    """The wish to look at first: an exit, else the oldest."""
    return min(wishes, key=lambda w: (EXITS.index(Wish(w.kind)) if w.kind in EXITS else len(EXITS), w.id))


def grant(
    state: UpgradeState, wish: Intent, now: float, promoting: Callable[[], Assessment]
) -> tuple[tuple[Draft, ...], Handled]:
    """The events a wish makes (none where it is refused) and its answer.

    `promoting` gives the assessment as it would be with a person's word for the promotion.
    """
    try:
        draft = _draft(state, wish, now, promoting)
        move(state.place, draft.kind, state.seq + 1, draft.data)
    except Refused as refusal:
        return (), Handled(wish.id, False, refusal.message, refusal.remedy)
    return (draft,), Handled(wish.id, True, f"{draft.kind}: {draft.why}" if draft.why else str(draft.kind))


def _draft(state: UpgradeState, wish: Intent, now: float, promoting: Callable[[], Assessment]) -> Draft:
    """Raises Refused with the remedy."""
    match Wish(wish.kind):
        case Wish.PROMOTE:
            return _promotion(state, wish, promoting())
        case Wish.PAUSE:
            return Draft(Kind.PAUSED, wish.by, wish.why)
        case Wish.RESUME:
            return Draft(Kind.RESUMED, wish.by, wish.why)
        case Wish.ABORT:
            return Draft(Kind.ABORTED, wish.by, wish.why)
        case Wish.ROLLBACK:
            return Draft(Kind.ROLLED_BACK, wish.by, wish.why, {"trigger": "operator"})
        case Wish.WAIVE:
            return _waiver(state, wish, now)
        case Wish.APPROVE:
            return Draft(Kind.APPROVED, wish.by, wish.why, dict(wish.data))
        case Wish.SWITCH:
            return _switch(state, wish)
        case Wish.RETUNE:
            return Draft(Kind.DRIFTED, wish.by, wish.why, dict(wish.data))
        case Wish.GIVE_UP:
            return Draft(Kind.GAVE_UP, wish.by, wish.why, dict(wish.data))
        case Wish.DRILLED:
            return Draft(Kind.DRILLED, wish.by, wish.why, dict(wish.data))
        case Wish.NOTE:
            return Draft(Kind.NOTED, wish.by, wish.why, dict(wish.data))


def _promotion(state: UpgradeState, wish: Intent, assessment: Assessment) -> Draft:
    if state.stage is not Stage.CANARY:
        raise Refused(
            f"workload {state.workload} is in stage {state.stage}: there is no step to promote",
            remedy="a promotion widens the canary; the other stages move on by their own evidence",
        )
    if assessment.decision is not Decision.ADVANCE:
        missing = "; ".join(assessment.missing) or assessment.sentence
        raise Refused(
            f"the verdict at {state.share / 10_000:g} % is {assessment.verdict}, a promotion needs a pass",
            remedy=f"missing: {missing}",
        )
    return Draft(Kind.PROMOTED, wish.by, wish.why)


def _waiver(state: UpgradeState, wish: Intent, now: float) -> Draft:
    subject, expires_at = str(wish.data["subject"]), float(wish.data["expires_at"])
    if expires_at <= now:
        raise Refused("a waiver that has expired already accepts nothing", remedy="name a later --until")
    if state.eval and subject in state.eval.critical:
        raise Refused(
            f"slice {subject} is critical and cannot be waived",
            remedy=f"fix it with a better prompt: `understudy tune {state.workload} --candidate NEW`",
        )
    known = subjects(state)
    if subject not in known:
        raise Refused(
            f"nothing called {subject!r} failed in stage {state.stage}",
            remedy=f"what can be waived now: {', '.join(sorted(known)) or 'nothing'}",
        )
    return Draft(Kind.WAIVED, wish.by, wish.why, dict(wish.data))


def subjects(state: UpgradeState) -> set[str]:
    """What a waiver may name now: failed slices, and findings one by one."""
    failed = set(state.eval.failed) if state.eval and state.stage is Stage.REGRESS else set()
    names = {f.slice or EVERYTHING: f.kind for f in state.findings}
    return failed | set(names) | {f"{f.slice or EVERYTHING}/{f.kind}" for f in state.findings}


def _switch(state: UpgradeState, wish: Intent) -> Draft:
    new = Variant.from_dict(wish.data["candidate"])
    if new.fingerprint == state.candidate.fingerprint:
        raise Refused(
            f"{new.name} is the candidate already: model, prompt and parameters are the same ({new.fingerprint})",
            remedy="change the prompt or the parameters first",
        )
    if new.fingerprint == state.incumbent.fingerprint:
        raise Refused(
            f"{new.name} is the incumbent under another name ({new.fingerprint})", remedy="choose another variant"
        )
    return Draft(Kind.SWITCHED, wish.by, wish.why, {"candidate": new.as_dict()})
