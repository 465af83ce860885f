"""Turns the answers of both variants into what the gate compares, and into the figures and examples shown beside it.

Pure: answers come in, scores come out; whether a loss matters is decided in `gates.paired`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles
from typing import NamedTuple

from understudy.core.errors import CannotMeasure
from understudy.core.variant import Variant
from understudy.evals.answers import Kept
from understudy.evals.cases import Case
from understudy.evals.graders import Score
from understudy.evals.suite import Suite, SuiteScore
from understudy.gates.paired import PairedCase

MAX_UNSCORED = 0.02
"""Part of the answers that graders may be unable to score before the eval says nothing at all."""
EXAMPLES = 3
"""Lost cases that are kept for each slice."""
_EXCERPT = 2_000

Price = Callable[[Variant, Kept], float | None]
"""US dollars for an answer, None where tokens or price are unknown."""


Outside = dict[tuple[str, str, str, int], dict[str, Score]]
"""What judges and commands said, by suite, case, side ("incumbent", "candidate") and repeat, then by grader."""


class Answers(NamedTuple):
    """A case and what both variants said, one entry a repeat; None where no answer came."""

    suite: Suite
    case: Case
    incumbent: tuple[Kept | None, ...]
    candidate: tuple[Kept | None, ...]


class Graded(NamedTuple):
    """A case with its answers and their scores, in the same order."""

    id: str
    slices: tuple[str, ...]
    answers: Answers
    incumbent: tuple[SuiteScore | None, ...]
    candidate: tuple[SuiteScore | None, ...]

    def paired(self) -> PairedCase:
        case = self.answers.case
        return PairedCase(self.id, self.slices, _values(self.incumbent), _values(self.candidate), case.critical)

    @property
    def difference(self) -> float:
        """Mean score of the candidate less that of the incumbent; NaN where either has none."""
        return _mean(_values(self.candidate)) - _mean(_values(self.incumbent))


class Measure(NamedTuple):
    """One figure of both variants over the answers that both gave. None: unknown."""

    name: str
    incumbent: float | None
    candidate: float | None
    n: int
    source: str = ""

    @property
    def ratio(self) -> float | None:
        """Candidate over incumbent; None where either is unknown or the incumbent's is 0."""
        return self.candidate / self.incumbent if self.incumbent and self.candidate is not None else None


@dataclass(frozen=True, slots=True)
class Example:
    """A case that the incumbent answers better, with one answer of each."""

    case: str
    slices: tuple[str, ...]
    asked: str
    incumbent: str
    candidate: str
    incumbent_says: str
    """The grader's reason for the score."""
    candidate_says: str


def case_id(suite: Suite, case: Case, *, several: bool) -> str:
    """The name of a case in a comparison; `several` suites are told apart."""
    return f"{suite.name}:{case.id}" if several else case.id


def grade(
    answers: Iterable[Answers], incumbent: Variant, candidate: Variant, *, several: bool, outside: Outside | None = None
) -> list[Graded]:
    """Every answer scored. `several`: cases of more than one suite are told apart, and each suite is a slice too."""
    made = []
    said = outside or {}
    for each in answers:
        suite, case = each.suite, each.case

        def scored(side: str, variant: Variant, given: Answers = each) -> tuple[SuiteScore | None, ...]:
            kept = given.incumbent if side == "incumbent" else given.candidate
            where = (given.suite.name, given.case.id, side)
            return tuple(_graded(given, variant, one, said.get((*where, k))) for k, one in enumerate(kept))

        made.append(
            Graded(
                id=case_id(suite, case, several=several),
                slices=(*case.slices, f"suite={suite.name}") if several else case.slices,
                answers=each,
                incumbent=scored("incumbent", incumbent),
                candidate=scored("candidate", candidate),
            )
        )
    return made


def check_scored(graded: Sequence[Graded]) -> None:
    """Raises CannotMeasure where more answers than MAX_UNSCORED have no score, with the reason given most often."""
    reasons: dict[str, int] = {}
    total = 0
    for each in graded:
        for score in (*each.incumbent, *each.candidate):
            total += score is not None
            if score is not None and score.value is None:
                why = next(f"{name}: {part.reason}" for name, part in score.parts.items() if part.value is None)
                reasons[why] = reasons.get(why, 0) + 1
    unscored = sum(reasons.values())
    if unscored > MAX_UNSCORED * total:
        why = max(reasons, key=lambda reason: reasons[reason])
        raise CannotMeasure(
            f"{unscored:,} of {total:,} answers could not be scored, above {MAX_UNSCORED:.0%}; most often: {why}",
            remedy="a recorded score holds for the recorded answer of the same model only; use a grader that reads the "
            "answer itself",
        )


def measures(graded: Sequence[Graded], incumbent: Variant, candidate: Variant, price: Price) -> tuple[Measure, ...]:
    """Length, tokens, latency and cost of the answers, over the cases that both variants answered."""
    pairs = [
        (each.answers, old, new)
        for each in graded
        for old, new in zip(each.answers.incumbent, each.answers.candidate, strict=False)
        if old is not None and new is not None
    ]
    old = [_Facts.of(answers, incumbent, kept, price) for answers, kept, _ in pairs]
    new = [_Facts.of(answers, candidate, kept, price) for answers, _, kept in pairs]
    if pairs and all(fact.recorded_s is not None for fact in (*old, *new)):
        latency, source = (lambda fact: fact.recorded_s), "recorded"
    else:
        latency, source = (lambda fact: fact.latency_s), "measured"
    return (
        _measure("characters", old, new, lambda fact: float(fact.characters), fmean),
        _measure("output_tokens", old, new, lambda fact: fact.tokens, fmean),
        _measure("latency_p50_s", old, new, latency, lambda values: _quantile(values, 50), source),
        _measure("latency_p95_s", old, new, latency, lambda values: _quantile(values, 95), source),
        _measure("cost_usd", old, new, lambda fact: fact.cost_usd, fmean),
    )


def examples(graded: Sequence[Graded], slices: Sequence[str]) -> tuple[Example, ...]:
    """The worst losses of each slice ("" stands for all), none of them twice."""
    shown: dict[str, Example] = {}
    worst = sorted((each for each in graded if each.difference < 0), key=lambda each: each.difference)
    for name in slices:
        fresh = (each for each in worst if (not name or name in each.slices) and each.id not in shown)
        for each, _ in zip(fresh, range(EXAMPLES), strict=False):
            shown[each.id] = _example(each)
    return tuple(shown.values())


class _Facts(NamedTuple):
    characters: int
    tokens: float | None
    latency_s: float
    recorded_s: float | None
    cost_usd: float | None

    @classmethod
    def of(cls, answers: Answers, variant: Variant, kept: Kept, price: Price) -> _Facts:
        recording = answers.suite.recording(answers.case.id, variant.model, kept.text)
        recorded_cost = recording.cost_usd if recording else None
        return cls(
            characters=len(kept.text),
            tokens=kept.output_tokens,
            latency_s=kept.latency_s,
            recorded_s=recording.latency_s if recording else None,
            cost_usd=price(variant, kept) if recorded_cost is None else recorded_cost,
        )


def _measure(
    name: str,
    old: Sequence[_Facts],
    new: Sequence[_Facts],
    read: Callable[[_Facts], float | None],
    reduce: Callable[[Sequence[float]], float],
    source: str = "",
) -> Measure:
    pairs = [(read(one), read(other)) for one, other in zip(old, new, strict=True)]
    known = [(one, other) for one, other in pairs if one is not None and other is not None]
    if not known:
        return Measure(name, None, None, 0, source)
    return Measure(name, reduce([one for one, _ in known]), reduce([other for _, other in known]), len(known), source)


def _quantile(values: Sequence[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def _graded(
    each: Answers, variant: Variant, answer: Kept | None, outside: Mapping[str, Score] | None
) -> SuiteScore | None:
    return each.suite.grade(each.case, variant.model, answer.text, outside) if answer is not None else None


def _values(scores: Iterable[SuiteScore | None]) -> tuple[float, ...]:
    return tuple(_value(score) for score in scores)


def _value(score: SuiteScore | None) -> float:
    return math.nan if score is None or score.value is None else score.value


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


def _example(each: Graded) -> Example:
    """With the incumbent's best answer and the candidate's worst."""
    old, old_says = max(_said(each, each.answers.incumbent, each.incumbent), key=lambda said: said[1][0])
    new, new_says = min(_said(each, each.answers.candidate, each.candidate), key=lambda said: said[1][0])
    return Example(
        case=each.id,
        slices=each.slices,
        asked=each.answers.case.messages[-1].content[:_EXCERPT],
        incumbent=old[:_EXCERPT],
        candidate=new[:_EXCERPT],
        incumbent_says=old_says[1],
        candidate_says=new_says[1],
    )


def _said(
    each: Graded, answers: Sequence[Kept | None], scores: Sequence[SuiteScore | None]
) -> Iterator[tuple[str, tuple[float, str]]]:
    """The scored answers, each with its score and the reason of the first grader that counts."""
    first = each.answers.suite.counting[0].label
    for answer, score in zip(answers, scores, strict=True):
        if answer is not None and score is not None and score.value is not None:
            yield answer.text, (score.value, score.parts[first].reason)
