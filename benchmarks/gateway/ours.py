"""The gateway itself, as it is measured: one worker with everything on that it does for a product."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gateway.processes import ROOT
from benchmarks.gateway.proxy import (
    CANDIDATE_SHARE,
    KEY,
    WORKLOAD,
    Proxy,
    Running,
    Setting,
    free_port,
    process,
    until_open,
)
from benchmarks.gateway.upstream import MODEL

from understudy.core.routing import GatewayKey, Provider, Route, RoutingTable, Shadow, WorkloadRoute, encode
from understudy.core.variant import Variant

KEYS = 64
"""Gateway keys in the table: one may have 256 requests under way, and the streams are more."""


def key(number: int) -> str:
    """The gateway key of that number; 0 is the one all proxies are asked with."""
    return f"{KEY}-{number}" if number else KEY


def table(setting: Setting) -> bytes:
    """A canary of ten percent, or with a shadow port the copy of every request and no canary."""
    variants = {
        "old": Variant("old", "main", MODEL, "", {"temperature": 0.5}),
        "new": Variant("new", "other" if setting.shadow_port else "main", "bench-candidate"),
    }
    shadow = Shadow(1_000_000, max_in_flight=1024) if setting.shadow_port else None
    route = Route("u1", "new", "canary", 0, 0 if shadow else CANDIDATE_SHARE * 10_000, "salt", None, shadow)
    workload = WorkloadRoute(WORKLOAD, "old", variants, ("header:x-user-id", "body:user"), content="off", route=route)
    ports = {"main": setting.upstream_port, "other": setting.shadow_port or setting.upstream_port}
    providers = {n: Provider(n, "openai", f"http://127.0.0.1:{port}/v1", "sk-bench") for n, port in ports.items()}
    keys = tuple(GatewayKey(f"k{number}", sha256(key(number).encode()).hexdigest()) for number in range(KEYS))
    return encode(RoutingTable("g1", 1, time.time(), {WORKLOAD: workload}, providers, keys))


@contextmanager
def understudy(setting: Setting, **environment: str) -> Iterator[Running]:
    folder = setting.folder / "routing"
    folder.mkdir(parents=True)
    (folder / "table.json").write_bytes(table(setting))
    with serving(folder / "table.json", setting.folder, **environment) as started:
        yield started


@contextmanager
def serving(table_file: Path, folder: Path, **environment: str) -> Iterator[Running]:
    """`understudy gateway` with one worker on a table that is there; its log is `out.log` in the folder."""
    port = free_port()
    command = [sys.executable, "-m", "understudy", "gateway", "--table", str(table_file), "--port", str(port)]
    with process([*command, "--workers", "1"], folder, **environment) as running:
        until_open(port, running, folder)
        yield Running(running.pid, port)


@contextmanager
def interpreted(setting: Setting) -> Iterator[Running]:
    """The same from its sources, as an editable install runs it."""
    with understudy(setting, PYTHONPATH=str(ROOT / "src")) as started:
        yield started


DOES = "gateway key, canary of 10 % by user, model and parameters rewritten, usage read, one ledger record a request"
COMPILED = find_spec("understudy__mypyc") is not None
PROXIES = (
    Proxy("understudy", f"{DOES}; {'' if COMPILED else 'not '}compiled", understudy, mirrors=True),
    *((Proxy("interpreted", "understudy, not compiled", interpreted, mirrors=True),) if COMPILED else ()),
)
