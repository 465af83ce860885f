"""Takes the text of an answer apart: greeting, body and closing line, sentences and words. Knows no model."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

MOST = 20_000
"""Characters that are looked at; what a person notices is in there, and time stays bounded."""
LINE = 120
"""Characters of the longest greeting or closing line."""

_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*$", re.MULTILINE)
_DATA = re.compile(r"\{|\[\s*[\[{\"'\d-]")
_BREAK = re.compile(r"[.!?\n](?:(?<=\n)\n*|[\"')\]]*\s+)")
"""Between two sentences: a mark, which belongs to the first of them, with space behind it; or the ends of lines. Begins
with one set of characters, so that a search goes from one of them to the next.
"""
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_LETTERS = bytes(code if chr(code) in "'abcdefghijklmnopqrstuvwxyz" else 32 for code in range(256))
_GREETING = re.compile(
    r"(?:hi|hey|hello|dear|greetings|good (?:morning|afternoon|evening|day)|"
    r"thanks? (?:you )?for (?:writing|contacting|reaching|getting in touch|your (?:message|mail|e-?mail|question)))\b",
    re.IGNORECASE,
)


class Parts(NamedTuple):
    """An answer in three parts; greeting and closing are "" where there is none."""

    greeting: str
    body: str
    closing: str


def is_data(text: str) -> bool:
    """True for what is meant to be JSON, well formed or not: it has no greeting, no closing line and no tone."""
    return bool(_DATA.match(unfenced(text[:MOST])))


def sentences(text: str) -> list[str]:
    """Sentences and lines, without white space around them and without empty ones."""
    text, found, begin = text[:MOST], list[str](), 0
    for match in _BREAK.finditer(text):
        found.append(text[begin : match.start() + 1].strip())  # a line's end goes with what is stripped
        begin = match.end()
    found.append(text[begin:].strip())
    return [part for part in found if part]


def words(text: str) -> list[str]:
    """Words of letters, lower case, with plain apostrophes."""
    lowered = text[:MOST].lower().replace("’", "'")
    if not lowered.isascii():
        return _WORD.findall(lowered)
    # The same, in a fifth of the time: letters and apostrophes stay, and apostrophes only between two letters.
    letters = lowered.encode().translate(_LETTERS).decode()
    if "'" in letters:
        letters = f" {letters} ".replace("''", "  ").replace(" '", "  ").replace("' ", "  ")
    return letters.split()


def normal(line: str) -> str:
    """A line as it is compared with others: lower case, digits as 0, without punctuation and space at its ends."""
    return re.sub(r"\d+", "0", " ".join(line.lower().split())).strip(" .,!:;*_-–—\"'")


def first_line(text: str) -> str:
    """The normal form of the first sentence, "" where it is all there is, long, a single word, or a greeting."""
    found = sentences(text[: 4 * LINE])
    if len(found) < 2 or len(found[0]) > LINE or _GREETING.match(found[0]) or " " not in found[0]:
        return ""
    return normal(found[0])


def last_line(text: str) -> str:
    """The normal form of the last sentence of a text with several, "" where it is all there is, or long."""
    found = sentences(text[-MOST:])
    return normal(found[-1]) if len(found) > 1 and len(found[-1]) <= LINE else ""


def opening(text: str) -> str:
    """The form of the first word where it is more than a word: "(A)" is "(a)", `{"name":` is `{"a":`, "12." is "0."."""
    token = text.lstrip()[:80].split(maxsplit=1)
    if not token or len(token[0]) > 40:
        return ""
    form = re.sub(r"\d+", "0", re.sub(r"[^\W\d_]+", "a", token[0]))
    return form if form[:1] not in {"a", "0"} or form == "0." else ""


def unfenced(text: str) -> str:
    """The text without the lines that open and close a code fence."""
    return _FENCE.sub("", text).strip() if "```" in text or "~~~" in text else text.strip()


def part(text: str, closings: Collection[str]) -> Parts:
    """Take an answer apart; `closings` are the closing lines it may have, as `last_line` gives them."""
    body = unfenced(text[:MOST])
    greeting = _greeting(body)
    body = body[len(greeting) :].lstrip()
    found = sentences(body[-4 * LINE :])
    closing = found[-1] if found and normal(found[-1]) in closings and body.endswith(found[-1]) else ""
    return Parts(greeting, body[: len(body) - len(closing)].rstrip(), closing)


def _greeting(body: str) -> str:
    """The first sentence where it does nothing but greet and thank, else up to its comma: "Dear customer,"."""
    if not _GREETING.match(body):
        return ""
    first = sentences(body[: 4 * LINE])[0]
    cut = re.search(r"[,!:]\s+(?!(?:and )?(?:many )?thank)", first)
    return first[: cut.start() + 1] if cut else first if len(first) <= LINE else ""
