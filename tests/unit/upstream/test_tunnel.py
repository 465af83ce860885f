from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trustme

from understudy.core.errors import UsageError
from understudy.core.routing import Provider
from understudy.testing.raw import raw_server, whole
from understudy.upstream.origin import Origin, origin_of
from understudy.upstream.tunnel import Proxy, TunnelRefused, open_tunnel, proxy_for

PROXY = "http://user:p%40ss@proxy.example:3128"


def origin(url: str) -> Origin:
    return origin_of(Provider(name="main", wire="openai", base_url=url))


@pytest.mark.parametrize(
    ("url", "environment", "proxied"),
    [
        ("https://api.example/v1", {"HTTPS_PROXY": PROXY}, True),
        ("https://api.example/v1", {"https_proxy": PROXY}, True),
        ("https://api.example/v1", {}, False),
        ("http://api.example/v1", {"HTTPS_PROXY": PROXY}, False),
        ("https://127.0.0.1:1/v1", {"HTTPS_PROXY": PROXY}, False),
        ("https://localhost:1/v1", {"HTTPS_PROXY": PROXY}, False),
        ("https://api.example/v1", {"HTTPS_PROXY": PROXY, "NO_PROXY": "other, .example"}, False),
        ("https://api.example/v1", {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, False),
        ("https://api.example/v1", {"HTTPS_PROXY": PROXY, "NO_PROXY": "i.example"}, True),
    ],
)
def test_the_environment_says_who_is_reached_through_the_proxy(
    url: str, environment: dict[str, str], proxied: bool
) -> None:
    """Only TLS providers beyond this machine, and not those of NO_PROXY."""
    found = proxy_for(origin(url), environment)
    assert (found is not None) == proxied
    if found is not None:
        assert (found.host, found.port) == ("proxy.example", 3128)
        assert base64.b64decode(found.authorization.removeprefix("Basic ")) == b"user:p@ss"


def test_a_proxy_of_another_kind_is_refused_without_its_password() -> None:
    """SOCKS is not spoken; the message does not show the credentials."""
    with pytest.raises(UsageError, match="socks5") as caught:
        proxy_for(origin("https://api.example/"), {"HTTPS_PROXY": "socks5://user:secret@h:1"})
    assert "secret" not in str(caught.value)


class ConnectProxy:
    """Opens tunnels to one port, whatever host is asked for, or refuses with a status line."""

    def __init__(self, to_port: int, refusal: bytes = b"") -> None:
        self.port = 0
        self.asked: list[bytes] = []
        self.ended = asyncio.Event()
        self._to_port = to_port
        self._refusal = refusal

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        if self._refusal:
            writer.write(self._refusal)
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer), return_exceptions=True)
        self.ended.set()


@asynccontextmanager
async def connect_proxy(to_port: int, refusal: bytes = b"") -> AsyncIterator[ConnectProxy]:
    proxy = ConnectProxy(to_port, refusal)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()


def test_tls_runs_through_the_tunnel_to_the_provider_itself() -> None:
    """The proxy sees host and port; certificate and bytes are the provider's."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.example").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(b"inside"))

    async def main() -> None:
        async with raw_server(reply, tls=context) as provider, connect_proxy(provider.port) as proxy:
            sock = await open_tunnel(Proxy("127.0.0.1", proxy.port, "Basic abc"), "api.example", 443)
            reader, writer = await asyncio.open_connection(sock=sock, ssl=trusting, server_hostname="api.example")
            writer.write(b"POST / HTTP/1.1\r\nhost: api.example\r\ncontent-length: 0\r\n\r\n")
            assert (await reader.readuntil(b"inside")).startswith(b"HTTP/1.1 200")
            writer.close()
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                await writer.wait_closed()
            (asked,) = proxy.asked
            assert asked.startswith(b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n")
            assert b"Proxy-Authorization: Basic abc\r\n" in asked
            await proxy.ended.wait()

    asyncio.run(main())


@pytest.mark.parametrize("refusal", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"HTTP/1.1 200", b"x" * 99])
def test_a_proxy_that_refuses_is_a_failure_to_connect(refusal: bytes) -> None:
    """What the proxy said is in the error."""

    async def main() -> None:
        async with connect_proxy(1, refusal) as proxy:
            with pytest.raises(TunnelRefused):
                await open_tunnel(Proxy("127.0.0.1", proxy.port), "api.example", 443)

    asyncio.run(main())
