"""Measures the tone of a text by counting: words of politeness, hedging and apology, exclamations, the first person.

Word lists are blunt and know English only. They are meant for comparing two variants on the same requests, where both
are read with the same eye, and never for judging one answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from understudy.drift.text import sentences, words

LEAST_WORDS = 8
"""Below this a rate per hundred words is noise."""

LISTS: dict[str, str] = {
    "politeness": """
        please kindly thank thanks welcome appreciate appreciated appreciates grateful glad gladly happy_to pleased
        pleasure delighted of_course certainly understand
    """,
    "hedging": """
        may might could perhaps possibly probably maybe likely seem seems appear appears generally usually typically
        often sometimes somewhat roughly i_think i_believe i_guess i_assume it_depends in_general most_cases not_sure
    """,
    "apology": """
        sorry apology apologies apologize apologise apologized apologised apologizing apologising regret regrets
        regrettably unfortunately afraid forgive inconvenience
    """,
    "first_person": """
        i i'm i've i'll i'd me my mine myself we we're we've we'll we'd us our ours ourselves
    """,
}
"""Words, and pairs of words with a line between them."""

_LIST_OF = {word: name for name, words_ in LISTS.items() for word in words_.split() if "_" not in word}
_PHRASES = [
    (*word.split("_"), f" {word.replace('_', '  ')} ", name)
    for name, words_ in LISTS.items()
    for word in words_.split()
    if "_" in word
]
"""Pairs of words, and how they stand in a text in which each word has a space of its own on either side."""
_VOWELS = re.compile(r"[aeiouyäöüáéíóúàèìòùâêîôû]+")
_PLAIN_VOWELS = bytes(code if chr(code) in "aeiouy" else 32 for code in range(256))


def tone(text: str) -> dict[str, float]:
    """Occurrences per hundred words, and the reading grade; empty where the text is too short to have a tone."""
    found = words(text)
    if len(found) < LEAST_WORDS:
        return {}
    hundred = 100.0 / len(found)
    counts = dict.fromkeys(LISTS, 0)
    often = Counter(found)
    for word in often.keys() & _LIST_OF.keys():
        counts[_LIST_OF[word]] += often[word]
    spaced = f" {'  '.join(found)} "
    for first, second, phrase, name in _PHRASES:
        if first in often and second in often:
            counts[name] += spaced.count(phrase)
    rates = {name: hundred * count for name, count in counts.items()}
    return {**rates, "exclamation": hundred * text.count("!"), "reading_grade": _grade(text, often, len(found), spaced)}


def _grade(text: str, often: Mapping[str, int], number: int, spaced: str) -> float:
    """School years needed to read the text (Kincaid and others 1975); a syllable is a group of vowels.

    often: its words with their counts. number: of words. spaced: the words in a row.
    """
    silent = sum(count for word, count in often.items() if word[-1] == "e" and len(word) > 3)
    if spaced.isascii():
        groups = len(spaced.encode().translate(_PLAIN_VOWELS).split())
    else:
        groups = len(_VOWELS.findall(spaced))
    syllables = max(number, groups - silent)
    return 0.39 * number / max(1, len(sentences(text))) + 11.8 * syllables / number - 15.59
