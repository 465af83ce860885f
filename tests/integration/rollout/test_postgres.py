"""The control store on a real PostgreSQL: what only a server can do to it. `test_stores` has what all stores do."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import quote

import asyncpg
import pytest
from tests.postgres import PASSWORD, Cluster

from understudy.config.project import StoreAddress, database_address
from understudy.core.variant import Variant
from understudy.rollout.journal import Draft
from understudy.rollout.machine import Kind
from understudy.rollout.store import postgres as adapter
from understudy.rollout.store.base import Progress, Stale, StoreUnavailable
from understudy.rollout.store.sql import HEAD, SqlStore

OPENED = Draft(Kind.OPENED, "controller", "a suite is there")


@pytest.fixture
def database(postgres: Cluster) -> str:
    return postgres.database()


@pytest.fixture
def address(postgres: Cluster, database: str) -> StoreAddress:
    return database_address(postgres.url(database))


def started(workload: str) -> Draft:
    data = {
        "workload": workload,
        "incumbent": Variant("old", "p", "1").as_dict(),
        "candidate": Variant("new", "p", "2").as_dict(),
        "salt": "s",
        "profile": "interactive",
    }
    return Draft(Kind.STARTED, "ada", "cheaper", data)


def refusal(url: str) -> StoreUnavailable:
    """The error of opening that store."""

    async def opened() -> None:
        store = await adapter.open_store(database_address(url))
        await store.close()

    with pytest.raises(StoreUnavailable) as caught:
        asyncio.run(opened())
    return caught.value


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_what_keeps_us_out_is_said_without_the_password(postgres: Cluster, database: str) -> None:
    """No server, a wrong password, no such database: each names the address and what to do, and no password."""
    wrong = "wr0ng/secret"
    cases = {
        f"postgresql://ada:{quote(wrong, safe='')}@127.0.0.1:{free_port()}/any": "can be reached from here",
        postgres.url(database, password=wrong): "check the user and the password",
        postgres.url("nowhere"): "make the database",
    }
    for url, remedy in cases.items():
        error = refusal(url)
        said = str(error)
        assert url.rpartition("@")[2] in said and remedy in said and "--local" in said
        for secret in (wrong, PASSWORD, quote(wrong, safe=""), quote(PASSWORD, safe="")):
            assert secret not in said and secret not in repr(error.__cause__)


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who takes the connection and never answers keeps nobody waiting for long."""
    monkeypatch.setattr(adapter, "CONNECT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert "did not answer in time" in str(refusal(f"postgresql://ada@127.0.0.1:{silent.getsockname()[1]}/any"))


def test_a_schema_newer_than_ours_is_left_alone(postgres: Cluster, database: str, address: StoreAddress) -> None:
    """A store that a later version has migrated is neither used nor changed."""

    async def opened() -> None:
        await (await adapter.open_store(address)).close()

    asyncio.run(opened())
    postgres.sql(database, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnavailable, match=f"schema 9999.*knows up to {HEAD}.*\n.*upgrade understudy here"):
        asyncio.run(opened())


def test_somebody_who_may_make_no_tables_is_told(postgres: Cluster, database: str) -> None:
    """A user without the right to create is told whom to ask for it."""
    name = f"guest_{database}"
    postgres.sql(database, f"CREATE ROLE {name} LOGIN PASSWORD 'guest'")
    error = refusal(f"postgresql://{name}:guest@127.0.0.1:{postgres.port}/{database}")
    assert "permission denied" in error.message and "CREATE on its schema" in error.remedy


def test_looking_for_a_store_makes_none(postgres: Cluster, database: str, address: StoreAddress) -> None:
    """An empty database has no store, and still none after somebody looked."""

    async def look() -> list[bool]:
        found = [await adapter.is_there(address), await adapter.is_there(address)]
        await (await adapter.open_store(address)).close()
        return [*found, await adapter.is_there(address)]

    assert asyncio.run(look()) == [False, False, True]


def test_many_that_open_an_empty_database_make_one_store(address: StoreAddress) -> None:
    """Whoever comes second waits for the migrations of the first."""

    async def run() -> None:
        stores = await asyncio.gather(*(adapter.open_store(address) for _ in range(4)))
        assert len({(await store.read()).generation for store in stores}) == 1
        for store in stores:
            await store.close()

    asyncio.run(run())


def test_of_those_that_saw_the_same_one_writes(address: StoreAddress) -> None:
    """Four controllers at once: every epoch has one winner, every other is told, and no time is added twice."""

    async def race(stores: list[SqlStore], seen: int) -> int:
        said = await asyncio.gather(*(store.bump(seen) for store in stores), return_exceptions=True)
        assert all(each == seen + 1 or isinstance(each, Stale) for each in said)
        return sum(each == seen + 1 for each in said)

    async def run() -> None:
        stores = [await adapter.open_store(address) for _ in range(4)]
        assert [await race(stores, epoch) for epoch in range(20)] == [1] * 20
        await stores[0].begin(20, "u1", started("reply"), 1.0)
        before = None
        for turn in range(1, 11):
            after = Progress("u1", 1, float(turn), float(turn))
            said = await asyncio.gather(*(store.save_progress(before, after) for store in stores))
            assert sum(said) == 1
            before = after
        for store in stores:
            await store.close()

    asyncio.run(run())


def test_a_connection_killed_in_mid_write_leaves_nothing_half_written(
    postgres: Cluster, database: str, address: StoreAddress
) -> None:
    """The write fails as a whole, what was acknowledged stands, and the next write needs no restart."""
    waits = "FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

    async def run() -> None:
        store = await adapter.open_store(address)
        await store.begin(0, "u1", started("reply"), 1.0)
        blocker = await asyncpg.connect(address.url)
        await blocker.execute("BEGIN; SELECT epoch FROM meta FOR UPDATE")
        write = asyncio.create_task(store.append(1, "u1", [OPENED], 2.0))
        while postgres.sql(database, f"SELECT count(*) {waits}") == "0":
            assert not write.done()
            await asyncio.sleep(0.01)
        assert postgres.sql(database, f"SELECT pg_terminate_backend(pid) {waits}") == "t"
        with pytest.raises(StoreUnavailable, match="rollback WORKLOAD --local"):
            await write
        await blocker.close()
        assert ((await store.read()).epoch, len(await store.journal("u1"))) == (1, 1)
        await store.append(1, "u1", [OPENED], 3.0)
        assert len(await store.journal("u1")) == 2
        await store.close()

    asyncio.run(run())


def test_a_server_killed_between_writes_keeps_what_it_acknowledged(postgres: Cluster, address: StoreAddress) -> None:
    """While it is down every write says so; once it is back the same store goes on, with all that was acknowledged."""

    async def run() -> None:
        store = await adapter.open_store(address)
        await store.begin(0, "u1", started("reply"), 1.0)
        await asyncio.to_thread(postgres.stop)
        try:
            with pytest.raises(StoreUnavailable):
                await store.append(1, "u1", [OPENED], 2.0)
            with pytest.raises(StoreUnavailable):
                await store.read()
        finally:
            await asyncio.to_thread(postgres.start)
        assert (await store.read()).epoch == 1
        await store.append(1, "u1", [OPENED], 2.0)
        assert len(await store.journal("u1")) == 2
        await store.close()

    asyncio.run(run())


def test_a_writer_that_falls_silent_loses_the_lock(address: StoreAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is stopped in mid-write holds the others up for a while and not for ever."""
    monkeypatch.setattr(adapter, "STALLED_S", 0.3)

    async def run() -> None:
        store = await adapter.open_store(address)
        silent = await adapter.connect(address.url)
        await silent.execute(f"BEGIN; SELECT pg_advisory_xact_lock({adapter.LOCK})")
        assert await store.bump(0) == 1
        silent.terminate()
        await store.close()

    asyncio.run(run())
