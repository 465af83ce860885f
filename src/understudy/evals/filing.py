"""Says what the graders of an eval said as rows of the ledger, so that its score is found where all other evidence is.

Pure: what becomes of the rows is up to whoever runs the eval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from understudy.core.variant import Variant
from understudy.evals.result import Bound
from understudy.evals.scoring import Graded
from understudy.ledger.lake import EvalScore

Keep = Callable[[Sequence[EvalScore]], object]
"""Keeps rows for good, each once however often it is given them."""


def rows_of(
    graded: Sequence[Graded], bound: Bound, workload: str, incumbent: Variant, candidate: Variant
) -> Iterator[EvalScore]:
    """A row for each grader of each answer, and one more for what the suite makes of them."""
    for each in graded:
        answers = each.answers
        sides = (
            ("incumbent", incumbent, answers.incumbent, each.incumbent),
            ("candidate", candidate, answers.candidate, each.candidate),
        )
        for arm, variant, kept, scores in sides:
            for repeat, (answer, score) in enumerate(zip(kept, scores, strict=True)):
                if answer is None or score is None:
                    continue
                said = {"": score.value} | {name: part.value for name, part in score.parts.items()}
                for grader, value in said.items():
                    yield EvalScore(
                        eval=bound.id,
                        workload=workload,
                        arm=arm,
                        variant=variant.name,
                        fingerprint=variant.fingerprint,
                        suite=answers.suite.name,
                        case_id=answers.case.id,
                        slices=each.slices,
                        repeat=repeat,
                        grader=grader,
                        score=value,
                        at=answer.at,
                    )
