"""Looks back: what was decided and served over time, and which variant answered one user."""

from __future__ import annotations

from typing import Any

from understudy.assign.choose import Reason
from understudy.config.project import Project
from understudy.core.errors import CannotMeasure
from understudy.core.moment import said
from understudy.ledger.answers import Served
from understudy.ledger.queries import Ledger
from understudy.rollout.history import changes, spans
from understudy.rollout.store.base import Store

REASONS = {
    Reason.KILL_FILE: "a rollback file was in place",
    Reason.NO_ROUTE: "no upgrade gave the candidate traffic",
    Reason.CONVERSATION: "the conversation had begun with it",
    Reason.BREAKER_OPEN: "the candidate was failing and rested",
    Reason.LEASE_EXPIRED: "no controller had renewed the canary",
    Reason.NO_UNIT: "the request named nobody",
    Reason.BELOW_SHARE: "the unit's place is below the canary's share",
    Reason.ABOVE_SHARE: "the unit's place is above the canary's share",
}
"""What the reasons of an assignment mean; one that is not here is shown as it is."""


async def decided(store: Store, workload: str, *, everything: bool) -> list[dict[str, Any]]:
    """Every change of who is served what, or with `everything` every event, oldest first.

    Raises DataCorrupt where the chain of hashes of a journal is broken, StoreUnavailable.
    """
    states = await store.upgrades(workload)
    journals = [await store.journal(state.id) for state in states]
    return changes(journals, await store.publications(limit=10_000), everything=everything)


def seen(ledger: Ledger, workload: str) -> dict[str, Any]:
    """What the ledger saw: who answered when ("served"), and what evals said of the variants ("evals")."""
    return {
        "served": spans(ledger.history(workload)),
        "evals": [found._asdict() for found in ledger.evals(workload)],
    }


def who_served(project: Project, ledger: Ledger, workload: str, user: str, when: float) -> dict[str, Any]:
    """Which variant answered a user last at or before a time, and why that one. Raises CannotMeasure for none."""
    each = [ledger.who_served(workload, unit, when) for unit in project.kept_as(user)]
    found = max((one for one in each if one is not None), key=lambda one: one.started_at, default=None)
    if found is None:
        raise CannotMeasure(
            f"the ledger has no exchange of {user!r} in {workload} at or before {said(when)}",
            remedy="check the user's name as requests give it; what is not committed yet shows after "
            "`understudy ledger commit`",
        )
    return _described(project, workload, user, found)


def _described(project: Project, workload: str, user: str, found: Served) -> dict[str, Any]:
    variants = project.variants(workload)
    assigned = next((v for v in variants.values() if v.fingerprint == found.fingerprint), None)
    # A masked failure was answered by the incumbent, whose fingerprint the exchange does not carry.
    answered = variants.get(found.served_variant) if found.masked else assigned
    return {
        "workload": workload,
        "user": user,
        **found._asdict(),
        "at": said(found.started_at),
        "why": next((said for reason, said in REASONS.items() if reason == found.reason), found.reason),
        "system_prompt": None if answered is None else answered.system_prompt,
        "reasoning": None if answered is None or answered.reasoning is None else answered.reasoning.as_dict(),
        "still_configured": answered is not None,
    }
