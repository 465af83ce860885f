"""Fills ${NAME} in from a given environment; which environment that is, the caller decides.

A secret (`schema.is_secret`) keeps its reference: the routing table carries the name of the variable, and
each gateway reads its own environment. `$${` stands for a literal `${`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from understudy.config.explain import dotted
from understudy.config.load import Document, KeyPath
from understudy.config.schema import is_secret
from understudy.core.errors import Problem

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WHOLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def expand(document: Document, environment: Mapping[str, str]) -> tuple[Document, list[tuple[KeyPath, Problem]]]:
    """The document with every reference filled in, and a problem for each one that cannot be."""
    problems: list[tuple[KeyPath, Problem]] = []
    filled: dict[KeyPath, str] = {}

    def walk(value: Any, path: KeyPath) -> Any:
        match value:
            case dict():
                return {key: walk(inner, (*path, key)) for key, inner in value.items()}
            case list():
                return [walk(inner, (*path, index)) for index, inner in enumerate(value)]
            case str() if "${" in value:
                if is_secret(path):
                    found = _secret(value)
                else:
                    filled[path] = value
                    value, found = _fill(value, environment)
                problems.extend(
                    (path, document.problem(path, f"{dotted(path)}: {message}", remedy)) for message, remedy in found
                )
                return value
            case _:
                return value

    return replace(document, data=walk(document.data, ()), filled=filled), problems


def reference(value: str) -> str:
    """The variable's name where `value` is exactly ${NAME}, "" otherwise."""
    whole = _WHOLE.fullmatch(value)
    return whole.group(1) if whole else ""


def _fill(text: str, environment: Mapping[str, str]) -> tuple[str, list[tuple[str, str]]]:
    found: list[tuple[str, str]] = []

    def one(match: re.Match[str]) -> str:
        name, closed = match.group(1), match.group(2)
        if name is None:
            return "${"
        if not closed or not _NAME.fullmatch(name):
            found.append(
                (f"{match.group(0)[:40]} is no reference to a variable", "write ${NAME}, or $${ for a literal ${")
            )
        elif name not in environment:
            found.append((f"the environment variable {name} is not set", f"export {name}=..."))
        else:
            return environment[name]
        return match.group(0)

    return _REFERENCE.sub(one, text), found


def _secret(text: str) -> list[tuple[str, str]]:
    """A secret is one whole reference or literal text; a mixture would put it into the routing table in the clear."""
    if reference(text):
        return []
    return [("a secret may not mix text with ${...}", "write ${NAME} alone, and put the whole secret in the variable")]
