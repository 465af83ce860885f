"""Splits the cases of suites: what a search learns from, what it chooses by, what is held out for the proof. Pure.

A question keeps its part for good: what was decided once is handed in again as `known`, so that adding, reordering or
renaming cases never carries one from a search into its own proof. The same question asked twice is one question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from understudy.core.canonical import digest
from understudy.evals.cases import Case
from understudy.evals.suite import Suite


class Part(StrEnum):
    """What a case is for."""

    PROOF = "proof"
    """Held out: asked once, when the search is over."""
    TRAIN = "train"
    """Shown, with what was wrong about the answers, to the model that proposes prompts."""
    SELECTION = "selection"
    """Scores each prompt, and says which is the best one; its answers are shown to nobody."""


TENTHS = {Part.PROOF: 5, Part.TRAIN: 3, Part.SELECTION: 2}
"""Parts of ten. The proof has most: it has to decide each slice, where the search needs only hints."""

_ALL, _CRITICAL = "", "\x00critical"


def question(case: Case) -> str:
    """What a case asks, whatever it is called: 24 hexadecimal characters."""
    return digest([list(message) for message in case.messages])[:24]


@dataclass(frozen=True, slots=True)
class Split:
    """The part of every question."""

    parts: Mapping[str, Part]

    def part_of(self, case: Case) -> Part:
        """Raises KeyError for a case that was not there when the split was made."""
        return self.parts[question(case)]

    def cut(self, suites: Sequence[Suite], *parts: Part) -> list[Suite]:
        """The suites with the cases of these parts alone; those that have none are left out."""
        cut = [replace(suite, cases=tuple(c for c in suite.cases if self.part_of(c) in parts)) for suite in suites]
        return [suite for suite in cut if suite.cases]


def split(suites: Sequence[Suite], known: Mapping[str, Part], salt: str) -> Split:
    """Give each question that is not in `known` a part, so that every slice keeps the proportions of `TENTHS`.

    Questions are taken in an order drawn from `salt`, each into the part that its slices lack most; must-pass cases
    are spread the same way, so that the search meets some and the proof has some it does not know.
    """
    marks: dict[str, set[str]] = {}
    for suite in suites:
        for case in suite.cases:
            mine = {f"{suite.name}\x00{name}" for name in case.slices or (_ALL,)} | (
                {_CRITICAL} if case.critical else set()
            )
            marks.setdefault(question(case), set()).update(mine)
    parts = {name: known[name] for name in marks if name in known}
    sizes: Counter[str] = Counter()
    counts: Counter[tuple[str, Part]] = Counter()

    def put(name: str, part: Part) -> None:
        for mark in (*marks[name], _ALL):
            sizes[mark] += 1
            counts[mark, part] += 1

    for name, part in parts.items():
        put(name, part)
    for name in sorted(marks.keys() - parts.keys(), key=lambda each: digest([salt, each])):

        def lack(part: Part, name: str = name) -> tuple[int, int, int]:
            def of(mark: str) -> int:
                return TENTHS[part] * (sizes[mark] + 1) - 10 * counts[mark, part]

            return sum(of(mark) for mark in marks[name]), of(_ALL), TENTHS[part]

        parts[name] = max(Part, key=lack)
        put(name, parts[name])
    return Split(parts)
