"""The tables of the control store. Changing them takes a migration in `migrations/versions`."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("generation", String(32), nullable=False),
    Column("epoch", Integer, nullable=False),
)
"""One row: the number every write is compared with."""

upgrades = Table(
    "upgrades",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("workload", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("settled", Boolean, nullable=False),
    Index(
        "one_active_upgrade_per_workload",
        "workload",
        unique=True,
        sqlite_where=text("active"),
        postgresql_where=text("active"),
    ),
)

events = Table(
    "events",
    metadata,
    Column("upgrade", Text, ForeignKey("upgrades.id"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("by", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
    UniqueConstraint("upgrade", "previous", name="one_event_after_each"),
)
"""The journals; rows are added and never changed."""

intents = Table(
    "intents",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("upgrade", Text, ForeignKey("upgrades.id"), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("by", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("granted", Boolean),
    Column("answer", Text),
    Column("remedy", Text),
)
"""`granted` is null while a wish waits."""

progress = Table(
    "progress",
    metadata,
    Column("upgrade", Text, ForeignKey("upgrades.id"), primary_key=True),
    Column("clock", Integer, nullable=False),
    Column("held_s", Float, nullable=False),
    Column("watched_until", Float, nullable=False),
)

assessments = Table(
    "assessments",
    metadata,
    Column("upgrade", Text, ForeignKey("upgrades.id"), primary_key=True),
    Column("at", Float, nullable=False),
    Column("document", Text, nullable=False),
)

publications = Table(
    "publications",
    metadata,
    Column("epoch", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("by", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("effective_s", Float),
)

evidence = Table(
    "evidence",
    metadata,
    Column("upgrade", Text, ForeignKey("upgrades.id"), primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("at", Float, nullable=False),
    Column("document", Text, nullable=False),
)
"""What decisions rest on, by the hash that their events name; rows are added and never changed."""

routing = Table(
    "routing",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
)
"""One row: the bytes of the routing table that machines follow."""

machines = Table(
    "machines",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("document", Text, nullable=False),
)
"""What each machine last said of its gateway workers. `at` is the database's time where it has a clock of its own."""

posts = Table(
    "posts",
    metadata,
    Column("alert", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("at", Float, nullable=False),
    Column("message", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("state", String(16), nullable=False),
    Column("ended_at", Float),
    Column("problem", Text, nullable=False),
    Index("posts_that_wait", "state", "next_at"),
)
"""The outbox of alerts: one row for each alert and target, added once."""
