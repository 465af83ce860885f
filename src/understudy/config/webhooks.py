"""The shape of the section on alerts: where they are sent, and from when on something is worth one."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, StringConstraints

from understudy.config.durations import Seconds, Wrong
from understudy.config.lakes import SECTION
from understudy.core.playbook import DAY

_NAME = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"


def _named(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(_NAME, value):
        raise Wrong(f"{value!r} is no name for a target", "write letters, digits, -, _ and ., at most 63")
    return value


TargetName = Annotated[str, StringConstraints(pattern=_NAME), BeforeValidator(_named)]


def _webhook(value: str) -> str:
    """Messages name no part of the address: it may be a secret."""
    if value.startswith("${"):
        return value
    try:
        parts = urlsplit(value)
        found = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        found = False
    if not found:
        raise Wrong("this is no http address", "write ${NAME}, and put the whole address into the variable")
    return value


class TargetSection(BaseModel):
    """One webhook that alerts are sent to."""

    model_config = SECTION

    url: Annotated[str, AfterValidator(_webhook)]
    """Write ${NAME}: whoever knows the address of a webhook can write to it."""
    form: Literal["slack", "json"] = "json"
    """`slack`: what incoming webhooks of Slack, Mattermost and their like take. `json`: all of it, signed."""
    secret: str = ""
    """Write ${NAME}: JSON is signed with it, see docs/alerts.md."""
    on: list[
        Literal[
            "rolled_back",
            "breaker_open",
            "gate_failed",
            "waiting",
            "controller_silent",
            "lease_expired",
            "incumbent_down",
            "deadline_near",
            "drill_overdue",
            "budget_spent",
        ]
    ] = []
    """What it is told of; nothing named means everything."""
    workloads: list[str] = ["*"]
    """Of which workloads; "*" is all."""


class AlertsSection(BaseModel):
    """Who is told what cannot wait until somebody looks."""

    model_config = SECTION

    targets: dict[TargetName, TargetSection] = {}
    """Webhooks, by a name of your own."""
    drill_every: Seconds = 7 * DAY
    """Without a rehearsed rollback for so long, while users are on a candidate, an alert is sent."""
    deadline: Seconds = 30 * DAY
    """So long before the incumbent's model is shut down an alert is sent while its upgrade is under way."""
