"""`understudy lint`: names of models in sources and configuration that float, go or are gone."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy import __version__
from understudy.cli import deadline as deadlines
from understudy.cli.asking import Json
from understudy.cli.output import errors_shown, plain, print_json, progress
from understudy.core.errors import EXIT_FINDING, UsageError

if TYPE_CHECKING:
    from datetime import date

    from understudy.registry.lifetimes import Registry
    from understudy.registry.lint.files import Source
    from understudy.registry.lint.report import Found

app = typer.Typer(add_completion=False)


class Format(StrEnum):
    """How findings are written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


@app.command()
def lint(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files and folders; default: this folder.")] = None,
    format_: Annotated[Format, typer.Option("--format", help="How to write the findings.")] = Format.TEXT,
    select: Annotated[str, typer.Option(help="Only these rules, with commas between them.")] = "",
    ignore: Annotated[str, typer.Option(help="Without these rules.")] = "",
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="Leave out, as a line of a .gitignore; may be repeated.")
    ] = None,
    within: Annotated[int, typer.Option(min=0, max=3650, help="Days before a shutdown from which it is said.")] = 90,
    today: Annotated[str, typer.Option(help="Look as if it were this day.")] = "",
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Configuration file, for what `models:` of it declares.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find names of models that a provider moves, withdraws or has withdrawn, in Python, notebooks, JavaScript,
    TypeScript, Go, Java and their kin, YAML, JSON, TOML, environment files, Dockerfiles and shells.

    A name that is assigned, passed or configured is a use and found; one in a comment, a type, a comparison or a
    table's key is knowledge and not. The comment `understudy: ignore[PIN001] why it may stay` at the end of a line, or
    alone on the line before, lets one stay. What .gitignore leaves out is left out. The rules: docs/reference/lint.md.

    Exit code 0 where nothing is found, 1 where something is.
    """
    from understudy.config.project import declared_models
    from understudy.registry.lifetimes import Registry
    from understudy.registry.lint.files import sources

    wanted = Format.JSON if as_json else format_
    with errors_shown(wanted is Format.JSON):
        rules = _selected(select, ignore)
        now = deadlines.today(today)
        registry = Registry(declared_models(config))
        closed: dict[str, str] = {}
        files = {each.path.resolve(): each for each in sources(paths or [Path()], exclude or [], closed)}
        found, passed_over = _lint(list(files.values()), registry, now, within)
        read = len(files) - len(passed_over)
        passed_over = {**closed, **passed_over}
        found = [each for each in found if each.finding.code in rules]
        _print(wanted, found, read, passed_over, now)
    if found:
        sys.exit(EXIT_FINDING)


def _selected(select: str, ignore: str) -> set[str]:
    """The rules that are asked for. Raises UsageError for one that is not there, and where none is left."""
    from understudy.registry.lint.rules import RULES

    def codes(text: str) -> set[str]:
        return {code.strip().upper() for code in text.split(",") if code.strip()}

    unknown = sorted((codes(select) | codes(ignore)) - set(RULES))
    if unknown:
        raise UsageError(f"there is no rule {', '.join(unknown)}", remedy=f"the rules are {', '.join(RULES)}")
    left = (codes(select) or set(RULES)) - codes(ignore)
    if not left:
        raise UsageError(
            "--select and --ignore leave no rule", remedy="a run without rules finds nothing: leave one in"
        )
    return left


def _lint(files: Sequence[Source], registry: Registry, now: date, within: int) -> tuple[list[Found], dict[str, str]]:
    """The findings of all files, and the files that were passed over, each with the reason."""
    from understudy.registry.lint.files import PassedOver, is_generated, text_of
    from understudy.registry.lint.report import Found
    from understudy.registry.lint.rules import is_catalogue
    from understudy.registry.lint.rules import lint as found_in

    found: list[Found] = []
    passed_over: dict[str, str] = {}
    with progress("reading", len(files)) as advance:
        for source in files:
            advance(1)
            try:
                text = text_of(source)
                if text is not None and is_generated(source, text):
                    passed_over[source.shown] = "generated: nobody writes lines that long"
                    continue
                findings = [] if text is None else found_in(source.reader(text), registry, now, within)
            except OSError as error:
                passed_over[source.shown] = str(error.strerror or error)
                continue
            except PassedOver as error:
                passed_over[source.shown] = str(error)
                continue
            except (SyntaxError, ValueError, RecursionError) as error:
                passed_over[source.shown] = f"not what its name says ({type(error).__name__})"
                continue
            if is_catalogue(findings):
                passed_over[source.shown] = "a catalogue of models, which pins none"
            else:
                found += [Found(source.shown, each) for each in findings]
    return found, passed_over


def _print(wanted: Format, found: Sequence[Found], files: int, passed_over: Mapping[str, str], now: date) -> None:
    from understudy.registry.lifetimes import FRESH_DAYS, looked_up
    from understudy.registry.lint import report

    match wanted:
        case Format.JSON:
            print_json(report.document(found, files, passed_over, now.isoformat(), looked_up().isoformat()))
        case Format.SARIF:
            print_json(report.sarif(found, __version__))
        case Format.GITHUB:
            _write(report.github_lines(found))
        case Format.TEXT:
            _write([*report.text_lines(found), report.summary(found, files, len(passed_over))])
    if wanted is not Format.JSON and (now - looked_up()).days > FRESH_DAYS:
        sys.stderr.write(_one_line(f"note: {deadlines.age(now)}") + "\n")
    if passed_over and wanted is not Format.JSON:
        for name, why in passed_over.items():
            sys.stderr.write(_one_line(f"passed over: {name}: {why}") + "\n")


def _write(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(_one_line(line) + "\n")


def _one_line(text: str) -> str:
    """A line that stays one, also where the name of a file has two."""
    return plain(text).replace("\n", "\ufffd")
