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
NOTICED_S = 0.02
"""Seconds below which nobody feels a wait change, whatever the ratio."""


class Feature(NamedTuple):
    """`kind_of_finding` groups features that say one thing; `explained_by` names features that, where they drifted
    too, are the reason, so that one defect is one finding. `resolution` is a difference too small to matter. `least`
    is how far apart the two means must be, in the feature's own unit, before anybody could notice: a fifth of a school
    year can be many standard deviations and is still nothing.
    """

    name: str
    kind: Kind
    finding: str
    harm: Harm
    words: str
    """What it is called in a table of 80 columns."""
    explained_by: tuple[str, ...] = ()
    resolution: float = RATIO_FLOOR
    offset: float = 0.0
    least: float = 0.0


def _flag(name: str, harm: Harm, words: str, *explained_by: str) -> Feature:
    return Feature(name, Kind.FLAG, name, harm, words, explained_by)


def _tone(name: str, words: str, least: float = 0.3) -> Feature:
    return Feature(name, Kind.SCORE, "tone", Harm.EITHER, words, resolution=0.5, least=least)


FORMS = ("json", "single_quotes", "code_fence", "table", "list", "heading")

FEATURES: dict[str, Feature] = {
    feature.name: feature
    for feature in (
        _flag("failure", Harm.MORE, "errors"),
        _flag("refusal", Harm.MORE, "refusals"),
        _flag("empty", Harm.MORE, "empty"),
        _flag("cut_off", Harm.MORE, "cut off"),
        Feature("characters", Kind.RATIO, "length", Harm.EITHER, "characters", offset=1.0),
        Feature("words", Kind.RATIO, "length", Harm.EITHER, "words", ("characters",), offset=1.0),
        Feature(
            "tokens",
            Kind.RATIO,
            "length",
            Harm.EITHER,
            "tokens",
            ("characters", "cost", "greeting", "closing", "code_fence"),
            offset=1.0,
        ),
        _flag("json", Harm.LESS, "valid JSON", "single_quotes"),
        _flag("single_quotes", Harm.MORE, "single-quoted JSON"),
        _flag("code_fence", Harm.EITHER, "code fence"),
        _flag("table", Harm.EITHER, "Markdown table"),
        _flag("list", Harm.EITHER, "list"),
        _flag("heading", Harm.EITHER, "heading"),
        _flag("opening", Harm.LESS, "usual opening", *FORMS, "greeting"),
        _flag("greeting", Harm.EITHER, "greeting"),
        _flag("closing", Harm.EITHER, "closing line"),
        _flag("tool_call", Harm.EITHER, "calls a tool"),
        _flag("usual_tools", Harm.LESS, "usual tools"),
        _flag("usual_arguments", Harm.LESS, "usual arguments", "usual_tools"),
        _tone("politeness", "polite words /100"),
        _tone("hedging", "hedging /100"),
        _tone("apology", "apologies /100"),
        _tone("exclamation", "exclamations /100"),
        _tone("first_person", "first person /100"),
        _tone("reading_grade", "reading grade", least=0.5),
        Feature("latency", Kind.RATIO, "latency", Harm.MORE, "latency", least=NOTICED_S),
        Feature("first_byte", Kind.RATIO, "first_byte", Harm.MORE, "first byte", ("latency",), least=NOTICED_S),
        _flag("slow_tail", Harm.MORE, "latency past p99"),
        Feature("cost", Kind.RATIO, "cost", Harm.MORE, "cost"),
        _flag("dear_tail", Harm.MORE, "cost past p99", "cost"),
        Feature("distance", Kind.DISTANCE, "distance", Harm.MORE, "words not shared", resolution=0.02),
    )
}
"""By name, in the order in which a table shows them."""
