"""`understudy gateway`: serve the project's workloads on this machine. Reads the routing table and nothing else."""

from __future__ import annotations

import os
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.output import counted, errors_shown
from understudy.cli.serving import only_one
from understudy.core.errors import UsageError

if TYPE_CHECKING:
    from understudy.gateway.supervisor import Plan

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def gateway(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="understudy.yaml of the project.")] = None,
    table: Annotated[Path | None, typer.Option(help="The routing table; by default the project's.")] = None,
    segments: Annotated[Path | None, typer.Option(help="Folder of the ledger's segments.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes; by default one per core.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Serve TLS with this certificate chain (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, where it is in a file of its own.")] = None,
    log: Annotated[bool, typer.Option("--log", help="One line of JSON on standard error for each exchange.")] = False,
    otel: Annotated[bool, typer.Option("--otel", help="A span of OpenTelemetry for each exchange.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line when ready.")] = False,
) -> None:
    """Serve live traffic by the routing table.

    Ends on SIGTERM or Ctrl-C after the requests under way; SIGHUP restarts the workers one after another without
    losing a request. A file `rollback.WORKLOAD` beside the table forces the incumbent.
    """
    with errors_shown(as_json):
        raise typer.Exit(_serve(config, table, segments, host, port, workers, tls_cert, tls_key, log, otel, as_json))


def _serve(
    config: Path | None,
    table: Path | None,
    segments: Path | None,
    host: str | None,
    port: int | None,
    workers: int | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    log: bool,
    otel: bool,
    as_json: bool,
) -> int:
    from understudy.gateway.supervisor import Plan

    if table is None:
        from understudy.config.project import open_project

        project = open_project(config)
        wanted = project.config.gateway
        table, segments = project.paths.table, segments or project.paths.segments
        host, port, workers = host or wanted.host, wanted.port if port is None else port, workers or wanted.workers
        otel = otel or wanted.opentelemetry
    host = host or "127.0.0.1"
    exposed = not _loopback(host)
    if otel:
        from understudy.gateway import tracing

        tracing.require()  # said here once, and not by every worker
    _check_table(table, exposed=exposed, host=host)
    plan = Plan(
        table=table.resolve(),
        segments=(segments or table.resolve().parent.parent / "segments").resolve(),
        host=host,
        port=8080 if port is None else port,
        workers=workers or len(os.sched_getaffinity(0)),
        exposed=exposed,
        tls_cert=_existing(tls_cert),
        tls_key=_existing(tls_key),
        log=log,
        otel=otel,
    )
    if plan.port == 0:
        return _run(plan, as_json=as_json)
    # Told before the port is tried: who holds it is known then. Both would report under the same names, too.
    lock = plan.table.parent / f".gateway-{plan.port}.lock"
    with only_one(lock, f"a gateway at port {plan.port}", "stop that one first, or give another --port"):
        return _run(plan, as_json=as_json)


def _run(plan: Plan, *, as_json: bool) -> int:
    from understudy.gateway.supervisor import Supervisor

    supervisor = Supervisor(plan)

    def ready(url: str) -> None:
        if as_json:
            import json

            line = json.dumps({"url": url, "port": supervisor.port, "workers": plan.workers, "pid": os.getpid()})
        else:
            line = f"gateway ready at {url} ({counted(plan.workers, 'worker')}, table {plan.table})"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    return supervisor.run(ready)


def _check_table(table: Path, *, exposed: bool, host: str) -> None:
    """Refuse to start where nothing could be served, or everybody could be."""
    import msgspec

    from understudy.core.errors import DataCorrupt
    from understudy.core.routing import decode

    if not table.is_file():
        raise UsageError(
            f"there is no routing table at {table}",
            remedy="the controller writes it: run `understudy controller` or `understudy up` on this project first; "
            "`understudy follow` brings it to a machine that shares a control store with others",
        )
    try:
        parsed = msgspec.json.decode(table.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataCorrupt(f"the routing table {table} is no JSON: {error}", remedy="publish it again") from error
    if not isinstance(parsed, dict):
        raise DataCorrupt(f"the routing table {table} holds no JSON object", remedy="publish it again")
    if exposed and not decode(parsed).keys:
        raise UsageError(
            f"listening on {host} would let everybody on the network spend your provider keys",
            remedy="add gateway.keys to understudy.yaml, or listen on 127.0.0.1",
        )
    decode(parsed)


def _loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _existing(path: Path | None) -> str:
    if path is None:
        return ""
    if not path.is_file():
        raise UsageError(f"there is no file {path}", remedy="give the path of a PEM file")
    return str(path.resolve())
