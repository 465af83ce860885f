"""What every control store does: on SQLite, on PostgreSQL, and on their twin in memory."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.postgres import Cluster

from understudy.config.project import database_address
from understudy.core.canonical import digest
from understudy.core.errors import DataCorrupt, Refused
from understudy.core.playbook import Stage
from understudy.core.variant import Variant
from understudy.rollout.fold import fold
from understudy.rollout.journal import Draft, verify
from understudy.rollout.machine import Illegal, Kind
from understudy.rollout.store import postgres
from understudy.rollout.store.base import (
    GIVEN_UP,
    SENT,
    Handled,
    Post,
    Progress,
    Publication,
    Stale,
    Store,
    StoreUnavailable,
)
from understudy.rollout.store.memory import MemoryStore
from understudy.rollout.store.sql import HEAD, MIGRATIONS
from understudy.rollout.store.sqlite import open_store

Body = Callable[[Store], Awaitable[None]]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def on_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Body], None]:
    """Runs a body on a fresh store."""

    async def opened() -> Store:
        match request.param:
            case "memory":
                return MemoryStore()
            case "sqlite":
                return await open_store(tmp_path / "control.db")
            case _:
                cluster: Cluster = request.getfixturevalue("postgres")
                return await postgres.open_store(database_address(cluster.url(cluster.database())))

    async def run(body: Body) -> None:
        store = await opened()
        try:
            await body(store)
        finally:
            await store.close()

    return lambda body: asyncio.run(run(body))


def started(workload: str = "reply", candidate: str = "new") -> Draft:
    data = {
        "workload": workload,
        "incumbent": Variant("old", "p", "1").as_dict(),
        "candidate": Variant(candidate, "p", "2").as_dict(),
        "salt": "s",
        "profile": "interactive",
    }
    return Draft(Kind.STARTED, "ada", "cheaper", data)


OPENED = Draft(Kind.OPENED, "controller", "a suite is there")
ABORTED = Draft(Kind.ABORTED, "ada", "not now")


def test_a_journal_grows_and_folds_to_the_live_state(on_store: Callable[[Body], None]) -> None:
    """What is read back is what was written, in order, with its chain of hashes."""

    async def body(store: Store) -> None:
        first = await store.begin(0, "u1", started(), 1.0)
        second = await store.append(first.epoch, "u1", [OPENED], 2.5)
        journal = await store.journal("u1")
        assert [event.kind for event in journal] == [Kind.STARTED, Kind.OPENED]
        assert [event.epoch for event in journal] == [1, 2]
        assert fold(journal) == second
        assert verify(journal) == second.hash
        names, entries = await store.entries()
        assert names == ["u1"]
        assert [(e.upgrade, e.workload, e.seq, e.kind, e.hash) for e in entries] == [
            ("u1", "reply", each.seq, each.kind, each.hash) for each in journal
        ]
        assert json.loads(entries[0].data) == journal[0].data
        snapshot = await store.read()
        assert (snapshot.epoch, snapshot.upgrades) == (2, (second,))

    on_store(body)


def test_a_write_on_an_old_epoch_changes_nothing(on_store: Callable[[Body], None]) -> None:
    """Compare-and-swap: whoever has not seen the last write is refused, in every kind of write."""

    async def body(store: Store) -> None:
        await store.begin(0, "u1", started(), 1.0)
        await store.append(1, "u1", [OPENED], 2.0)
        before = await store.read()
        for write in (
            store.append(1, "u1", [ABORTED], 3.0),
            store.begin(0, "u2", started("other"), 3.0),
            store.bump(1),
            store.reseal(0, "other", 100),
        ):
            with pytest.raises(Stale):
                await write
        assert await store.read() == before

    on_store(body)


def test_an_illegal_event_writes_nothing_of_its_batch(on_store: Callable[[Body], None]) -> None:
    """All events of a write are journaled, or none."""

    async def body(store: Store) -> None:
        await store.begin(0, "u1", started(), 1.0)
        with pytest.raises(Illegal):
            await store.append(1, "u1", [OPENED, Draft(Kind.RETIRED, "c", "", {"judged": 1})], 2.0)
        assert len(await store.journal("u1")) == 1
        assert (await store.read()).epoch == 1

    on_store(body)


def test_one_active_upgrade_for_each_workload(on_store: Callable[[Body], None]) -> None:
    """S1: a second one is refused until the first is over; another workload goes its own way."""

    async def body(store: Store) -> None:
        await store.begin(0, "u1", started(), 1.0)
        with pytest.raises(Refused, match="already has an upgrade"):
            await store.begin(1, "u2", started(), 2.0)
        await store.begin(1, "u3", started("other"), 2.0)
        await store.append(2, "u1", [ABORTED], 3.0)
        await store.begin(3, "u2", started(), 4.0)
        assert [s.id for s in (await store.read()).upgrades] == ["u3", "u2"]
        assert sorted(s.id for s in await store.upgrades()) == ["u1", "u2", "u3"]
        assert [s.id for s in await store.upgrades("reply")] == ["u1", "u2"]

    on_store(body)


def test_a_finished_upgrade_is_read_until_the_configuration_knows_it(on_store: Callable[[Body], None]) -> None:
    """Done stays in view until it is settled; what was aborted leaves at once."""

    async def body(store: Store) -> None:
        state = await store.begin(0, "u1", started(), 1.0)
        state = await store.append(
            1, "u1", [OPENED, Draft(Kind.CLEARED, "c", ""), Draft(Kind.CLOCK_STARTED, "c", "")], 2.0
        )
        for kind, share in ((Kind.EXPOSED, 1_000_000), (Kind.TAKEN_OVER, 0), (Kind.RETIRED, 0)):
            data = {"judged": state.clock, "share": share}
            state = await store.append(state.epoch, "u1", [Draft(kind, "c", "", data)], 3.0)
        assert [s.stage for s in (await store.read()).upgrades] == [Stage.DONE]
        await store.settle("u1")
        assert (await store.read()).upgrades == ()

    on_store(body)


def test_epochs_skip_what_a_lost_store_had_reached(on_store: Callable[[Body], None]) -> None:
    """A new store goes on above the epoch gateways have seen."""

    async def body(store: Store) -> None:
        assert await store.bump(0) == 1
        assert await store.bump(1, at_least=41) == 42
        assert (await store.read()).epoch == 42
        assert await store.reseal(42, "restored", 99) == 100
        snapshot = await store.read()
        assert (snapshot.generation, snapshot.epoch) == ("restored", 100)

    on_store(body)


def test_a_wish_waits_and_is_answered_once(on_store: Callable[[Body], None]) -> None:
    """A wish is pending until it is answered, together with the event it made; the first answer stays."""

    async def body(store: Store) -> None:
        await store.begin(0, "u1", started(), 1.0)
        number = await store.submit("u1", "abort", "ada", "no", {"a": 1}, 2.0)
        (wish,) = (await store.read()).intents
        assert (wish.id, wish.kind, wish.data) == (number, "abort", {"a": 1})
        assert await store.answer(number) is None
        with pytest.raises(Stale):
            await store.append(0, "u1", [ABORTED], 3.0, [Handled(number, True, "too old")])
        assert await store.answer(number) is None
        await store.append(1, "u1", [ABORTED], 3.0, [Handled(number, True, "aborted")])
        await store.close_intents([Handled(number, False, "late")])
        assert await store.answer(number) == Handled(number, True, "aborted")
        assert (await store.read()).intents == ()

    on_store(body)


def test_progress_is_taken_from_where_it_was_left(on_store: Callable[[Body], None]) -> None:
    """Two controllers that add time to one clock do not add it twice."""

    async def body(store: Store) -> None:
        await store.begin(0, "u1", started(), 1.0)
        first = Progress("u1", 3, 10.0, 100.0)
        assert await store.save_progress(None, first)
        assert not await store.save_progress(None, Progress("u1", 3, 99.0, 100.0))
        assert await store.save_progress(first, Progress("u1", 3, 11.0, 101.0))
        assert (await store.read()).progress == {"u1": Progress("u1", 3, 11.0, 101.0)}

    on_store(body)


def test_the_latest_assessment_is_kept(on_store: Callable[[Body], None]) -> None:
    """Only the latest one, with its time."""

    async def body(store: Store) -> None:
        await store.begin(0, "u1", started(), 1.0)
        assert await store.assessment("u1") is None
        await store.save_assessment("u1", {"verdict": "pass"}, 5.0)
        await store.save_assessment("u1", {"verdict": "fail"}, 6.0)
        assert await store.assessment("u1") == {"verdict": "fail", "at": 6.0}

    on_store(body)


def test_publications_keep_the_first_time_to_effect(on_store: Callable[[Body], None]) -> None:
    """A table is noted once; how long it took is noted when it is known, and then stays."""

    async def body(store: Store) -> None:
        publication = Publication(3, 1.0, "ada", "routes", "d", None)
        await store.published(publication)
        await store.published(publication._replace(epoch=4))
        await store.published(publication._replace(effective_s=0.2))
        await store.published(publication._replace(effective_s=9.0))
        found = await store.publications()
        assert [(p.epoch, p.effective_s) for p in found] == [(4, None), (3, 0.2)]

    on_store(body)


def test_evidence_is_kept_under_the_hash_its_event_names(on_store: Callable[[Body], None]) -> None:
    """What a decision rested on is found by its hash, once, and is not there where the write was refused."""

    async def body(store: Store) -> None:
        await store.begin(0, "u1", started(), 1.0)
        document = {"verdict": "pass", "details": {"gates": [{"n": 3}]}}
        with pytest.raises(Stale):
            await store.append(0, "u1", [OPENED], 2.0, evidence=document)
        assert await store.evidence("u1") == []
        await store.append(1, "u1", [OPENED], 2.0, evidence=document)
        await store.append(2, "u1", [ABORTED], 3.0, evidence=document)
        assert [(k.digest, k.at, dict(k.document)) for k in await store.evidence("u1")] == [
            (digest(document), 2.0, document)
        ]

    on_store(body)


def test_a_post_is_queued_once_and_taken_by_one(on_store: Callable[[Body], None]) -> None:
    """The outbox knows an alert it was told before, lends it to one sender at a time, and keeps what became of it."""

    async def body(store: Store) -> None:
        post = Post("u1:3", "ops", 1.0, {"title": "rolled back"}, next_at=1.0)
        assert await store.queue([post, post._replace(target="pager")]) == 2
        assert await store.queue([post._replace(at=9.0)]) == 0
        due = await store.posts(due=1.0)
        assert {p.target for p in due} == {"ops", "pager"} and await store.posts(due=0.5) == []
        mine = next(p for p in due if p.target == "ops")
        assert await store.claim(mine, 31.0) and not await store.claim(mine, 32.0)
        assert [p.target for p in await store.posts(due=30.0)] == ["pager"]
        await store.settle_post(mine._replace(state=SENT, attempts=1, ended_at=2.0))
        await store.settle_post(due[-1]._replace(target="pager", state=GIVEN_UP, problem="404"))
        assert await store.posts(due=99.0) == [] and await store.queue([post]) == 0
        assert [p.target for p in await store.posts(state=SENT)] == ["ops"]

    on_store(body)


def test_the_table_machines_follow_only_goes_up(on_store: Callable[[Body], None]) -> None:
    """The bytes come back as they were hung up; an older table, or one of the same epoch, changes nothing."""

    async def body(store: Store) -> None:
        assert await store.hung() is None
        assert await store.hang(3, b'{"a": "\xc3\xa9"}\n')
        assert not await store.hang(3, b"other") and not await store.hang(2, b"older")
        assert await store.hung() == b'{"a": "\xc3\xa9"}\n'
        assert await store.hang(4, b"newer") and await store.hung() == b"newer"

    on_store(body)


def test_a_machine_has_one_voice(on_store: Callable[[Body], None]) -> None:
    """What it says replaces what it said; another one of the same name is refused until the first has fallen silent."""

    async def body(store: Store) -> None:
        now = time.time()
        assert await store.report("a", "one", {"epoch": 1}, now, lapsed_s=30.0)
        assert await store.report("b", "two", {"epoch": 7}, now, lapsed_s=30.0)
        assert await store.report("a", "one", {"epoch": 2}, now, lapsed_s=30.0)
        assert not await store.report("a", "impostor", {"epoch": 9}, now, lapsed_s=30.0)
        said = await store.reports(now)
        assert [(each.machine, each.document) for each in said] == [("a", {"epoch": 2}), ("b", {"epoch": 7})]
        assert all(abs(each.silent_s) < 5.0 for each in said)
        assert await store.report("a", "heir", {"epoch": 3}, now + 0.01, lapsed_s=-5.0)
        await store.leave("a", "one")
        await store.leave("b", "two")
        assert [each.machine for each in await store.reports(now)] == ["a"]

    on_store(body)


def test_the_migrations_make_the_schema() -> None:
    """A schema built by the migrations is the one the code uses, and HEAD is the last of them."""
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import create_engine

    from understudy.rollout.store import schema
    from understudy.rollout.store.sql import upgrade_schema

    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        upgrade_schema(connection)
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_a_reopened_store_goes_on(tmp_path: Path) -> None:
    """What was acknowledged is there after the process that wrote it is gone."""

    async def run() -> None:
        store = await open_store(tmp_path / "control.db")
        await store.begin(0, "u1", started(), 1.0)
        generation = (await store.read()).generation
        await store.close()
        again = await open_store(tmp_path / "control.db")
        snapshot = await again.read()
        assert (snapshot.generation, snapshot.epoch, len(snapshot.upgrades)) == (generation, 1, 1)
        await again.close()

    asyncio.run(run())


def test_a_restored_copy_under_a_living_store_is_read_as_it_is(tmp_path: Path) -> None:
    """Folded states are not kept over a file that was put back."""

    async def run() -> None:
        file = tmp_path / "control.db"
        store = await open_store(file)
        await store.begin(0, "u1", started(), 1.0)
        older = file.read_bytes()
        await store.append(1, "u1", [OPENED], 2.0)
        assert (await store.read()).upgrades[0].stage is Stage.REGRESS
        file.write_bytes(older)
        assert (await store.read()).upgrades[0].stage is Stage.DRAFT
        await store.close()

    asyncio.run(run())


def test_a_changed_event_is_found(tmp_path: Path) -> None:
    """The chain of hashes shows an event that was edited behind the journal's back."""

    async def run() -> None:
        file = tmp_path / "control.db"
        store = await open_store(file)
        await store.begin(0, "u1", started(), 1.0)
        await store.append(1, "u1", [OPENED], 2.0)
        import sqlite3

        with sqlite3.connect(file) as raw:
            raw.execute("UPDATE events SET why = 'somebody else' WHERE seq = 1")
        raw.close()
        with pytest.raises(DataCorrupt, match="event 1 of upgrade u1"):
            await store.journal("u1")
        await store.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "content", [b"not a database at all, just some text of enough length" * 20, b"SQLite format 3\0"]
)
def test_a_broken_file_is_refused_with_the_way_out(tmp_path: Path, content: bytes) -> None:
    """A corrupt store is an error that says how to roll back without it."""
    file = tmp_path / "control.db"
    file.write_bytes(content)

    async def run() -> None:
        with pytest.raises(StoreUnavailable, match=r"rollback WORKLOAD --local"):
            store = await open_store(file)
            await store.close()

    asyncio.run(run())
