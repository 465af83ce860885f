"""The proxies that are measured: how each is configured for the same job, and started on the proxy's core.

Every one takes chat completions on a free port and passes them to one provider over kept connections. Those that are
not installed are left out. nginx and HAProxy do not look into bodies: they are lower bounds, not equals.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from benchmarks.gateway.cores import PROXY_CORE
from benchmarks.gateway.upstream import MODEL

from understudy.core.routing import GatewayKey, Provider, Route, RoutingTable, Shadow, WorkloadRoute, encode
from understudy.core.variant import Variant

KEY = "gw-bench-0123456789abcdef"
WORKLOAD = "bench"
READY_S = 90.0


class Running(NamedTuple):
    """A proxy that answers: the root of its process tree, and its port."""

    pid: int
    port: int


class Setting(NamedTuple):
    """Where the proxy's provider listens, and how much of the traffic is copied to `shadow_port`, if any."""

    folder: Path
    upstream_port: int
    shadow_port: int = 0


Start = Callable[[Setting], Iterator[Running]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(command: list[str], folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run pinned to the proxy's core, in a group of its own, and end the whole group."""
    with (folder / "out.log").open("wb") as log:
        running = subprocess.Popen(
            ["taskset", "-c", str(PROXY_CORE), *command],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield running
        finally:
            for signum in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(running.pid, signum)
                with suppress(subprocess.TimeoutExpired):
                    running.wait(5)


def until_open(port: int, running: subprocess.Popen[bytes], folder: Path) -> None:
    """Raises RuntimeError with the end of the log where the port does not open."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until and running.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"did not start: {(folder / 'out.log').read_text(errors='replace')[-800:]}")


@contextmanager
def understudy(setting: Setting) -> Iterator[Running]:
    """Keys, routing with a canary (or a full shadow), ledger and usage on; content off, as the peers keep none."""
    folder = setting.folder / "routing"
    folder.mkdir(parents=True)
    variants = {
        "old": Variant("old", "main", MODEL, "", {"temperature": 0.5}),
        "new": Variant("new", "other" if setting.shadow_port else "main", "bench-candidate"),
    }
    shadow = Shadow(1_000_000, max_in_flight=1024) if setting.shadow_port else None
    route = Route("u1", "new", "canary", 0, 0 if shadow else 100_000, "salt", None, shadow)
    workload = WorkloadRoute(WORKLOAD, "old", variants, ("header:x-user-id", "body:user"), content="off", route=route)
    ports = {"main": setting.upstream_port, "other": setting.shadow_port or setting.upstream_port}
    providers = {n: Provider(n, "openai", f"http://127.0.0.1:{port}/v1", "sk-bench") for n, port in ports.items()}
    keys = (GatewayKey("bench", sha256(KEY.encode()).hexdigest()),)
    table = folder / "table.json"
    table.write_bytes(encode(RoutingTable("g1", 1, time.time(), {WORKLOAD: workload}, providers, keys)))
    port = free_port()
    command = [sys.executable, "-m", "understudy", "gateway", "--table", str(table), "--port", str(port)]
    with process([*command, "--workers", "1"], setting.folder) as running:
        until_open(port, running, setting.folder)
        time.sleep(1.0)  # the socket is open before its worker is
        yield Running(running.pid, port)


@contextmanager
def nginx(setting: Setting) -> Iterator[Running]:
    port, folder = free_port(), setting.folder
    mirror = ""
    if setting.shadow_port:
        mirror = (
            f"location = /mirror {{ internal; proxy_pass http://127.0.0.1:{setting.shadow_port}$request_uri;"
            ' proxy_http_version 1.1; proxy_set_header Connection ""; }'
        )
    (folder / "nginx.conf").write_text(f"""
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_buffer_size 64k; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream provider {{ server 127.0.0.1:{setting.upstream_port}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      {"mirror /mirror;" if mirror else ""}
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
    {mirror}
  }}
}}
""")
    with process(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], folder) as running:
        until_open(port, running, folder)
        yield Running(running.pid, port)


@contextmanager
def haproxy(setting: Setting) -> Iterator[Running]:
    port, folder = free_port(), setting.folder
    (folder / "haproxy.cfg").write_text(f"""
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  http-reuse always
  timeout connect 2s
  timeout client 120s
  timeout server 120s
frontend in
  bind 127.0.0.1:{port} backlog 4096
  default_backend provider
backend provider
  server one 127.0.0.1:{setting.upstream_port}
""")
    with process(["haproxy", "-db", "-f", str(folder / "haproxy.cfg")], folder) as running:
        until_open(port, running, folder)
        yield Running(running.pid, port)


@contextmanager
def envoy(setting: Setting) -> Iterator[Running]:
    """One worker thread. Mirrors as Envoy does where a shadow is asked for."""
    port, folder = free_port(), setting.folder

    def cluster(name: str, upstream: int) -> dict[str, object]:
        address = {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        return {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "2s",
            "load_assignment": {"cluster_name": name, "endpoints": endpoints},
        }

    action: dict[str, object] = {"cluster": "provider", "timeout": "120s"}
    clusters = [cluster("provider", setting.upstream_port)]
    if setting.shadow_port:
        action["request_mirror_policies"] = [{"cluster": "shadow"}]
        clusters.append(cluster("shadow", setting.shadow_port))
    extensions = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action}]}
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{extensions}.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    config = {"static_resources": {"listeners": [listener], "clusters": clusters}}
    (folder / "envoy.json").write_text(json.dumps(config))
    command = ["envoy", "-c", str(folder / "envoy.json"), "--concurrency", "1", "--log-level", "error"]
    with process([*command, "--disable-hot-restart"], folder) as running:
        until_open(port, running, folder)
        yield Running(running.pid, port)


@contextmanager
def litellm(setting: Setting) -> Iterator[Running]:
    """One worker, a master key, no database."""
    port, folder = free_port(), setting.folder
    url = f"http://127.0.0.1:{setting.upstream_port}/v1"
    model = {
        "model_name": WORKLOAD,
        "litellm_params": {"model": f"openai/{MODEL}", "api_base": url, "api_key": "sk-bench"},
    }
    (folder / "config.yaml").write_text(json.dumps({"model_list": [model], "general_settings": {"master_key": KEY}}))
    command = ["litellm", "--config", str(folder / "config.yaml"), "--port", str(port), "--host", "127.0.0.1"]
    allowed = {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
    with process(command, folder, **allowed) as running:
        until_open(port, running, folder)
        yield Running(running.pid, port)


PEERS = {"understudy": understudy, "nginx": nginx, "haproxy": haproxy, "envoy": envoy, "litellm": litellm}
MIRRORS = ("understudy", "nginx", "envoy")
SLOW = ("litellm",)
"""So slow that fewer connections and a lower rate are used."""


def installed(name: str) -> bool:
    return name == "understudy" or shutil.which(name) is not None
