"""A whole upgrade of six weeks in virtual time, with the real controller, journal and table builder."""

from __future__ import annotations

import asyncio

from understudy.config.project import Project
from understudy.core.playbook import DAY, PROFILES, Stage
from understudy.rollout.begin import Request, begin
from understudy.rollout.fold import fold
from understudy.rollout.rehearsal import Rehearsal

HOUR = 3_600.0


def test_a_six_week_upgrade_goes_through_every_stage(project: Project) -> None:
    """With nothing wrong it is done after the time its profile asks for, and not before."""

    async def run() -> None:
        world = Rehearsal(project)
        request = Request("other", "new", "ada", "cheaper", "t1")
        begun = world.clock.wall()
        state = await begin(project, world.store, world.board, request, begun)
        while not state.over and world.clock.wall() - begun < 70 * DAY:
            await world.turns(1, 590.0)
            (state,) = await world.store.upgrades()
        profile = PROFILES["interactive"]
        least = profile.shadow_min_s + sum(s.hold_s for s in profile.ladder) + max(profile.soak_s, profile.retain_s)
        assert state.stage is Stage.DONE
        assert state.ended_at is not None
        assert least > 45 * DAY
        assert least <= state.ended_at - begun <= least + 3 * HOUR
        assert fold(await world.store.journal(state.id)) == state
        tables = [t.workloads["other"] for t in world.board.tables]
        shares = [t.route.share for t in tables if t.route]
        assert sorted(set(shares)) == [0, 10_000, 50_000, 250_000, 1_000_000]
        assert shares == sorted(shares)
        assert (tables[-1].incumbent, tables[-1].route) == ("new", None)

    asyncio.run(run())
