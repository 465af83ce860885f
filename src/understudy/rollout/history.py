"""Tells from the journals when which variant was given users, by whom and why; every such change is there once [S12].

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from understudy.core.playbook import PARTS_PER_MILLION
from understudy.ledger.answers import Span
from understudy.rollout.fold import UpgradeState, apply
from understudy.rollout.journal import Event
from understudy.rollout.store.base import Publication


def changes(
    journals: Iterable[Sequence[Event]], publications: Iterable[Publication], *, everything: bool = False
) -> list[dict[str, Any]]:
    """The events that changed somebody's share, or all of them, oldest first.

    `effective_s` is how long it took until every live worker had said that it follows, where that was measured.
    """
    measured = sorted((p.epoch, p.effective_s) for p in publications if p.effective_s is not None)
    found: list[dict[str, Any]] = []
    for journal in journals:
        state: UpgradeState | None = None
        for event in journal:
            before = state.share if state else 0
            state = apply(state, event)
            if everything or state.share != before or state.over:
                found.append(_change(event, state, measured))
    return sorted(found, key=lambda change: (change["at"], change["seq"]))


def spans(seen: Iterable[Span]) -> list[dict[str, Any]]:
    """What the ledger saw, one row for each time a variant served in one step: epochs that only renewed a lease are
    taken together.
    """
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for span in seen:
        key = (span.upgrade, span.stage, span.step, span.arm, span.served_variant, span.fingerprint, span.model_served)
        row = merged.get(key)
        if row is None:
            merged[key] = {**span._asdict(), "first_epoch": span.epoch, "last_epoch": span.epoch}
            del merged[key]["epoch"], merged[key]["generation"], merged[key]["units"]
            continue
        row["last_epoch"] = max(row["last_epoch"], span.epoch)
        row["first_at"] = min(row["first_at"], span.first_at)
        row["last_at"] = max(row["last_at"], span.last_at)
        row["exchanges"] += span.exchanges
        row["masked"] += span.masked
    return sorted(merged.values(), key=lambda row: row["first_at"])


def _change(event: Event, state: UpgradeState, measured: Sequence[tuple[int, float | None]]) -> dict[str, Any]:
    return {
        "at": event.at,
        "upgrade": event.upgrade,
        "seq": event.seq,
        "event": str(event.kind),
        "stage": str(state.stage),
        "step": state.step if state.step >= 0 else None,
        "share": state.share / PARTS_PER_MILLION,
        "variant": state.candidate.name,
        "incumbent": state.incumbent.name,
        "by": event.by,
        "why": event.why,
        "epoch": event.epoch,
        "evidence": event.data.get("evidence"),
        "hash": event.hash,
        "effective_s": next((seconds for epoch, seconds in measured if epoch >= event.epoch), None),
    }
