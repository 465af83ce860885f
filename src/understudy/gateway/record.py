"""What a relay knows at its end, as the record the ledger keeps. Pure: no clock, no I/O.

Copies of bodies are cut at a limit, and left out or redacted as the workload's `content` setting says.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from understudy.wires.base import Answer

CONTENT_LIMIT = 256 * 1024
"""Bytes kept of a request body, and characters kept of an answer."""


class Redact(Protocol):
    """Takes identifiers out before anything reaches a disk."""

    def text(self, text: str) -> str: ...

    def body(self, body: bytes) -> bytes: ...


class Content(NamedTuple):
    request: bytes
    answer: str
    tool_calls: str
    truncated: bool


_NOTHING = Content(b"", "", "", False)


def content(setting: str, request: bytes, answer: Answer, redact: Redact) -> Content:
    """The copies that may be kept under `setting`: "full", "redacted" or "off"."""
    if setting == "off":
        return _NOTHING
    truncated = answer.truncated or len(request) > CONTENT_LIMIT or len(answer.text) > CONTENT_LIMIT
    kept = Content(request[:CONTENT_LIMIT], answer.text[:CONTENT_LIMIT], answer.tool_calls[:CONTENT_LIMIT], truncated)
    if setting == "full":
        return kept
    return Content(
        redact.body(kept.request) if kept.request else b"",
        redact.text(kept.answer) if kept.answer else "",
        redact.text(kept.tool_calls) if kept.tool_calls else "",
        truncated,
    )
