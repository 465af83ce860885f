"""Suites, graders and runs: both variants answer the same cases and the answers are scored."""
