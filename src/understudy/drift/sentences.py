"""Says what drifted in a sentence that needs no statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from understudy.core.lasting import lasting
from understudy.drift.features import Habits


class Said(NamedTuple):
    """What a sentence speaks of: a feature on a slice, what each side has, and the effect as `report.Row` has it."""

    feature: str
    slice: str
    incumbent: float
    candidate: float
    effect: float
    incumbent_mean: float
    candidate_mean: float


_FLAGS: dict[str, str] = {
    "failure": "{new} of the calls{on} fail, {old} did before",
    "refusal": "{new} of the answers{on} refuse, {old} did before",
    "empty": "{new} of the answers{on} are empty, {old} were before",
    "cut_off": "{new} of the answers{on} are cut off at the token limit, {old} were before",
    "json": "only {new} of the answers{on} are valid JSON, {old} were before",
    "single_quotes": "{new} of the answers{on} are JSON in single quotes, which no parser reads; {old} were before",
    "code_fence": "{new} of the answers{on} come in a code fence, {old} did before",
    "table": "{new} of the answers{on} contain a Markdown table, {old} did before",
    "list": "{new} of the answers{on} contain a list, {old} did before",
    "heading": "{new} of the answers{on} contain a heading, {old} did before",
    "opening": "only {new} of the answers{on} begin in the usual way{habit}, {old} did before",
    "greeting": "{new} of the answers{on} begin with a greeting, {old} did before",
    "closing": "{new} of the answers{on} end with the closing line{habit}, {old} did before",
    "tool_call": "{new} of the answers{on} call a tool, {old} did before",
    "usual_tools": "only {new} of the tool calls{on} keep to the usual tools, {old} did before",
    "usual_arguments": "only {new} of the tool calls{on} have arguments of the usual shape, {old} had before",
    "slow_tail": "{new} of the answers{on} are far slower than the incumbent's p99{habit}, {old} were before",
    "dear_tail": "{new} of the answers{on} are far dearer than the incumbent's p99{habit}, {old} were before",
}

_TONES: dict[str, tuple[str, str, str]] = {
    "politeness": ("more polite words", "fewer polite words", " per 100 words"),
    "hedging": ("more hedging", "less hedging", " per 100 words"),
    "apology": ("more apologies", "fewer apologies", " per 100 words"),
    "exclamation": ("more exclamation marks", "fewer exclamation marks", " per 100 words"),
    "first_person": ("more first person", "less first person", " per 100 words"),
    "reading_grade": ("harder to read", "easier to read", " school years"),
}


def say(said: Sequence[Said], habits: Habits) -> str:
    """One sentence on what one or several features of one slice say together."""
    first = said[0]
    on = f" on {named(first.slice)}" if first.slice else ""
    if first.feature in _TONES:
        return f"the tone{on} changed: {', '.join(_tone(one) for one in said)}"
    if first.feature in _FLAGS:
        return _FLAGS[first.feature].format(
            new=share(first.candidate), old=share(first.incumbent), on=on, habit=_habit(first.feature, habits)
        )
    return _RATIOS[first.feature](first, on)


def named(name: str) -> str:
    """A slice as a sentence has it."""
    return name.replace(" & ", " with ")


def share(value: float) -> str:
    """0.42 is 42 %; small ones keep a decimal."""
    percent = value * 100
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.1f} %"


def change(effect: float, how: str) -> str:
    """The size of a ratio's effect: "17 % shorter", "3.9 times as long"."""
    if effect >= 1 and how in _AS:
        return f"{effect + 1:.1f} times as {_AS[how]}"
    return f"{abs(effect) * 100:.0f} % {how}"


def _ratio(verb: str, up: str, down: str, written: Callable[[float], str]) -> Callable[[Said, str], str]:
    def sentence(said: Said, on: str) -> str:
        old, new = written(said.incumbent), written(said.candidate)
        text = f"answers{on} {verb} {change(said.effect, up if said.effect > 0 else down)} ({old} before, {new} now"
        # A few long answers can move the mean the other way; both are true, and both have to be said.
        if (said.candidate_mean - said.incumbent_mean) * said.effect < 0:
            text += f", typically; the mean went from {written(said.incumbent_mean)}"
            text += f" to {written(said.candidate_mean)}"
        return text + ")"

    return sentence


_AS = {"longer": "long", "more": "much"}

_RATIOS: dict[str, Callable[[Said, str], str]] = {
    "characters": _ratio("are", "longer", "shorter", "{:,.0f} characters".format),
    "words": _ratio("are", "longer", "shorter", "{:,.0f} words".format),
    "tokens": _ratio("are", "longer", "shorter", "{:,.0f} tokens".format),
    "latency": _ratio("take", "longer", "less time", lasting),
    "first_byte": _ratio("take", "longer to begin", "less time to begin", lasting),
    "cost": _ratio("cost", "more", "less", "${:.3g}".format),
    "distance": lambda said, on: (
        f"answers{on} share {share(1 - said.candidate)} of their words with the incumbent's; "
        f"its own two answers to one request share {share(1 - said.candidate + said.effect)}"
    ),
}


def _tone(said: Said) -> str:
    more, less, unit = _TONES[said.feature]
    return f"{more if said.effect > 0 else less} ({said.incumbent:.1f} to {said.candidate:.1f}{unit})"


def _habit(feature: str, habits: Habits) -> str:
    """What the incumbent's habit is, for those who do not know it."""
    match feature:
        case "closing" if habits.closings:
            return f" ({_quoted(habits.closings)})"
        case "opening" if habits.openings:
            return f" ({_quoted(habits.openings)})"
        case "slow_tail" if habits.latency_p99_s is not None:
            return f" of {lasting(habits.latency_p99_s)}"
        case "dear_tail" if habits.cost_p99_usd is not None:
            return f" of ${habits.cost_p99_usd:.3g}"
        case _:
            return ""


def _quoted(lines: frozenset[str]) -> str:
    return " or ".join(f'"{line[:40]}"' for line in sorted(lines)[:2])
