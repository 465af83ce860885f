"""The plan machine: ALL transitions as tables."""
