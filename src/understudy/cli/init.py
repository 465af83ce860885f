"""`understudy init`: an example project in a folder, and what to run next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.output import errors_shown, out, print_json

app = typer.Typer(add_completion=False)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write it; made if it is not there.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write a commented example: configuration, prompt, suite, and recorded answers to try it on.

    Nothing that is there is overwritten.
    """
    from understudy.config.starter import write

    with errors_shown(as_json):
        written = write(folder)
        if as_json:
            print_json({"folder": str(folder), "written": written})
            return
        console = out()
        for name in written:
            console.print(f"wrote {folder / name}", markup=False)
        go = "" if folder == Path() else f"cd {folder}\n  "
        console.print(f"\nTry it, with no provider and no key:\n\n  {go}{_NEXT}", markup=False)


_NEXT = """understudy check
  understudy replay serve --recordings recordings/replies.jsonl --port 9100 &
  understudy eval reply-drafting --candidate small-2

The candidate forgets the order number on refunds: the eval says so and ends with exit code 1.
Then put your own provider, prompt and cases in. Keep .understudy/ (state) out of version control."""
