"""What a control store does: append to journals under compare-and-swap, keep wishes until they are granted.

Every write that matters names the epoch its writer has seen and is refused (`Stale`) when the store has moved on:
that, and not a leader lease, is what makes two controllers and an operator harmless to each other. A leader lease
alone is not enough, because the stale reader may well be the leader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from understudy.core.errors import CannotMeasure, Refused
from understudy.ledger.lake import Decision
from understudy.rollout.fold import UpgradeState
from understudy.rollout.journal import Draft, Event


class Stale(Exception):
    """Somebody else wrote first: read again and decide again. Never shown to a user."""


class StoreUnavailable(CannotMeasure):
    """The control store cannot be read or written; gateways go on with the table they have."""


class Intent(NamedTuple):
    """What a person wishes for an upgrade; a controller grants or refuses it."""

    id: int
    upgrade: str
    kind: str
    by: str
    why: str
    data: Mapping[str, Any]
    at: float


class Handled(NamedTuple):
    """What became of a wish: `granted`, and the sentence to show whoever asked."""

    intent: int
    granted: bool
    answer: str
    remedy: str = ""


class Progress(NamedTuple):
    """For how long the present clock of an upgrade was watched by a living controller (see `rollout.dwell`)."""

    upgrade: str
    clock: int
    held_s: float
    watched_until: float


class Publication(NamedTuple):
    """One routing table that was issued: which epoch, by whom, why, and how long until every worker had it."""

    epoch: int
    at: float
    by: str
    why: str
    digest: str
    effective_s: float | None


class Kept(NamedTuple):
    """What a decision rests on, as it was at the time; `digest` is the hash that the journal's event names."""

    digest: str
    at: float
    document: Mapping[str, Any]


class Said(NamedTuple):
    """What a machine last said of itself, and how many seconds ago by the clock of the store."""

    machine: str
    document: Mapping[str, Any]
    silent_s: float


WAITING, SENT, GIVEN_UP = "waiting", "sent", "given up"


class Post(NamedTuple):
    """One alert for one target, in the outbox. Times are seconds since the epoch."""

    alert: str
    """What makes the alert the same one: said twice, it is queued once."""
    target: str
    at: float
    message: Mapping[str, Any]
    attempts: int = 0
    next_at: float = 0.0
    state: str = WAITING
    ended_at: float | None = None
    problem: str = ""
    """Why the last attempt failed; names no part of an address."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent reading of what a controller needs.

    `upgrades` holds the active ones and the finished ones whose candidate the configuration does not name as its
    incumbent yet (see `Store.settle`), oldest first.
    """

    generation: str
    epoch: int
    upgrades: tuple[UpgradeState, ...] = ()
    intents: tuple[Intent, ...] = ()
    progress: Mapping[str, Progress] = field(default_factory=dict)

    def active(self, workload: str) -> UpgradeState | None:
        """The upgrade under way on a workload, of which there is at most one."""
        return next((u for u in self.upgrades if u.workload == workload and not u.over), None)


def already_active(workload: str) -> Refused:
    """The refusal of a second upgrade on a workload."""
    return Refused(
        f"workload {workload} already has an upgrade under way",
        remedy=f"see `understudy upgrade status {workload}`; end it first with `upgrade abort` or `rollback`",
    )


class Store(Protocol):
    """All times are given by the caller, in seconds since the epoch."""

    async def read(self) -> Snapshot: ...

    async def begin(self, seen: int, upgrade: str, draft: Draft, at: float) -> UpgradeState:
        """Journal the first event of a new upgrade. Raises Stale, or Refused where the workload has one active."""
        ...

    async def append(
        self,
        seen: int,
        upgrade: str,
        drafts: Sequence[Draft],
        at: float,
        handled: Sequence[Handled] = (),
        evidence: Mapping[str, Any] | None = None,
    ) -> UpgradeState:
        """Journal events, all or none, close the wishes they answer, and keep the evidence they name by its hash. The
        epoch rises by one.

        Raises Stale, and machine.Illegal where the tables do not allow an event; then nothing was written.
        """
        ...

    async def bump(self, seen: int, *, at_least: int = 0) -> int:
        """Take the next epoch, above `at_least`, for a table that changes without a journal event (a lease)."""
        ...

    async def journal(self, upgrade: str) -> list[Event]:
        """All events of an upgrade, in order, their chain of hashes checked (DataCorrupt)."""
        ...

    async def entries(self) -> tuple[list[str], list[Decision]]:
        """The ids of all upgrades, and the events of all journals as they stand, unchecked: for copies and audits."""
        ...

    async def events(self) -> int:
        """How many events all journals hold: whoever copies them sees by it whether there is more."""
        ...

    async def upgrades(self, workload: str | None = None) -> list[UpgradeState]:
        """Every upgrade there ever was, oldest first."""
        ...

    async def settle(self, upgrade: str) -> None:
        """Note that the configuration names the candidate of a finished upgrade as its incumbent."""
        ...

    async def reseal(self, seen: int, generation: str, at_least: int) -> int:
        """Accept a restored store: a new generation and an epoch above `at_least`."""
        ...

    async def submit(self, upgrade: str, kind: str, by: str, why: str, data: Mapping[str, Any], at: float) -> int:
        """Keep a wish; returns its id."""
        ...

    async def close_intents(self, handled: Sequence[Handled]) -> None:
        """Answer wishes that lead to no event. A wish that is answered already keeps its first answer."""
        ...

    async def answer(self, intent: int) -> Handled | None:
        """What became of a wish; None while it waits."""
        ...

    async def save_progress(self, before: Progress | None, after: Progress) -> bool:
        """Replace `before` by `after`; False where somebody else did so first."""
        ...

    async def save_assessment(self, upgrade: str, document: Mapping[str, Any], at: float) -> None:
        """Keep the latest assessment, for `status`; the one before is overwritten."""
        ...

    async def assessment(self, upgrade: str) -> Mapping[str, Any] | None: ...

    async def evidence(self, upgrade: str) -> list[Kept]:
        """What the decisions of an upgrade rest on, oldest first."""
        ...

    async def queue(self, posts: Sequence[Post]) -> int:
        """Add to the outbox what is not there yet, whatever became of it; returns how many were added."""
        ...

    async def claim(self, post: Post, until: float) -> bool:
        """Take a waiting post for oneself until a time; False where somebody else did so first."""
        ...

    async def settle_post(self, post: Post) -> None:
        """Write down what became of an attempt."""
        ...

    async def posts(self, *, state: str | None = None, due: float | None = None, limit: int = 100) -> list[Post]:
        """The outbox, newest first; those alone that wait and are due by then, the oldest first."""
        ...

    async def published(self, publication: Publication) -> None:
        """Note a table that was issued, or (same epoch) that it became effective."""
        ...

    async def publications(self, limit: int = 100) -> list[Publication]:
        """The latest tables issued, newest first."""
        ...

    # -- machines that share the store

    async def hang(self, epoch: int, content: bytes) -> bool:
        """Have the machines follow these bytes, a routing table; False where one of this epoch or a later one is there.

        Whoever listens is told once it is written.
        """
        ...

    async def hung(self) -> bytes | None:
        """The bytes that machines follow, None where there were none yet."""
        ...

    async def report(
        self, machine: str, owner: str, document: Mapping[str, Any], at: float, *, lapsed_s: float
    ) -> bool:
        """Keep what a machine says of itself in place of what it said before.

        False where another owner has reported under this name within the last `lapsed_s` seconds.
        """
        ...

    async def reports(self, now: float) -> list[Said]:
        """What machines last said, by name."""
        ...

    async def leave(self, machine: str, owner: str) -> None:
        """Forget a machine that ends on purpose."""
        ...

    async def close(self) -> None: ...
