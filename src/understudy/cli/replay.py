"""`understudy replay serve`: a provider on a port that answers from recordings; see `understudy.testing.recorded`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.output import errors_shown, plain
from understudy.cli.serving import told_to_stop
from understudy.core.errors import UsageError

if TYPE_CHECKING:
    from understudy.testing.recorded import RecordedProvider

app = typer.Typer(no_args_is_help=True, help="A provider for tests, demos and post-mortems.")


@app.callback()
def _replay() -> None:
    """A provider for tests, demos and post-mortems, made of answers that were recorded."""


@app.command()
def serve(
    recordings: Annotated[
        list[Path], typer.Option("--recordings", "-r", help="Recordings file, .jsonl or .jsonl.gz; may be repeated.")
    ],
    more: Annotated[list[Path] | None, typer.Argument(help="Further recordings files.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 0,
    latency_scale: Annotated[
        float, typer.Option(min=0.0, help="Recorded latency times this: 1 as recorded, 0 (default) at once.")
    ] = 0.0,
    key: Annotated[str, typer.Option(help="Answer only callers who present this key.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the ready line as JSON.")] = False,
) -> None:
    """Answer the recorded output for (model, last user message), streaming or not, on the loopback interface.

    Speaks OpenAI chat completions and responses, Anthropic messages and Gemini. Ends on SIGINT or SIGTERM.
    """
    with errors_shown(as_json):
        paths = [*recordings, *(more or [])]
        _run(paths, port, latency_scale, key, as_json=as_json)


def _run(paths: list[Path], port: int, latency_scale: float, key: str, *, as_json: bool) -> None:
    import uvloop

    from understudy.testing.recorded import RecordedProvider

    provider = RecordedProvider(paths, latency_scale=latency_scale, port=port, key=key)

    async def main() -> None:
        stop = told_to_stop()
        try:
            await provider.server.start()
        except OSError as error:
            raise UsageError(
                f"cannot listen on 127.0.0.1:{port}: {error.strerror or error}",
                remedy="stop what listens there, or let --port 0 pick a free port",
            ) from error
        _ready(provider, as_json=as_json)
        await stop.wait()
        await provider.server.stop()

    uvloop.run(main())


def _ready(provider: RecordedProvider, *, as_json: bool) -> None:
    """One line on standard output, so that whoever started this can read the port."""
    if as_json:
        ready = {
            "port": provider.port,
            "base_url": provider.base_url,
            "root_url": provider.root_url,
            "models": provider.models,
            "answers": len(provider.recordings),
            "latency_scale": provider.latency_scale,
        }
        sys.stdout.write(json.dumps(ready) + "\n")
    else:
        known = plain(", ".join(provider.models))
        sys.stdout.write(f"serving {len(provider.recordings):,} recorded answers of {known} on {provider.base_url}\n")
    sys.stdout.flush()
