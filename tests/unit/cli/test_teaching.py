"""The examples in the help can be typed as they stand, and every command has some."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from typer._click.exceptions import ClickException

from understudy.cli.main import VERBS, verb
from understudy.cli.teaching import EXAMPLES, WIDTH, with_examples


def _below(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    if subs := getattr(command, "commands", {}):
        for name, sub in subs.items():
            yield from _below(sub, f"{path} {name}")
    else:
        yield path, command


COMMANDS = dict(pair for name in VERBS for pair in _below(verb(name), name))


def parsed(example: str) -> str:
    """The command that an example calls, when its arguments and options are all understood."""
    program, *words = shlex.split(example.partition(" > ")[0])
    assert program == "understudy"
    path = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    COMMANDS[path].make_context(path, words[len(path.split()) :])
    return path


@pytest.mark.parametrize("path", list(COMMANDS))
def test_a_command_teaches_by_examples_that_can_be_typed(path: str) -> None:
    assert EXAMPLES[path]
    for _, example in EXAMPLES[path]:
        assert parsed(example) == path


def test_the_program_teaches_by_examples_that_can_be_typed() -> None:
    assert [parsed(example) for _, example in EXAMPLES[""]] == ["demo", "init", "eval", "up", "rollback"]


def test_an_example_with_an_option_that_is_not_there_is_found() -> None:
    """The check of the examples is no empty one."""
    with pytest.raises(ClickException):
        parsed("understudy eval reply-drafting --candidat small-2")


def test_no_example_is_left_over() -> None:
    assert set(EXAMPLES) - {""} == set(COMMANDS)


@pytest.mark.parametrize("path", list(COMMANDS))
def test_a_value_is_shown_by_a_word_and_not_by_a_type(path: str) -> None:
    command = COMMANDS[path]
    shown = command.get_help(command.make_context(path, [], resilient_parsing=True))
    assert "<" not in shown.replace("<=", "")
    assert "{" not in shown.replace("{exchanges", "")


@pytest.mark.parametrize("path", EXAMPLES)
def test_a_long_example_goes_on_in_a_second_line(path: str) -> None:
    lines = with_examples("", path).splitlines()
    assert max(map(len, lines)) <= WIDTH + 4
    whole = " ".join(line.strip() for line in lines).replace("\\ ", "")
    for _, example in EXAMPLES[path]:
        assert example in whole
