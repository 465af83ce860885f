"""Writes a re-tuned prompt beside the old one, and the variant that uses it as a block for understudy.yaml."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from understudy.config.insert import with_variant
from understudy.config.project import INLINE, Project
from understudy.core.errors import CannotMeasure, Refused
from understudy.core.variant import Variant

TUNED = ".tuned"


class Written(NamedTuple):
    """The prompt's file, relative to understudy.yaml, and the variant's name and block."""

    prompt: str
    name: str
    block: str
    why: str


def write_prompt(project: Project, workload: str, candidate: str, tuned: Variant, why: str) -> Written:
    """Write the prompt to a file of its own, never over another one; the same prompt again is the same file.

    Raises CannotMeasure where the folder cannot be written.
    """
    section = project.workload(workload).variants[candidate]
    old = section.system_prompt
    inline = not old or old.startswith(INLINE)
    place = Path("prompts") / f"{candidate}.md" if inline else Path(old)
    path = _free(project.root, place, tuned.system_prompt + "\n")
    variants = project.variants(workload)
    name = _name(f"{candidate}{TUNED.replace('.', '-')}", variants, tuned)
    fields: dict[str, Any] = section.model_dump(exclude_defaults=True, exclude={"pin", "why", "system_prompt"})
    fields |= {"system_prompt": path.as_posix(), "why": why}
    return Written(path.as_posix(), name, block(name, fields), why)


def block(name: str, fields: Mapping[str, Any], indent: int = 6) -> str:
    """A variant as lines of YAML; values are JSON, which YAML contains."""
    pad = " " * indent
    lines = [f"{pad}{name}:"]
    lines += [f"{pad}  {key}: {_value(value)}" for key, value in fields.items()]
    return "\n".join(lines) + "\n"


def insert(project: Project, workload: str, written: Written) -> None:
    """Put the variant into understudy.yaml, every other byte as it was. Does nothing where it is there already.

    Raises Refused where the file's form does not allow that, or it cannot be written.
    """
    if written.name in project.workload(workload).variants:
        return
    text = project.file.read_text(encoding="utf-8")
    changed = with_variant(text, project.document.file, workload, written.block)
    fresh = project.file.with_name(f".{project.file.name}.tuned")
    try:
        fresh.write_text(changed, encoding="utf-8")
        fresh.chmod(project.file.stat().st_mode & 0o777)
        fresh.replace(project.file)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise Refused(
            f"{project.file} cannot be written: {error.strerror or error}",
            remedy="put the printed block into it yourself",
        ) from None


def _value(value: Any) -> str:
    plain = isinstance(value, str) and value and all(c.isalnum() or c in "/._-" for c in value) and value[0].isalpha()
    return value if plain else json.dumps(value, ensure_ascii=False)


def _free(root: Path, old: Path, text: str) -> Path:
    """The first name after the old one's that is free, or has this very text."""
    number = 1
    while True:
        stem = old.stem.partition(TUNED)[0]
        path = old.with_name(f"{stem}{TUNED}{f'-{number}' if number > 1 else ''}{old.suffix or '.md'}")
        file = root / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as stream:
                stream.write(text)
            return path
        except FileExistsError:
            if file.is_file() and file.read_text(encoding="utf-8") == text:
                return path
        except OSError as error:
            raise CannotMeasure(
                f"the prompt cannot be written to {file}: {error.strerror or error}",
                remedy="make room or check the permissions, then go on with --resume",
            ) from None
        number += 1


def _name(wanted: str, variants: Mapping[str, Variant], tuned: Variant) -> str:
    """The name of the variant that is there already, or the first one that is free."""
    number = 1
    name = wanted
    while name in variants and variants[name].fingerprint != tuned.fingerprint:
        number += 1
        name = f"{wanted}-{number}"
    return name
