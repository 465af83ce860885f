"""Writes the example project that `understudy init` gives a newcomer; never over anything that is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from understudy.config.schema import Config
from understudy.core.errors import Refused

SCHEMA_FILE = "understudy.schema.json"


def schema() -> dict[str, Any]:
    """The JSON Schema of understudy.yaml, for editors."""
    made = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "understudy.yaml"}


def contents() -> dict[str, str]:
    """The files of the example, by their path relative to its folder."""
    made = {name: item.read_text(encoding="utf-8") for name, item in _walk(files("understudy.config") / "example", "")}
    made[SCHEMA_FILE] = json.dumps(schema(), indent=1) + "\n"
    return dict(sorted(made.items()))


def write(folder: Path) -> list[str]:
    """Write the example and return the paths written, relative to the folder.

    Raises Refused, with nothing written, where one of the files is there already or the folder cannot be written.
    """
    planned = contents()
    there = [name for name in planned if (folder / name).exists() or (folder / name).is_symlink()]
    if there:
        raise Refused(
            f"{folder} already has {', '.join(there)}",
            remedy="name an empty folder: `understudy init FOLDER`; nothing was written",
        )
    try:
        for name, text in planned.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("x", encoding="utf-8") as stream:
                stream.write(text)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise Refused(f"{error.filename or folder} cannot be written: {why}", remedy="name another folder") from error
    return list(planned)


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _walk(item, f"{prefix}{item.name}/")
        else:
            yield f"{prefix}{item.name}", item
