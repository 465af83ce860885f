"""Committer and controller within one process, turn by turn, beside real gateway workers."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from understudy.core.errors import Refused
from understudy.core.playbook import Stage
from understudy.ledger.queries import Ledger
from understudy.rollout.board import Board
from understudy.rollout.machine import Kind
from understudy.testing.served import call
from understudy.wiring import running

if TYPE_CHECKING:
    from .conftest import World

pytestmark = pytest.mark.slow


def test_copies_stop_at_the_gateway_when_their_budget_is_spent(world: World) -> None:
    """What the copies cost is read from the ledger; then the table asks for none, and status says how much it was."""

    async def sample(board: Board) -> int:
        table = await board.read()
        assert table is not None
        route = table.workloads["reply"].route
        assert route is not None
        assert route.shadow is not None
        return route.shadow.sample

    async def copies(port: int) -> int:
        """The copies that the workers say they have made, once that number stands still."""
        seen = -1
        while True:
            text = (await call(port, b"", path="/metrics", method="GET")).body.decode()
            lines = [line for line in text.splitlines() if line.startswith("understudy_requests_total")]
            now = sum(int(line.rpartition(" ")[2]) for line in lines if 'role="shadow"' in line)
            if now == seen:
                return now
            seen = now
            await asyncio.sleep(1.5)

    async def spend(port: int) -> None:
        async with running(world.project) as process:
            assert await sample(process.board) == 1_000_000
            for _ in range(200):
                await process.tick()
                if not await sample(process.board):
                    break
                await asyncio.to_thread(world.served, port, 10)
            epoch = await process.board.epoch()
            while not all(beat.epoch >= epoch for beat in await process.board.heartbeats()):
                await asyncio.sleep(0.05)
            before = await copies(port)
            await asyncio.to_thread(world.served, port, 20)
            await asyncio.sleep(1.0)
            await process.tick()
            assert not await sample(process.board)
            assert await copies(port) == before > 0

    file = world.folder / "understudy.yaml"
    budget = "    suites: [suite.yaml]\n    shadow: {budget: {usd_per_day: 0.01}}\n"
    prices = "prices: {m1: {input: 100, output: 100}, m2: {input: 100, output: 100}}\n"
    file.write_text(file.read_text().replace("    suites: [suite.yaml]\n", budget) + prices)
    world.in_canary()

    async def first_table() -> None:
        async with running(world.project) as process:
            await process.tick()

    asyncio.run(first_table())
    _, ready = world.start("gateway", "--json", wait_for="port")
    asyncio.run(spend(ready["port"]))
    (rested,) = [event for event in world.journal() if event.kind is Kind.RESTED]
    assert rested.data["usd"] >= 0.01
    assert rested.data["priced"] == rested.data["copies"] > 0
    with closing(Ledger(world.project.paths.lake)) as ledger:
        spent = sum(row.cost_usd or 0 for row in ledger.spent("reply") if row.role == "shadow")
        assert spent >= rested.data["usd"]
    status = world.run("upgrade", "status", "reply", "--json").json
    assert any("shadow copies rest until" in note for note in status["notes"]), status["notes"]


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
                    assert await process.board.epoch() > 0
                    return dict(shown)
        raise AssertionError("no evidence after 200 ticks")

    world.in_canary()
    asyncio.run(first_table())
    _, ready = world.start("gateway", "--json", wait_for="port")
    shown = asyncio.run(carried(ready["port"]))
    metrics = {gate["metric"] for gate in shown["details"]["gates"]}  # type: ignore[index]
    assert {"errors", "latency_p50"} <= metrics
    assert shown["decision"] == "hold"
