"""Decides which requests are heard at all, before anybody looks at who sends them; and what every answer carries.

A page on another site can make a browser send requests here, and can have its own name resolve to this machine. So a
request has to name this dashboard by a name that is its own, and one that changes something has to come from one of its
own pages. An IP address needs no list: only names can be made to point elsewhere.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Scripts, styles and the icon from files of ours and nothing else: no font or frame, and no text is made into code."""
HEADERS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with none at all browsers send our own forms with the origin "null"
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "cache-control": "no-store",
}
MOST_BYTES = 64 * 1024
"""Longest body of a request."""
SAFE = ("GET", "HEAD")


def known_host(host: str, names: Collection[str]) -> bool:
    """Whether a Host header names this dashboard: an IP address, localhost, or one of its names."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name in {each.lower() for each in names}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def own_request(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a request comes from a page of ours, from no page at all, or only looks.

    A request with a key of its own is none that a browser adds anything to. Looking from another site is allowed to
    somebody who follows a link, and to no script.
    """
    site = headers.get("sec-fetch-site", "")
    if method in SAFE:
        return site in ("", "none", "same-origin") or headers.get("sec-fetch-mode") == "navigate"
    if headers.get("authorization", "").lower().startswith("bearer "):
        return True
    origin = headers.get("origin", "")
    if origin:
        return origin != "null" and urlsplit(origin).netloc == headers.get("host")
    return site == "same-origin"


class Guard:
    """Refuses what is not for this dashboard, and adds the headers of every answer.

    names: gives those under which browsers reach it, beside IP addresses and localhost.
    """

    def __init__(self, app: ASGIApp, names: Callable[[], Collection[str]]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        if scope["method"] == "HEAD":  # what there is to see; the server sends no body
            scope = {**scope, "method": "GET"}
        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if not known_host(headers.get("host", ""), self._names()):
            return PlainTextResponse(
                "this dashboard is not reached under that name: put it under dashboard.hosts\n", status_code=421
            )
        if not own_request(scope["method"], headers):
            return PlainTextResponse(
                "this request comes from another site, or does not say from where: "
                "send it from a page of this dashboard, or to /api with a key\n",
                status_code=403,
            )
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MOST_BYTES or "transfer-encoding" in headers:
            return PlainTextResponse(f"a request may have {MOST_BYTES} bytes, and says how many\n", status_code=413)
        return None
