"""Says what is wrong with a command line that cannot be read: value, limit and remedy, as every other error is said."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from typer._click.exceptions import BadOptionUsage, ClickException, MissingParameter, NoSuchOption

from understudy.core.errors import UsageError

ANYWHERE = ("--json", "--config", "-c")
"""Options that most commands have, and that people write before the command."""


def mistake(error: ClickException) -> UsageError:
    """The mistake in our words. `error` is what reading the command line ended with."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "understudy"
    help_page = f"`{path} --help`"
    if isinstance(error, NoSuchOption):
        if error.option_name in ANYWHERE and context and context.parent is None:
            return UsageError(f"{error.option_name} stands before the command", remedy="write it behind the command")
        near = f"did you mean {' or '.join(sorted(error.possibilities))}? " if error.possibilities else ""
        return UsageError(f"{path} has no option {error.option_name}", remedy=f"{near}{help_page} lists them")
    if isinstance(error, BadOptionUsage):
        return UsageError(f"{error.option_name} needs a value", remedy="the same command with --help says which")
    if isinstance(error, MissingParameter) and error.param is not None:
        missing: Any = error.param
        name = missing.opts[0] if missing.param_type_name == "option" else missing.display_name_raw
        shown = f"{name} {missing.metavar}" if missing.param_type_name == "option" else name
        return UsageError(f"{path} needs {shown}: {missing.help.rstrip('.')}", remedy=f"{help_page} has examples")
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        found = cause.errors()[0]
        return UsageError(_value(_option(error), str(found["input"]), found), remedy=f"{help_page} has examples")
    message = error.format_message()
    if extra := re.fullmatch(r"Got unexpected extra argument\(?s?\)? \((.*)\)", message):
        message = f"{path} has no place for {extra[1]!r}"
    if unknown := re.fullmatch(r"No such command '(.*?)'\.(?: Did you mean (.*)\?)?", message):
        near = f"did you mean {unknown[2].replace(', ', ' or ')}? " if unknown[2] else ""
        return UsageError(f"{path} has no command {unknown[1]!r}", remedy=f"{near}{help_page} lists them")
    return UsageError(message, remedy=f"see {help_page}")


def _option(error: ClickException) -> str:
    parameter = getattr(error, "param", None)
    return parameter.opts[0] if parameter is not None else "a value"


LIMITS = {
    "greater_than_equal": ("ge", "the least is"),
    "less_than_equal": ("le", "the most is"),
    "greater_than": ("gt", "it has to be above"),
    "less_than": ("lt", "it has to be below"),
}


def _value(name: str, given: str, found: Any) -> str:
    """One sentence about a value that does not fit."""
    if found["type"] in LIMITS:
        key, words = LIMITS[found["type"]]
        return f"{name} {given}: {words} {found['ctx'][key]:g}"
    if found["type"] == "int_parsing":
        return f"{name} {given!r}: a whole number is expected"
    if found["type"] == "float_parsing":
        return f"{name} {given!r}: a number is expected"
    # Raised by the reader of a choice as an error of its own, which the checker announces.
    said = found["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{name} {said}" if said.startswith(repr(given)) else f"{name} {given!r}: {said}"


def nearest(word: str, names: Iterable[str]) -> str:
    """What was meant by a command that is not there: the one like it, or the one that has it as its second word."""
    known = list(names)
    below = [name for name in known if name.partition(" ")[2] == word]
    near = difflib.get_close_matches(word, [name for name in known if " " not in name], n=1)
    meant = below or near
    return f"did you mean `understudy {'` or `understudy '.join(meant)}`?" if meant else ""
