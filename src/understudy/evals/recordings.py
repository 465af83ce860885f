"""Reads recordings: answers that models gave earlier, one JSON line a (case, model), plain or gzipped, row by row.

What is made of the rows (cases of a suite, a provider for tests) is left to others. A file is read as a stream and
a line has a limit, so neither a long file nor a compression bomb fills the memory.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import msgspec

from understudy.core.errors import ConfigError, Position, Problem

MAX_LINE = 8 << 20
"""Bytes of one row; a longer line is no recording but something else."""
MAX_PROBLEMS = 20
"""Broken lines that are reported before reading stops."""

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_TEXTS = ("case_id", "model", "prompt", "output")
_KNOWN = (*_TEXTS, "slice", "reference", "latency_s", "cost_usd", "output_tokens", "temperature")
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Recording:
    """What one model answered to one case. `None` means that the file does not say."""

    case_id: str
    model: str
    prompt: str
    output: str
    where: Position
    slice: str = ""
    """"" where the row belongs to no slice: it then counts in the aggregate only."""
    reference: str | None = None
    latency_s: float | None = None
    """Seconds from the request to the last byte of the answer."""
    cost_usd: float | None = None
    output_tokens: int | None = None
    temperature: float | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Every other numeric field of the row, by its name; true and false count as 1 and 0."""


class Duplicates(NamedTuple):
    """Rows beyond the first for one (case, model), and case ids that stand for several prompts."""

    rows: int
    """Rows that repeat a (case, model) with the same prompt."""
    prompts: int
    """Case ids under which more than one prompt was found."""

    def __str__(self) -> str:
        said = []
        if self.rows:
            said.append(f"{self.rows:,} rows repeat a case and model already read")
        if self.prompts:
            said.append(f"{self.prompts:,} case ids stand for several prompts")
        return "; ".join(said) or "no duplicates"


def read(path: Path) -> Iterator[Recording]:
    """The rows of a file, in order, blank lines skipped.

    Raises ConfigError naming every broken line (at most MAX_PROBLEMS) with line and column. From the first broken
    line on nothing more is yielded: the rest of the file is only searched for further problems.
    """
    problems: list[Problem] = []
    try:
        with _opened(path) as stream:
            for number, line in _lines(stream, path):
                row = _row(line, str(path), number)
                if isinstance(row, Problem):
                    problems.append(row)
                    if len(problems) == MAX_PROBLEMS:
                        break
                elif not problems:
                    yield row
    except _Unreadable as error:
        problems.append(error.problem)
    if problems:
        raise ConfigError(problems)


def duplicates(rows: Iterable[Recording]) -> Duplicates:
    """What stands more than once among the rows."""
    seen: set[tuple[str, str, str]] = set()
    prompts: dict[str, str] = {}
    several: set[str] = set()
    repeated = 0
    for row in rows:
        key = (row.case_id, row.model, row.prompt)
        repeated += key in seen
        seen.add(key)
        if prompts.setdefault(row.case_id, row.prompt) != row.prompt:
            several.add(row.case_id)
    return Duplicates(repeated, len(several))


class _Unreadable(Exception):
    """The file itself cannot be read further."""

    def __init__(self, path: Path, line: int, message: str, remedy: str) -> None:
        super().__init__(message)
        self.problem = Problem(Position(str(path), line, 1), message, remedy)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        if path.is_dir():
            raise _Unreadable(path, 1, f"{path} is a folder", "name a .jsonl or .jsonl.gz file")
        raw = path.open("rb")
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise _Unreadable(path, 1, f"{path} cannot be read: {why}", "check the path and who may read it") from None
    with raw:
        # The bytes decide, not the name: a renamed file is still what it is.
        if raw.peek(2)[:2] != _GZIP:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as unpacked:
            yield cast("BinaryIO", unpacked)


def _lines(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Each line that is not blank, with its number from 1."""
    number = 0
    while True:
        try:
            line = stream.readline(MAX_LINE + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            said = f"the compressed file is damaged after line {number}: {error}"
            raise _Unreadable(path, number + 1, said, "fetch or write the file again") from None
        except OSError as error:
            said = f"reading stopped after line {number}: {error.strerror or error}"
            raise _Unreadable(path, number + 1, said, "check the disk and the file") from None
        if not line:
            return
        number += 1
        if len(line) > MAX_LINE:
            said = f"the line is longer than {MAX_LINE:,} bytes, the limit"
            raise _Unreadable(path, number, said, "write one JSON object a line")
        if number == 1 and line.startswith(_BOM):
            line = line[len(_BOM) :]
        if line.strip():
            yield number, line


def _row(line: bytes, file: str, number: int) -> Recording | Problem:
    def problem(column: int, message: str, remedy: str) -> Problem:
        return Problem(Position(file, number, column), message, remedy)

    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return problem(error.start + 1, f"byte 0x{line[error.start]:02x} is not UTF-8", "save the file as UTF-8")
    try:
        data = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        at, said = _syntax(str(error), line, text)
        return problem(at, said, "write one complete JSON object a line")
    except RecursionError:
        return problem(1, "the line is nested too deeply", "write one flat JSON object a line")
    if not isinstance(data, dict):
        return problem(1, f"the line holds {_kind(data)}, not an object", 'write {"case_id": ..., "model": ...}')
    try:
        return _recording(data, Position(file, number, 1))
    except _BadField as error:
        return problem(_column(text, error.key), error.message, error.remedy)


def _syntax(said: str, line: bytes, text: str) -> tuple[int, str]:
    """Column and sentence for what the JSON parser says."""
    try:
        json.loads(text)
        found = re.search(r" \(byte (\d+)\)", said)
        at = len(line[: int(found[1])].decode(errors="replace")) if found else len(text)
    except json.JSONDecodeError as error:
        at = error.pos  # the strict parser may stop in the middle of a word, this one names its beginning
    except (RecursionError, ValueError):
        at = len(text)
    rest = text[at : at + _SHOWN].rstrip()
    if not rest:
        return len(text.rstrip()) + 1, "the line ends before its JSON does" if "truncated" in said else said
    return at + 1, f"no valid JSON from {rest!r} on"


class _BadField(Exception):
    def __init__(self, key: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.key = key
        self.message = message
        self.remedy = remedy


def _recording(data: dict[str, Any], where: Position) -> Recording:
    for key in _TEXTS:
        if not isinstance(data.get(key), str) or (key in ("case_id", "model", "prompt") and not data[key]):
            if key not in data:
                raise _BadField(key, f"the row has no {key!r}", f"every row needs {', '.join(_TEXTS)}")
            raise _BadField(key, f"{key} is {_shown(data[key])}, not a text", f'write "{key}": "..."')
    slice_ = data.get("slice")
    if slice_ is not None and not isinstance(slice_, str):
        raise _BadField("slice", f"slice is {_shown(slice_)}, not a text", 'write "slice": "name"')
    tokens = data.get("output_tokens")
    if tokens is not None and (not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0):
        raise _BadField("output_tokens", f"output_tokens is {_shown(tokens)}", "write a whole number, 0 or more")
    return Recording(
        case_id=data["case_id"],
        model=data["model"],
        prompt=data["prompt"],
        output=data["output"],
        where=where,
        slice=slice_ or "",
        reference=_reference(data.get("reference")),
        latency_s=_number(data, "latency_s"),
        cost_usd=_number(data, "cost_usd"),
        output_tokens=tokens,
        temperature=_number(data, "temperature"),
        numbers={key: float(value) for key, value in data.items() if key not in _KNOWN and _is_number(value)},
    )


def _reference(value: object) -> str | None:
    """A number is taken as its text; an empty reference is none."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _BadField("reference", f"reference is {_shown(value)}", "write a text or a number, or leave it out")
    return str(value)


def _number(data: dict[str, Any], key: str) -> float | None:
    value = data.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not _is_number(value) or value < 0:
        raise _BadField(key, f"{key} is {_shown(value)}", "write a number, 0 or more, or leave it out")
    return float(value)


def _is_number(value: object) -> bool:
    """True for what a float can hold: JSON itself knows no limit."""
    if isinstance(value, int):
        return value.bit_length() < 1000
    return isinstance(value, float) and math.isfinite(value)


def _column(text: str, key: str) -> int:
    """Where a key's value begins, from 1; the line's end where the key is absent."""
    found = re.search(rf'"{re.escape(key)}"\s*:\s*', text)
    return found.end() + 1 if found else len(text.rstrip())


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, (str, int, float)) else _kind(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return "a text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "an object"
