"""What a relay knows at its end, as the record the ledger keeps. No clock, no I/O.

Copies of bodies are left out or redacted as the workload's `content` setting says, and cut at a limit behind that. The
short texts beside them (who, slices, names of models) come from callers and providers too: unless everything is kept,
identifiers are taken out of them as well, and a unit or conversation that is one is kept under a pseudonym.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Protocol

from understudy.assign.pseudonym import keys_of, pseudonym
from understudy.assign.source import MAX_VALUE
from understudy.core.routing import Privacy, WorkloadRoute
from understudy.wires.base import Answer

CONTENT_LIMIT = 256 * 1024
"""Bytes kept of a request body, and characters kept of an answer."""
FULL, OFF = "full", "off"
_CUT = "[cut]"
HASHED = "hashed"
_REMEMBERED = 4_096


class Redact(Protocol):
    """Takes identifiers out before anything reaches a disk."""

    def text(self, text: str, limit: int | None = None) -> str: ...

    def body(self, body: bytes, limit: int | None = None) -> bytes: ...


MakeRedact = Callable[[Privacy], Redact]
Clean = Callable[[str], str]


class Content(NamedTuple):
    request: bytes
    answer: str
    tool_calls: str
    truncated: bool


_NOTHING = Content(b"", "", "", False)


class Keeper:
    """What may be kept of requests and answers under one routing table. The first key of `unit_key` makes names."""

    def __init__(self, redact: Redact, unit_key: str = "") -> None:
        self._redact = redact
        self._unit_key = keys_of(unit_key)[0]
        # Remembered: the same names and users come again and again, and every exchange has some ten of them.
        self._short = lru_cache(_REMEMBERED)(self.short)
        self._who = lru_cache(_REMEMBERED)(self.who)
        self._hashed = lru_cache(_REMEMBERED)(self.hashed)

    def content(self, setting: str, request: bytes, answer: Answer) -> Content:
        """The copies that may be kept under `setting`: "full", "redacted" or "off"."""
        if setting == OFF:
            return _NOTHING
        limit = CONTENT_LIMIT
        text, calls = answer.text, answer.tool_calls
        truncated = answer.truncated or len(request) > limit or len(text) > limit or len(calls) > limit
        if setting == FULL:
            return Content(request[:limit], text[:limit], calls[:limit], truncated)
        redact = self._redact
        return Content(
            redact.body(request, limit) if request else b"",
            redact.text(text, limit) if text else "",
            redact.text(calls, limit) if calls else "",
            truncated,
        )

    def short_texts(self, workload: WorkloadRoute) -> tuple[Clean, Clean]:
        """How a workload's short texts, and its units and conversations, may be kept."""
        full = workload.content == FULL
        who = self._hashed if workload.units == HASHED else str if full else self._who
        return str if full else self._short, who

    def short(self, text: str) -> str:
        """A short text of a caller or a provider, without identifiers; one that was cut may hold a part of one."""
        if not text:
            return ""
        return self._redact.text(text) if len(text) < MAX_VALUE else _CUT

    def who(self, name: str) -> str:
        """A unit or conversation: as given, or hashed where there is an identifier in it."""
        return name if self.short(name) == name else self.hashed(name)

    def hashed(self, name: str) -> str:
        return pseudonym(name, self._unit_key)
