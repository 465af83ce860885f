"""Runs nginx or HAProxy in front of a gateway, as lenient as they can be set, and knows every request they forwarded.

A front gives each request that it forwards an id of its own in X-Request-Id, in the place of whatever the client sent,
and logs it. A request that reaches a provider without a logged id was never seen by the front: it was smuggled.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

FRONTS = ("nginx", "haproxy")

_NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 1024; }}
http {{
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  log_format ids '$request_id $upstream_status';
  access_log {folder}/front.log ids;
  ignore_invalid_headers off; underscores_in_headers on;
  client_header_timeout 1s; client_body_timeout 1s; keepalive_timeout 1s;
  upstream gateway {{ server 127.0.0.1:{gateway}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://gateway; proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;
      proxy_set_header Connection ""; proxy_set_header X-Request-Id $request_id;
    }}
  }}
}}
"""
_HAPROXY = """
global
  log stdout format raw local0
defaults
  mode http
  log global
  timeout connect 2s
  timeout client 1s
  timeout server 10s
  timeout http-request 1s
  timeout http-keep-alive 1s
  option accept-invalid-http-request
  http-reuse always
frontend all
  bind 127.0.0.1:{port}
  http-request set-var(txn.id) uuid
  http-request set-header x-request-id %[var(txn.id)]
  log-format "%[var(txn.id)] %ST"
  default_backend gateway
backend gateway
  server gateway 127.0.0.1:{gateway}
"""


def find(name: str) -> str | None:
    """The program of a front, None where it is not installed."""
    return shutil.which(name, path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")


class Front:
    """One running front."""

    def __init__(self, name: str, port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self._log = log

    def forwarded(self) -> list[str]:
        """The ids it gave, in its log's order; an entry without one was answered by the front itself."""
        return [line.split()[0] for line in self._log.read_text().splitlines() if line.split()]


@asynccontextmanager
async def front(name: str, folder: Path, gateway: int) -> AsyncIterator[Front]:
    """Run it before the gateway's port. Raises RuntimeError where it does not start."""
    program = find(name)
    if program is None:
        raise RuntimeError(f"{name} is not installed")
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file, log = folder / "front.conf", folder / "front.log"
    file.write_text({"nginx": _NGINX, "haproxy": _HAPROXY}[name].format(folder=folder, port=port, gateway=gateway))
    arguments = ["-p", str(folder), "-c", str(file)] if name == "nginx" else ["-db", "-f", str(file)]
    said = (folder / "said").open("wb") if name == "nginx" else log.open("wb")
    process = await asyncio.create_subprocess_exec(program, *arguments, stdout=said, stderr=said)
    try:
        for _ in range(200):
            if process.returncode is not None:
                raise RuntimeError(f"{name} did not start: {Path(said.name).read_text()[-500:]}")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        else:
            raise RuntimeError(f"{name} does not listen")
        yield Front(name, port, log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        said.close()


def unseen(forwarded: Iterable[str], received: Iterable[str]) -> list[str]:
    """The ids under which a provider received requests that the front did not forward, or not so often."""
    return sorted((Counter(received) - Counter(forwarded)).elements())
