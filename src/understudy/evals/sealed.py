"""A JSON document as a file that is whole or not there, and that says itself whether it was cut or edited since."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.core.canonical import digest
from understudy.core.errors import CannotMeasure, DataCorrupt


def write(path: Path, document: Mapping[str, Any], *, remedy: str) -> None:
    """Write it with its checksum, in the place of a former one. Raises CannotMeasure where the disk refuses."""
    sealed = {**document, "checksum": digest(document)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".sealed-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(json.dumps(sealed, indent=1, ensure_ascii=False, allow_nan=False).encode())
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CannotMeasure(f"{path} cannot be written: {error.strerror or error}", remedy=remedy) from None


def read(path: Path, format: int, *, remedy: str) -> dict[str, Any]:
    """The document without its checksum. Raises DataCorrupt where it was cut, edited or has another `format`."""
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        stated = document.pop("checksum")
        if document["format"] != format:
            raise DataCorrupt(f"{path} has format {document['format']}, this version reads {format}", remedy=remedy)
        if stated != digest(document):
            raise DataCorrupt(f"{path} does not match its checksum", remedy=remedy)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataCorrupt(f"{path} cannot be read: {error}", remedy=remedy) from error
    return document
