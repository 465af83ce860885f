"""The control store on SQLAlchemy: SQLite with a rollback journal and synchronous=FULL, one file, a few writes a day.

A write-ahead log would buy nothing here and SQLite releases in wide use can corrupt one (3.7.0 to 3.51.2); a rollback
journal with full synchronisation keeps what it has acknowledged. Every write transaction begins with the
compare-and-swap of the epoch, so it holds the write lock before it reads anything it relies on.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import RowMapping, event, insert, select, update
from sqlalchemy.exc import DatabaseError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from understudy.core.canonical import canonical_json, digest
from understudy.core.playbook import Stage
from understudy.ledger.lake import Decision
from understudy.rollout.fold import UpgradeState, apply
from understudy.rollout.journal import GENESIS, Draft, Event, seal, verify
from understudy.rollout.machine import Kind
from understudy.rollout.store import schema
from understudy.rollout.store.base import (
    WAITING,
    Handled,
    Intent,
    Kept,
    Post,
    Progress,
    Publication,
    Snapshot,
    Stale,
    StoreUnavailable,
    already_active,
)

HEAD = "0002"
"""The newest migration; a test compares it with the scripts."""
MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_S = 5.0
"""How long a writer waits for another one's transaction."""
_WRITES = "understudy_writes"


async def open_store(path: Path) -> SqlStore:
    """Open the control store in a file, made and migrated where needed. Raises StoreUnavailable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=NullPool, connect_args={"timeout": BUSY_S})
    _prepare_sqlite(engine)
    store = SqlStore(engine, str(path))
    try:
        await store.migrate()
    except BaseException:
        await store.close()
        raise
    return store


def _prepare_sqlite(engine: AsyncEngine) -> None:
    """Durability, foreign keys, and transactions that begin when we say so and not at the first write."""

    @event.listens_for(engine.sync_engine, "connect")
    def settings(connection: Any, record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):  # the journal mode is DELETE unless somebody changes it
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class SqlStore:
    """See `base.Store`. Folded states are kept in memory and go on from where the journal has grown."""

    def __init__(self, engine: AsyncEngine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._folded: dict[str, UpgradeState] = {}

    def __repr__(self) -> str:
        return f"<SqlStore {self._name}, {len(self._folded)} upgrades folded>"

    async def close(self) -> None:
        await self._engine.dispose()

    async def migrate(self) -> None:
        """Bring the schema to HEAD and make sure of the one row of `meta`."""
        async with self._reading() as connection:
            known = await connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE name = 'alembic_version'")
            if known.first() is not None:
                version = await connection.exec_driver_sql("SELECT version_num FROM alembic_version")
                if version.scalar() == HEAD:
                    return
        async with self._writing() as connection:
            await connection.run_sync(_upgrade_schema)
            if (await connection.execute(select(schema.meta.c.id))).first() is None:
                await connection.execute(insert(schema.meta).values(id=1, generation=secrets.token_hex(8), epoch=0))

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.begin() as connection:
                yield connection
        except DatabaseError as error:
            raise self._unavailable(error) from error

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(**{_WRITES: True})
                async with connection.begin():
                    yield connection
        except IntegrityError:
            raise
        except DatabaseError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: DatabaseError) -> StoreUnavailable:
        return StoreUnavailable(
            f"the control store {self._name} cannot be used: {error.orig}",
            remedy="traffic goes on; `understudy rollback WORKLOAD --local` works without the store",
        )

    # -- reading

    async def read(self) -> Snapshot:
        async with self._reading() as connection:
            meta = (await connection.execute(select(schema.meta))).mappings().one()
            wanted = select(schema.upgrades.c.id).where(~schema.upgrades.c.settled).order_by(schema.upgrades.c.number)
            states = [await self._state(connection, row.id) for row in await connection.execute(wanted)]
            waiting = select(schema.intents).where(schema.intents.c.granted.is_(None)).order_by(schema.intents.c.id)
            intents = [_intent(row) for row in (await connection.execute(waiting)).mappings()]
            held = [Progress(**row) for row in (await connection.execute(select(schema.progress))).mappings()]
        return Snapshot(
            meta["generation"],
            meta["epoch"],
            tuple(s for s in states if not s.over or s.stage is Stage.DONE),
            tuple(intents),
            {p.upgrade: p for p in held},
        )

    async def _state(self, connection: AsyncConnection, upgrade: str) -> UpgradeState:
        """The folded state, read on from the last event that is known."""
        known = self._folded.get(upgrade)
        fresh = await self._events(connection, upgrade, known.seq if known else 1)
        if known and (not fresh or fresh[0].hash != known.hash):
            # The file under us is another one than before: a restored copy.
            known = None
            fresh = await self._events(connection, upgrade, 1)
        state = known
        for item in fresh[1:] if known else fresh:
            state = apply(state, item)
        if state is None:
            raise StoreUnavailable(
                f"upgrade {upgrade} has no event in {self._name}", remedy="restore the store from a copy"
            )
        self._folded[upgrade] = state
        return state

    async def _events(self, connection: AsyncConnection, upgrade: str, since: int) -> list[Event]:
        table = schema.events
        query = select(table).where(table.c.upgrade == upgrade, table.c.seq >= since).order_by(table.c.seq)
        return [_event(row) for row in (await connection.execute(query)).mappings()]

    async def journal(self, upgrade: str) -> list[Event]:
        async with self._reading() as connection:
            events = await self._events(connection, upgrade, 1)
        verify(events)
        return events

    async def entries(self) -> tuple[list[str], list[Decision]]:
        events, upgrades = schema.events, schema.upgrades
        workload = upgrades.c.workload
        query = select(events, workload).join(upgrades, isouter=True).order_by(events.c.upgrade, events.c.seq)
        async with self._reading() as connection:
            ids = [row.id for row in await connection.execute(select(upgrades.c.id).order_by(upgrades.c.number))]
            rows = [dict(row) for row in (await connection.execute(query)).mappings()]
        return ids, [Decision(**{**row, "workload": row["workload"] or ""}) for row in rows]

    async def upgrades(self, workload: str | None = None) -> list[UpgradeState]:
        query = select(schema.upgrades.c.id).order_by(schema.upgrades.c.number)
        if workload is not None:
            query = query.where(schema.upgrades.c.workload == workload)
        async with self._reading() as connection:
            return [await self._state(connection, row.id) for row in await connection.execute(query)]

    # -- writing

    async def _swap(self, connection: AsyncConnection, seen: int, epoch: int) -> None:
        table = schema.meta
        changed = await connection.execute(update(table).where(table.c.epoch == seen).values(epoch=epoch))
        if changed.rowcount != 1:
            raise Stale(f"the store has moved on from epoch {seen}")

    async def begin(self, seen: int, upgrade: str, draft: Draft, at: float) -> UpgradeState:
        workload = str(draft.data["workload"])
        try:
            async with self._writing() as connection:
                await self._swap(connection, seen, seen + 1)
                row = {"id": upgrade, "workload": workload, "active": True, "settled": False}
                await connection.execute(insert(schema.upgrades).values(row))
                return await self._add(connection, None, upgrade, [draft], at, seen + 1)
        except IntegrityError as error:
            raise already_active(workload) from error

    async def append(
        self,
        seen: int,
        upgrade: str,
        drafts: Sequence[Draft],
        at: float,
        handled: Sequence[Handled] = (),
        evidence: Mapping[str, Any] | None = None,
    ) -> UpgradeState:
        async with self._writing() as connection:
            await self._swap(connection, seen, seen + 1)
            before = await self._state(connection, upgrade)
            state = await self._add(connection, before, upgrade, drafts, at, seen + 1)
            if state.over:
                # A finished upgrade stays unsettled while the configuration does not know its candidate yet.
                table = schema.upgrades
                ended = {"active": False, "settled": state.stage is not Stage.DONE}
                await connection.execute(update(table).where(table.c.id == upgrade).values(ended))
            await self._answer(connection, handled)
            if evidence is not None:
                await self._keep(connection, Kept(digest(evidence), at, evidence), upgrade)
            return state

    async def _keep(self, connection: AsyncConnection, kept: Kept, upgrade: str) -> None:
        table = schema.evidence
        same = (table.c.upgrade == upgrade) & (table.c.digest == kept.digest)
        if (await connection.execute(select(table.c.digest).where(same))).first() is None:
            document = canonical_json(dict(kept.document)).decode()
            await connection.execute(insert(table).values(kept._asdict() | {"upgrade": upgrade, "document": document}))

    async def _add(
        self,
        connection: AsyncConnection,
        state: UpgradeState | None,
        upgrade: str,
        drafts: Sequence[Draft],
        at: float,
        epoch: int,
    ) -> UpgradeState:
        for draft in drafts:
            sealed = seal(
                draft,
                upgrade=upgrade,
                seq=(state.seq if state else 0) + 1,
                at=at,
                epoch=epoch,
                previous=state.hash if state else GENESIS,
            )
            state = apply(state, sealed)
            row = {**sealed.as_dict(), "data": canonical_json(dict(sealed.data)).decode()}
            await connection.execute(insert(schema.events).values(row))
        if state is None:
            raise ValueError("no event to journal")
        return state

    async def bump(self, seen: int, *, at_least: int = 0) -> int:
        epoch = max(seen, at_least) + 1
        async with self._writing() as connection:
            await self._swap(connection, seen, epoch)
        return epoch

    async def settle(self, upgrade: str) -> None:
        table = schema.upgrades
        async with self._writing() as connection:
            await connection.execute(update(table).where(table.c.id == upgrade, ~table.c.active).values(settled=True))

    async def reseal(self, seen: int, generation: str, at_least: int) -> int:
        epoch = max(seen, at_least) + 1
        async with self._writing() as connection:
            await self._swap(connection, seen, epoch)
            await connection.execute(update(schema.meta).values(generation=generation))
        return epoch

    # -- wishes

    async def submit(self, upgrade: str, kind: str, by: str, why: str, data: Mapping[str, Any], at: float) -> int:
        row = {"upgrade": upgrade, "kind": kind, "by": by, "why": why, "data": canonical_json(dict(data)).decode()}
        async with self._writing() as connection:
            made = await connection.execute(insert(schema.intents).values(row | {"at": at}))
            if made.inserted_primary_key is None:
                raise StoreUnavailable(f"{self._name} gave no number to a wish", remedy="try again")
            return int(made.inserted_primary_key[0])

    async def close_intents(self, handled: Sequence[Handled]) -> None:
        async with self._writing() as connection:
            await self._answer(connection, handled)

    async def _answer(self, connection: AsyncConnection, handled: Sequence[Handled]) -> None:
        table = schema.intents
        for item in handled:
            await connection.execute(
                update(table)
                .where(table.c.id == item.intent, table.c.granted.is_(None))
                .values(granted=item.granted, answer=item.answer, remedy=item.remedy)
            )

    async def answer(self, intent: int) -> Handled | None:
        table = schema.intents
        async with self._reading() as connection:
            row = (await connection.execute(select(table).where(table.c.id == intent))).mappings().one()
        if row["granted"] is None:
            return None
        return Handled(intent, row["granted"], row["answer"], row["remedy"])

    # -- beside the journal

    async def save_progress(self, before: Progress | None, after: Progress) -> bool:
        table = schema.progress
        async with self._writing() as connection:
            query = select(table).where(table.c.upgrade == after.upgrade)
            row = (await connection.execute(query)).mappings().one_or_none()
            if (Progress(**row) if row else None) != before:
                return False
            values = after._asdict()
            if row is None:
                await connection.execute(insert(table).values(values))
            else:
                await connection.execute(update(table).where(table.c.upgrade == after.upgrade).values(values))
        return True

    async def save_assessment(self, upgrade: str, document: Mapping[str, Any], at: float) -> None:
        table = schema.assessments
        values = {"at": at, "document": canonical_json(dict(document)).decode()}
        async with self._writing() as connection:
            changed = await connection.execute(update(table).where(table.c.upgrade == upgrade).values(values))
            if changed.rowcount == 0:
                await connection.execute(insert(table).values(values | {"upgrade": upgrade}))

    async def assessment(self, upgrade: str) -> Mapping[str, Any] | None:
        table = schema.assessments
        async with self._reading() as connection:
            row = (await connection.execute(select(table).where(table.c.upgrade == upgrade))).mappings().one_or_none()
        return {**json.loads(row["document"]), "at": row["at"]} if row else None

    async def evidence(self, upgrade: str) -> list[Kept]:
        table = schema.evidence
        query = select(table).where(table.c.upgrade == upgrade).order_by(table.c.at)
        async with self._reading() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [Kept(row["digest"], row["at"], json.loads(row["document"])) for row in rows]

    # -- the outbox of alerts

    async def queue(self, posts: Sequence[Post]) -> int:
        table, added = schema.posts, 0
        async with self._writing() as connection:
            for post in posts:
                same = (table.c.alert == post.alert) & (table.c.target == post.target)
                if (await connection.execute(select(table.c.alert).where(same))).first() is None:
                    message = canonical_json(dict(post.message)).decode()
                    await connection.execute(insert(table).values(post._asdict() | {"message": message}))
                    added += 1
        return added

    async def claim(self, post: Post, until: float) -> bool:
        table = schema.posts
        same = (table.c.alert == post.alert) & (table.c.target == post.target)
        seen = (table.c.state == WAITING) & (table.c.next_at == post.next_at)
        async with self._writing() as connection:
            changed = await connection.execute(update(table).where(same & seen).values(next_at=until))
        return changed.rowcount == 1

    async def settle_post(self, post: Post) -> None:
        table = schema.posts
        same = (table.c.alert == post.alert) & (table.c.target == post.target)
        became = {name: getattr(post, name) for name in ("attempts", "next_at", "state", "ended_at", "problem")}
        async with self._writing() as connection:
            await connection.execute(update(table).where(same).values(became))

    async def posts(self, *, state: str | None = None, due: float | None = None, limit: int = 100) -> list[Post]:
        table = schema.posts
        query = select(table).order_by(table.c.at.desc()).limit(limit)
        if state is not None:
            query = query.where(table.c.state == state)
        if due is not None:
            waiting = (table.c.state == WAITING) & (table.c.next_at <= due)
            query = select(table).where(waiting).order_by(table.c.next_at).limit(limit)
        async with self._reading() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [Post(**{**row, "message": json.loads(row["message"])}) for row in rows]

    async def published(self, publication: Publication) -> None:
        table = schema.publications
        async with self._writing() as connection:
            query = select(table.c.effective_s).where(table.c.epoch == publication.epoch)
            known = (await connection.execute(query)).one_or_none()
            if known is None:
                await connection.execute(insert(table).values(publication._asdict()))
            elif known.effective_s is None:
                change = update(table).where(table.c.epoch == publication.epoch)
                await connection.execute(change.values(effective_s=publication.effective_s))

    async def publications(self, limit: int = 100) -> list[Publication]:
        table = schema.publications
        query = select(table).order_by(table.c.epoch.desc()).limit(limit)
        async with self._reading() as connection:
            return [Publication(**row) for row in (await connection.execute(query)).mappings()]


def _event(row: RowMapping) -> Event:
    return Event(**{**row, "kind": Kind(row["kind"]), "data": json.loads(row["data"])})


def _intent(row: RowMapping) -> Intent:
    return Intent(row["id"], row["upgrade"], row["kind"], row["by"], row["why"], json.loads(row["data"]), row["at"])


def _upgrade_schema(connection: Any) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
