"""The figures of a drift report in their plainest form, a text and a pair at a time: what the fast form is held to."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from understudy.core.evidence import ALL_SLICES
from understudy.drift.catalogue import FEATURES, Kind
from understudy.drift.cells import EXAMPLES, Cell
from understudy.drift.differ import slice_names
from understudy.drift.features import Habits, failed, measure
from understudy.drift.features import distance as fast_distance
from understudy.drift.pair import Example, Pair, example
from understudy.drift.text import MOST, unfenced
from understudy.drift.tone import LEAST_WORDS, LISTS
from understudy.gates.stats.drift import PairedSums


def words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text[:MOST].lower().replace("’", "'"))


def sentences(text: str) -> list[str]:
    parts = re.split(r"(?<=[.!?])[\"')\]]*\s+|\n+", text[:MOST])
    return [part.strip() for part in parts if part.strip()]


def distance(one: str, other: str) -> float:
    mine, yours = Counter(words(unfenced(one))), Counter(words(unfenced(other)))
    union = (mine | yours).total()
    return 1.0 - (mine & yours).total() / union if union else 0.0


def tone(text: str) -> dict[str, float]:
    found = words(text)
    if len(found) < LEAST_WORDS:
        return {}
    hundred = 100.0 / len(found)
    lists = {word.replace("_", " "): name for name, listed in LISTS.items() for word in listed.split()}
    counts = dict.fromkeys(LISTS, 0)
    for previous, word in zip(["", *found], found, strict=False):
        for seen in (word, f"{previous} {word}"):
            if seen in lists:
                counts[lists[seen]] += 1
    silent = sum(word.endswith("e") and len(word) > 3 for word in found)
    groups = len(re.findall(r"[aeiouyäöüáéíóúàèìòùâêîôû]+", " ".join(found)))
    syllables = max(len(found), groups - silent)
    grade = 0.39 * len(found) / max(1, len(sentences(text))) + 11.8 * syllables / len(found) - 15.59
    rates = {name: hundred * count for name, count in counts.items()}
    return {**rates, "exclamation": hundred * text.count("!"), "reading_grade": grade}


def marks(text: str) -> dict[str, bool]:
    """Table, list and heading."""
    table = r"^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)+\|?[ \t]*$"
    return {
        "table": bool(re.search(table, text[:MOST], re.MULTILINE)),
        "list": len(re.findall(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]+\S", text[:MOST], re.MULTILINE)) > 1,
        "heading": bool(re.search(r"^#{1,6}[ \t]+\S", text[:MOST], re.MULTILINE)),
    }


@dataclass
class _Sums:
    differences: PairedSums = field(default_factory=PairedSums)
    incumbent: float = 0.0
    candidate: float = 0.0
    incumbent_log: float = 0.0
    up: list[tuple[float, str, Example]] = field(default_factory=list)
    down: list[tuple[float, str, Example]] = field(default_factory=list)


def cells(pairs: Iterable[Pair], habits: Habits) -> dict[tuple[str, str], Cell]:
    """Every cell, by adding one pair after the other; for fewer slices than are kept."""
    found: dict[tuple[str, str], _Sums] = {}
    for pair in pairs:
        served, shadow = pair.served, pair.shadow
        before, after = measure(served, habits), measure(shadow, habits)
        if not failed(served) and not failed(shadow) and served.answer.strip() and shadow.answer.strip():
            before["distance"], after["distance"] = 0.0, fast_distance(served.answer, shadow.answer)
        for feature in FEATURES.values():
            old, new = before.get(feature.name), after.get(feature.name)
            if old is None or new is None:
                continue
            ratio = feature.kind is Kind.RATIO
            if ratio and (old + feature.offset <= 0 or new + feature.offset <= 0):
                continue
            apart = math.log((new + feature.offset) / (old + feature.offset)) if ratio else new - old
            for name in [ALL_SLICES, *slice_names(served.slices)]:
                cell = found.setdefault((name, feature.name), _Sums())
                cell.differences.add(served.bucket, apart)
                cell.incumbent += old
                cell.candidate += new
                cell.incumbent_log += math.log(old + feature.offset) if ratio else 0.0
                if apart:
                    kept = cell.up if apart > 0 else cell.down
                    kept.append((abs(apart), served.exchange, example(pair, old, new)))
                    kept.sort(key=lambda one: (-one[0], one[1]))
                    del kept[EXAMPLES:]
    return {
        key: Cell(
            sums.differences,
            sums.incumbent,
            sums.candidate,
            sums.incumbent_log,
            tuple(shown for *_, shown in sums.up),
            tuple(shown for *_, shown in sums.down),
        )
        for key, sums in found.items()
    }
