"""Decides what a difference between two answers to one question means: acceptable, or worth a worry. Pure.

Acceptable is what a reader would call clearer, more concise or better laid out. Worrying is a refusal, something lost
or newly claimed, a form that a parser depends on, an answer much longer, or one that hardly shares its text with the
old one. What is measured is what the differ of stage 3 measures (`drift`); here there is one pair and no statistics,
so only what is there or gone counts, and figures are given as remarks.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from typing import NamedTuple

from rapidfuzz import fuzz

from understudy.drift.catalogue import FEATURES
from understudy.drift.features import Habits, measure
from understudy.drift.form import parses, shape, tools
from understudy.drift.sentences import Said as Change
from understudy.drift.sentences import say
from understudy.drift.text import MOST, is_data, part, sentences, unfenced, words
from understudy.snapshots.stored import Said, escaped

UNLIKE = 0.7
"""Below this similarity an answer is another answer. The number is the one people use with embeddings, see
`similarity` for what is measured here."""
LONGER = 1.25
"""An answer so many times as long is more verbose."""
SHORTER = 0.5
"""An answer less than this part of the old one has lost something."""
TONE = 3.0
"""A change of tone that is mentioned: words of a kind per hundred, or school years."""
_SIGNED = 60
"""Characters of a line on its own that closes an answer."""


class Worth(StrEnum):
    """What a difference is worth."""

    SAME = "same"
    ACCEPTABLE = "acceptable"
    WORRYING = "worrying"


@dataclass(frozen=True, slots=True)
class Difference:
    """What a difference is worth, and why, in sentences."""

    worth: Worth
    worries: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    """What else changed, and is no reason to worry."""
    similarity: float = 1.0

    @property
    def headline(self) -> str:
        """One line: the verdict and its first reason."""
        if self.worth is Worth.SAME:
            return "the same answer"
        reasons = self.worries or self.remarks or ("other words for the same",)
        more = len(reasons) - 1
        return f"{self.worth}: {reasons[0]}" + (f", and {more} more" if more else "")


def compare(old: Said, new: Said, *, old_finish: str = "", new_finish: str = "") -> Difference:
    """What has become of the answer. The finish reasons tell an answer that was cut off."""
    if old == new:
        return Difference(Worth.SAME)
    alike = similarity(old.text, new.text)
    before, after = _Side(old, old_finish), _Side(new, new_finish)
    was, now = measure(before, Habits()), measure(after, Habits())
    worries = list(_plain(was, now))
    refuses = bool(now.get("refusal")) and not was.get("refusal")
    if not refuses:
        worries += _calls(old.tool_calls, new.tool_calls)
        if old.text.strip() and new.text.strip():
            worries += [*_content(old.text, new.text, was, now), *_length(old.text, new.text)]
            if alike < UNLIKE:
                worries.append(f"a different answer: similarity {alike:.2f}, below {UNLIKE}")
    worth = Worth.WORRYING if worries else Worth.ACCEPTABLE
    return Difference(worth, tuple(worries), tuple(_remarks(old.text, new.text, was, now)), alike)


def similarity(old: str, new: str) -> float:
    """How alike two texts are, from 0 to 1: the larger of two ratios.

    One is of letters in their order (Indel distance, 1 - d / (len(old) + len(new))), the other the same after the
    words are sorted, which forgives sentences that changed places. Case, punctuation and white space do not count.
    Both see wording and not meaning: a paraphrase is unlike, "you can" and "you cannot" are alike. That is why it
    is never the only thing that is looked at.
    """
    one, other = (" ".join(re.findall(r"\w+", text.casefold())) for text in (old[:MOST], new[:MOST]))
    return max(fuzz.ratio(one, other), fuzz.token_sort_ratio(one, other)) / 100.0


class _Side(NamedTuple):
    """An answer as `drift` measures one; what a snapshot does not know is None."""

    said: Said
    finish_reason: str
    kept: bool = True
    status: int = 200
    error: str = ""
    latency_s: float | None = None
    ttft_s: float | None = None
    cost_usd: float | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None

    @property
    def answer(self) -> str:
        return self.said.text

    @property
    def tool_calls(self) -> str:
        return self.said.tool_calls


_GAINED = {
    "refusal": "it refuses",
    "empty": "it is empty",
    "cut_off": "it is cut off at the token limit",
    "single_quotes": "its JSON is in single quotes, which no parser reads",
}
_LOST = {
    "json": "it is no valid JSON any more",
    "table": "the Markdown table is gone",
    "list": "the list is gone",
    "heading": "the heading is gone",
}
_FORMS = {"table": "a Markdown table", "list": "a list", "heading": "a heading", "greeting": "a greeting"}


def _plain(was: dict[str, float], now: dict[str, float]) -> Iterator[str]:
    """What every text has or has not, and what its change says by itself."""
    for name, says in _GAINED.items():
        if now.get(name) and not was.get(name):
            yield says
    if not now.get("refusal"):
        for name, says in _LOST.items():
            if was.get(name) and name in now and not now[name]:
                yield says


def _calls(old: str, new: str) -> Iterator[str]:
    """Tools that are called otherwise."""
    before, after = tools(old), tools(new)
    names, new_names = Counter(name for name, _ in before), Counter(name for name, _ in after)
    for name in names - new_names:
        yield f"the tool {_brief(name)} is called less often"
    for name in new_names - names:
        yield f"the tool {_brief(name)} is called more often"
    if names == new_names:
        if Counter(before) != Counter(after):
            yield "a tool call has arguments of another shape"
        elif old != new:
            yield "a tool call has other arguments"


def _content(old: str, new: str, was: dict[str, float], now: dict[str, float]) -> Iterator[str]:
    """What the text says: data, fences, figures, a no, a line that closes it."""
    if is_data(old) and parses(unfenced(old)) and parses(unfenced(new)):
        before, after = shape(json.loads(unfenced(old)), 8), shape(json.loads(unfenced(new)), 8)
        if before != after:
            yield f"the JSON has another shape: {_brief(before)} became {_brief(after)}"
    if now.get("code_fence") != was.get("code_fence"):
        yield "it comes in a code fence" if now.get("code_fence") else "the code fence is gone"
    before_facts, now_facts = facts(old), facts(new)
    lost = [said for fact, said in before_facts.items() if fact not in now_facts]
    claimed = [said for fact, said in now_facts.items() if fact not in before_facts]
    if lost:
        yield f"it says nothing of {_listed(lost)} any more"
    if claimed:
        yield f"it says {_listed(claimed)}, which the old one did not"
    noes, new_noes = _noes(old), _noes(new)
    if bool(noes) != bool(new_noes) or abs(noes - new_noes) > 1:
        yield f'"no", "not" and the like stand in it {new_noes} times, in the old one {noes} times'
    greeting = part(old, ()).greeting
    if greeting and greeting.casefold() not in new.casefold() and not now.get("greeting"):
        yield "the greeting is gone"
    closing = _signature(old)
    if closing and closing.casefold() not in new.casefold():
        yield f"it does not end with {_brief(closing)!r} any more"


def _length(old: str, new: str) -> Iterator[str]:
    before, after = _size(old), _size(new)
    if after > LONGER * before:
        yield f"it is longer: {before:,} characters became {after:,}"
    elif after < SHORTER * before:
        yield f"it is less than half as long: {before:,} characters became {after:,}"


def _size(text: str) -> int:
    return len(" ".join(text.split()))


def _remarks(old: str, new: str, was: dict[str, float], now: dict[str, float]) -> Iterator[str]:
    before, after = _size(old), _size(new)
    if SHORTER * before <= after < before:
        yield f"more concise: {before:,} characters became {after:,}"
    for name, form in _FORMS.items():
        if now.get(name) and not was.get(name) and name in was:
            yield f"it has {form}"
    tones = [
        Change(name, "", was[name], now[name], now[name] - was[name], was[name], now[name])
        for name, feature in FEATURES.items()
        if feature.finding == "tone" and name in was and name in now and abs(now[name] - was[name]) >= TONE
    ]
    if tones:
        yield say(tones, Habits())
    if " ".join(old.split()) == " ".join(new.split()) and old != new:
        yield "only white space differs"


_NO = {
    *("no", "not", "never", "none", "nothing", "nobody", "cannot", "unable", "without", "neither", "nor"),
    *("can't", "won't", "don't", "doesn't", "didn't", "isn't", "aren't", "wasn't", "weren't"),
    *("wouldn't", "shouldn't", "couldn't"),
}


def facts(text: str) -> dict[str, str]:
    """What a text says that can be checked word by word: figures, codes, addresses. By their lower case, as written."""
    found = [word.strip(".,:;!?()[]{}<>\"'`*-") for word in text[:MOST].split()]
    written = {word.casefold(): word for word in reversed(found)}
    counted = Counter(
        word.casefold() for word in found if "@" in word[1:] or "://" in word or any(map(str.isdigit, word))
    )
    # "1." and "2." that number a list say nothing.
    numbers = set(re.findall(r"^[ \t]*(\d{1,3})[.)]\s", text[:MOST], re.MULTILINE))
    return {fact: written[fact] for fact, times in counted.items() if not (fact in numbers and times == 1)}


def _noes(text: str) -> int:
    return sum(word in _NO for word in words(text))


def _signature(text: str) -> str:
    """A short last line on its own, "" where there is none or it holds a figure."""
    lines = text.strip().split("\n")
    last = lines[-1].strip()
    plain = len(lines) > 1 and 0 < len(last) <= _SIGNED and not re.search(r"\d", last) and not is_data(text)
    return last if plain and re.match(r"[^\W\d_]", last) and "```" not in last else ""


def _listed(found: Iterable[str]) -> str:
    several = sorted(found)
    more = len(several) - 5
    return ", ".join(map(_brief, several[:5])) + (f" and {more} more" if more > 0 else "")


def _brief(text: str) -> str:
    line = " ".join(escaped(text).split())
    return line if len(line) <= 60 else line[:59] + "…"


def aligned(old: Said, new: Said) -> list[tuple[str, str, bool]]:
    """Both answers in rows of sentences and lines: old, new, and whether the two differ. "" where one has none."""
    left, right = _pieces(old), _pieces(new)
    rows: list[tuple[str, str, bool]] = []
    for tag, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        one, other = left[a:b], right[c:d]
        for index in range(max(len(one), len(other))):
            pair = (one[index : index + 1] or [""])[0], (other[index : index + 1] or [""])[0]
            rows.append((*pair, tag != "equal"))
    return rows


_MOST_PIECES = 400


def _pieces(said: Said) -> list[str]:
    found = [escaped(piece) for piece in sentences(said.text)]
    found += [f"calls {escaped(name)}{escaped(arguments)}" for name, arguments in tools(said.tool_calls)]
    return found if len(found) <= _MOST_PIECES else [*found[:_MOST_PIECES], f"… {len(found) - _MOST_PIECES} more"]
