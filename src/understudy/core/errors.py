"""One tree of errors that users see, each with its exit code; no other exception may reach a user.

    UnderstudyError            2
    ├── UsageError             2   the command or its arguments cannot be carried out as given
    │   └── NotThere           2   what they name does not exist: a workload, an upgrade
    ├── ConfigError            2   a configuration, suite or recordings file, with file, line and column
    ├── Refused                2   a well-formed wish that the present state forbids (two upgrades at once, ...)
    ├── CannotMeasure          3   no data, provider unreachable, not enough cases
    └── DataCorrupt            3   a file of ours that fails its checksum or its schema

Exit code 1 is no error: it says that a gate failed or a finding exists. Every message names what happened with
the value, the limit it broke, and what to do next (`remedy`).
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

EXIT_PASS = 0
EXIT_FINDING = 1
EXIT_USAGE = 2
EXIT_CANNOT_MEASURE = 3


class Position(NamedTuple):
    """Where in a file something stands; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class UnderstudyError(Exception):
    """Base of every error shown to a user.

    `message` is one sentence with the offending value and the limit; `remedy` is what to do next.
    """

    exit_code: ClassVar[int] = EXIT_USAGE

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message

    def as_dict(self) -> dict[str, object]:
        """The error as `--json` prints it."""
        return {"error": type(self).__name__, "message": self.message, "remedy": self.remedy}


class UsageError(UnderstudyError):
    """The command or its arguments cannot be carried out as given."""


class NotThere(UsageError):
    """What is named does not exist: a workload, an upgrade. Over HTTP that is another answer than a wrong request."""


class Problem(NamedTuple):
    """One thing wrong in a file: where, what, and what to write instead."""

    where: Position
    message: str
    remedy: str

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}"
        return f"{text}\n  remedy: {self.remedy}" if self.remedy else text


class ConfigError(UnderstudyError):
    """Everything found wrong in a user's file, each problem with its position."""

    def __init__(self, problems: list[Problem]) -> None:
        if not problems:
            raise ValueError("a ConfigError needs at least one problem")
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))

    def as_dict(self) -> dict[str, object]:
        return {
            "error": "ConfigError",
            "problems": [
                {
                    "file": p.where.file,
                    "line": p.where.line,
                    "column": p.where.column,
                    "message": p.message,
                    "remedy": p.remedy,
                }
                for p in self.problems
            ],
        }


class Refused(UnderstudyError):
    """A well-formed wish that the present state forbids; nothing was changed."""


class CannotMeasure(UnderstudyError):
    """There is no evidence to decide on: no data, an unreachable provider, too few cases."""

    exit_code = EXIT_CANNOT_MEASURE


class DataCorrupt(UnderstudyError):
    """A file of ours fails its checksum or its schema; the last good state was kept."""

    exit_code = EXIT_CANNOT_MEASURE
