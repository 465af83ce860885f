"""Committer and controller within one process, turn by turn, beside real gateway workers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from understudy.core.errors import Refused
from understudy.core.playbook import Stage
from understudy.wiring import running

if TYPE_CHECKING:
    from .conftest import World

pytestmark = pytest.mark.slow


def test_ticks_carry_live_traffic_into_the_evidence(world: World) -> None:
    """A tick commits what gateways wrote and acts on it: the canary's first answers reach its assessment."""

    async def first_table() -> None:
        async with running(world.project) as process:
            await process.tick()
            with pytest.raises(Refused):
                async with running(world.project):
                    raise AssertionError("two committers on one folder")

    async def carried(port: int) -> dict[str, object]:
        async with running(world.project) as process:
            for _ in range(200):
                await process.tick()
                await asyncio.to_thread(world.served, port, 10)
                (state,) = await process.store.upgrades("reply")
                shown = await process.store.assessment(state.id)
                gates = shown["details"].get("gates", ()) if shown else ()
                if shown and state.baseline and "latency_p50" in {gate["metric"] for gate in gates}:
                    assert state.stage is Stage.CANARY
                    assert process.board.epoch() > 0
                    return dict(shown)
        raise AssertionError("no evidence after 200 ticks")

    world.in_canary()
    asyncio.run(first_table())
    _, ready = world.start("gateway", "--json", wait_for="port")
    shown = asyncio.run(carried(ready["port"]))
    metrics = {gate["metric"] for gate in shown["details"]["gates"]}  # type: ignore[index]
    assert {"errors", "latency_p50"} <= metrics
    assert shown["decision"] == "hold"
