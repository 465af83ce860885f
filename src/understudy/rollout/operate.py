"""Carries out what a person at a terminal asks for: the wish, its answer, and the table that follows from it.

A command needs no living controller: it grants its own wish by the same rules and publishes by the same function.
Only a promotion waits for a controller, as it alone holds the evidence. Rolling back is tried until it is written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from understudy.config.project import Project
from understudy.core.errors import CannotMeasure, Refused
from understudy.core.routing import RoutingTable
from understudy.rollout import publish
from understudy.rollout.board import Board, Folder
from understudy.rollout.controller import publish_table
from understudy.rollout.fold import UpgradeState
from understudy.rollout.intents import Wish, grant
from understudy.rollout.publish import Kill, Overtaken
from understudy.rollout.store.base import Handled, Intent, Snapshot, Stale, Store
from understudy.stages.assessment import Assessment, hold

ATTEMPTS = 50
"""How often a write is tried again when somebody else wrote in between."""


class Asked(NamedTuple):
    """A person's wish for a workload's upgrade."""

    kind: Wish
    by: str
    why: str
    data: Mapping[str, Any]


async def active(store: Store, workload: str) -> UpgradeState:
    """The upgrade under way. Raises Refused where there is none."""
    snapshot = await store.read()
    state = snapshot.active(workload)
    if state is None:
        raise Refused(
            f"workload {workload} has no upgrade under way",
            remedy=f"begin one with `understudy upgrade start {workload} --candidate VARIANT`",
        )
    return state


async def carry_out(
    project: Project, store: Store, board: Board, workload: str, asked: Asked, *, patience_s: float = 10.0
) -> tuple[UpgradeState, str]:
    """Have a wish granted and published; returns the state after it and the answer.

    Raises Refused with what is missing, CannotMeasure where a promotion found no controller to judge it.
    """
    state = await active(store, workload)
    number = await store.submit(state.id, asked.kind, asked.by, asked.why, asked.data, time.time())
    if asked.kind is Wish.PROMOTE:
        answer = await _answered(store, number, patience_s)
    else:
        answer = await _granted(store, state.id, number)
    if not answer.granted:
        raise Refused(answer.answer, remedy=answer.remedy)
    await published(project, store, board, asked.by)
    states = await store.upgrades(workload)
    return next(s for s in states if s.id == state.id), answer.answer


async def _granted(store: Store, upgrade: str, number: int) -> Handled:
    """Grant the wish ourselves, unless a controller was faster."""
    for _ in range(ATTEMPTS):
        snapshot = await store.read()
        wish = next((w for w in snapshot.intents if w.id == number), None)
        state = next((s for s in snapshot.upgrades if s.id == upgrade and not s.over), None)
        if wish is None:
            answer = await store.answer(number)
            if answer is not None:
                return answer
        elif state is None:
            over = Handled(number, False, "the upgrade has ended meanwhile", "see `understudy upgrade status`")
            await store.close_intents([over])
        else:
            try:
                await _write(store, snapshot, state, wish)
            except Stale:
                await asyncio.sleep(0.01)
    raise CannotMeasure(f"the control store was too busy for wish {number}", remedy="try again")


async def _write(store: Store, snapshot: Snapshot, state: UpgradeState, wish: Intent) -> None:
    drafts, handled = grant(state, wish, time.time(), _unjudged)
    if drafts:
        await store.append(snapshot.epoch, state.id, drafts, time.time(), [handled])
    else:
        await store.close_intents([handled])


def _unjudged() -> Assessment:
    return hold("Only a controller can judge a promotion.", "a running controller")


async def _answered(store: Store, number: int, patience_s: float) -> Handled:
    """Wait for a controller's answer."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        answer = await store.answer(number)
        if answer is not None:
            return answer
        await asyncio.sleep(0.05)
    nobody = f"no controller answered within {patience_s:g} s"
    remedy = "start one with `understudy up` or `understudy controller`, then ask again"
    # Withdrawn: nobody expects a promotion hours after it was asked for.
    await store.close_intents([Handled(number, False, nobody, remedy)])
    answer = await store.answer(number)
    if answer is not None and answer.answer != nobody:
        return answer
    raise CannotMeasure(nobody, remedy=remedy)


async def published(project: Project, store: Store, board: Board, by: str, *, anyway: str = "") -> RoutingTable | None:
    """Make sure that the table on the board is the one the store asks for, and return it."""
    for _ in range(ATTEMPTS):
        try:
            await publish_table(project, store, board, await store.read(), time.time(), by, anyway=anyway)
            return await board.read()
        except (Stale, Overtaken):
            await asyncio.sleep(0.01)
    raise CannotMeasure(
        "the control store was too busy to publish", remedy="try again, or `understudy rollback --local`"
    )


class Effect(NamedTuple):
    """How a flip went: seconds from the command until every live worker had it, and who had not by then."""

    seconds: float
    epoch: int
    workers: int
    waiting: tuple[str, ...]
    answer: str

    def as_dict(self) -> dict[str, Any]:
        """For commands and pages; `effective` is False where no worker lived to take it."""
        return {
            "answer": self.answer,
            "epoch": self.epoch or None,
            "seconds": round(self.seconds, 4),
            "workers": self.workers,
            "waiting": list(self.waiting),
            "effective": bool(self.workers) and not self.waiting,
        }


async def roll_back(
    project: Project, store: Store, board: Board, workload: str, by: str, why: str, *, timeout_s: float = 10.0
) -> Effect:
    """Take the candidate out of the table, and wait until every live worker has acknowledged.

    Where nothing is under way it changes nothing and says so; asking twice does no harm.
    """
    started = time.monotonic()
    snapshot = await store.read()
    if snapshot.active(workload) is None:
        answer = "nothing to roll back: no upgrade is under way"
        issued = await published(project, store, board, by)
    else:
        try:
            _, answer = await carry_out(project, store, board, workload, Asked(Wish.ROLLBACK, by, why, {}))
        except Refused:
            if (await store.read()).active(workload) is not None:
                raise
            answer = "it ended meanwhile"
        issued = await board.read()
    return await _effective(store, board, started, issued, answer, timeout_s)


async def drill(
    project: Project, store: Store, board: Board, workload: str, by: str, why: str, *, timeout_s: float = 10.0
) -> Effect:
    """Publish the present routes once more and measure the acknowledgement: a rollback in all but content."""
    started = time.monotonic()
    issued = await published(project, store, board, by, anyway=f"drill: {why}")
    effect = await _effective(store, board, started, issued, "drill: traffic stays as it is", timeout_s)
    snapshot = await store.read()
    if snapshot.active(workload) is not None:
        data = {"seconds": effect.seconds, "workers": effect.workers, "waiting": list(effect.waiting)}
        await carry_out(project, store, board, workload, Asked(Wish.DRILLED, by, why, data))
    return effect


async def _effective(
    store: Store, board: Board, started: float, issued: RoutingTable | None, answer: str, timeout_s: float
) -> Effect:
    if issued is None:
        raise CannotMeasure("there is no routing table", remedy="start `understudy up`")
    acknowledged, _ = await publish.until_effective(
        board.heartbeats,
        lambda beats, now: publish.acknowledged(beats, issued, now),
        timeout_s=timeout_s,
    )
    seconds = time.monotonic() - started
    if acknowledged.effective and acknowledged.live:
        publications = await store.publications(limit=20)
        known = next((p for p in publications if p.epoch == issued.epoch), None)
        if known is not None:
            await store.published(known._replace(effective_s=seconds))
    return Effect(seconds, issued.epoch, acknowledged.live, acknowledged.waiting, answer)


async def kill(
    folder: Path, workload: str, by: str, why: str, *, one_of_several: bool = False, timeout_s: float = 10.0
) -> Effect:
    """Force the incumbent by the kill file alone: no store, no controller, no configuration that can be read.

    It reaches this machine; where that is `one_of_several`, the answer says so.
    """
    started = time.monotonic()
    publish.write_kill(folder, Kill(workload, by, why, time.time()))
    acknowledged, _ = await publish.until_effective(
        Folder(folder).heartbeats, lambda beats, now: publish.obeyed(beats, workload, now), timeout_s=timeout_s
    )
    answer = "the kill file forces the incumbent"
    if one_of_several:
        answer += " on this machine alone: roll back on each of the others too"
    return Effect(time.monotonic() - started, 0, acknowledged.live, acknowledged.waiting, answer)
