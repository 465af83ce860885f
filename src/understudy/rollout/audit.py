"""Says which decisions were changed, cut off or written anew: the journals as they stand, their chains, their copies.

A changed event no longer has its own hash. Whoever writes that anew as well breaks the link of the next event, and who
writes the rest of the journal anew, or cuts it off, differs from the copy that the ledger took when it was decided.
What happened between two copies and was then cut off can be seen by nobody. Pure.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from understudy.core.canonical import digest
from understudy.ledger.lake import Decision
from understudy.rollout.journal import GENESIS


class Audit(NamedTuple):
    """What was looked at, and a sentence for each event that is not as it was decided."""

    upgrades: int
    decisions: int
    copied: int
    broken: tuple[str, ...]


def audit(upgrades: Sequence[str], entries: Iterable[Decision], copies: Iterable[Decision]) -> Audit:
    """upgrades: those the store names. entries: its events as they stand. copies: those of the ledger."""
    journals, copied = _by_upgrade(entries), _by_upgrade(copies)
    broken: list[str] = []
    for name in sorted({*upgrades, *journals, *copied}):
        if name not in journals:
            kept = f", of which the ledger has {len(copied[name])}" if name in copied else ""
            broken.append(f"upgrade {name} has lost all of its events{kept}")
            continue
        broken += _chain(name, journals[name])
        broken += _differences(name, journals[name], copied.get(name, ()))
    count = sum(map(len, journals.values()))
    return Audit(len({*upgrades, *journals}), count, sum(map(len, copied.values())), tuple(broken))


def _chain(name: str, journal: Sequence[Decision]) -> Iterable[str]:
    """Every event by its own hash and by the one before it, so that one change is one sentence."""
    previous = GENESIS
    for number, entry in enumerate(journal, start=1):
        if entry.seq != number:
            yield f"event {number} of upgrade {name} is missing: event {entry.seq} ({entry.kind}) stands in its place"
            return
        if entry.hash != _sealed(entry):
            yield f"event {number} of upgrade {name} ({entry.kind}, by {entry.by}) was changed after it was decided"
        elif entry.previous != previous:
            yield f"event {number} of upgrade {name} ({entry.kind}) does not continue event {number - 1}"
        previous = entry.hash


def _differences(name: str, journal: Sequence[Decision], copies: Sequence[Decision]) -> Iterable[str]:
    for copy in copies:
        if copy.hash != _sealed(copy):
            yield f"the ledger's copy of event {copy.seq} of upgrade {name} ({copy.kind}) was changed"
        elif copy.seq > len(journal):
            last = copies[-1]
            yield (
                f"the journal of upgrade {name} was cut off behind event {len(journal)}: the ledger has "
                f"{last.seq - len(journal)} more, the last one {last.kind} by {last.by}"
            )
            return
        elif copy.hash != journal[copy.seq - 1].hash:
            yield f"event {copy.seq} of upgrade {name} was written anew: the ledger has {copy.kind} by {copy.by} there"
            return


def _sealed(entry: Decision) -> str:
    """The hash that an event of this content has; see `journal.seal`. "" where its data is no JSON any more."""
    try:
        data: Mapping[str, Any] = json.loads(entry.data)
        body = [entry.upgrade, entry.seq, entry.at, entry.kind, entry.by, entry.why, data, entry.epoch, entry.previous]
        return digest(body)
    except (TypeError, ValueError):
        return ""


def _by_upgrade(entries: Iterable[Decision]) -> dict[str, list[Decision]]:
    found: dict[str, list[Decision]] = defaultdict(list)
    for entry in sorted(entries, key=lambda each: (each.upgrade, each.seq)):
        found[entry.upgrade].append(entry)
    return dict(found)
