"""Whole upgrades in virtual time, with the real controller, journal and table builder."""

from __future__ import annotations

import asyncio

from understudy.core.playbook import DAY, Stage
from understudy.rollout.begin import Request, begin
from understudy.rollout.fold import fold
from understudy.rollout.rehearsal import Rehearsal

HOUR = 3_600.0


async def started(world: Rehearsal, candidate: str = "new") -> str:
    request = Request("reply", candidate, "ada", "cheaper", "t1")
    state = await begin(world.project, world.store, world.board, request, world.clock.wall())
    return state.id


def test_a_six_week_upgrade_goes_through_every_stage(rehearsal: Rehearsal) -> None:
    """With nothing wrong, an upgrade reaches done after the time its profile asks for, and not before."""

    async def run() -> None:
        upgrade = await started(rehearsal)
        begun = rehearsal.clock.wall()
        while rehearsal.clock.wall() - begun < 60 * DAY:
            await rehearsal.turns(1, 590.0)
            state = (await rehearsal.store.upgrades())[0]
            if state.over:
                break
        assert state.stage is Stage.DONE
        profile = rehearsal.project.profile("reply")
        least = profile.shadow_min_s + sum(s.hold_s for s in profile.ladder) + max(profile.soak_s, profile.retain_s)
        assert least <= state.ended_at - begun <= least + 3 * HOUR
        journal = await rehearsal.store.journal(upgrade)
        assert fold(journal) == state
        kinds = [str(e.kind) for e in journal]
        print(kinds)
        assert rehearsal.board.tables[-1].workloads["reply"].incumbent == "new"

    asyncio.run(run())
