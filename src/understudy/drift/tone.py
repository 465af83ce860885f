"""Measures the tone of a text by counting: words of politeness, hedging and apology, exclamations, the first person.

Word lists are blunt and know English only. They are meant for comparing two variants on the same requests, where both
are read with the same eye, and never for judging one answer.
"""

from __future__ import annotations

import re

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

_LISTS_OF = {word.replace("_", " "): name for name, words_ in LISTS.items() for word in words_.split()}
_VOWELS = re.compile(r"[aeiouyäöüáéíóúàèìòùâêîôû]+")


def tone(text: str) -> dict[str, float]:
    """Occurrences per hundred words, and the reading grade; empty where the text is too short to have a tone."""
    found = words(text)
    if len(found) < LEAST_WORDS:
        return {}
    hundred = 100.0 / len(found)
    counts = dict.fromkeys(LISTS, 0)
    previous = ""
    for word in found:
        for seen in (word, f"{previous} {word}"):
            name = _LISTS_OF.get(seen)
            if name is not None:
                counts[name] += 1
        previous = word
    rates = {name: hundred * count for name, count in counts.items()}
    return {**rates, "exclamation": hundred * text.count("!"), "reading_grade": reading_grade(text, found)}


def reading_grade(text: str, found: list[str]) -> float:
    """School years needed to read the text (Kincaid and others 1975); a syllable is a group of vowels."""
    silent = sum(word.endswith("e") and len(word) > 3 for word in found)
    syllables = max(len(found), len(_VOWELS.findall(" ".join(found))) - silent)
    return 0.39 * len(found) / max(1, len(sentences(text))) + 11.8 * syllables / len(found) - 15.59
