"""Runs a regression eval: asks both variants every case over HTTP, resumes what was begun, and hands the scores on.

This is the one place of evals that waits for a network. How answers are scored is in `scoring`, what a difference
means in `gates.paired`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from understudy.core.errors import CannotMeasure, UnderstudyError, UsageError
from understudy.core.playbook import Verdict
from understudy.core.routing import Provider
from understudy.core.variant import Variant
from understudy.evals.answers import AnswerFile, Kept, key_of
from understudy.evals.asking import Asker, Failed, unreachable
from understudy.evals.cases import Case
from understudy.evals.result import Bound, EvalResult, Thresholds, Usage
from understudy.evals.scoring import Answers, Price, check_scored, examples, grade, measures
from understudy.evals.suite import Suite
from understudy.gates.paired import compare
from understudy.upstream.client import Client
from understudy.upstream.failure import UpstreamError

DEFAULT_REPEATS = 5
DEFAULT_CONCURRENCY = 16
MAX_FAILED = 0.02
"""Part of a variant's questions that may stay without an answer before the eval says nothing at all."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be compared, on what, and how hard the providers may be asked."""

    workload: str
    incumbent: Variant
    candidate: Variant
    providers: Mapping[str, Provider]
    suites: Sequence[Suite]
    repeats: int = DEFAULT_REPEATS
    """Answers to each case by each variant. Two rounds without any difference between them are taken for all:
    such a variant repeats itself."""
    concurrency: int = DEFAULT_CONCURRENCY
    thresholds: Thresholds = field(default_factory=Thresholds)
    tuning_exhausted: bool = False
    fresh: bool = False
    """Ask everything anew: the check on a schedule, that a pinned model still is what it was."""

    @property
    def same(self) -> bool:
        """True where a variant is compared with itself, which shows how much of a difference is noise."""
        return self.incumbent.fingerprint == self.candidate.fingerprint

    @property
    def questions(self) -> int:
        """The most calls there can be, without retries."""
        return 2 * self.repeats * self.cases

    @property
    def cases(self) -> int:
        return sum(len(suite.cases) for suite in self.suites)


async def run(
    job: Job,
    client: Client,
    folder: Path,
    *,
    price: Price = lambda variant, kept: None,
    progress: Callable[[int], None] = lambda done: None,
    now: Callable[[], float] = time.time,
) -> EvalResult:
    """Ask what is not yet known, and compare. `folder` is the project's evals; `progress` hears of answers come in.

    Raises UsageError for an unknown provider or a refused key, CannotMeasure where the provider cannot be reached, or
    too many questions stay without an answer or a score. What was answered until then is kept.
    """
    _check(job)
    with ExitStack() as files:
        answers = folder / job.workload / "answers"
        kept = {
            fingerprint: files.enter_context(closing(AnswerFile(answers, variant, fresh=job.fresh)))
            for fingerprint, variant in {v.fingerprint: v for v in (job.incumbent, job.candidate)}.items()
        }
        asking = _Asking(job, Asker(client, dict(job.providers), now), kept, progress)
        rounds = await asking.all_rounds()
        found = list(asking.collected(rounds))
    graded = grade(found, job.incumbent, job.candidate, several=len(job.suites) > 1)
    check_scored(graded)
    limits = job.thresholds
    comparison = compare(
        [each.paired() for each in graded],
        alpha=limits.alpha,
        margin=limits.margin,
        slice_margin=limits.slice_margin,
        critical_slices=limits.critical_slices,
        tuning_exhausted=job.tuning_exhausted,
    )
    rows = (*comparison.slices, comparison.aggregate)
    lost = [row.slice for row in rows if row.verdict is Verdict.FAIL]
    return EvalResult(
        workload=job.workload,
        incumbent=job.incumbent,
        candidate=job.candidate,
        comparison=comparison,
        measures=measures(graded, job.incumbent, job.candidate, price),
        examples=examples(graded, lost),
        usage=asking.usage(),
        repeats=rounds,
        repetitive=rounds < job.repeats,
        bound=Bound.of(job.suites, job.thresholds, job.incumbent, job.candidate),
        thresholds=job.thresholds,
        cases={suite.name: len(suite.cases) for suite in job.suites},
        notes=tuple(_notes(job, rounds, asking)),
        finished_at=now(),
    )


class _Question(NamedTuple):
    variant: Variant
    case: Case
    repeat: int
    key: str


@dataclass(slots=True)
class _Asking:
    """The questions of a job on their way to answers."""

    job: Job
    asker: Asker
    kept: Mapping[str, AnswerFile]
    progress: Callable[[int], None]
    asked: int = 0
    resumed: int = 0
    failed: dict[str, list[Failed]] = field(default_factory=dict)
    """By variant name."""

    async def all_rounds(self) -> int:
        """Ask round by round; returns how many rounds there are, which is fewer where answers only repeat."""
        rounds = self.job.repeats
        for repeat in range(self.job.repeats):
            await self._round(repeat)
            if repeat == 1 and self._repeats_itself():
                rounds = 2
                break
        for variant in (self.job.incumbent, self.job.candidate):
            self._check_failures(variant, rounds)
        return rounds

    def usage(self) -> Usage:
        failures = {name: len(found) for name, found in self.failed.items()}
        return Usage(self.asked, self.resumed, self.asker.retries, failures)

    def collected(self, rounds: int) -> Iterator[Answers]:
        for suite in self.job.suites:
            for case in suite.cases:
                old, new = (
                    tuple(self._answer(variant, case, repeat) for repeat in range(rounds))
                    for variant in (self.job.incumbent, self.job.candidate)
                )
                yield Answers(suite, case, old, new)

    def _key(self, variant: Variant, case: Case, repeat: int) -> str:
        # A variant against itself needs answers of its own on both sides: the same ones twice would prove nothing.
        nth = repeat + self.job.repeats if self.job.same and variant is self.job.candidate else repeat
        return key_of(variant, self.job.providers[variant.provider].base_url, case.messages, nth)

    def _answer(self, variant: Variant, case: Case, repeat: int) -> Kept | None:
        return self.kept[variant.fingerprint].get(self._key(variant, case, repeat))

    def _questions(self, repeat: int) -> Iterator[_Question]:
        """Both variants side by side, so that a provider's slow hour meets both alike."""
        for suite in self.job.suites:
            for case in suite.cases:
                for variant in (self.job.incumbent, self.job.candidate):
                    yield _Question(variant, case, repeat, self._key(variant, case, repeat))

    async def _round(self, repeat: int) -> None:
        waiting: dict[str, _Question] = {}
        for question in self._questions(repeat):
            known = self.kept[question.variant.fingerprint].get(question.key) is not None
            self.resumed += known
            if known or question.key in waiting:  # two cases that ask the same are asked once
                self.progress(1)
            else:
                waiting[question.key] = question
        questions = iter(waiting.values())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.job.concurrency, len(waiting))):
                    group.create_task(self._work(questions))
        except BaseExceptionGroup as several:
            raise self._first(several) from None

    async def _work(self, questions: Iterator[_Question]) -> None:
        for question in questions:
            self.asked += 1
            result = await self.asker.ask(question.variant, question.case, question.key)
            if isinstance(result, Failed):
                self.failed.setdefault(question.variant.name, []).append(result)
                self._check_failures(question.variant, self.job.repeats)
            else:
                self.kept[question.variant.fingerprint].put(result)
            self.progress(1)

    def _check_failures(self, variant: Variant, rounds: int) -> None:
        """Raises CannotMeasure once so many questions are without an answer that the rest cannot make up for it."""
        failures = self.failed.get(variant.name, [])
        questions = self.job.cases * rounds
        if len(failures) <= MAX_FAILED * questions:
            return
        raise CannotMeasure(
            f"{variant.name} left {len(failures):,} of {questions:,} questions without an answer, above "
            f"{MAX_FAILED:.0%}; most often {_most_often(failures)}",
            remedy=f"check the model {variant.model!r} and provider {variant.provider}, then run this again: "
            f"{sum(map(len, self.kept.values())):,} answers are kept",
        )

    def _first(self, several: BaseExceptionGroup[BaseException]) -> BaseException:
        """The error to show of those that ended a round: one is enough, and ours comes before anything else."""
        errors = list(_flat(several))
        shown = next((error for error in errors if isinstance(error, UnderstudyError)), errors[0])
        return unreachable(shown, self.asked) if isinstance(shown, UpstreamError) else shown

    def _repeats_itself(self) -> bool:
        for suite in self.job.suites:
            for case in suite.cases:
                for variant in (self.job.incumbent, self.job.candidate):
                    first, second = (self._answer(variant, case, repeat) for repeat in (0, 1))
                    if first is not None and second is not None and first.text != second.text:
                        return False
        return True


def _most_often(failures: Sequence[Failed]) -> str:
    often, times = Counter(failures).most_common(1)[0]
    return f"({times:,}): {often.kind}: {often.message}"


def _flat(several: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in several.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error


def _check(job: Job) -> None:
    if not any(suite.cases for suite in job.suites):
        raise UsageError(
            f"workload {job.workload} has no suite: nothing can be compared",
            remedy="add `suites: [suites/NAME.yaml]` to the workload, or name one with --suite",
        )
    names = [suite.name for suite in job.suites]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        files = " and ".join(suite.file for suite in job.suites if suite.name == twice)
        raise UsageError(f"two suites are called {twice!r}: {files}", remedy="give each its own name under `suite:`")
    for variant in (job.incumbent, job.candidate):
        if variant.provider not in job.providers:
            known = ", ".join(sorted(job.providers)) or "none"
            raise UsageError(
                f"variant {variant.name} names provider {variant.provider!r}", remedy=f"known providers: {known}"
            )


def _notes(job: Job, rounds: int, asking: _Asking) -> Iterator[str]:
    if job.same:
        yield (
            f"{job.incumbent.name} and {job.candidate.name} are the same variant ({job.incumbent.fingerprint}): "
            "a difference is noise"
        )
    if rounds < job.repeats:
        yield "both variants repeat themselves word for word: asked twice, and counted once"
    for suite in job.suites:
        yield from suite.notes
    for name, failures in asking.failed.items():
        yield f"{name} left {len(failures)} questions without an answer; most often {_most_often(failures)}"
    for file in asking.kept.values():
        if file.broken:
            yield f"{file.broken} lines of {file.path} could not be read; their answers were asked again"
