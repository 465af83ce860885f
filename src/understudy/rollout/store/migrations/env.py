"""Runs migrations on the connection the store hands over; there is no offline mode."""

from alembic import context

from understudy.rollout.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
