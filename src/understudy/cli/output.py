"""What every command shares: where output goes, how an error looks, the exit codes, tables and progress.

With --json exactly one document goes to standard output and nothing else; progress goes to standard error and only
where that is a terminal. Text from models, users and providers is stripped of control characters before printing.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from understudy.core.errors import EXIT_USAGE, UnderstudyError

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.table import Table

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: object) -> str:
    """Text that cannot steer a terminal: control and bidirectional override characters become U+FFFD."""
    return _CONTROL.sub("�", str(text))


def spoken(name: object) -> str:
    """A stage, event or decision as people say it: rolled_back is "rolled back"."""
    return plain(name).replace("_", " ")


def counted(number: int, what: str) -> str:
    """1 worker, 2 workers."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def out() -> Console:
    """Standard output; what is no terminal gets whole lines."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def err() -> Console:
    """Standard error, which never carries a result."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(document: object) -> None:
    """The one document of a --json command."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False, default=str) + "\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str | tuple[str, str]], rows: Iterable[Sequence[object]]) -> Table:
    """A table; a column is a heading, (heading, "right") for numbers, (heading, "whole") for what is never broken."""
    from rich import box
    from rich.text import Text

    from understudy.cli.fitting import Fitting

    made = Fitting(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        heading, justify = (column, "left") if isinstance(column, str) else column
        align: JustifyMethod = "right" if justify == "right" else "left"
        made.add_column(heading, justify=align, overflow="fold", no_wrap=justify != "left")
    for row in rows:
        texts = (f"{cell:,}" if isinstance(cell, int) else plain(cell) for cell in row)
        made.add_row(*(cell if isinstance(cell, Text) else Text(text) for cell, text in zip(row, texts, strict=True)))
    return made


def facts(rows: Iterable[tuple[str, object]]) -> Table:
    """Lines of a name and what is said of it; the name is never broken."""
    from rich.table import Table
    from rich.text import Text

    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for name, said in rows:
        made.add_row(Text(plain(name)), said if isinstance(said, Text) else Text(plain(said)))
    return made


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yields `advance(n)`; draws a bar on standard error where that is a terminal, and nothing otherwise."""
    if not sys.stderr.isatty():
        yield lambda n: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err(), transient=True) as bar:
        task = bar.add_task(plain(label), total=total)
        yield lambda n: bar.advance(task, n)


@contextmanager
def waiting(label: str) -> Iterator[None]:
    """Says what is being done, on standard error where that is a terminal, and takes it back when it is done."""
    if not sys.stderr.isatty():
        yield
        return
    with err().status(plain(label)):
        yield


def fail(error: UnderstudyError, *, as_json: bool) -> NoReturn:
    """Print an error the way the caller asked for, and leave with its exit code. Where standard output is what cannot
    be written, or nobody reads it, the error is said on standard error.
    """
    if as_json:
        try:
            print_json(error.as_dict())
        except OSError:
            as_json = False
    if not as_json:
        console = err()
        console.print("error: ", style="bold red", end="")
        console.print(plain(error.message), markup=False)
        if error.remedy:
            console.print("remedy: ", style="bold", end="")
            console.print(plain(error.remedy), markup=False)
    sys.exit(error.exit_code)


@contextmanager
def errors_shown(as_json: bool) -> Iterator[None]:
    """Turn an UnderstudyError into its message and exit code; everything else is a bug and goes on."""
    try:
        yield
    except UnderstudyError as error:
        fail(error, as_json=as_json)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): that is no failure of ours.
        sys.stderr.close()
        sys.exit(0)


def usage(message: str, remedy: str) -> NoReturn:
    """Leave with exit code 2."""
    sys.stderr.write(f"error: {plain(message)}\nremedy: {plain(remedy)}\n")
    sys.exit(EXIT_USAGE)
