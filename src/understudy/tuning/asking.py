"""Asks and scores answers for a search, each question once, within the budget; what to ask next is decided elsewhere.

Answers and proposals are kept in append-only files like those of an eval. That is the whole state of a search: it is a
function of its seed and of what models said, so that one that was killed is played again, from these files, up to where
it was, and goes on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from understudy.core.errors import CannotMeasure, Position
from understudy.core.variant import Variant
from understudy.evals import outside
from understudy.evals.answers import AnswerFile, Kept, key_of
from understudy.evals.asking import Asker, Failed
from understudy.evals.cases import Case
from understudy.evals.graders import Judge
from understudy.evals.runner import MAX_FAILED
from understudy.evals.scoring import Answers, Graded, Outside, case_id, grade
from understudy.evals.suite import Suite, SuiteScore
from understudy.tuning.bar import Held
from understudy.tuning.budget import Budget
from understudy.wires.base import Message

NOWHERE = Position("", 1, 1)
"""A request to the reflecting model stands in no file."""
LEAST_FAILED = 3
"""So many questions may stay without an answer in any search, however small."""


class Item(NamedTuple):
    """A case of a suite: what a search asks."""

    suite: Suite
    case: Case


class Seen(NamedTuple):
    """An answer to a case, how it was scored and why, and the incumbent's beside it."""

    item: Item
    held: Held
    answer: str
    said: str
    incumbent: str
    incumbent_said: str


@dataclass(slots=True)
class Asking:
    """The questions of one search. `known` are variants whose answers a regression eval keeps in `evals` already."""

    incumbent: Variant
    known: Sequence[Variant]
    asker: Asker
    budget: Budget
    evals: Path
    folder: Path
    price: Callable[[Variant, Kept], float | None]
    progress: Callable[[int], None]
    concurrency: int
    several: bool
    """Whether there is more than one suite, so that their cases are told apart."""
    paid: int = 0
    """Calls of this run."""
    failed: list[Failed] = field(default_factory=list)
    _counted: set[str] = field(default_factory=set)
    _files: dict[str, AnswerFile] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)
    _proposals: Counter[str] = field(default_factory=Counter)

    def close(self) -> None:
        self._open.close()

    async def score(self, variant: Variant, items: Sequence[Item]) -> list[Seen]:
        """Answers of a variant to some cases, beside the incumbent's, scored by the suites' graders.

        An answer that is missing or has no score counts as 0. Raises Exhausted before anything is asked that the budget
        does not hold, CannotMeasure where too many questions stay without an answer or a price is unknown.
        """
        asked = [(side, item.case) for item in items for side in (self.incumbent, variant)]
        await self._ask(asked)
        answers = [
            Answers(suite, case, (self._kept(self.incumbent, case),), (self._kept(variant, case),))
            for suite, case in items
        ]
        said = await self._outside(answers, variant)
        graded = grade(answers, self.incumbent, variant, several=self.several, outside=said)
        return [self._seen(item, each) for item, each in zip(items, graded, strict=True)]

    async def propose(self, variant: Variant, request: str, cases: Sequence[str]) -> str:
        """What the reflecting model says to a request; `cases` are those quoted in it.

        The same request again is another question. Raises Exhausted, and CannotMeasure where no answer comes.
        """
        case = Case(" ".join(cases), (Message("user", request),), (), None, False, NOWHERE)
        repeat = self._proposals[request]
        self._proposals[request] += 1
        kept = await self._one(variant, case, repeat)
        if isinstance(kept, Failed):
            raise CannotMeasure(
                f"{variant.model} proposes nothing: {kept.kind}: {kept.message}",
                remedy="check the model and its provider, then go on with --resume, or name another model",
            )
        return kept.text

    async def _ask(self, asked: Sequence[tuple[Variant, Case]]) -> None:
        fresh = {self._key(variant, case, 0): (variant, case) for variant, case in asked}
        fresh = {key: each for key, each in fresh.items() if key not in self._counted}
        self.budget.require(len(fresh))
        waiting = iter(fresh.values())

        async def work() -> None:
            for variant, case in waiting:
                await self._one(variant, case, 0, required=True)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.concurrency, len(fresh))):
                    group.create_task(work())
        except BaseExceptionGroup as several:
            raise _first(several) from None

    async def _one(self, variant: Variant, case: Case, repeat: int, *, required: bool = False) -> Kept | Failed:
        """One answer, kept or asked for, counted once."""
        key = self._key(variant, case, repeat)
        if not required and key not in self._counted:
            self.budget.require(1)
        file = self._file(variant)
        known = file.get(key)
        said: Kept | Failed
        if known is not None:
            said = known
        else:
            said = await self.asker.ask(variant, case, key)
            self.paid += 1
            if isinstance(said, Kept):
                file.put(said)
        if key not in self._counted:
            self._counted.add(key)
            self.progress(1)
            if isinstance(said, Failed):
                self.budget.asked += 1
                self._check_failed(said)
            else:
                self.budget.add(self.price(variant, said), variant.model)
        return said

    async def _outside(self, answers: Sequence[Answers], variant: Variant) -> Outside:
        """What judges and commands say; each judgement of two different answers counts as a question."""
        graders = [(each, grader) for each in answers for grader in each.suite.graders if grader.needs_asking]
        if not graders:
            return {}
        fresh: dict[str, int] = {}
        for each, grader in graders:
            old, new = each.incumbent[0], each.candidate[0]
            if isinstance(grader, Judge) and old is not None and new is not None and old.text != new.text:
                name = "\x00".join((each.suite.name, grader.label, each.case.id, old.text, new.text))
                fresh[name] = 2 * grader.repeats
        fresh = {name: count for name, count in fresh.items() if name not in self._counted}
        self.budget.require(sum(fresh.values()))
        folder = self.folder / "judgements"
        found = await outside.ask(answers, (self.incumbent, variant), self.asker, folder, concurrency=self.concurrency)
        self._counted |= fresh.keys()
        self.budget.asked += sum(fresh.values())
        self.budget.unpriced += sum(fresh.values())
        self.progress(sum(fresh.values()))
        return found

    def _seen(self, item: Item, graded: Graded) -> Seen:
        old, new = graded.incumbent[0], graded.candidate[0]
        answers = graded.answers
        held = Held(graded.id, graded.slices, item.case.critical, _value(old), _value(new))
        texts = [kept.text if kept is not None else "" for kept in (answers.candidate[0], answers.incumbent[0])]
        return Seen(item, held, texts[0], _reasons(item.suite, new), texts[1], _reasons(item.suite, old))

    def name(self, item: Item) -> str:
        return case_id(item.suite, item.case, several=self.several)

    def _kept(self, variant: Variant, case: Case) -> Kept | None:
        return self._file(variant).get(self._key(variant, case, 0))

    def _key(self, variant: Variant, case: Case, repeat: int) -> str:
        base_url = self.asker.providers[variant.provider].base_url
        return key_of(variant.fingerprint, base_url, case.messages, repeat)

    def _file(self, variant: Variant) -> AnswerFile:
        """Answers of the search are kept apart from those of evals: what was chosen for being lucky proves nothing."""
        file = self._files.get(variant.fingerprint)
        if file is None:
            shared = any(each.fingerprint == variant.fingerprint for each in self.known)
            folder = (self.evals if shared else self.folder) / "answers"
            file = self._open.enter_context(closing(AnswerFile(folder, variant)))
            self._files[variant.fingerprint] = file
        return file

    def _check_failed(self, said: Failed) -> None:
        self.failed.append(said)
        if len(self.failed) > max(LEAST_FAILED, MAX_FAILED * self.budget.asked):
            raise CannotMeasure(
                f"{len(self.failed):,} of {self.budget.asked:,} questions stayed without an answer; the last one: "
                f"{said.kind}: {said.message}",
                remedy="check models and providers, then go on with --resume: what was answered is kept",
            )


def _value(score: SuiteScore | None) -> float:
    return 0.0 if score is None or score.value is None else score.value


def _reasons(suite: Suite, score: SuiteScore | None) -> str:
    """What the counting graders say of an answer."""
    if score is None:
        return "no answer came"
    return "; ".join(f"{grader.label}: {score.parts[grader.label].reason}" for grader in suite.counting)


def _first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """One of the errors that ended a batch; they rarely differ."""
    error: BaseException = several
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def items_of(suites: Sequence[Suite]) -> list[Item]:
    return [Item(suite, case) for suite in suites for case in suite.cases]
