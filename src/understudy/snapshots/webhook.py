"""Sends the summary of a run to a webhook that takes Slack's JSON. Its address is a secret and is never shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from understudy.core.errors import CannotMeasure, UsageError

KNOWN = {"slack": "SLACK_WEBHOOK_URL"}
TIMEOUT_S = 10.0
MOST = 3_000
"""Characters; Slack cuts a text longer than 4,000."""


def address(target: str, environment: Mapping[str, str]) -> str:
    """The webhook's address: `slack` reads $SLACK_WEBHOOK_URL, `env:NAME` reads $NAME.

    Raises UsageError for anything else, so that no address stands in a command line, where logs keep it.
    """
    name = KNOWN.get(target) or target.removeprefix("env:")
    if target not in KNOWN and (not target.startswith("env:") or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name)):
        raise UsageError(
            "--report-to takes `slack` or `env:NAME`, not an address: command lines are logged, and it is a secret",
            remedy="export SLACK_WEBHOOK_URL=... and write --report-to slack",
        )
    url = environment.get(name, "")
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc:
        raise UsageError(
            f"--report-to {target}: the environment variable {name} {'holds no http address' if url else 'is not set'}",
            remedy=f"export {name}=https://...",
        )
    return url


def send(url: str, text: str) -> None:
    """POST {"text": ...}. Raises CannotMeasure where it was not taken; the message shows the host and no more of it."""
    import httpx2

    host = urlsplit(url).hostname
    shortened = text if len(text) <= MOST else text[: MOST - 1] + "…"
    for sign, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        # Slack reads <!channel> and <address|text>: what a model said must not call a team together.
        shortened = shortened.replace(sign, written)
    try:
        answer = httpx2.post(url, json={"text": shortened}, timeout=TIMEOUT_S, follow_redirects=False)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise CannotMeasure(f"the report did not reach the webhook at {host}: {type(error).__name__}") from None
    if answer.status_code >= 300:
        raise CannotMeasure(f"the webhook at {host} refused the report: status {answer.status_code}")
