"""Judges the best prompt of a search once, on cases that no search has seen, with the gate of stage 1.

Having searched costs nothing there, as the held-out cases took no part in it. Proving several prompts on the same
cases does: the first gets most of alpha, and each further one the same part of what is left, so that all of them
together keep to one alpha, however many there will be. An attempt counts from its beginning, so that looking and
stopping is no way around that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from understudy.core.errors import CannotMeasure
from understudy.core.playbook import Outcome, Verdict
from understudy.core.variant import Variant
from understudy.evals.result import EvalResult, Thresholds
from understudy.evals.runner import Job, run
from understudy.evals.scoring import Price, case_id
from understudy.evals.suite import Suite
from understudy.gates.paired import Comparison, PairedCase, compare
from understudy.tuning.split import question
from understudy.upstream.client import Client

FIRST = 0.8
"""Part of alpha that the first proof has. The more, the fewer cases it needs, and the more a second one needs."""


class Attempt(msgspec.Struct, frozen=True):
    """One proof that was begun. `family` is what is proven: incumbent, and the model that is to replace it."""

    family: str
    candidate: str
    search: str
    questions: tuple[str, ...]
    at: float


class Proof(NamedTuple):
    """A proof and what it rests on."""

    result: EvalResult
    watched: EvalResult | None
    """The must-pass cases that the search saw, asked anew. They can only fail a proof, never pass one."""
    number: int
    """The how-manieth prompt this is on these cases, from 1."""
    alpha: float

    @property
    def lost(self) -> tuple[str, ...]:
        """Must-pass cases outside the proof that the new prompt loses."""
        return self.watched.comparison.critical_failures if self.watched else ()

    @property
    def results(self) -> tuple[EvalResult, ...]:
        """All that was asked for it."""
        return (self.result, self.watched) if self.watched else (self.result,)

    @property
    def verdict(self) -> Verdict:
        return Verdict.FAIL if self.lost else self.result.comparison.verdict

    @property
    def outcome(self) -> Outcome:
        """As the playbook has it: a lost must-pass case is no caution."""
        if not self.lost or self.result.outcome in (Outcome.STOP, Outcome.RETUNE):
            return self.result.outcome
        return Outcome.STOP


def alpha_of(alpha: float, number: int) -> float:
    """The alpha of the how-manieth proof (from 1): 80 % of it, 80 % of the rest, and so on."""
    return alpha * FIRST * (1.0 - FIRST) ** (number - 1)


def tie(suites: Sequence[Suite], thresholds: Thresholds, alpha: float) -> Comparison:
    """What the gate would say of these cases if no answer differed: where that is no pass, the cases are too few."""
    several = len(suites) > 1
    cases = [
        PairedCase(
            case_id(suite, case, several=several),
            (*case.slices, f"suite={suite.name}") if several else case.slices,
            (1.0,),
            (1.0,),
            case.critical,
        )
        for suite in suites
        for case in suite.cases
    ]
    return compare(
        cases,
        alpha=alpha,
        margin=thresholds.margin,
        slice_margin=thresholds.slice_margin,
        critical_slices=thresholds.critical_slices,
    )


def earlier(file: Path, family: str, suites: Sequence[Suite], *, but: str = "") -> list[str]:
    """The candidates that were held against some of these cases before, but for those of one search."""
    mine = set(_questions(suites))
    attempts = (each for each in _attempts(file) if each.family == family and mine & set(each.questions))
    return list(dict.fromkeys(each.candidate for each in attempts if not but or each.search != but))


def number_of(file: Path, family: str, candidate: str, suites: Sequence[Suite]) -> int:
    """The how-manieth proof one of this candidate is on these cases. The same one again is no further one."""
    seen = earlier(file, family, suites)
    return (seen.index(candidate) if candidate in seen else len(seen)) + 1


async def prove(
    search: str,
    job: Job,
    watched: Sequence[Suite],
    client: Client,
    folder: Path,
    file: Path,
    *,
    price: Price,
    progress: Callable[[int], None],
    now: Callable[[], float],
) -> Proof:
    """Judge `job` (whose suites are the held-out cases) once. `watched` are the must-pass cases of the search; `file`
    remembers attempts. Raises as `runner.run` does.
    """
    family = family_of(job.incumbent, job.candidate)
    number = number_of(file, family, job.candidate.fingerprint, job.suites)
    alpha = alpha_of(job.thresholds.alpha, number)
    attempt = Attempt(family, job.candidate.fingerprint, search, tuple(_questions(job.suites)), now())
    if attempt.candidate not in earlier(file, family, job.suites):
        _remember(file, attempt)
    limits = replace(job.thresholds, alpha=alpha)
    result = await run(replace(job, thresholds=limits), client, folder, price=price, progress=progress, now=now)
    known: EvalResult | None = None
    if watched:
        again = replace(job, suites=watched, thresholds=replace(limits, critical_slices=()))
        known = await run(again, client, folder, price=price, progress=progress, now=now)
    return Proof(result, known, number, alpha)


def family_of(incumbent: Variant, candidate: Variant) -> str:
    """What is proven, whatever the prompt."""
    return f"{incumbent.fingerprint} {candidate.provider}/{candidate.model}"


def must_pass(suites: Sequence[Suite]) -> list[Suite]:
    """The suites with their must-pass cases alone."""
    cut = [replace(suite, cases=tuple(case for case in suite.cases if case.critical)) for suite in suites]
    return [suite for suite in cut if suite.cases]


def _questions(suites: Sequence[Suite]) -> list[str]:
    return sorted({question(case) for suite in suites for case in suite.cases})


def _attempts(file: Path) -> Iterator[Attempt]:
    """Those that were begun, in order. A line that was cut by a crash is passed over: its proof had not begun."""
    if not file.exists():
        return
    for line in file.read_bytes().splitlines():
        try:
            yield msgspec.json.decode(line, type=Attempt)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue


def _remember(file: Path, attempt: Attempt) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            stream.write(b"\n" * (stream.tell() > 0) + msgspec.json.encode(attempt))
    except OSError as error:
        raise CannotMeasure(
            f"the proof cannot be written down in {file}: {error.strerror or error}",
            remedy="make room or check the permissions, then go on with --resume",
        ) from None
