"""Compiles the patterns that people configure, on RE2: no pattern takes more than linear time."""

from __future__ import annotations

from typing import Any

import re2

from understudy.core.errors import UsageError


def compiled(pattern: str) -> Any:
    """The pattern, ready to search with.

    Raises UsageError where RE2 does not take it, and where it finds nothing at all in every text, which nobody means.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        made = re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise UsageError(
            f"{pattern!r} is no pattern: {said}",
            remedy="write it for RE2, which has no backreferences and no look-around",
        ) from error
    if made.search(""):
        raise UsageError(
            f"{pattern!r} finds nothing at all, in every text", remedy="write what has to be there, like + for *"
        )
    return made
