"""Decides which paths a .gitignore leaves out, by the rules of gitignore(5). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class Pattern(NamedTuple):
    """One line of a .gitignore."""

    matches: re.Pattern[str]
    negated: bool
    folders_only: bool


class Ignores(NamedTuple):
    """The patterns of one file, which speak of paths below its folder."""

    patterns: tuple[Pattern, ...]
    folder: str = ""
    """Where the file lies, from the root of the walk; "" for the root itself."""
    way: str = ""
    """The way from the file's folder down to the root of the walk, for a file above that."""


def parse(lines: Iterable[str], folder: str = "", way: str = "") -> Ignores:
    """The patterns of a file that lies in `folder`, or above the root of the walk by `way`."""
    return Ignores(tuple(made for line in lines if (made := _pattern(line)) is not None), folder, way)


def ignored(path: str, is_folder: bool, ignores: Iterable[Ignores]) -> bool:
    """Whether a path, with / between its parts, is left out. `ignores` from the outermost folder to the innermost: the
    last pattern that fits decides. What lies below a folder that is left out is not asked for.
    """
    left_out = False
    for each in ignores:
        inner = f"{each.way}/{path}" if each.way else path.removeprefix(f"{each.folder}/") if each.folder else path
        for pattern in each.patterns:
            if (is_folder or not pattern.folders_only) and pattern.matches.fullmatch(inner):
                left_out = not pattern.negated
    return left_out


def _pattern(line: str) -> Pattern | None:
    line = line.rstrip("\r\n")
    while line.endswith(" ") and not line.endswith("\\ "):
        line = line[:-1]
    if not line or line.startswith("#"):
        return None
    negated = line.startswith("!")
    line = line[1:] if negated else line
    folders_only = line.endswith("/")
    line = line.rstrip("/") if folders_only else line
    if not line:
        return None
    anchored = "/" in line
    try:
        body = _regex(line.lstrip("/"))
        return Pattern(re.compile(body if anchored else f"(?:.*/)?{body}"), negated, folders_only)
    except re.error:
        return None  # git, too, passes over a bracket that is no range


def _regex(glob: str) -> str:
    made, at = "", 0
    while at < len(glob):
        if glob.startswith("**/", at) and (at == 0 or glob[at - 1] == "/"):
            made, at = made + "(?:.*/)?", at + 3
        elif glob[at:] == "**" and at and glob[at - 1] == "/":
            made, at = made + ".+", at + 2
        elif glob[at] == "*":
            while glob[at : at + 1] == "*":
                at += 1
            made += "[^/]*"
        elif glob[at] == "?":
            made, at = made + "[^/]", at + 1
        elif glob[at] == "[" and (end := glob.find("]", at + 2)) > 0:
            inner = glob[at + 1 : end]
            inner = "^" + inner[1:] if inner[0] in "!^" else inner
            made, at = made + "(?!/)[" + inner.replace("\\", "\\\\") + "]", end + 1
        elif glob[at] == "\\" and at + 1 < len(glob):
            made, at = made + re.escape(glob[at + 1]), at + 2
        else:
            made, at = made + re.escape(glob[at]), at + 1
    return made
