"""Proxies that never look into a body: lower bounds, not equals. nginx as it is is what the ratios divide by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.gateway.proxy import CANDIDATE_SHARE, Proxy, Running, Setting, find, free_port, process, until_open


@contextmanager
def nginx(setting: Setting) -> Iterator[Running]:
    """Passes bytes on over kept connections, and does nothing else."""
    location = (
        'proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;'
    )
    mirror = ""
    if setting.shadow_port:
        location = f"mirror /mirror; {location}"
        mirror = (
            f"location = /mirror {{ internal; proxy_pass http://127.0.0.1:{setting.shadow_port}$request_uri;"
            ' proxy_http_version 1.1; proxy_set_header Connection ""; }'
        )
    with _nginx(setting, "access_log off;", f"location / {{ {location} }} {mirror}") as started:
        yield started


@contextmanager
def nginx_split_log(setting: Setting) -> Iterator[Running]:
    """Splits users by the hash of a header, and writes a buffered access log."""
    share = f'split_clients "$http_x_user_id" $side {{ {CANDIDATE_SHARE}% candidate; * provider; }}'
    log = f"{share} access_log {setting.folder}/access.log combined buffer=64k flush=1s;"
    location = 'proxy_pass http://$side; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;'
    with _nginx(setting, log, f"location / {{ {location} }}") as started:
        yield started


@contextmanager
def _nginx(setting: Setting, http: str, server: str) -> Iterator[Running]:
    port, folder = free_port(), setting.folder
    upstreams = "\n".join(
        f"upstream {name} {{ server 127.0.0.1:{setting.upstream_port}; keepalive 1024; keepalive_requests 100000000; }}"
        for name in ("provider", "candidate")
    )
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(f"""
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  keepalive_requests 100000000; client_body_buffer_size 64k; client_body_temp_path {folder}/body; {temporary}
  {http}
  {upstreams}
  server {{ listen 127.0.0.1:{port} backlog=4096; {server} }}
}}
""")
    with process([str(find("nginx")), "-p", str(folder), "-c", str(folder / "nginx.conf")], folder) as running:
        until_open(port, running, folder)
        yield Running(running.pid, port)


@contextmanager
def haproxy(setting: Setting) -> Iterator[Running]:
    """Splits users by the hash of a header, and logs into a ring in memory."""
    port, folder = free_port(), setting.folder
    (folder / "haproxy.cfg").write_text(f"""
global
  nbthread 1
  maxconn 4096
  log ring@requests local0
ring requests
  format rfc5424
  maxlen 1200
  size 1048576
defaults
  mode http
  log global
  option httplog
  http-reuse always
  timeout connect 2s
  timeout client 120s
  timeout server 120s
frontend in
  bind 127.0.0.1:{port} backlog 4096
  use_backend candidate if {{ req.hdr(x-user-id),xxh32,mod(100) lt {CANDIDATE_SHARE} }}
  default_backend provider
backend provider
  server one 127.0.0.1:{setting.upstream_port}
backend candidate
  server one 127.0.0.1:{setting.upstream_port}
""")
    with process([str(find("haproxy")), "-db", "-f", str(folder / "haproxy.cfg")], folder) as running:
        until_open(port, running, folder)
        yield Running(running.pid, port)


@contextmanager
def envoy(setting: Setting) -> Iterator[Running]:
    """One worker thread; clusters weighted by the hash of a header, buffered access log; or the mirror of all."""
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

    clusters = [cluster("provider", setting.upstream_port)]
    weighted = {
        "header_name": "x-user-id",
        "clusters": [
            {"name": "provider", "weight": 100 - CANDIDATE_SHARE},
            {"name": "candidate", "weight": CANDIDATE_SHARE},
        ],
    }
    action: dict[str, object] = {"weighted_clusters": weighted, "timeout": "120s"}
    if setting.shadow_port:
        action = {"cluster": "provider", "timeout": "120s", "request_mirror_policies": [{"cluster": "shadow"}]}
        clusters.append(cluster("shadow", setting.shadow_port))
    else:
        clusters.append(cluster("candidate", setting.upstream_port))
    extensions = "type.googleapis.com/envoy.extensions"
    log = {"@type": f"{extensions}.access_loggers.file.v3.FileAccessLog", "path": str(folder / "access.log")}
    router = {"@type": f"{extensions}.filters.http.router.v3.Router"}
    manager = {
        "@type": f"{extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "access_log": [{"name": "envoy.access_loggers.file", "typed_config": log}],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action}]}
            ]
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    config = {"static_resources": {"listeners": [listener], "clusters": clusters}}
    (folder / "envoy.json").write_text(json.dumps(config))
    command = [str(find("envoy")), "-c", str(folder / "envoy.json"), "--concurrency", "1", "--log-level", "error"]
    with process([*command, "--disable-hot-restart"], folder) as running:
        until_open(port, running, folder)
        yield Running(running.pid, port)


PROXIES = (
    Proxy("nginx", "bytes only, no log", nginx, "nginx", "apt-get install nginx-light", mirrors=True),
    Proxy(
        "nginx-split-log",
        "10 % by the hash of a header, buffered access log",
        nginx_split_log,
        "nginx",
        "apt-get install nginx-light",
    ),
    Proxy(
        "haproxy",
        "10 % by the hash of a header, log into a ring in memory",
        haproxy,
        "haproxy",
        "apt-get install haproxy",
    ),
    Proxy(
        "envoy",
        "10 % by the hash of a header, buffered access log",
        envoy,
        "envoy",
        "make bench-peers",
        mirrors=True,
    ),
)
