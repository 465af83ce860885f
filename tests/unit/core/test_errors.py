"""The error tree: exit codes and what a user reads."""

from __future__ import annotations

import pytest

from understudy.core import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [(errors.UsageError, 2), (errors.Refused, 2), (errors.CannotMeasure, 3), (errors.DataCorrupt, 3)],
)
def test_each_kind_has_its_documented_exit_code(kind: type[errors.UnderstudyError], code: int) -> None:
    """Operators often see only the code."""
    assert kind("what happened", remedy="do this").exit_code == code


def test_all_problems_of_a_file_are_shown_at_once() -> None:
    """Each with file:line:column, and each with its remedy."""
    error = errors.ConfigError(
        [
            errors.Problem(errors.Position("a.yaml", 3, 5), "unknown key 'polcy'", "did you mean policy?"),
            errors.Problem(errors.Position("a.yaml", 9, 1), "no incumbent", ""),
        ]
    )
    assert str(error).splitlines() == [
        "a.yaml:3:5: unknown key 'polcy'",
        "  remedy: did you mean policy?",
        "a.yaml:9:1: no incumbent",
    ]
    assert error.exit_code == 2


def test_an_error_without_problems_cannot_be_made() -> None:
    """An empty complaint would leave a user with nothing."""
    with pytest.raises(ValueError, match="at least one"):
        errors.ConfigError([])
