"""The control store in one file of this machine: SQLite with a rollback journal and synchronous=FULL.

A write-ahead log would buy nothing for a few writes a second, and SQLite releases in wide use can corrupt one (3.7.0
to 3.51.2); a rollback journal with full synchronisation keeps what it has acknowledged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from understudy.rollout.store.sql import BUSY_S, WITHOUT, Database, SqlStore

_WRITES = "understudy_writes"


async def open_store(path: Path) -> SqlStore:
    """Open the control store in a file, made and migrated where needed. Raises StoreUnavailable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=NullPool, connect_args={"timeout": BUSY_S})
    _prepare(engine)
    writes = engine.execution_options(**{_WRITES: True})
    return await SqlStore(Database(str(path), engine, engine, writes, "", lambda error: WITHOUT)).migrated()


def _prepare(engine: AsyncEngine) -> None:
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
