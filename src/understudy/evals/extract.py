"""Finds in an answer what graders look for: matches, numbers, code fences, JSON and what stands at a path in it.

Pure and total: any text gives an answer or "nothing", never an exception. What is right or wrong is decided by the
graders.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec
import re2

from understudy.core.canonical import canonical_json

Occurrence = Literal["first", "last", "any"]

_SHOWN = 40


def well_formed(text: str) -> str:
    """Lone surrogates, which no UTF-8 holds, become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def same(one: str, other: str, ignore_case: bool) -> bool:
    """Whether two texts are equal in NFC, with spaces around them cut off."""
    one, other = (unicodedata.normalize("NFC", text.strip()) for text in (one, other))
    return one.casefold() == other.casefold() if ignore_case else one == other


def within(part: str, text: str, ignore_case: bool) -> bool:
    """Whether `part` stands in `text`, both in NFC."""
    part, text = (unicodedata.normalize("NFC", one) for one in (part, text))
    return part.casefold() in text.casefold() if ignore_case else part in text


@functools.lru_cache(maxsize=256)
def compiled(pattern: str, ignore_case: bool) -> Any:
    """The pattern on RE2. Raises re2.error where RE2 does not take it."""
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    return re2.compile(pattern, options)


def matches(pattern: Any, text: str, occurrence: Occurrence) -> Iterator[tuple[str, ...]]:
    """The matches an occurrence stands for, each as the whole match and, where there is one, its first group."""
    last = None
    for match in pattern.finditer(text):
        last = (match.group(0), *(match.groups()[:1] if match.groups() and match.group(1) is not None else ()))
        if occurrence != "last":
            yield last
        if occurrence == "first":
            return
    if occurrence == "last" and last is not None:
        yield last


def read_json(text: str, allow_fence: bool) -> tuple[Any, str]:
    """The value an answer holds, and what is wrong with it ("" where nothing is)."""
    body = text.strip()
    if allow_fence and body.startswith("```") and body.endswith("```") and "\n" in body:
        body = body[body.index("\n") : -3]
    try:
        return msgspec.json.decode(body), ""
    except msgspec.MsgspecError as error:
        return None, f"no valid JSON: {error}"
    except RecursionError:
        return None, "JSON nested too deeply"


def as_text(value: object) -> str:
    """A JSON value as a setting or reference would write it: texts as they are, all else as canonical JSON."""
    if isinstance(value, str):
        return value
    try:
        return canonical_json(value).decode()
    except (ValueError, RecursionError):
        return "something too long to compare"


def value_at(value: Any, path: str) -> Any:
    """What stands at a path, None where nothing does."""
    for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        if index and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
        elif key and isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return None
    return value


_NUMBER = re.compile(
    r"(?=[-+\u2212.\d])(?:(?<![^\W_])[-+\u2212])?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,3}(?!\d))?",
    re.ASCII,
)
"""A sign right behind a letter or digit is a dash: 5-3 holds 5 and 3."""


def numbers(text: str) -> Iterator[float]:
    """The numbers in a text, in order; thousands separators as in 1,234.5 are understood."""
    for match in _NUMBER.finditer(text):
        yield float(match[0].replace(",", "").replace("\u2212", "-"))


def number(text: str) -> float | None:
    """The number that a text is as a whole, None where it is none."""
    whole = _NUMBER.fullmatch(text.strip())
    return next(numbers(text.strip())) if whole else None


def fences(text: str) -> tuple[list[str], bool]:
    """The languages of the closed fences (lower case, "" for none), and whether one is left open."""
    languages: list[str] = []
    mark, language = "", ""
    for line in text.splitlines():
        found = re.match(r" {0,3}(`{3,}|~{3,})\s*([^\s`]*)", line)
        if found is None:
            continue
        if not mark:
            mark, language = found[1], found[2].lower()
        elif found[1].startswith(mark) and not line.strip().strip(mark[0]):
            languages.append(language)
            mark = ""
    return languages, bool(mark)


def likeness(method: str) -> Callable[[str, str], float]:
    """How alike two texts are, from 0 to 100: by their words in any order for "token_set", else letter by letter."""
    from rapidfuzz import fuzz

    return fuzz.token_set_ratio if method == "token_set" else fuzz.ratio


def shown(text: str) -> str:
    """The beginning of a text in quotes, on one line, for a reason that people read."""
    text = " ".join(text.split())
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")
