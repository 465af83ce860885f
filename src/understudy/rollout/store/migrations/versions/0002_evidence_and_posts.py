"""What decisions rest on, and the outbox of alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "evidence",
        sa.Column("upgrade", sa.Text(), sa.ForeignKey("upgrades.id"), primary_key=True),
        sa.Column("digest", sa.Text(), primary_key=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
    )
    op.create_table(
        "posts",
        sa.Column("alert", sa.Text(), primary_key=True),
        sa.Column("target", sa.Text(), primary_key=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("ended_at", sa.Float()),
        sa.Column("problem", sa.Text(), nullable=False),
    )
    op.create_index("posts_that_wait", "posts", ["state", "next_at"])


def downgrade() -> None:
    for table in ("posts", "evidence"):
        op.drop_table(table)
