"""Walks a tree for files that can be read for names of models, leaving out what .gitignore leaves out."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import re2

from understudy.core.errors import UsageError
from understudy.registry.lint.gitignore import Ignores, ignored, parse
from understudy.registry.lint.lexing import read_c_like, read_hashed, read_json
from understudy.registry.lint.python import read_python
from understudy.registry.lint.reading import Reading
from understudy.registry.lint.structured import read_notebook, read_yaml

Reader = Callable[[str], Reading]
C_LIKE = (
    "js", "mjs", "cjs", "jsx", "ts", "mts", "cts", "tsx", "vue", "svelte", "go", "java", "kt", "kts", "rs",
    "cs", "swift", "scala", "php", "dart", "c", "h", "cc", "cpp", "hpp", "bicep",
)  # fmt: skip
HASHED = (
    "toml", "ini", "cfg", "conf", "properties", "env", "sh", "bash", "zsh", "tf", "tfvars", "hcl", "rb", "ex",
    "exs", "r", "jl", "ps1", "dockerfile", "mk",
)  # fmt: skip
READERS: dict[str, Reader] = {
    **dict.fromkeys(("py", "pyw"), read_python),
    "ipynb": read_notebook,
    **dict.fromkeys(("json", "jsonc", "json5"), read_json),
    **dict.fromkeys(("yaml", "yml"), read_yaml),
    **dict.fromkeys(C_LIKE, read_c_like),
    **dict.fromkeys(HASHED, read_hashed),
}
"""By suffix. Prose (.md, .rst, .txt), type stubs (.pyi, .d.ts) and data (.csv, .jsonl) are not read: a name there is
spoken of, not used."""
NAMED = re.compile(r"\.env(\..+)?|(Dockerfile|Containerfile)(\..+)?|(GNU)?[Mm]akefile|Procfile|\.envrc")
LEFT_OUT = frozenset((".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".nox"))
"""Folders that are never entered on the way down; whoever wants one of them names it."""
MAX_BYTES = 2 << 20
"""A larger file is data or was generated."""
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""How a file begins that PowerShell redirected something into."""
HINT = re2.compile(
    rb"gpt-|claude|gemini-|i[sx]tral|deepseek|anthropic\.|amazon\.(nova|titan)|meta\.llama|cohere\.(command|embed)"
    rb"|ai21\.j|from_pretrained\(|_download\(|Transformer\(|CrossEncoder\(|\bpipeline\(|\bo[1-9]\b|computer-use"
    rb"|[-:@/=\"']latest|openrouter/|VersionAvailable|VersionExpired|understudy: *ignore"
)
"""Nothing can be found in a file without one of these, so that it need not be parsed."""


class Source(NamedTuple):
    """A file to be read."""

    path: Path
    shown: str
    reader: Reader


class PassedOver(Exception):
    """A file in which names may stand and that is not read; the text says why."""


def reader_of(name: str) -> Reader | None:
    """Who reads a file of this name; None where nobody does."""
    if name.endswith((".d.ts", ".min.js")):
        return None
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    return READERS.get(suffix) or (read_hashed if NAMED.fullmatch(name) else None)


def sources(paths: Sequence[Path], exclude: Sequence[str], closed: dict[str, str]) -> Iterator[Source]:
    """The files at and below these paths, in order; `exclude` are patterns as in a .gitignore. Folders that cannot be
    listed go to `closed`, with the reason.

    Raises UsageError for a path that is not there, and for a file by name that nobody reads.
    """
    for root in paths:
        if root.is_dir():
            extra = parse(exclude)
            yield from _below(root, "", [*_above(root), extra], closed)
            continue
        if not root.exists():
            raise UsageError(f"{root} does not exist", remedy="name a file or a folder")
        reader = reader_of(root.name) if root.is_file() else None
        if reader is None:
            known = ", ".join(sorted(READERS))
            raise UsageError(f"{root} is of no kind that is read for names of models", remedy=f"kinds: {known}")
        yield Source(root, _shown(str(root)), reader)


def _above(root: Path) -> list[Ignores]:
    """The .gitignore files of the repository above this folder; none outside of one."""
    folder, way, found = root.resolve(), "", list[Ignores]()
    while not (folder / ".git").exists():
        if folder.parent == folder:
            return []
        way = f"{folder.name}/{way}" if way else folder.name
        folder = folder.parent
        found = [*_read(folder, way=way), *found]
    return found


def _read(folder: Path, inner: str = "", way: str = "") -> list[Ignores]:
    try:
        text = (folder / ".gitignore").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [parse(text.split("\n"), inner, way)]


def _below(folder: Path, inner: str, ignores: list[Ignores], closed: dict[str, str]) -> Iterator[Source]:
    here = [*ignores, *_read(folder, inner)]
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        closed[_shown(str(folder))] = str(error.strerror or error)
        return
    for entry in entries:
        path = f"{inner}/{entry.name}" if inner else entry.name
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in LEFT_OUT and not ignored(path, True, here):
                yield from _below(Path(entry.path), path, here, closed)
        elif entry.is_file(follow_symlinks=False):
            reader = reader_of(entry.name)
            if reader is not None and not ignored(path, False, here):
                yield Source(Path(entry.path), _shown(entry.path.removeprefix("./")), reader)


def _shown(path: str) -> str:
    """A path that can be printed, whatever bytes its name is made of."""
    return os.fsencode(path).decode(errors="replace")


def text_of(source: Source) -> str | None:
    """The text of a file in which something could be found; None for all others. Its lines end in line feeds.

    Raises OSError where it cannot be read, PassedOver for what is too large and for what is no text.
    """
    if source.path.stat().st_size > MAX_BYTES:
        raise PassedOver(f"larger than {MAX_BYTES >> 20} MiB")
    data = source.path.read_bytes()
    if data.startswith(UTF_16):
        data = data.decode("utf-16", errors="replace").encode()
    if HINT.search(data) is None:
        return None
    if b"\0" in data:
        raise PassedOver("no text")
    text = data.decode("utf-8", errors="replace").removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n")


GENERATED = 20_000
"""Characters of a line that nobody wrote."""


def is_generated(source: Source, text: str) -> bool:
    """Whether a file is a bundle or a dump: parsing it takes long, and nobody would mend it by hand. The pictures in a
    notebook are long lines that say nothing of its cells.
    """
    if len(text) <= GENERATED or source.reader is read_notebook:
        return False
    return any(len(line) > GENERATED for line in text.split("\n"))
