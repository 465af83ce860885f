"""What an alert says, and the forms it is sent in: signed JSON, or what Slack and its like understand. Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from understudy.core.canonical import canonical_json

FORMAT = 1


class Kind(StrEnum):
    """What an alert is about; a target may ask for some of them."""

    ROLLED_BACK = "rolled_back"
    BREAKER_OPEN = "breaker_open"
    GATE_FAILED = "gate_failed"
    WAITING = "waiting"
    CONTROLLER_SILENT = "controller_silent"
    LEASE_EXPIRED = "lease_expired"
    INCUMBENT_DOWN = "incumbent_down"
    DEADLINE_NEAR = "deadline_near"
    DRILL_OVERDUE = "drill_overdue"
    BUDGET_SPENT = "budget_spent"
    TEST = "test"


class Severity(StrEnum):
    """How soon somebody has to look: now, today, or some time."""

    HIGH = "high"
    WARNING = "warning"
    INFO = "info"


class Alert(NamedTuple):
    """One thing that somebody should know. `at` is seconds since the epoch."""

    id: str
    """What makes it the same one, however often it is noticed or sent."""
    kinds: tuple[Kind, ...]
    severity: Severity
    workload: str
    upgrade: str
    at: float
    title: str
    text: str
    todo: str
    """The command to go on with."""

    def as_dict(self) -> dict[str, Any]:
        """As the outbox keeps it, and a JSON target gets it."""
        return {
            "format": FORMAT,
            **self._asdict(),
            "kinds": [str(k) for k in self.kinds],
            "severity": str(self.severity),
        }


MARKS = {Severity.HIGH: ":rotating_light:", Severity.WARNING: ":warning:", Severity.INFO: ":information_source:"}


def slack(message: Mapping[str, Any]) -> bytes:
    """The body of an incoming webhook: one text, in which nothing that people or models wrote can become markup."""
    mark = MARKS[Severity(message["severity"])]
    lines = [f"{mark} *{_escaped(message['title'])}*", _escaped(message["text"])]
    if message["todo"]:
        lines.append(f"`{_escaped(message['todo']).replace('`', '')}`")
    return json.dumps({"text": "\n".join(line for line in lines if line)}, ensure_ascii=False).encode()


def _escaped(text: str) -> str:
    """The three characters that begin a mention, a link or a channel in a message."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def plain(message: Mapping[str, Any]) -> bytes:
    """The body for a target that reads JSON: the same bytes at each attempt."""
    return canonical_json(dict(message))


def signature(secret: str, at: int, body: bytes) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA256 with the secret over the time, a full stop and the body.

    A receiver works it out anew, compares in constant time, and refuses a time that is minutes old.
    """
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={mac.hexdigest()}"
