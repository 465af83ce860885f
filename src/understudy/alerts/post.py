"""Sends one alert to one webhook, and says in words that hold no part of its address what went wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2

from understudy.alerts.alert import plain, signature, slack

WHOLE_S = 15.0
"""For everything, however slowly a target takes or answers it."""
CONNECT_S = 5.0

# A webhook's address is its key, and the library logs addresses.
logging.getLogger("httpx2").setLevel(logging.WARNING)


class Target(NamedTuple):
    """Where alerts go, secrets filled in."""

    name: str
    form: str
    """slack or json."""
    url: str
    secret: str = ""

    def __repr__(self) -> str:
        return f"<Target {self.name}>"


async def post(target: Target, message: Mapping[str, Any], now: float) -> str:
    """ "" where the target took it (2xx), else what went wrong. The answer's body is not read."""
    if not _address(target.url):
        return "no address of a webhook: it begins with https:// or http://, names a host, and a port below 65536"
    body = slack(message) if target.form == "slack" else plain(message)
    headers = {"content-type": "application/json", "user-agent": "understudy", "idempotency-key": str(message["id"])}
    if target.secret:
        headers["x-understudy-signature"] = signature(target.secret, int(now), body)
    try:
        async with (
            asyncio.timeout(WHOLE_S),
            client() as opened,
            opened.stream("POST", target.url, content=body, headers=headers) as answer,
        ):
            return "" if answer.is_success else f"answered {answer.status_code}"
    except TimeoutError:
        return f"no answer within {WHOLE_S:g} s"
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return f"no answer ({type(error).__name__})"
    except (ValueError, OSError) as error:  # a proxy or certificates that this machine's environment names wrongly
        return f"cannot be sent from here ({type(error).__name__}): see HTTPS_PROXY and SSL_CERT_FILE"


def _address(url: str) -> bool:
    """Whether this may be a webhook at all. The client would end in an exception of its own for some that are none."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port out of range, or half an IPv6 address
        return False


def client() -> httpx2.AsyncClient:
    """A client that follows no redirect: who answers elsewhere gets no alert."""
    return httpx2.AsyncClient(timeout=httpx2.Timeout(WHOLE_S, connect=CONNECT_S), follow_redirects=False)


def wait_s(attempts: int) -> float:
    """Seconds before the next attempt: 1, 2, 4, ... and at most a quarter of an hour."""
    return float(min(900, 2 ** min(attempts - 1, 10)))
