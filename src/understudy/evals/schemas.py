"""Decides whether a value fits a JSON schema, without a network and without patterns that can hang."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

import re2

from understudy.evals.extract import compiled

INSTALLED = importlib.util.find_spec("jsonschema") is not None
TOO_DEEP = "it is nested too deep to be checked"
_SHOWN = 160


def schema_error(schema: Mapping[str, Any]) -> str:
    """Why this is no schema that can be used, "" where it is one."""
    if not INSTALLED:
        return "the package jsonschema is not installed: install understudy[all]"
    from jsonschema import exceptions, validators
    from referencing.exceptions import Unresolvable

    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(dict(schema))
        for pattern in _patterns(schema):
            compiled(pattern, ignore_case=False)
        # References are followed only where a value gets there: some are tried here, a wrong one shows at once.
        probes: tuple[Any, ...] = ({}, [], "", 0, True, None)
        for probe in probes:
            if misfit(schema, probe) == TOO_DEEP:
                return "it refers to itself without an end"
    except exceptions.SchemaError as error:
        return f"{error.message[:_SHOWN]} at {error.json_path}"
    except re2.error as error:
        return f"a pattern is none of RE2: {str(error)[:_SHOWN]}"
    except Unresolvable as error:
        return f"a reference leads nowhere: {str(error)[:_SHOWN]}"
    return ""


def misfit(schema: Mapping[str, Any], value: Any) -> str:
    """The first way in which a value does not fit, with its place; "" where it fits."""
    from jsonschema import exceptions

    try:
        error = exceptions.best_match(_validator(schema).iter_errors(value))
    except RecursionError:
        return TOO_DEEP
    return "" if error is None else f"{error.json_path}: {error.message[:_SHOWN]}"


def _validator(schema: Mapping[str, Any]) -> Any:
    from jsonschema import validators
    from referencing import Registry

    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    made: Any = validators.extend(kind, {"pattern": _pattern})
    # An empty registry: a reference out of the schema is an error, never a download.
    return made(schema, registry=Registry())


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(instance, str) and not compiled(pattern, ignore_case=False).search(instance):
        yield ValidationError(f"does not match {pattern!r}")


def _patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for value in schema.values():
            yield from _patterns(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _patterns(value)
