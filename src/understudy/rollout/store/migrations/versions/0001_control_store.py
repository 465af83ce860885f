"""The control store as it first was."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("generation", sa.String(32), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
    )
    op.create_table(
        "upgrades",
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        sa.Column("workload", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False),
    )
    op.create_index(
        "one_active_upgrade_per_workload",
        "upgrades",
        ["workload"],
        unique=True,
        sqlite_where=sa.text("active"),
        postgresql_where=sa.text("active"),
    )
    op.create_table(
        "events",
        sa.Column("upgrade", sa.Text(), sa.ForeignKey("upgrades.id"), primary_key=True),
        sa.Column("seq", sa.Integer(), primary_key=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.UniqueConstraint("upgrade", "previous", name="one_event_after_each"),
    )
    op.create_table(
        "intents",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("upgrade", sa.Text(), sa.ForeignKey("upgrades.id"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("granted", sa.Boolean()),
        sa.Column("answer", sa.Text()),
        sa.Column("remedy", sa.Text()),
    )
    op.create_table(
        "progress",
        sa.Column("upgrade", sa.Text(), sa.ForeignKey("upgrades.id"), primary_key=True),
        sa.Column("clock", sa.Integer(), nullable=False),
        sa.Column("held_s", sa.Float(), nullable=False),
        sa.Column("watched_until", sa.Float(), nullable=False),
    )
    op.create_table(
        "assessments",
        sa.Column("upgrade", sa.Text(), sa.ForeignKey("upgrades.id"), primary_key=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
    )
    op.create_table(
        "publications",
        sa.Column("epoch", sa.Integer(), primary_key=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("effective_s", sa.Float()),
    )


def downgrade() -> None:
    for table in ("publications", "assessments", "progress", "intents", "events", "upgrades", "meta"):
        op.drop_table(table)
