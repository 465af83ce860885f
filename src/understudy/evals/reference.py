"""Writes the reference tables of graders and suites from the models and docstrings that the code itself uses."""

from __future__ import annotations

import html
import inspect
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from understudy.core.canonical import canonical_json
from understudy.core.refusal import OPENING, PHRASES
from understudy.evals.cases import CaseSection, MessageSection
from understudy.evals.graders import GRADERS, Grader
from understudy.evals.suite import SuiteSection


class Example(Protocol):
    """A row of the specification: what a grader with these settings says of an answer."""

    settings: dict[str, Any]
    answer: str
    reference: str | None
    score: float | None
    reason: str


def graders(examples: Mapping[str, Sequence[Example]]) -> str:
    """Every grader type: what it says, its settings, and examples; in Markdown."""
    parts = ["## Settings of every grader\n", *_settings(Grader, known=())]
    for name, kind in GRADERS.items():
        parts += [f"\n## {name}\n", inspect.cleandoc(kind.__doc__ or ""), ""]
        parts += _settings(kind, known=tuple(Grader.model_fields))
        parts += _examples(examples[name])
        if name == "refusal":
            parts += _phrases()
    return "\n".join(parts).strip()


def suites() -> str:
    """The keys of a suite file, of a case and of a message; in Markdown."""
    parts: list[str] = []
    for title, model in (("The file", SuiteSection), ("A case", CaseSection), ("A message", MessageSection)):
        parts += [f"\n### {title}\n", *_settings(model, known=())]
    return "\n".join(parts).strip()


def _settings(model: type[BaseModel], known: tuple[str, ...]) -> Iterator[str]:
    fields = [(name, field) for name, field in model.model_fields.items() if name not in known]
    if not fields:
        return
    yield "| key | values | default | meaning |"
    yield "|---|---|---|---|"
    for name, field in fields:
        meaning = field.description or "The grader type: the headings below."
        yield f"| `{field.alias or name}` | {_values(field)} | {_default(field)} | {meaning.replace('|', '&#124;')} |"


def _values(field: FieldInfo) -> str:
    return " or ".join(_kind(each) for each in _members(field.annotation))


def _members(annotation: Any) -> Iterator[Any]:
    """The alternatives of an annotation, without None."""
    if get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from _members(each)
    elif annotation is not types.NoneType:
        yield annotation.__origin__ if hasattr(annotation, "__metadata__") else annotation


def _kind(annotation: Any) -> str:
    """How people call the values of a type."""
    inside = [_kind(each) for each in get_args(annotation) if annotation is not Any]
    match get_origin(annotation) or annotation:
        case origin if origin is Literal:
            return ", ".join(f"`{choice}`" for choice in get_args(annotation))
        case origin if origin is list:
            inner = next(_members(get_args(annotation)[0]))
            return f"list of {_LISTS[get_origin(inner) or inner]}"
        case origin if origin is dict:
            return "`key: value` pairs"
        case origin if origin is tuple:
            return f"[{', '.join(inside)}]"
        case origin:
            return _KINDS.get(origin, "file name or list")


_KINDS: dict[Any, str] = {str: "text", bool: "true, false", int: "whole number", float: "number"}
_LISTS: dict[Any, str] = {str: "texts", MessageSection: "messages", dict: "graders"}


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default in (None, "", []):
        return "none"
    return f"`{canonical_json(field.default).decode().strip(chr(34))}`"


def _examples(rows: Sequence[Example]) -> Iterator[str]:
    yield "\n| settings | answer | reference | score | says |"
    yield "|---|---|---|---|---|"
    for row in rows:
        settings = ", ".join(f"{key}: {_plain(value)}" for key, value in row.settings.items())
        score = "none" if row.score is None else f"{row.score:g}"
        reference = "" if row.reference is None else _code(row.reference)
        yield f"| {_code(settings)} | {_code(row.answer)} | {reference} | {score} | {_cell(row.reason)} |"


def _phrases() -> Iterator[str]:
    yield f"\nThe first {OPENING} characters of an answer are read, in lower case and with plain apostrophes:\n"
    yield "| way of declining | pattern |"
    yield "|---|---|"
    for name, pattern in PHRASES:
        yield f"| {name} | {_code(pattern)} |"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value).decode()


def _code(text: str) -> str:
    """A table cell with literal text; line breaks become a sign, since a cell has none."""
    return f"<code>{_cell(text)}</code>" if text else ""


def _cell(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "&#124;").replace("\n", "⏎").replace("`", "&#96;")
