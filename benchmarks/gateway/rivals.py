"""LLM gateways that do a job like ours: they read the body, choose between two variants, and rewrite the model."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.gateway.proxy import (
    CANDIDATE_SHARE,
    KEY,
    WORKLOAD,
    Proxy,
    Running,
    Setting,
    find,
    free_port,
    not_started,
    process,
    until_open,
)
from benchmarks.gateway.upstream import MODEL

PORTKEY = "npm/node_modules/@portkey-ai/gateway/build/start-server.js"
INSTALL_PORTKEY = "npm install --prefix .venv-peers/npm @portkey-ai/gateway@1.15.2"
TENSORZERO = Path(__file__).with_name("start_tensorzero.py")


@contextmanager
def tensorzero(setting: Setting) -> Iterator[Running]:
    """The HTTP gateway that its Python package embeds: two variants 90 to 10, observability off."""
    folder = setting.folder
    lines = ["[gateway]", "observability.enabled = false", f"[functions.{WORKLOAD}]", 'type = "chat"']
    weights = {"old": (100 - CANDIDATE_SHARE) / 100, "new": CANDIDATE_SHARE / 100}
    for name, model in (("old", MODEL), ("new", "bench-candidate")):
        lines += [f"[functions.{WORKLOAD}.variants.{name}]", 'type = "chat_completion"', f'model = "{name}"']
        lines += [f"[models.{name}]", 'routing = ["bench"]', f"[models.{name}.providers.bench]", 'type = "openai"']
        lines += [f'model_name = "{model}"', f'api_base = "http://127.0.0.1:{setting.upstream_port}/v1/"']
        lines += ['api_key_location = "none"']
    shares = ", ".join(f"{name} = {weight}" for name, weight in weights.items())
    lines += [f"[functions.{WORKLOAD}.experimentation]", 'type = "static"', f"candidate_variants = {{{shares}}}"]
    (folder / "tensorzero.toml").write_text("\n".join(lines) + "\n")
    port_file = folder / "port"
    # Its own Python: the package is not among what this project needs.
    command = [str(find("python")), str(TENSORZERO), str(folder / "tensorzero.toml"), str(port_file)]
    with process(command, folder) as running:
        port = _written(port_file, running, folder)
        until_open(port, running, folder)
        yield Running(running.pid, port)


@contextmanager
def portkey(setting: Setting) -> Iterator[Running]:
    """Load balance 90 to 10 with the model overridden; its configuration comes with each request."""
    port, folder = free_port(), setting.folder
    host = f"http://127.0.0.1:{setting.upstream_port}/v1"
    targets = [
        {
            "provider": "openai",
            "api_key": "sk-bench",
            "custom_host": host,
            "weight": weight / 100,
            "override_params": {"model": model},
        }
        for weight, model in ((100 - CANDIDATE_SHARE, MODEL), (CANDIDATE_SHARE, "bench-candidate"))
    ]
    wanted = json.dumps({"strategy": {"mode": "loadbalance"}, "targets": targets}, separators=(",", ":"))
    command = [str(find("node")), str(find(PORTKEY)), f"--port={port}", "--headless"]
    with process(command, folder, NODE_ENV="production") as running:
        until_open(port, running, folder)
        yield Running(running.pid, port, f"x-portkey-config: {wanted}")


@contextmanager
def litellm(setting: Setting) -> Iterator[Running]:
    """One worker, a master key, two deployments weighted 9 to 1, no database."""
    port, folder = free_port(), setting.folder
    url = f"http://127.0.0.1:{setting.upstream_port}/v1"
    models = [
        {
            "model_name": WORKLOAD,
            "litellm_params": {"model": f"openai/{model}", "api_base": url, "api_key": "sk-bench", "weight": weight},
        }
        for model, weight in ((MODEL, 100 - CANDIDATE_SHARE), ("bench-candidate", CANDIDATE_SHARE))
    ]
    (folder / "config.yaml").write_text(json.dumps({"model_list": models, "general_settings": {"master_key": KEY}}))
    command = [str(find("litellm")), "--config", str(folder / "config.yaml"), "--port", str(port)]
    # It refuses keys that it takes for weak, and fetches a price list unless it is told to use its own.
    allowed = {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with process([*command, "--host", "127.0.0.1", "--telemetry", "False"], folder, **allowed) as running:
        until_open(port, running, folder)
        yield Running(running.pid, port)


def _written(port_file: Path, running: subprocess.Popen[bytes], folder: Path) -> int:
    """The port, once it stands in the file."""
    until = time.monotonic() + 30
    while time.monotonic() < until and running.poll() is None:
        if port_file.exists() and (text := port_file.read_text()):
            return int(text)
        time.sleep(0.1)
    raise not_started(folder)


PROXIES = (
    Proxy(
        "tensorzero",
        "whole body parsed, 90/10 experiment, observability off",
        tensorzero,
        "lib/python3*/site-packages/tensorzero/__init__.py",
        "make bench-peers",
        model=f"tensorzero::function_name::{WORKLOAD}",
        path="/openai/v1/chat/completions",
    ),
    Proxy(
        "portkey",
        "load balance 90/10 with the model overridden, no log",
        portkey,
        PORTKEY,
        INSTALL_PORTKEY,
        slow=True,
        warm_s=8,
    ),
    Proxy(
        "litellm",
        "master key, two deployments weighted 9 to 1, no database, no log",
        litellm,
        "litellm",
        "make bench-peers",
        slow=True,
        warm_s=4,
    ),
)
