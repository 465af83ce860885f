"""Every feature that is compared: how its difference is taken, how much of it matters, and in which direction."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """How two values make a difference, and how differences are tested."""

    RATIO = "ratio"
    """log((candidate + offset) / (incumbent + offset)); matters from 10 %."""
    FLAG = "flag"
    """Yes or no on each side; matters from one point."""
    SCORE = "score"
    """candidate - incumbent; matters from 0.2 standard deviations of the difference."""
    DISTANCE = "distance"
    """How far apart the two are; matters only beyond the distance between two answers of the incumbent itself."""


class Harm(StrEnum):
    """The direction in which a user, a parser or a budget would notice."""

    MORE = "more"
    LESS = "less"
    EITHER = "either"


RATIO_FLOOR = math.log(1.10)
FLAG_FLOOR = 0.01
SCORE_FLOOR = 0.2
DISTANCE_FLOOR = 0.05


class Feature(NamedTuple):
    """`kind_of_finding` groups features that say one thing; `explained_by` names features that, where they drifted
    too, are the reason, so that one defect is one finding. `resolution` is a difference too small to matter.
    """

    name: str
    kind: Kind
    finding: str
    harm: Harm
    words: str
    """What it is, for a table."""
    explained_by: tuple[str, ...] = ()
    resolution: float = RATIO_FLOOR
    offset: float = 0.0


def _flag(name: str, harm: Harm, words: str, *explained_by: str) -> Feature:
    return Feature(name, Kind.FLAG, name, harm, words, explained_by)


def _tone(name: str, words: str) -> Feature:
    return Feature(name, Kind.SCORE, "tone", Harm.EITHER, words, resolution=0.5)


FORMS = ("json", "single_quotes", "code_fence", "table", "list", "heading")

FEATURES: dict[str, Feature] = {
    feature.name: feature
    for feature in (
        _flag("failure", Harm.MORE, "no answer: an error"),
        _flag("refusal", Harm.MORE, "refusals"),
        _flag("empty", Harm.MORE, "empty answers"),
        _flag("cut_off", Harm.MORE, "cut off at the token limit"),
        Feature("characters", Kind.RATIO, "length", Harm.EITHER, "length in characters", offset=1.0),
        Feature("words", Kind.RATIO, "length", Harm.EITHER, "length in words", ("characters",), offset=1.0),
        Feature(
            "tokens",
            Kind.RATIO,
            "length",
            Harm.EITHER,
            "answer tokens",
            ("characters", "cost", "greeting", "closing", "code_fence"),
            offset=1.0,
        ),
        _flag("json", Harm.LESS, "valid JSON", "single_quotes"),
        _flag("single_quotes", Harm.MORE, "JSON in single quotes"),
        _flag("code_fence", Harm.EITHER, "code fence"),
        _flag("table", Harm.EITHER, "Markdown table"),
        _flag("list", Harm.EITHER, "list"),
        _flag("heading", Harm.EITHER, "heading"),
        _flag("opening", Harm.LESS, "begins the usual way", *FORMS, "greeting"),
        _flag("greeting", Harm.EITHER, "greeting"),
        _flag("closing", Harm.EITHER, "closing line"),
        _flag("tool_call", Harm.EITHER, "calls a tool"),
        _flag("usual_tools", Harm.LESS, "only tools the incumbent uses"),
        _flag("usual_arguments", Harm.LESS, "tool arguments of the usual shape", "usual_tools"),
        _tone("politeness", "polite words per 100"),
        _tone("hedging", "hedging words per 100"),
        _tone("apology", "apologies per 100 words"),
        _tone("exclamation", "exclamation marks per 100 words"),
        _tone("first_person", "first person per 100 words"),
        _tone("reading_grade", "reading grade"),
        Feature("latency", Kind.RATIO, "latency", Harm.MORE, "seconds to the last byte"),
        Feature("first_byte", Kind.RATIO, "first_byte", Harm.MORE, "seconds to the first byte", ("latency",)),
        _flag("slow_tail", Harm.MORE, "far slower than the incumbent's p99"),
        Feature("cost", Kind.RATIO, "cost", Harm.MORE, "US dollars an answer"),
        _flag("dear_tail", Harm.MORE, "far dearer than the incumbent's p99", "cost"),
        Feature("distance", Kind.DISTANCE, "distance", Harm.MORE, "words not shared", resolution=0.02),
    )
}
"""By name, in the order in which a table shows them."""
