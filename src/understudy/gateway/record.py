"""What a relay knows at its end, as the record the ledger keeps. Pure: no clock, no I/O.

Copies of bodies are cut at a limit, and left out or redacted as the workload's `content` setting says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from understudy.wires.base import Answer

CONTENT_LIMIT = 256 * 1024
"""Bytes kept of a request body, and characters kept of an answer."""

Redact = Callable[[str], str]


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
        redact(kept.request.decode("utf-8", "replace")).encode(),
        redact(kept.answer),
        redact(kept.tool_calls) if kept.tool_calls else "",
        truncated,
    )
