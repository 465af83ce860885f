"""A way to a TLS provider through an HTTP CONNECT proxy, as HTTPS_PROXY and NO_PROXY of the environment say.

Only the tunnel is opened here: TLS to the provider runs inside it, so the proxy sees host and port and nothing else.
Loopback is never proxied.
"""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from understudy.core.errors import UsageError
from understudy.upstream.origin import Origin

MAX_REPLY = 16 * 1024


class Proxy(NamedTuple):
    """Where an HTTP CONNECT proxy listens."""

    host: str
    port: int
    authorization: str = ""
    """The value of Proxy-Authorization, "" where the proxy wants none."""


class TunnelRefused(OSError):
    """The proxy did not open the way; `strerror` says what it answered."""


def proxy_for(origin: Origin, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy to use for this provider, None for a direct way. Raises UsageError for a proxy that is no http URL."""
    url = environment.get("HTTPS_PROXY") or environment.get("https_proxy") or ""
    excluded = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    if not url or not origin.tls or _loopback(origin.host) or _excluded(origin.host, excluded):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(
            f"HTTPS_PROXY names {parts.scheme}://{parts.hostname or ''}, which is no HTTP proxy",
            remedy="write http://host:port, or unset it",
        )
    authorization = ""
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(parts.hostname, parts.port or 8080, authorization)


async def open_tunnel(proxy: Proxy, host: str, port: int) -> socket.socket:
    """A connected socket whose other end is the provider. Raises OSError; the caller keeps the time."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    family, kind, _, _, address = found[0]
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        await loop.sock_sendall(sock, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        _check(await _reply(loop, sock))
    except BaseException:
        sock.close()
        raise
    return sock


async def _reply(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    """Read byte by byte up to the blank line: what follows belongs to the TLS handshake."""
    reply = b""
    while not reply.endswith(b"\r\n\r\n"):
        byte = await loop.sock_recv(sock, 1)
        if not byte or len(reply) > MAX_REPLY:
            raise TunnelRefused(0, "the proxy ended its answer to CONNECT")
        reply += byte
    return reply


def _check(reply: bytes) -> None:
    status = reply.split(b" ", 2)[1:2]
    if status != [b"200"]:
        first = reply.partition(b"\r\n")[0][:80].decode("latin-1")
        raise TunnelRefused(0, f"the proxy answered CONNECT with {first!r}")


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _excluded(host: str, patterns: str) -> bool:
    """NO_PROXY: names and their subdomains, separated by commas; `*` for everything."""
    for pattern in (part.strip().lower().lstrip(".") for part in patterns.split(",")):
        if pattern and (pattern == "*" or host.lower() == pattern or host.lower().endswith(f".{pattern}")):
            return True
    return False
