"""Measures the tone of a text by counting: words of politeness, hedging and apology, exclamations, the first person.

Word lists are blunt and know English only. They are meant for comparing two variants on the same requests, where both
are read with the same eye, and never for judging one answer.
"""

from __future__ import annotations

import re

from understudy.drift.text import sentences, words

LEAST_WORDS = 8
"""Below this a rate per hundred words is noise."""

POLITE = (
    r"please|kindly|thanks|thank you|welcome|appreciate\w*|grateful|glad|happy to|pleased?|pleasure|gladly|"
    r"delighted|of course|certainly|understand"
)
HEDGING = (
    r"may|might|could|perhaps|possibly|probably|maybe|likely|seems?|appears?|generally|usually|typically|often|"
    r"sometimes|somewhat|roughly|i (?:think|believe|guess|assume)|it depends|in general|in most cases|not sure"
)
APOLOGY = r"sorry|apolog(?:y|ies|i[sz]e[ds]?|i[sz]ing)|regret\w*|unfortunately|afraid|forgive|inconvenience"
FIRST_PERSON = r"i|i['’](?:m|ve|ll|d)|me|my|mine|myself|we|we['’](?:re|ve|ll|d)|us|our|ours|ourselves"

_LISTS = {
    name: re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)
    for name, pattern in (
        ("politeness", POLITE),
        ("hedging", HEDGING),
        ("apology", APOLOGY),
        ("first_person", FIRST_PERSON),
    )
}
_VOWELS = re.compile(r"[aeiouyäöüáéíóúàèìòùâêîôû]+")


def tone(text: str) -> dict[str, float]:
    """Occurrences per hundred words, and the reading grade; empty where the text is too short to have a tone."""
    found = words(text)
    if len(found) < LEAST_WORDS:
        return {}
    hundred = 100.0 / len(found)
    joined = " ".join(text.split())
    rates = {name: hundred * sum(1 for _ in pattern.finditer(joined)) for name, pattern in _LISTS.items()}
    return {**rates, "exclamation": hundred * text.count("!"), "reading_grade": reading_grade(text, found)}


def reading_grade(text: str, found: list[str]) -> float:
    """School years needed to read the text (Kincaid and others 1975); a syllable is a group of vowels."""
    silent = sum(word.endswith("e") and len(word) > 3 for word in found)
    syllables = max(len(found), len(_VOWELS.findall(" ".join(found))) - silent)
    return 0.39 * len(found) / max(1, len(sentences(text))) + 11.8 * syllables / len(found) - 15.59
