"""The control store: the journal of every upgrade, in SQLite or PostgreSQL."""
