"""The control store on SQLAlchemy, the same on every database; `sqlite` and `postgres` open one.

Every write transaction takes a lock that no other has before it reads anything it relies on, and every one that
matters begins with the compare-and-swap of the epoch. Every reading is one consistent snapshot.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, func, insert, inspect, literal, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

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
    Said,
    Snapshot,
    Stale,
    StoreUnavailable,
    already_active,
)

HEAD = "0003"
"""The newest migration; a test compares it with the scripts."""
MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_S = 5.0
"""How long a writer waits for another one's transaction."""
WITHOUT = "traffic goes on; `understudy rollback WORKLOAD --local` works without the store"
"""What helps whatever is wrong with the store."""


class Database(NamedTuple):
    """How a kind of database is spoken to."""

    name: str
    """What messages call it; holds no password."""
    engine: AsyncEngine
    reads: AsyncEngine
    """The same, with transactions that see one consistent snapshot."""
    writes: AsyncEngine
    """The same, with transactions that wait for each other from their beginning on, or from `lock` on."""
    lock: str
    """What a write transaction says first; "" where its beginning is a lock."""
    remedy: Callable[[BaseException], str]
    """What to do about an error of the database."""
    tell: str = ""
    """What tells whoever listens that there is a new table; "" where nobody can."""
    brief: str = ""
    """What a write says first that nobody else's depends on and that may be lost with the server; "" for nothing."""
    clock: ColumnElement[float] | None = None
    """The database's own time, in seconds since the epoch; None where it has none but ours."""
    errors: tuple[type[BaseException], ...] = (DBAPIError,)
    """What is raised where it cannot be reached."""


class SqlStore:
    """See `base.Store`. Folded states are kept in memory and go on from where the journal has grown."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._name = database.name
        self._folded: dict[str, UpgradeState] = {}

    def __repr__(self) -> str:
        return f"<SqlStore {self._name}, {len(self._folded)} upgrades folded>"

    async def close(self) -> None:
        await self._database.engine.dispose()

    async def version(self) -> str:
        """The migration this store is at; "" where nothing was ever made. Raises StoreUnavailable."""
        async with self._reading() as connection:
            if not await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
                return ""
            found = await connection.exec_driver_sql("SELECT version_num FROM alembic_version")
            return str(found.scalar() or "")

    async def migrated(self) -> SqlStore:
        """This store with its schema at HEAD, closed where it cannot be brought there. Raises as `migrate`."""
        try:
            await self.migrate()
        except BaseException:
            await self.close()
            raise
        return self

    async def migrate(self) -> None:
        """Bring the schema to HEAD and make sure of the one row of `meta`. Raises StoreUnavailable, also where the
        schema is newer than this version.
        """
        if await self.version() == HEAD:
            return
        async with self._writing() as connection:
            await connection.run_sync(self._upgrade_schema)
            if (await connection.execute(select(schema.meta.c.id))).first() is None:
                await connection.execute(insert(schema.meta).values(id=1, generation=secrets.token_hex(8), epoch=0))

    def _upgrade_schema(self, connection: Connection) -> None:
        from alembic.migration import MigrationContext

        found = MigrationContext.configure(connection).get_current_revision() or ""
        if found > HEAD:
            raise StoreUnavailable(
                f"the control store {self._name} has schema {found}, this version of understudy knows up to {HEAD}",
                remedy="a newer version has written it: upgrade understudy here too",
            )
        upgrade_schema(connection)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._database.reads.begin() as connection:
                yield connection
        except self._database.errors as error:
            raise unavailable(self._name, error, self._database.remedy(error)) from error

    @asynccontextmanager
    async def _writing(self, *, brief: bool = False) -> AsyncIterator[AsyncConnection]:
        first = self._database.brief if brief else self._database.lock
        try:
            async with self._database.writes.begin() as connection:
                if first:
                    await connection.exec_driver_sql(first)
                yield connection
        except IntegrityError:
            raise
        except self._database.errors as error:
            raise unavailable(self._name, error, self._database.remedy(error)) from error

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

    async def events(self) -> int:
        async with self._reading() as connection:
            return int((await connection.execute(select(func.count()).select_from(schema.events))).scalar_one())

    async def texts(self) -> list[tuple[str, str]]:
        """Everything that is written here in words, and where: for whoever looks for a name."""
        events, wishes, posts = schema.events.c, schema.intents.c, schema.posts.c
        async with self._reading() as connection:
            found = [
                (f"event {row.seq} of upgrade {row.upgrade}", f"{row.why} {row.data}")
                for row in await connection.execute(select(events.upgrade, events.seq, events.why, events.data))
            ]
            asked = await connection.execute(select(wishes.id, wishes.upgrade, wishes.why, wishes.data))
            found += [(f"wish {row.id} for upgrade {row.upgrade}", f"{row.why} {row.data}") for row in asked]
            for table, name in ((schema.evidence, "evidence"), (schema.assessments, "the assessment")):
                rows = await connection.execute(select(table.c.upgrade, table.c.document))
                found += [(f"{name} of upgrade {row.upgrade}", row.document) for row in rows]
            sent = await connection.execute(select(posts.alert, posts.message))
            found += [(f"alert {row.alert}", row.message) for row in sent]
        return found

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

    # -- machines that share the store

    async def hang(self, epoch: int, content: bytes) -> bool:
        table = schema.routing
        async with self._writing() as connection:
            known = (await connection.execute(select(table.c.epoch))).scalar()
            if known is not None and known >= epoch:
                return False
            change = insert(table).values(id=1) if known is None else update(table)
            await connection.execute(change.values(epoch=epoch, content=content))
            if self._database.tell:
                await connection.exec_driver_sql(self._database.tell)
        return True

    async def hung(self) -> bytes | None:
        async with self._reading() as connection:
            return (await connection.execute(select(schema.routing.c.content))).scalar()

    def _now(self, at: float) -> Any:
        return literal(at) if self._database.clock is None else self._database.clock

    async def report(
        self, machine: str, owner: str, document: Mapping[str, Any], at: float, *, lapsed_s: float
    ) -> bool:
        table, now = schema.machines, self._now(at)
        values = {"owner": owner, "at": now, "document": canonical_json(dict(document)).decode()}
        free = (table.c.owner == owner) | (table.c.at < now - lapsed_s)
        try:
            async with self._writing(brief=True) as connection:
                changed = await connection.execute(update(table).where((table.c.name == machine) & free).values(values))
                if changed.rowcount == 0:
                    taken = await connection.execute(select(table.c.name).where(table.c.name == machine))
                    if taken.first() is not None:
                        return False
                    await connection.execute(insert(table).values(values | {"name": machine}))
        except IntegrityError:
            return False  # somebody else began under this name in the same moment
        return True

    async def reports(self, now: float) -> list[Said]:
        table = schema.machines
        query = select(table.c.name, table.c.document, (self._now(now) - table.c.at).label("silent_s"))
        async with self._reading() as connection:
            rows = (await connection.execute(query.order_by(table.c.name))).all()
        return [Said(row.name, json.loads(row.document), float(row.silent_s)) for row in rows]

    async def leave(self, machine: str, owner: str) -> None:
        table = schema.machines
        async with self._writing(brief=True) as connection:
            await connection.execute(delete(table).where((table.c.name == machine) & (table.c.owner == owner)))


def _event(row: RowMapping) -> Event:
    return Event(**{**row, "kind": Kind(row["kind"]), "data": json.loads(row["data"])})


def _intent(row: RowMapping) -> Intent:
    return Intent(row["id"], row["upgrade"], row["kind"], row["by"], row["why"], json.loads(row["data"]), row["at"])


def unavailable(name: str, error: BaseException, remedy: str) -> StoreUnavailable:
    """What to raise where a store cannot be used."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return StoreUnavailable(f"the control store {name} cannot be used: {said(cause)}", remedy=remedy)


def said(error: BaseException | None) -> str:
    """What an error says, on one line."""
    if isinstance(error, TimeoutError) and not str(error):
        return "it did not answer in time"
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)  # asyncio says the same with the address once more
    return " ".join(str(error).split()) or type(error).__name__


def upgrade_schema(connection: Connection) -> None:
    """Run the migrations that are missing, within the transaction of this connection."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
