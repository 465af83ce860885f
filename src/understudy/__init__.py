"""Understudy: change the model behind a running product without its users noticing."""

__version__ = "0.1.0"
