"""The control store in a PostgreSQL database that several machines share.

A write waits for the one before it, as on SQLite: its transaction takes an advisory lock before it reads anything. A
reading is one snapshot of the server's. What has been acknowledged is on the server's disk (synchronous_commit), and
a client that was stopped in mid-write loses its transaction and the lock after a while. The address is read by
asyncpg, as every client of PostgreSQL reads it: TLS, sockets, several hosts, PGPASSWORD and password files.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import Float, literal_column
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine

from understudy.config.project import StoreAddress
from understudy.rollout.store.sql import BUSY_S, WITHOUT, Database, SqlStore, unavailable

CONNECT_S = 5.0
"""How long a server may take to let somebody in."""
ANSWER_S = 10.0
"""How long it may take over one statement."""
STALLED_S = 15.0
"""A client that began a transaction and has fallen silent for so long has lost it."""
LOCK = 0x756E6465727374
"""The number of our advisory lock in the database."""
CHANNEL = "understudy_table"
"""Where it is said that a table was published."""
CONNECTIONS = 2
"""Kept open by one process; more are opened while they are needed."""

ERRORS = (DBAPIError, PoolTimeout, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
"""What asyncpg raises before it is connected comes as it is, and what it raises later in SQLAlchemy's words."""


async def connect(url: str) -> asyncpg.Connection:
    """One connection with our settings. Raises what asyncpg raises, and OSError."""
    milliseconds = {"lock_timeout": BUSY_S, "idle_in_transaction_session_timeout": STALLED_S}
    settings = {name: str(int(1000 * seconds)) for name, seconds in milliseconds.items()}
    return await asyncpg.connect(
        url,
        timeout=CONNECT_S,
        command_timeout=ANSWER_S,
        server_settings={"application_name": "understudy", "synchronous_commit": "on", **settings},
    )


async def open_store(address: StoreAddress) -> SqlStore:
    """Open the control store in a database, made and migrated where needed. Raises StoreUnavailable."""
    return await _store(address).migrated()


async def is_there(address: StoreAddress) -> bool:
    """Whether a control store was ever made in that database. Raises StoreUnavailable."""
    store = _store(address)
    try:
        return bool(await store.version())
    finally:
        await store.close()


def _store(address: StoreAddress) -> SqlStore:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: connect(address.url),
        pool_size=CONNECTIONS,
        max_overflow=8,
        pool_timeout=ANSWER_S,
        pool_pre_ping=True,  # the server may have been started anew since the last turn
    )
    reads = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    writes = engine.execution_options(isolation_level="READ COMMITTED")
    database = Database(
        address.shown,
        engine,
        reads,
        writes,
        lock=f"SELECT pg_advisory_xact_lock({LOCK})",
        remedy=remedy,
        tell=f"NOTIFY {CHANNEL}",
        brief="SET LOCAL synchronous_commit = off",
        clock=literal_column("extract(epoch FROM clock_timestamp())::float8", Float),
        errors=ERRORS,
    )
    return SqlStore(database)


@asynccontextmanager
async def listening(address: StoreAddress, heard: asyncio.Event) -> AsyncIterator[Callable[[], bool]]:
    """Set `heard` whenever a routing table was published, and when the connection ended; gives whether it still stands.

    Raises StoreUnavailable.
    """
    try:
        connection = await connect(address.url)
    except ERRORS as error:
        raise unavailable(address.shown, error, remedy(error)) from error
    try:
        connection.add_termination_listener(lambda _: heard.set())
        await connection.add_listener(CHANNEL, lambda *_: heard.set())
        yield lambda: not connection.is_closed()
    except ERRORS as error:
        raise unavailable(address.shown, error, remedy(error)) from error
    finally:
        connection.terminate()


def remedy(error: BaseException) -> str:
    """What to do about an error of the server or of the way to it."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    match getattr(cause, "sqlstate", None):
        case "28P01" | "28000":
            first = "check the user and the password in `store`, in PGPASSWORD or in the password file"
        case "3D000":
            first = "make the database (createdb), or correct its name in `store`"
        case "42501":
            first = "let this user own the database, or grant it CREATE on its schema"
        case "55P03":
            first = "another client holds the store for long: try again"
        case "53300":
            first = "the server has no connection to spare: raise max_connections"
        case "25006":
            first = "this server is a standby: name the primary, or add ?target_session_attrs=read-write"
        case _:
            first = "see that the server runs and can be reached from here"
    return f"{first}; {WITHOUT}"
