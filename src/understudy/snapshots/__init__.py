"""Snapshots of what models answer, for tests: how they are stored, compared, asked for and reported."""
