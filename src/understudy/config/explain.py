"""Checks a document against a model and says in plain sentences, with places, what does not fit.

Works for any pydantic model, so that suites and other files complain the way understudy.yaml does.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from understudy.config.load import Document, KeyPath
from understudy.config.schema import Wrong, is_secret
from understudy.core.errors import ConfigError, Problem

M = TypeVar("M", bound=BaseModel)

SHOWN = 60
"""Characters of a value that a message repeats."""


def validate(document: Document, model: type[M]) -> M:
    """The model that the document describes. Raises ConfigError with every problem, in the order of the file."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        found = explain(error, document, model)
    raise ConfigError(found)


def explain(error: ValidationError, document: Document, model: type[BaseModel]) -> list[Problem]:
    """The problems behind a validation error; a misspelt key and the missing one it stands for are one problem."""
    details = error.errors(include_url=False)
    missing = {tuple(d["loc"]) for d in details if d["type"] == "missing"}
    replaced: set[KeyPath] = set()
    problems = []
    for detail in details:
        if detail["type"] == "extra_forbidden":
            path = tuple(detail["loc"])
            near = nearest(str(path[-1]), keys_of(model, path[:-1]))
            replaced |= missing & {(*path[:-1], near)}
            problems.append(_unknown_key(path, document, model))
    refused: set[KeyPath] = set()
    for detail in details:
        path = tuple(detail["loc"])
        if detail["type"] == "extra_forbidden" or path in replaced:
            continue
        if detail["type"] != "missing" and path[-1:] != ("[key]",):
            # A value that may have several forms fails once for each; the first says what it most likely should be.
            value = _in_file(path, document.data)
            if value in refused:
                continue
            refused.add(value)
        problems.append(_problem(detail, path, document, model))
    return sorted(problems, key=lambda p: (p.where.line, p.where.column))


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that `name` was probably meant to be, "" where none is near."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def suggest(name: str, known: Iterable[str], *, none: str = "there is none yet") -> str:
    """A remedy for a name that is not there: the nearest one, or the list of what there is."""
    names = sorted(known)
    if not names:
        return none
    near = nearest(name, names)
    listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"did you mean {near}?" if near else f"there is {listed}"


def dotted(path: KeyPath) -> str:
    """`workloads.reply.unit[0]` for a path."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the file"


def shown(value: object, path: KeyPath = ()) -> str:
    """A value as a message repeats it: short, and never a secret."""
    if is_secret(path):
        return "(hidden)"
    match value:
        case None | "":
            return "empty"
        case dict() | list() if not value:
            return "empty"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f'"{value}"' if len(value) <= SHOWN else f'"{value[:SHOWN]}…"'
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return type(value).__name__


def keys_of(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys that may stand in the section at `path`; none where the names are free."""
    section = _model_at(model, path)
    return [field.alias or name for name, field in section.model_fields.items()] if section else []


def _model_at(model: Any, path: KeyPath) -> type[BaseModel] | None:
    """The model of the section at `path`, None where there is none."""
    model = _bare(model)
    if _is_union(model):
        # pydantic puts the tag that chose the member into the path.
        members = [_bare(each) for each in get_args(model)]
        chosen = [each for each in members if path and _tagged(each, path[0])]
        return _model_at(chosen[0], path[1:]) if chosen else None
    if not path:
        return model if isinstance(model, type) and issubclass(model, BaseModel) else None
    if isinstance(model, type) and issubclass(model, BaseModel):
        fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        inner = fields.get(str(path[0]))
        if inner is None and model.model_config.get("extra") == "allow":
            inner = get_args(get_type_hints(model)["__pydantic_extra__"])[-1]
    else:
        inner = get_args(model)[-1] if get_origin(model) in (dict, list) else None
    return _model_at(inner, path[1:]) if inner is not None else None


def _bare(annotation: Any) -> Any:
    """`X` for `X | None` and `Annotated[X, ...]`."""
    if _is_union(annotation):
        rest = [each for each in get_args(annotation) if each is not type(None)]
        return _bare(rest[0]) if len(rest) == 1 else annotation
    return _bare(get_args(annotation)[0]) if hasattr(annotation, "__metadata__") else annotation


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _tagged(model: Any, tag: object) -> bool:
    fields = getattr(model, "model_fields", {}).values()
    return any(get_origin(field.annotation) is Literal and tag in get_args(field.annotation) for field in fields)


def _in_file(path: KeyPath, data: Any) -> KeyPath:
    """The path without the parts that pydantic adds: tags of unions, names of validators."""
    kept: list[str | int] = []
    for part in path:
        there = part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int)
        if there:
            data = data[part]
            kept.append(part)
    return tuple(kept)


def _unknown_key(path: KeyPath, document: Document, model: type[BaseModel]) -> Problem:
    known = keys_of(model, path[:-1])
    path = (*_in_file(path[:-1], document.data), path[-1])
    message = f"{path[-1]} is no key of {dotted(path[:-1])}"
    return Problem(document.key_position(path), message, suggest(str(path[-1]), known))


def _problem(detail: ErrorDetails, path: KeyPath, document: Document, model: type[BaseModel]) -> Problem:
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    wrong = context.get("error")
    meant = _meant(path, model) if kind in {"model_type", "dict_type"} else ""
    last, path = path[-1:], _in_file(path, document.data)
    if kind == "missing":
        return Problem(document.key_position(path), f"{dotted(path)} has no {last[0]}", f"add {last[0]}: ... below it")
    if last == ("[key]",):
        where = document.key_position(path)
        return Problem(where, str(wrong or detail["msg"]), getattr(wrong, "remedy", "choose another name"))
    where = document.position(path)
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        key = str(context["discriminator"]).strip("'")
        if kind == "union_tag_not_found":
            return Problem(where, f"{dotted(path)} has no {key}", f"add {key}: ... below it")
        path, where, value = (*path, key), document.position((*path, key)), context["tag"]
    name = dotted(path)
    if isinstance(wrong, Wrong):
        said = str(wrong).replace(str(value), document.filled[path]) if path in document.filled else str(wrong)
        return Problem(where, f"{name}: {said}", wrong.remedy)
    is_what = shown(document.filled.get(path, value), path)
    sentence = _SENTENCES.get(kind)
    if sentence is None:
        # Kinds no section of ours can raise today; the value and pydantic's own words are still better than nothing.
        return Problem(where, f"{name} is {is_what}: {wrong or detail['msg']}", "correct the value")
    message, remedy = sentence(value, context)
    if meant:
        remedy = f"did you mean {meant}?"
    return Problem(where, f"{name} is {is_what}, {message}", remedy)


def _meant(path: KeyPath, model: type[BaseModel]) -> str:
    """The key of a section with free names that this one is a misspelling of (`critcal` among the gates)."""
    if not path:
        return ""
    near = nearest(str(path[-1]), keys_of(model, path[:-1]))
    return "" if near == path[-1] else near


Sentence = Callable[[Any, dict[str, Any]], tuple[str, str]]


def _text(value: Any, _: dict[str, Any]) -> tuple[str, str]:
    if value is None:
        return "and text is expected", "write a value, or remove the key"
    if isinstance(value, (dict, list)):
        return "and text is expected", "write one value on the line of the key"
    word = str(value).lower() if isinstance(value, bool) else value
    return "and text is expected", f'put it in quotes: "{word}"'


def _number(value: Any, _: dict[str, Any]) -> tuple[str, str]:
    return "and a number is expected", "write a number"


def _whole(value: Any, _: dict[str, Any]) -> tuple[str, str]:
    return "and a whole number is expected", "write a number without a fraction"


def _truth(value: Any, _: dict[str, Any]) -> tuple[str, str]:
    return "and true or false is expected", "write true or false"


def _list(value: Any, _: dict[str, Any]) -> tuple[str, str]:
    return "and a list is expected", f"write [{value}]" if isinstance(value, str) else "write [first, second]"


def _mapping(value: Any, _: dict[str, Any]) -> tuple[str, str]:
    return "and `key: value` lines are expected", "write them below it, indented"


def _choice(value: Any, context: dict[str, Any]) -> tuple[str, str]:
    choices = [word.strip(" '") for word in str(context["expected"]).replace(" or ", ",").split(",")]
    near = nearest(str(value), choices)
    listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return f"it can be {listed}", f"did you mean {near}?" if near else f"write {listed}"


def _tag(value: Any, context: dict[str, Any]) -> tuple[str, str]:
    return _choice(context.get("tag", ""), {"expected": context["expected_tags"]})


def _bound(key: str, words: str) -> Sentence:
    return lambda value, context: (f"{words} {context[key]:g} is allowed", f"write {words} {context[key]:g}")


def _short(value: Any, context: dict[str, Any]) -> tuple[str, str]:
    return f"and at least {context['min_length']} is needed", "add what is missing"


def _pattern(value: Any, context: dict[str, Any]) -> tuple[str, str]:
    return "which has not the form that is expected", f"see the reference; it has to match {context['pattern']}"


_SENTENCES: dict[str, Sentence] = {
    "string_type": _text,
    "string_too_short": _short,
    "string_pattern_mismatch": _pattern,
    "too_short": _short,
    "int_type": _whole,
    "int_parsing": _whole,
    "int_from_float": _whole,
    "float_type": _number,
    "float_parsing": _number,
    "finite_number": _number,
    "bool_type": _truth,
    "bool_parsing": _truth,
    "list_type": _list,
    "dict_type": _mapping,
    "model_type": _mapping,
    "model_attributes_type": _mapping,
    "literal_error": _choice,
    "union_tag_invalid": _tag,
    "greater_than": _bound("gt", "a number above"),
    "greater_than_equal": _bound("ge", "at least"),
    "less_than_equal": _bound("le", "at most"),
    "less_than": _bound("lt", "a number below"),
}
