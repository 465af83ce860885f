"""Scores answers of live traffic with the graders of a suite that need no reference; what is scored others decide.

The number is a part of the suite's score, not the score itself: it is compared between the two arms, never with the
result of an eval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from understudy.core.records import Exchange
from understudy.evals.graders import Answered, Grader, Refusal, Score
from understudy.evals.suite import Suite, weighted

FORMS = ("json_valid", "json_schema", "json_field", "code_fence")
"""Grader types whose failure means that a program cannot read the answer."""
QUALITY = "quality"
"""Name of the combined score, as the canary's gate knows it."""


@dataclass(frozen=True, slots=True)
class LiveGraders:
    """The graders of some suites that can score an answer by itself, each under its own name."""

    graders: tuple[Grader, ...]
    counting: tuple[Grader, ...]
    """Those that make up the quality; empty where every grader that counts needs a reference."""

    def scores(self, exchange: Exchange) -> dict[str, float]:
        """Scores from 0 to 1 by name of grader, and QUALITY; empty where the exchange shows no whole answer.

        An exchange that failed, was cut when it was written down, answered with a tool call, or was kept without its
        content says nothing about quality. An answer that is empty although content is kept is scored as it is.
        """
        if not self.graders or not _shows_answer(exchange):
            return {}
        answered = Answered(exchange.answer)
        parts = {grader.label: grader.grade(answered) for grader in self.graders}
        found = {name: score.value for name, score in parts.items() if score.value is not None}
        found |= self._events(parts)
        quality = weighted(self.counting, parts, alone=len(self.counting) == 1)
        return found if quality is None else {**found, QUALITY: quality}

    def _events(self, parts: Mapping[str, Score]) -> dict[str, float]:
        """What gates count: 1 where the answer declines, 1 where its form is not the one that was asked for."""
        by_type = {"refusals": ("refusal",), "invalid_format": FORMS}
        found = {}
        for event, types in by_type.items():
            values = [parts[grader.label].value for grader in self.graders if grader.type in types]
            if event == "refusals":
                expected = [grader.expected for grader in self.graders if isinstance(grader, Refusal)]
                values = [
                    None if value is None else 1.0 - value if wanted else value
                    for value, wanted in zip(values, expected, strict=True)
                ]
            known = [value for value in values if value is not None]
            if known:
                found[event] = float(min(known) < 1.0)
        return found


def live_graders(suites: Sequence[Suite]) -> LiveGraders:
    """What of these suites can score live answers. A name that several suites use is taken from the first."""
    graders: dict[str, Grader] = {}
    counting: dict[str, Grader] = {}
    for suite in suites:
        for grader in suite.graders:
            if not _alone(grader) or grader.label in graders:
                continue
            graders[grader.label] = grader
            # Where the score is one grader that needs a reference, the others with a weight stand in for it.
            alone = any(not _alone(one) for one in suite.counting)
            if grader in suite.counting or (alone and suite.score and grader.weight > 0):
                counting[grader.label] = grader
    return LiveGraders(tuple(graders.values()), tuple(counting.values()))


def _alone(grader: Grader) -> bool:
    """Whether it can score an answer by itself."""
    return not (grader.needs_reference or grader.needs_recording or grader.needs_asking)


def _shows_answer(exchange: Exchange) -> bool:
    failed = exchange.status != 200 or bool(exchange.error) or exchange.truncated_content
    kept = bool(exchange.answer or exchange.request)
    return kept and not failed and not exchange.tool_calls


def scored(graders: LiveGraders, exchanges: Sequence[Exchange]) -> Mapping[str, Mapping[str, float]]:
    """The scores of many exchanges, by their ids; those without a score are left out."""
    found = ((exchange.exchange, graders.scores(exchange)) for exchange in exchanges)
    return {name: scores for name, scores in found if scores}
