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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from understudy.core.errors import CannotMeasure, UnderstudyError, UsageError
from understudy.core.playbook import Verdict
from understudy.core.routing import Provider
from understudy.core.variant import Variant
from understudy.evals import outside
from understudy.evals.answers import AnswerFile, Kept, key_of
from understudy.evals.asking import Asker, Failed, unreachable
from understudy.evals.cases import Case
from understudy.evals.filing import Keep, rows_of
from understudy.evals.result import Bound, EvalResult, Looked, Thresholds, Usage
from understudy.evals.scoring import Answers, Graded, Outside, Price, case_id, check_scored, examples, grade, measures
from understudy.evals.suite import Suite
from understudy.gates.escalation import Rung, carried, compare_at, next_look, schedule_from
from understudy.gates.paired import Comparison
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
    escalate: bool = False
    """Ask the cases of undecided slices twice and four times as often, at looks and alphas fixed beforehand."""
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
    def schedule(self) -> tuple[Rung, ...]:
        """The looks there may be. All of alpha goes to the only one, or is spread over them."""
        alpha = self.thresholds.alpha
        return schedule_from(self.repeats, alpha) if self.escalate else (Rung(self.repeats, alpha),)

    @property
    def questions(self) -> int:
        """The calls of the first look, without retries; looks after it ask less than all cases."""
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
    keep: Keep | None = None,
    progress: Callable[[int], None] = lambda done: None,
    now: Callable[[], float] = time.time,
) -> EvalResult:
    """Ask what is not yet known, and compare. `folder` is the project's evals; `progress` hears of answers come in, and
    `keep` gets all scores in the end, off the loop's thread.

    Raises UsageError for an unknown provider or a refused key, CannotMeasure where the provider cannot be reached, or
    too many questions stay without an answer or a score. What was answered until then is kept.
    """
    _check(job)
    with ExitStack() as files:
        answers = folder / job.workload / "answers"
        old = _Side.of(job, job.incumbent, files.enter_context(closing(AnswerFile(answers, job.incumbent, job.fresh))))
        if job.same:
            # Against itself a variant needs answers of its own on both sides: the same ones twice would prove nothing.
            new = replace(old, variant=job.candidate, first=job.schedule[-1].repeats, failed=[])
        else:
            file = files.enter_context(closing(AnswerFile(answers, job.candidate, job.fresh)))
            new = _Side.of(job, job.candidate, file)
        asker = Asker(client, dict(job.providers), now)
        asking = _Asking(job, asker, old, new, progress, folder / job.workload)
        graded, comparison, looks = await _looked(job, asking)
    bound = Bound.of(job.suites, job.thresholds, job.incumbent, job.candidate)
    if keep is not None:
        await asyncio.to_thread(keep, list(rows_of(graded, bound, job.workload, job.incumbent, job.candidate)))
    rounds = max(asking.rounds.values())
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
        repetitive=asking.repetitive,
        looks=looks,
        bound=bound,
        thresholds=job.thresholds,
        cases={suite.name: len(suite.cases) for suite in job.suites},
        notes=tuple(_notes(job, asking)),
        finished_at=now(),
    )


async def _looked(job: Job, asking: _Asking) -> tuple[list[Graded], Comparison, tuple[Looked, ...]]:
    """Ask and compare, look by look, until all is decided or no look is left.

    Each look compares the first so many answers to a case, however many are kept: a run that was killed comes to the
    same looks again.
    """
    limits, schedule = job.thresholds, job.schedule
    several = len(job.suites) > 1
    together: Comparison | None = None
    looks: list[Looked] = []
    chosen: frozenset[str] | None = None
    graded: list[Graded] = []
    for look in range(len(schedule)):
        await asking.ask(schedule[look].repeats, chosen)
        if asking.repetitive and together is not None:
            break  # the further answers were the same ones: there is nothing new to look at
        collected = list(asking.collected())
        outside = await asking.outside(collected)
        graded = grade(collected, job.incumbent, job.candidate, several=several, outside=outside)
        check_scored(graded)
        cases = [each.paired() for each in graded]
        # Answers that only repeat allow no second look, so the one there is has all of alpha.
        alone = (Rung(schedule[0].repeats, limits.alpha),)
        now = alone if asking.repetitive else schedule
        found = compare_at(
            look,
            cases,
            margin=limits.margin,
            slice_margin=limits.slice_margin,
            critical_slices=limits.critical_slices,
            tuning_exhausted=job.tuning_exhausted,
            schedule=now,
        )
        together = carried(together, found, tuning_exhausted=job.tuning_exhausted) if together else found
        more = next_look(look, cases, together, schedule=now)
        asked = len(cases) if chosen is None else len(chosen)
        looks.append(Looked(asking.most, now[look].alpha, asked, together.verdict.value, more.slices if more else ()))
        if more is None:
            break
        chosen = frozenset(more.cases)
    assert together is not None
    return graded, together, tuple(looks)


@dataclass(slots=True)
class _Side:
    """One of the two variants, with its answers and failures."""

    variant: Variant
    fingerprint: str
    base_url: str
    file: AnswerFile
    first: int = 0
    """Number of the first repeat among the kept answers."""
    failed: list[Failed] = field(default_factory=list)

    @classmethod
    def of(cls, job: Job, variant: Variant, file: AnswerFile) -> _Side:
        return cls(variant, variant.fingerprint, job.providers[variant.provider].base_url, file)

    def key(self, case: Case, repeat: int) -> str:
        return key_of(self.fingerprint, self.base_url, case.messages, self.first + repeat)

    def answer(self, case: Case, repeat: int) -> Kept | None:
        return self.file.get(self.key(case, repeat))


class _Question(NamedTuple):
    side: _Side
    case: Case
    key: str


@dataclass(slots=True)
class _Asking:
    """The questions of a job on their way to answers."""

    job: Job
    asker: Asker
    old: _Side
    new: _Side
    progress: Callable[[int], None]
    folder: Path
    asked: int = 0
    resumed: int = 0
    rounds: dict[str, int] = field(default_factory=dict)
    """How often each case was asked so far, by name."""
    repetitive: bool = False
    judged: bool = False
    """Whether judges were asked in this run: what they said then is not asked anew at the next look."""

    async def ask(self, repeats: int, chosen: frozenset[str] | None) -> None:
        """Ask the cases named by `chosen` (None: all) until each has `repeats` answers of both variants.

        Fewer where answers only repeat. Raises CannotMeasure where too many stay without an answer.
        """
        cases = [pair for pair in self._cases() if chosen is None or self._name(*pair) in chosen]
        for repeat in range(min(self.rounds.get(self._name(*pair), 0) for pair in cases), repeats):
            await self._round(repeat, cases, repeats)
            self.rounds |= dict.fromkeys((self._name(*pair) for pair in cases), repeat + 1)
            if repeat == 1 and self.job.schedule[-1].repeats > 2 and self._repeats_itself():
                self.repetitive = True
                break
        for side in (self.old, self.new):
            self._check_failures(side, sum(self.rounds.values()))

    async def outside(self, collected: Sequence[Answers]) -> Outside:
        """What judges and commands say of the answers so far."""
        job = self.job
        if not any(grader.needs_asking for suite in job.suites for grader in suite.graders):
            return {}
        try:
            return await outside.ask(
                collected,
                (job.incumbent, job.candidate),
                self.asker,
                self.folder / "judgements",
                concurrency=job.concurrency,
                fresh=job.fresh and not self.judged,
            )
        except BaseExceptionGroup as several:
            raise self._first(several) from None
        finally:
            self.judged = True

    @property
    def most(self) -> int:
        """The most answers any case has of each variant."""
        return max(self.rounds.values())

    def _name(self, suite: Suite, case: Case) -> str:
        return case_id(suite, case, several=len(self.job.suites) > 1)

    def usage(self) -> Usage:
        failures = {side.variant.name: len(side.failed) for side in (self.old, self.new) if side.failed}
        return Usage(self.asked, self.resumed, self.asker.retries, failures)

    def collected(self) -> Iterator[Answers]:
        for suite, case in self._cases():
            rounds = self.rounds[self._name(suite, case)]
            old, new = (tuple(side.answer(case, repeat) for repeat in range(rounds)) for side in (self.old, self.new))
            yield Answers(suite, case, old, new)

    def _cases(self) -> Iterator[tuple[Suite, Case]]:
        return ((suite, case) for suite in self.job.suites for case in suite.cases)

    async def _round(self, repeat: int, cases: Sequence[tuple[Suite, Case]], repeats: int) -> None:
        """Ask both variants side by side, so that a provider's slow hour meets both alike."""
        waiting: dict[str, _Question] = {}
        for _, case in cases:
            for side in (self.old, self.new):
                key = side.key(case, repeat)
                known = side.file.get(key) is not None
                self.resumed += known
                if known or key in waiting:  # two cases that ask the same are asked once
                    self.progress(1)
                else:
                    waiting[key] = _Question(side, case, key)
        questions = iter(waiting.values())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.job.concurrency, len(waiting))):
                    group.create_task(self._work(questions, len(cases) * repeats))
        except BaseExceptionGroup as several:
            raise self._first(several) from None

    async def _work(self, questions: Iterator[_Question], most: int) -> None:
        for side, case, key in questions:
            result = await self.asker.ask(side.variant, case, key)
            self.asked += 1
            if isinstance(result, Failed):
                side.failed.append(result)
                self._check_failures(side, most)
            else:
                side.file.put(result)
            self.progress(1)

    def _check_failures(self, side: _Side, questions: int) -> None:
        """Raises CannotMeasure once so many questions are without an answer that the rest cannot make up for it."""
        if len(side.failed) <= MAX_FAILED * questions:
            return
        variant = side.variant
        raise CannotMeasure(
            f"{variant.name} left {len(side.failed):,} of {questions:,} questions without an answer, above "
            f"{MAX_FAILED:.0%}; most often {_most_often(side.failed)}",
            remedy=f"check the model {variant.model!r} and provider {variant.provider}, then run this again: "
            "what was answered is kept",
        )

    def _first(self, several: BaseExceptionGroup[BaseException]) -> BaseException:
        """The error to show of those that ended a round: one is enough, and ours comes before anything else."""
        errors = list(_flat(several))
        shown = next((error for error in errors if isinstance(error, UnderstudyError)), errors[0])
        return unreachable(shown, self.asked) if isinstance(shown, UpstreamError) else shown

    def _repeats_itself(self) -> bool:
        """True where no second answer differs from the first."""
        for _, case in self._cases():
            for side in (self.old, self.new):
                first, second = side.answer(case, 0), side.answer(case, 1)
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


def _notes(job: Job, asking: _Asking) -> Iterator[str]:
    if job.same:
        yield (
            f"{job.incumbent.name} and {job.candidate.name} are the same variant ({job.incumbent.fingerprint}): "
            "a difference is noise"
        )
    if asking.repetitive:
        yield "both variants repeat themselves word for word: asked twice, and counted once"
    for suite in job.suites:
        yield from suite.notes
    for side in (asking.old, asking.new):
        if side.failed:
            yield (
                f"{side.variant.name} left {len(side.failed)} questions without an answer; "
                f"most often {_most_often(side.failed)}"
            )
        if side.file.broken and side.first == 0:
            yield f"{side.file.broken} lines of {side.file.path} could not be read; their answers were asked again"
