"""A provider's base_url taken apart, with the request head that never changes made ready. Opens no connection."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from understudy.core.errors import UsageError
from understudy.core.routing import Provider

_PLAIN = "accept-encoding: identity\r\n"
"""We read what passes: no encoding is asked for, whatever the caller would take, and without the line any were allowed.
"""
_FORBIDDEN = ("\r", "\n", " ", "\x00")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a provider listens. A provider's key is sent to this host and port and nowhere else."""

    name: str
    host: str
    port: int
    tls: bool
    prefix: str
    """The path of the base_url, without the last slash."""
    ca_file: str = ""

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    def head(self, path: str, headers: tuple[tuple[str, str], ...], method: str = "POST") -> bytes:
        """Request line and headers up to, and without, content-length; for reuse over many requests."""
        if any(mark in path for mark in _FORBIDDEN):
            raise UsageError(f"the path {path!r} holds a space or a line break", remedy="percent-encode it")
        lines = [f"{method} {self.prefix}{path} HTTP/1.1\r\nhost: {self.authority}\r\n", _PLAIN]
        lines += [header_line(name, value) for name, value in headers]
        return "".join(lines).encode("latin-1")


def header_line(name: str, value: str) -> str:
    """One header; raises UsageError where the value could start another header."""
    if "\r" in value or "\n" in value or "\x00" in value:
        raise UsageError(
            f"the value of header {name} holds a line break",
            remedy="a key read from a file often ends in a newline: remove it",
        )
    return f"{name}: {value}\r\n"


def sendable(key: str, provider: str) -> str:
    """The key, where it can be sent: visible ASCII. Raises UsageError, which does not show it."""
    for position, mark in enumerate(key, 1):
        if not "!" <= mark <= "~":
            what = "a line break" if mark in "\r\n" else "white space" if mark.isspace() else "one that no key has"
            raise UsageError(
                f"character {position} of the {len(key)} of the key of provider {provider} is {what}",
                remedy="a key read from a file often ends in a newline, and a copied one in dots: set it anew",
            )
    return key


def origin_of(provider: Provider) -> Origin:
    """Raises UsageError where base_url is no absolute http or https URL."""
    parts = urlsplit(provider.base_url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.query or parts.username:
        raise UsageError(
            f"provider {provider.name} has base_url {provider.base_url!r}",
            remedy="write http:// or https://, a host, an optional port and path, and no query or user",
        )
    tls = parts.scheme == "https"
    return Origin(
        name=provider.name,
        host=parts.hostname,
        port=port or (443 if tls else 80),
        tls=tls,
        prefix=parts.path.rstrip("/"),
        ca_file=provider.ca_file,
    )


def tls_context(ca_file: str) -> ssl.SSLContext:
    """Certificates checked against `ca_file` alone where given, else against the system's. Raises UsageError."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"ca_file {ca_file!r} cannot be used: {error}", remedy="give a PEM file that exists"
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context
