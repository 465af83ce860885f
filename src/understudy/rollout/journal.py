"""What one event of an upgrade's journal holds, and the chain of hashes that shows whether one was changed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from understudy.core.canonical import digest
from understudy.core.errors import DataCorrupt
from understudy.rollout.machine import Kind

GENESIS = "0" * 64
"""The hash before the first event."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An event as it is proposed: the store adds its number, its epoch and its place in the chain."""

    kind: Kind
    by: str
    """Who: "controller", or the name of the person who gave the command."""
    why: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the journal; `at` in seconds since the epoch, `epoch` the store's after this write."""

    upgrade: str
    seq: int
    at: float
    kind: Kind
    by: str
    why: str
    data: Mapping[str, Any]
    epoch: int
    previous: str
    hash: str

    def as_dict(self) -> dict[str, Any]:
        """As `--json` and the evidence show it."""
        return {
            "upgrade": self.upgrade,
            "seq": self.seq,
            "at": self.at,
            "kind": str(self.kind),
            "by": self.by,
            "why": self.why,
            "data": dict(self.data),
            "epoch": self.epoch,
            "previous": self.previous,
            "hash": self.hash,
        }


def seal(draft: Draft, *, upgrade: str, seq: int, at: float, epoch: int, previous: str) -> Event:
    """The event with its hash over everything in it and the hash before it."""
    body = [upgrade, seq, at, str(draft.kind), draft.by, draft.why, dict(draft.data), epoch, previous]
    return Event(
        upgrade, seq, at, draft.kind, draft.by, draft.why, dict(draft.data), epoch, previous, hash=digest(body)
    )


def verify(events: Iterable[Event]) -> str:
    """Check the chain of one upgrade's journal from its beginning and return the last hash.

    Raises DataCorrupt naming the first event that is missing, out of place or changed.
    """
    previous = GENESIS
    for seq, event in enumerate(events, start=1):
        resealed = seal(
            Draft(event.kind, event.by, event.why, event.data),
            upgrade=event.upgrade,
            seq=seq,
            at=event.at,
            epoch=event.epoch,
            previous=previous,
        )
        if event.seq != seq or event.previous != previous or event.hash != resealed.hash:
            raise DataCorrupt(
                f"event {seq} of upgrade {event.upgrade} does not continue the journal before it",
                remedy="the control store was edited or cut; restore it from a copy, "
                "and until then go back with `understudy rollback WORKLOAD --local`",
            )
        previous = event.hash
    return previous
