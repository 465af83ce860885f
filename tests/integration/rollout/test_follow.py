"""The follower of one machine on a real database, within this process."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.postgres import Cluster

from understudy.config.project import StoreAddress, database_address
from understudy.core.errors import Refused
from understudy.core.routing import HEARTBEAT_FOLDER, TABLE_FILE, Provider, RoutingTable, WorkloadRoute, encode
from understudy.core.variant import Variant
from understudy.gateway import identity
from understudy.gateway.table import replace_file
from understudy.rollout import machines, publish
from understudy.rollout.board import Shared
from understudy.rollout.follow import Follower
from understudy.rollout.ports import RealClock
from understudy.rollout.publish import Kill, Overtaken
from understudy.rollout.store import postgres as adapter
from understudy.rollout.store.sql import SqlStore

TABLE = RoutingTable("g", 1, 0.0, {}, {})
PROVIDER = Provider("p", "openai", "http://127.0.0.1:9")
REPLY = WorkloadRoute("reply", "old", {"old": Variant("old", "p", "m1")}, ("header:x-user-id",))


class Bench:
    """A machine with a follower, and somebody who publishes from elsewhere."""

    def __init__(self, folder: Path, address: StoreAddress, store: SqlStore, elsewhere: Path) -> None:
        self.folder, self.address, self.store = folder, address, store
        self.board = Shared(store, elsewhere, time.time)
        self.said: list[str] = []

    def follower(self, name: str = "a", owner: str = "me") -> Follower:
        @asynccontextmanager
        async def opened() -> AsyncIterator[SqlStore]:
            store = await adapter.open_store(self.address)
            try:
                yield store
            finally:
                await store.close()

        def listening(heard: asyncio.Event) -> object:
            return adapter.listening(self.address, heard)

        return Follower(name, owner, self.folder, opened, listening, RealClock(), lambda: 0.0, self.said.append)

    def here(self) -> bytes | None:
        file = self.folder / TABLE_FILE
        return file.read_bytes() if file.exists() else None

    def worker(self, epoch: int, generation: str = "g") -> None:
        """A worker of this process that says it has applied a table."""
        file = self.folder / HEARTBEAT_FOLDER / "w0.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        here = {"pid": os.getpid(), "machine": identity.machine(), "started": identity.started(os.getpid())}
        words = {"worker": "w0", "generation": generation, "epoch": epoch, "beat_at": time.time()}
        replace_file(file, json.dumps({**words, **here, "breaker_details": [], "killed": []}).encode())


async def until(what: Callable[[], object | Awaitable[object]], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while True:
        found = what()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < deadline, "not within the time"
        await asyncio.sleep(0.01)


Body = Callable[[Bench], Awaitable[None]]


@pytest.fixture
def bench(postgres: Cluster, tmp_path: Path) -> Callable[[Body], None]:
    """Runs a body on a machine of its own."""
    address = database_address(postgres.url(postgres.database()))

    async def run(body: Body) -> None:
        store = await adapter.open_store(address)
        try:
            await body(Bench(tmp_path / "routing", address, store, tmp_path / "elsewhere"))
        finally:
            await store.close()

    return lambda body: asyncio.run(run(body))


@asynccontextmanager
async def running(follower: Follower) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    task = asyncio.create_task(follower.run(stop))
    try:
        yield task
    finally:
        stop.set()
        await task


def test_the_table_comes_as_it_was_published_and_the_word_goes_back(
    bench: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there long before the next reading, byte for byte; a worker's word is heard elsewhere; a leave is clean."""
    monkeypatch.setattr("understudy.rollout.follow.REREAD_S", 600.0)

    async def body(one: Bench) -> None:
        async with running(one.follower()):
            await until(lambda: one.said == ["ready"])
            for epoch in (1, 2):
                published = replace(TABLE, epoch=epoch)
                await one.board.write(published)
                await until(lambda: one.here() == encode(published))  # noqa: B023
            with pytest.raises(Overtaken):
                await one.board.write(TABLE)
            one.worker(1)
            await until(lambda: heard(one, [("a/w0", 1)]))
            one.worker(2)
            await until(lambda: heard(one, [("a/w0", 2)]))
            (one.folder / HEARTBEAT_FOLDER / "w0.json").unlink()
        assert await one.store.reports(0.0) == [] and one.said == ["ready"]

    bench(body)


async def heard(one: Bench, wanted: list[tuple[str, int]]) -> bool:
    return [(beat.worker, beat.epoch) for beat in await one.board.heartbeats()] == wanted


def test_an_older_or_damaged_table_is_refused_and_named(bench: Callable[[Body], None]) -> None:
    """The last good table stays; the reason is said here once and reaches whoever asks for the status."""

    async def body(one: Bench) -> None:
        good = encode(replace(TABLE, epoch=9))
        async with running(one.follower()):
            await one.store.hang(9, good)
            await until(lambda: one.here() == good)
            for number, offered in (
                (10, encode(replace(TABLE, epoch=3))),
                (11, good.replace(b'"format":1', b'"format":2')),
            ):
                await one.store.hang(number, offered)
                await until(lambda: noted(one, ("older copy", "has format 2")[number - 10]))  # noqa: B023
                assert one.here() == good
            assert sum("older copy" in each for each in one.said) == 1
            other = encode(replace(TABLE, generation="new", epoch=2))
            await one.store.hang(12, other)
            await until(lambda: one.here() == other)
            await until(lambda: nothing_noted(one))

    bench(body)


async def nothing_noted(one: Bench) -> bool:
    return await one.board.notes() == []


async def noted(one: Bench, what: str) -> bool:
    return any(what in each for each in await one.board.notes())


def test_a_connection_or_a_server_that_is_killed_is_found_again(
    bench: Callable[[Body], None], postgres: Cluster
) -> None:
    """The table stays while the server is away, and the next one comes without a restart."""

    async def body(one: Bench) -> None:
        async with running(one.follower()):
            await one.board.write(TABLE)
            await until(lambda: one.here() == encode(TABLE))
            mine = "pid <> pg_backend_pid() AND query LIKE 'LISTEN%'"
            killed = postgres.sql("postgres", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}")
            assert killed == "t"
            second = replace(TABLE, epoch=2)
            await one.board.write(second)
            await until(lambda: one.here() == encode(second))
            await asyncio.to_thread(postgres.stop)
            try:
                await until(lambda: any("problem" in each for each in one.said))
                assert one.here() == encode(second)
            finally:
                await asyncio.to_thread(postgres.start)
            third = replace(TABLE, epoch=3)
            await one.board.write(third)
            await until(lambda: one.here() == encode(third))
            assert one.said[-1] == "the control store is back"

    bench(body)


def test_two_machines_of_one_name_are_found_out(bench: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is refused, with the remedy; the word of the first stands."""
    monkeypatch.setattr(machines, "SPEAKS_S", 1.5)

    async def body(one: Bench) -> None:
        one.worker(4)
        async with running(one.follower()):
            await until(lambda: heard(one, [("a/w0", 4)]))
            with pytest.raises(Refused, match="under the name 'a'") as refused:
                await one.follower(owner="another").run(asyncio.Event())
            assert "--name" in refused.value.remedy
            one.worker(5)
            await until(lambda: heard(one, [("a/w0", 5)]))

    bench(body)


def test_a_kill_file_is_told_and_removed_when_it_has_served(
    bench: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere it is known with its machine; it goes once the table serves the incumbent and it is old enough."""
    monkeypatch.setattr("understudy.rollout.follow.REREAD_S", 0.2)

    async def body(one: Bench) -> None:
        publish.write_kill(one.folder, Kill("reply", "bob", "fire", time.time() - publish.KILL_KEPT_S + 1.0))
        async with running(one.follower()):
            await until(lambda: killed(one, "bob on a"))
            await one.board.write(replace(TABLE, workloads={"reply": REPLY}, providers={"p": PROVIDER}))
            await until(lambda: killed(one, ""))
            assert not publish.kill_path(one.folder, "reply").exists()

    bench(body)


async def killed(one: Bench, by: str) -> bool:
    kill = (await one.board.kills()).get("reply")
    return (kill.by if kill else "") == by


def test_a_store_restored_from_an_older_copy_is_known_by_what_machines_have_seen(bench: Callable[[Body], None]) -> None:
    """The highest epoch that any machine speaks of is the one that a new generation has to go above."""

    async def body(one: Bench) -> None:
        one.worker(41)
        async with running(one.follower()):
            await one.board.write(TABLE)
            await until(lambda: heard(one, [("a/w0", 41)]))
            assert await one.board.epoch() == 41

    bench(body)
