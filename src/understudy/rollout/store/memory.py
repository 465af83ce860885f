"""A control store in a dictionary: the same contract as `sql`, for tests, model checks and virtual time."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from understudy.core.canonical import canonical_json, digest
from understudy.core.playbook import Stage
from understudy.ledger.lake import Decision
from understudy.rollout.fold import UpgradeState, apply
from understudy.rollout.journal import GENESIS, Draft, Event, seal, verify
from understudy.rollout.store.base import (
    WAITING,
    Handled,
    Intent,
    Kept,
    Post,
    Progress,
    Publication,
    Said,
    Snapshot,
    Stale,
    already_active,
)


@dataclass
class MemoryStore:
    """`compare` is what every write is judged by; only the tests that plant a defect set it to False."""

    generation: str = "memory"
    epoch: int = 0
    compare: bool = True
    _journals: dict[str, list[Event]] = field(default_factory=dict)
    _states: dict[str, UpgradeState] = field(default_factory=dict)
    _settled: set[str] = field(default_factory=set)
    _intents: dict[int, Intent] = field(default_factory=dict)
    _handled: dict[int, Handled] = field(default_factory=dict)
    _progress: dict[str, Progress] = field(default_factory=dict)
    _assessments: dict[str, dict[str, Any]] = field(default_factory=dict)
    _publications: dict[int, Publication] = field(default_factory=dict)
    _evidence: dict[str, dict[str, Kept]] = field(default_factory=dict)
    _hung: tuple[int, bytes] | None = None
    _machines: dict[str, tuple[str, float, dict[str, Any]]] = field(default_factory=dict)
    _posts: dict[tuple[str, str], Post] = field(default_factory=dict)

    async def read(self) -> Snapshot:
        return self.snapshot()

    def snapshot(self) -> Snapshot:
        """What `read` returns, for callers without a loop."""
        return Snapshot(
            self.generation,
            self.epoch,
            tuple(s for s in self._states.values() if not s.over or self._unsettled(s)),
            tuple(i for i in self._intents.values() if i.id not in self._handled),
            dict(self._progress),
        )

    def _unsettled(self, state: UpgradeState) -> bool:
        return state.stage is Stage.DONE and state.id not in self._settled

    def copied(self) -> MemoryStore:
        """A copy to go on from: what a restored backup or another branch of a search sees."""
        return copy.deepcopy(self)

    def _swap(self, seen: int) -> None:
        if self.compare and seen != self.epoch:
            raise Stale(f"the store is at epoch {self.epoch}, the writer saw {seen}")

    async def begin(self, seen: int, upgrade: str, draft: Draft, at: float) -> UpgradeState:
        return self.write(seen, upgrade, [draft], at)

    async def append(
        self,
        seen: int,
        upgrade: str,
        drafts: Sequence[Draft],
        at: float,
        handled: Sequence[Handled] = (),
        evidence: Mapping[str, Any] | None = None,
    ) -> UpgradeState:
        state = self.write(seen, upgrade, drafts, at, handled)
        if evidence is not None:
            kept = Kept(digest(evidence), at, copy.deepcopy(dict(evidence)))
            self._evidence.setdefault(upgrade, {}).setdefault(kept.digest, kept)
        return state

    def write(
        self, seen: int, upgrade: str, drafts: Sequence[Draft], at: float, handled: Sequence[Handled] = ()
    ) -> UpgradeState:
        """What `begin` and `append` do, for callers without a loop."""
        self._swap(seen)
        state = self._states.get(upgrade)
        if state is None:
            workload = str(drafts[0].data["workload"])
            if self.snapshot().active(workload):
                raise already_active(workload)
        events: list[Event] = []
        for draft in drafts:
            event = seal(
                draft,
                upgrade=upgrade,
                seq=(state.seq if state else 0) + 1,
                at=at,
                epoch=self.epoch + 1,
                previous=state.hash if state else GENESIS,
            )
            state = apply(state, event)
            events.append(event)
        if state is None:
            raise ValueError("no event to journal")
        self.epoch += 1
        self._journals.setdefault(upgrade, []).extend(events)
        self._states[upgrade] = state
        self._close(handled)
        return state

    async def bump(self, seen: int, *, at_least: int = 0) -> int:
        self._swap(seen)
        self.epoch = max(self.epoch, at_least) + 1
        return self.epoch

    async def journal(self, upgrade: str) -> list[Event]:
        events = list(self._journals.get(upgrade, ()))
        verify(events)
        return events

    async def entries(self) -> tuple[list[str], list[Decision]]:
        found = []
        for name, journal in sorted(self._journals.items()):
            for event in journal:
                row = {**event.as_dict(), "data": canonical_json(dict(event.data)).decode()}
                found.append(Decision(**row, workload=self._states[name].workload))
        return list(self._journals), found

    async def events(self) -> int:
        return sum(map(len, self._journals.values()))

    async def upgrades(self, workload: str | None = None) -> list[UpgradeState]:
        return [s for s in self._states.values() if workload in (None, s.workload)]

    async def settle(self, upgrade: str) -> None:
        self._settled.add(upgrade)

    async def reseal(self, seen: int, generation: str, at_least: int) -> int:
        epoch = await self.bump(seen, at_least=at_least)
        self.generation = generation
        return epoch

    async def submit(self, upgrade: str, kind: str, by: str, why: str, data: Mapping[str, Any], at: float) -> int:
        number = len(self._intents) + 1
        self._intents[number] = Intent(number, upgrade, kind, by, why, dict(data), at)
        return number

    async def close_intents(self, handled: Sequence[Handled]) -> None:
        self._close(handled)

    def _close(self, handled: Sequence[Handled]) -> None:
        for answer in handled:
            self._handled.setdefault(answer.intent, answer)

    async def answer(self, intent: int) -> Handled | None:
        return self._handled.get(intent)

    async def save_progress(self, before: Progress | None, after: Progress) -> bool:
        if self._progress.get(after.upgrade) != before:
            return False
        self._progress[after.upgrade] = after
        return True

    async def save_assessment(self, upgrade: str, document: Mapping[str, Any], at: float) -> None:
        self._assessments[upgrade] = {**document, "at": at}

    async def assessment(self, upgrade: str) -> Mapping[str, Any] | None:
        return self._assessments.get(upgrade)

    async def evidence(self, upgrade: str) -> list[Kept]:
        return sorted(self._evidence.get(upgrade, {}).values(), key=lambda kept: kept.at)

    async def queue(self, posts: Sequence[Post]) -> int:
        before = len(self._posts)
        for post in posts:
            self._posts.setdefault((post.alert, post.target), post)
        return len(self._posts) - before

    async def claim(self, post: Post, until: float) -> bool:
        known = self._posts[post.alert, post.target]
        if known.state != WAITING or known.next_at != post.next_at:
            return False
        self._posts[post.alert, post.target] = known._replace(next_at=until)
        return True

    async def settle_post(self, post: Post) -> None:
        self._posts[post.alert, post.target] = post

    async def posts(self, *, state: str | None = None, due: float | None = None, limit: int = 100) -> list[Post]:
        if due is not None:
            found = [p for p in self._posts.values() if p.state == WAITING and p.next_at <= due]
            return sorted(found, key=lambda post: post.next_at)[:limit]
        found = [p for p in self._posts.values() if state in (None, p.state)]
        return sorted(found, key=lambda post: -post.at)[:limit]

    async def published(self, publication: Publication) -> None:
        known = self._publications.get(publication.epoch)
        self._publications[publication.epoch] = (
            replace_effective(known, publication.effective_s) if known else publication
        )

    async def publications(self, limit: int = 100) -> list[Publication]:
        return sorted(self._publications.values(), reverse=True)[:limit]

    async def hang(self, epoch: int, content: bytes) -> bool:
        if self._hung is not None and self._hung[0] >= epoch:
            return False
        self._hung = (epoch, content)
        return True

    async def hung(self) -> bytes | None:
        return self._hung[1] if self._hung else None

    async def report(
        self, machine: str, owner: str, document: Mapping[str, Any], at: float, *, lapsed_s: float
    ) -> bool:
        known = self._machines.get(machine)
        if known and known[0] != owner and at - known[1] <= lapsed_s:
            return False
        self._machines[machine] = (owner, at, copy.deepcopy(dict(document)))
        return True

    async def reports(self, now: float) -> list[Said]:
        return [Said(name, said, now - at) for name, (_, at, said) in sorted(self._machines.items())]

    async def leave(self, machine: str, owner: str) -> None:
        if machine in self._machines and self._machines[machine][0] == owner:
            del self._machines[machine]

    async def close(self) -> None:
        return None


def replace_effective(known: Publication, effective_s: float | None) -> Publication:
    """The publication with its first measured time to effect kept."""
    return known if known.effective_s is not None else known._replace(effective_s=effective_s)
