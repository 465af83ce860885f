"""Every interleaving of two controllers, an operator, crashes and a worker, on the real machine, store and decider.

Breadth first, so a violation comes with a shortest path to it. Two planted defects show that the search would find
them: a store that does not compare epochs, and a board that takes an older table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import pytest

from understudy.core.playbook import PROFILES, Profile, Stage, Step, Verdict
from understudy.core.variant import Variant
from understudy.rollout.fold import UpgradeState
from understudy.rollout.journal import Draft
from understudy.rollout.machine import Illegal, Kind
from understudy.rollout.observation import Observation, Policy
from understudy.rollout.publish import Acknowledged
from understudy.rollout.reconcile import decide
from understudy.rollout.store.base import Stale
from understudy.rollout.store.memory import MemoryStore
from understudy.stages.assessment import Judgement

LADDER = (Step(10_000, 0.0), Step(1_000_000, 0.0))
PROFILE = replace(PROFILES["interactive"], ladder=LADDER, soak_s=1e9, retain_s=1e9)
POLICY = Policy(profile=PROFILE, sample=1_000_000, suites=1)
SEEN = Observation(
    now=0.0,
    judgement=Judgement(Verdict.PASS, "all gates pass"),
    acknowledged=Acknowledged(0, 2, ()),
    held_s=1.0,
)
CONTROLLERS, WORKERS, CRASHES = 2, 1, 1


class Table(NamedTuple):
    """What matters of a routing table here."""

    epoch: int
    share: int


class Actor(NamedTuple):
    """A controller or the operator between two of its steps: what it has read, and the table it is about to write."""

    seen: tuple[int, UpgradeState] | None = None
    table: Table | None = None
    crashes: int = 0


class Worker(NamedTuple):
    applied: Table
    pending: Table | None = None


@dataclass(frozen=True)
class World:
    epoch: int
    state: UpgradeState
    board: Table
    actors: tuple[Actor, ...]
    """The controllers, then the operator."""
    workers: tuple[Worker, ...]
    rolled_back_at: int = 0
    """Epoch of the first table after the rollback; 0 before."""

    @property
    def key(self) -> object:
        """Worlds with equal keys go on alike. Only the order of epochs matters, so they are counted from the lowest;
        what an actor has read matters by the epoch alone, as every epoch has one state."""
        tables = [self.board, *(a.table for a in self.actors), *(t for w in self.workers for t in w)]
        epochs = {self.epoch, self.rolled_back_at, 0}
        epochs |= {t.epoch for t in tables if t} | {a.seen[0] for a in self.actors if a.seen}
        rank = {epoch: number for number, epoch in enumerate(sorted(epochs))}
        actors = tuple(
            (a.seen and (rank[a.seen[0]], _key(a.seen[1])), a.table and (rank[a.table.epoch], a.table.share), a.crashes)
            for a in self.actors
        )
        shown = tuple(t and (rank[t.epoch], t.share) for t in tables)
        return (rank[self.epoch], _key(self.state), actors, shown, rank[self.rolled_back_at])


def _key(state: UpgradeState) -> object:
    return (state.place, state.verdict, state.verdict_clock, state.seq)


class Rules(NamedTuple):
    compare: bool = True
    ordered: bool = True


class Violation(Exception):
    """What must not be, and the shortest way there."""


def begun() -> UpgradeState:
    """An upgrade whose first step is served."""
    store = MemoryStore()
    data = {
        "workload": "w",
        "incumbent": Variant("old", "p", "1").as_dict(),
        "candidate": Variant("new", "p", "2").as_dict(),
        "salt": "s",
        "profile": "interactive",
    }
    store.write(0, "u", [Draft(Kind.STARTED, "ada", "", data)], 0.0)
    moves = [Draft(Kind.OPENED, "c", ""), Draft(Kind.CLEARED, "c", ""), Draft(Kind.CLOCK_STARTED, "c", "")]
    state = store.write(1, "u", moves, 0.0)
    return store.write(2, "u", [Draft(Kind.EXPOSED, "c", "", {"judged": state.clock, "share": 10_000})], 0.0)


def first_world() -> World:
    state = begun()
    table = Table(4, state.share)
    return World(4, state, table, (Actor(),) * (CONTROLLERS + 1), (Worker(table),) * WORKERS)


def store_of(world: World, rules: Rules) -> MemoryStore:
    """The real store, in this world's state."""
    return MemoryStore(epoch=world.epoch, compare=rules.compare, _states={"u": world.state}, _journals={"u": []})


def with_actor(world: World, index: int, actor: Actor, **changes: object) -> World:
    actors = (*world.actors[:index], actor, *world.actors[index + 1 :])
    return replace(world, actors=actors, **changes)  # type: ignore[arg-type]


def writes(world: World, index: int, draft: list[Draft], rules: Rules) -> World:
    """One compare-and-swap write of an actor's drafts to the journal; losing makes it forget what it has read."""
    actor = world.actors[index]
    assert actor.seen is not None
    store = store_of(world, rules)
    try:
        state = store.write(actor.seen[0], "u", draft, 0.0)
    except (Stale, Illegal):
        # The machine is the second line: where epochs are not compared, it still refuses what cannot follow.
        return with_actor(world, index, actor._replace(seen=None))
    return with_actor(world, index, actor._replace(seen=(store.epoch, state)), epoch=store.epoch, state=state)


def takes_epoch(world: World, index: int, rules: Rules) -> World:
    """The epoch for a table that says what the actor has read."""
    actor = world.actors[index]
    assert actor.seen is not None
    seen, state = actor.seen
    if rules.compare and seen != world.epoch:
        return with_actor(world, index, actor._replace(seen=None))
    table = Table(max(world.epoch, seen) + 1, state.share)
    return with_actor(world, index, actor._replace(seen=None, table=table), epoch=table.epoch)


def publishes(world: World, index: int, rules: Rules) -> World:
    actor = world.actors[index]
    assert actor.table is not None
    done = actor._replace(table=None)
    if rules.ordered and world.board.epoch >= actor.table.epoch:
        return with_actor(world, index, done)
    first = actor.table.share == 0 and not world.rolled_back_at
    return with_actor(
        world,
        index,
        done,
        board=actor.table,
        rolled_back_at=actor.table.epoch if first else world.rolled_back_at,
    )


_PLANS: dict[object, list[Draft]] = {}


def planned(state: UpgradeState) -> list[Draft]:
    """What the real decider wants in this state; asked once for each."""
    key = _key(state)
    if key not in _PLANS:
        _PLANS[key] = list(decide(state, SEEN, POLICY).drafts)
    return _PLANS[key]


def next_worlds(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    operator = CONTROLLERS
    for index, actor in enumerate(world.actors):
        name = "operator" if index == operator else f"controller {index}"
        if actor.table is not None:
            yield f"{name} publishes {actor.table}", publishes(world, index, rules)
        elif actor.seen is None:
            if index != operator or world.board.share:
                yield f"{name} reads", with_actor(world, index, actor._replace(seen=(world.epoch, world.state)))
        else:
            seen = actor.seen[1]
            if index == operator and not seen.over:
                drafts = [Draft(Kind.ROLLED_BACK, "ada", "", {"trigger": "operator"})]
                yield "operator rolls back", writes(world, index, drafts, rules)
            elif index != operator and not seen.over:
                drafts = planned(seen)
                if drafts:
                    yield f"{name} writes {drafts[-1].kind}", writes(world, index, drafts, rules)
            if seen.share != world.board.share:
                yield f"{name} takes an epoch for share {seen.share}", takes_epoch(world, index, rules)
            if seen.share == world.board.share:
                yield f"{name} looks away", with_actor(world, index, actor._replace(seen=None))
        if index != operator and actor.crashes < CRASHES and (actor.seen or actor.table):
            yield f"{name} is killed", with_actor(world, index, Actor(crashes=actor.crashes + 1))
    for index, worker in enumerate(world.workers):
        around = world.workers[:index], world.workers[index + 1 :]
        if worker.pending is None and worker.applied != world.board:
            yield (
                f"worker {index} reads",
                replace(world, workers=(*around[0], worker._replace(pending=world.board), *around[1])),
            )
        elif worker.pending is not None:
            newer = worker.pending.epoch > worker.applied.epoch
            applied = Worker(worker.pending if newer else worker.applied)
            yield f"worker {index} applies", replace(world, workers=(*around[0], applied, *around[1]))


def check(before: World, after: World) -> str:
    """The invariant that is broken by this step, "" where none is."""
    if after.epoch < before.epoch:
        return "S2: the store's epoch went back"
    if after.board.epoch < before.board.epoch:
        return "S2: the table's epoch went back"
    if before.state.over and after.state != before.state:
        return "S6: an upgrade that was over came back"
    if (
        after.state.stage is Stage.CANARY
        and before.state.stage is Stage.CANARY
        and after.state.step - before.state.step > 1
    ):
        return "S3: a step was left out"
    if before.rolled_back_at and after.board.share and after.board != before.board:
        return "S5: a table after the rollback names the candidate"
    for worker in after.workers:
        if after.rolled_back_at and worker.applied.epoch >= after.rolled_back_at and worker.applied.share:
            return "S5: a worker serves the candidate after it has seen the rollback"
    return ""


def search(rules: Rules, check_step: Callable[[World, World], str] = check, limit: int = 400_000) -> int:
    """The number of worlds there are; raises Violation at the first step that breaks an invariant."""
    start = first_world()
    came_from: dict[object, tuple[object, str] | None] = {start.key: None}
    queue = deque([start])
    while queue:
        world = queue.popleft()
        for label, following in next_worlds(world, rules):
            broken = check_step(world, following)
            if broken:
                path = [label]
                key = world.key
                while (step := came_from[key]) is not None:
                    key, said = step
                    path.append(said)
                raise Violation(f"{broken}: " + " -> ".join(reversed(path)))
            if following.key not in came_from:
                came_from[following.key] = (world.key, label)
                queue.append(following)
                if len(came_from) > limit:
                    raise AssertionError(f"more than {limit} worlds")
    return len(came_from)


@pytest.mark.slow
def test_no_interleaving_breaks_an_invariant() -> None:
    """S2, S3, S5 and S6 hold in every reachable world."""
    assert search(Rules()) > 10_000


def test_a_store_that_does_not_compare_is_found_out() -> None:
    """Without compare-and-swap a controller that read before a rollback serves the candidate again after it."""
    with pytest.raises(Violation, match=r"S[56]"):
        search(Rules(compare=False))


def test_a_board_that_takes_older_tables_is_found_out() -> None:
    """A writer that does not look puts an older table over a newer one."""
    with pytest.raises(Violation, match="S2"):
        search(Rules(ordered=False))


def test_profile_used_here_is_a_real_one() -> None:
    """The search runs the real decider on a real profile, shortened."""
    assert isinstance(PROFILE, Profile)
    kinds = [draft.kind for draft in decide(begun(), SEEN, POLICY).drafts]
    assert kinds[-1] is Kind.WIDENED
