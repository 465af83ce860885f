"""What a regression eval found, bound to everything it depends on, as a file that later stages read back.

A result speaks for one pair of variants, these cases, graders and thresholds, and this version of the code: where one
of them changes, `stale` says so and the result is void.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from understudy import __version__
from understudy.core.canonical import digest
from understudy.core.errors import DataCorrupt
from understudy.core.playbook import Outcome, Verdict
from understudy.core.variant import Variant
from understudy.evals import sealed
from understudy.evals.scoring import Example, Measure
from understudy.evals.suite import Suite
from understudy.gates.paired import MIN_CASES, Comparison, SliceComparison

FORMAT = 1
DEFAULT_MARGIN = 0.02
"""Two points of a hundred: the loss in quality that the playbook halts at."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the gate was told; see `gates.paired.compare`."""

    alpha: float = 0.05
    margin: float = DEFAULT_MARGIN
    slice_margin: float | None = None
    critical_slices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bound:
    """The hashes a verdict depends on."""

    suites: Mapping[str, str]
    """Fingerprint by suite name."""
    slices: tuple[str, ...]
    """The slices that the cases were cut down to; empty for whole suites."""
    thresholds: str
    incumbent: str
    candidate: str
    code: str

    @classmethod
    def of(cls, suites: Sequence[Suite], thresholds: Thresholds, incumbent: Variant, candidate: Variant) -> Bound:
        return cls(
            suites={suite.name: suite.fingerprint for suite in suites},
            slices=tuple(sorted({name for suite in suites for name in suite.filtered})),
            thresholds=digest(asdict(thresholds))[:16],
            incumbent=incumbent.fingerprint,
            candidate=candidate.fingerprint,
            code=__version__,
        )

    @property
    def id(self) -> str:
        return digest(asdict(self))[:12]


@dataclass(frozen=True, slots=True)
class Usage:
    """Where the answers came from."""

    asked: int
    """Calls of this run."""
    kept: int
    """Answers of earlier runs that were used again."""
    retries: int
    failures: Mapping[str, int]
    """Questions without an answer, by variant name."""


@dataclass(frozen=True, slots=True)
class Looked:
    """One look of an eval that asks undecided slices again."""

    repeats: int
    """The most answers to a case by then."""
    alpha: float
    cases: int
    """Cases that were asked for it."""
    verdict: str
    """What all looks so far said together."""
    undecided: tuple[str, ...]
    """The slices that the next look asked again; "" is the aggregate."""


@dataclass(frozen=True, slots=True)
class EvalResult:
    """One regression eval. Times are seconds since the epoch."""

    workload: str
    incumbent: Variant
    candidate: Variant
    comparison: Comparison
    measures: tuple[Measure, ...]
    examples: tuple[Example, ...]
    usage: Usage
    repeats: int
    repetitive: bool
    """Both variants gave the same answers again, word for word: more repeats would show nothing more."""
    bound: Bound
    thresholds: Thresholds
    cases: Mapping[str, int]
    """Number of cases by suite name."""
    notes: tuple[str, ...]
    finished_at: float
    looks: tuple[Looked, ...] = ()

    @property
    def outcome(self) -> Outcome:
        return self.comparison.outcome

    @property
    def failed_slices(self) -> tuple[str, ...]:
        """The slices that are proven worse: each needs a waiver before shadow may start."""
        return tuple(row.slice for row in self.comparison.slices if row.verdict is Verdict.FAIL)

    @property
    def next_step(self) -> str:
        """What a person does now, in a sentence or two."""
        return " ".join(self.next_steps)

    @property
    def next_steps(self) -> tuple[str, ...]:
        """What a person does now, each way to go on for itself: one holds a whole command."""
        workload, candidate = self.workload, self.candidate.name
        lost = ", ".join(self.failed_slices)
        match self.outcome:
            case Outcome.PROCEED if self.bound.incumbent == self.bound.candidate:
                return ("Nothing to do: this was one variant against itself.",)
            case Outcome.PROCEED if self.bound.slices:
                return ("Run it again without --slice: a part of the suite opens no stage.",)
            case Outcome.PROCEED:
                return (f"On to shadow: understudy upgrade start {workload} --candidate {candidate}",)
            case Outcome.CAUTION:
                each = "Each of these slices needs" if len(self.failed_slices) > 1 else "This slice needs"
                return (
                    f"{each} a waiver with owner, reason and expiry before shadow may start: {lost}.",
                    f"Or win it back: {self._with_another_prompt}",
                )
            case Outcome.RETUNE:
                search = f"understudy tune {workload} --search --candidate {candidate}"
                return (f"Try to close the gap: {search}; or", self._with_another_prompt)
            case Outcome.STOP:
                return ("Re-tuning could not close the gap: stay with the incumbent, and file the finding.",)
            case Outcome.INCONCLUSIVE:
                vain = " More answers to the same cases will not: these variants repeat themselves."
                return (f"What would decide it: {'; '.join(self.needs)}.{vain if self.repetitive else ''}",)

    @property
    def _with_another_prompt(self) -> str:
        """A prompt is part of a variant, so that another prompt is another variant."""
        return f"write {self.candidate.name} anew with another prompt: understudy eval {self.workload} --candidate NEW"

    @property
    def needs(self) -> tuple[str, ...]:
        """What would decide each comparison that is not decided, in words."""
        comparison = self.comparison
        rows = [row for row in (comparison.aggregate, *comparison.slices) if row.verdict is Verdict.INCONCLUSIVE]
        # Behind one sentence a row the gate may have said more, such as that a must-pass case has no score.
        return (*(self._need(row) for row in rows), *comparison.needed[len(rows) :])

    def _need(self, row: SliceComparison) -> str:
        name = row.slice or "the aggregate"
        if row.n < MIN_CASES:
            return f"{name}: at least {MIN_CASES} cases, it has {row.n}"
        enough = row.needed_cases is not None and row.needed_cases > row.n
        said = f"{name}: " + (f"about {row.needed_cases:,} cases" if enough else f"more than its {row.n:,} cases")
        if enough:
            said += f" instead of {row.n:,}"
        # After several looks alpha is spent: asking once more until it is green would break the promise.
        if row.needed_repeats and not self.repetitive and len(self.looks) <= 1:
            said += f", or --repeats {max(row.needed_repeats, self.repeats + 1)}"
        return f"{said}, to tell a loss of {100 * row.margin:g} points"

    def stale(self, now: Bound) -> tuple[str, ...]:
        """What has changed since, in words; empty where the result still holds."""
        then = self.bound
        changed = [
            f"suite {name}"
            for name in sorted({*then.suites, *now.suites})
            if then.suites.get(name) != now.suites.get(name)
        ]
        words = {
            "slices": "the choice of slices",
            "thresholds": "the thresholds",
            "incumbent": "the incumbent",
            "candidate": "the candidate",
            "code": "the version of understudy",
        }
        return (*changed, *(text for key, text in words.items() if getattr(then, key) != getattr(now, key)))

    def as_dict(self) -> dict[str, Any]:
        """Stable JSON: fields are added, never renamed."""
        return {
            **self.comparison.as_dict(),
            "next_step": self.next_step,
            "format": FORMAT,
            "workload": self.workload,
            "incumbent": self.incumbent.as_dict(),
            "candidate": self.candidate.as_dict(),
            "repeats": self.repeats,
            "repetitive": self.repetitive,
            "looks": [asdict(look) for look in self.looks],
            "cases": dict(self.cases),
            "measures": [{**measure._asdict(), "ratio": measure.ratio} for measure in self.measures],
            "examples": [asdict(example) for example in self.examples],
            "usage": asdict(self.usage),
            "bound": {**asdict(self.bound), "id": self.bound.id},
            "thresholds": asdict(self.thresholds),
            "notes": list(self.notes),
            "finished_at": self.finished_at,
        }


def save(result: EvalResult, folder: Path) -> Path:
    """Write the result below `folder` (the project's evals), whole or not at all; returns the file.

    An eval of the same things replaces its former result. Raises CannotMeasure where the disk refuses.
    """
    target = (
        _folder(folder, result.workload) / f"{result.bound.incumbent}-{result.bound.candidate}-{result.bound.id}.json"
    )
    remedy = "make room or check the permissions, then run this again: the answers are kept"
    sealed.write(target, result.as_dict(), remedy=remedy)
    return target


def load(path: Path) -> EvalResult:
    """Read a result back. Raises DataCorrupt where it was cut, edited or written by another format."""
    remedy = "delete the file and run `understudy eval` again: the answers are kept"
    document = sealed.read(path, FORMAT, remedy=remedy)
    try:
        return _result(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataCorrupt(f"{path} cannot be read: {error}", remedy=remedy) from error


def find(folder: Path, workload: str, incumbent: Variant, candidate: Variant) -> list[EvalResult]:
    """The saved results of a pair of variants, the latest first. Raises DataCorrupt as `load` does."""
    files = _folder(folder, workload).glob(f"{incumbent.fingerprint}-{candidate.fingerprint}-*.json")
    return sorted((load(file) for file in files), key=lambda result: result.finished_at, reverse=True)


def _folder(folder: Path, workload: str) -> Path:
    return folder / workload / "results"


def _result(data: Mapping[str, Any]) -> EvalResult:
    bound = {key: value for key, value in data["bound"].items() if key != "id"}
    return EvalResult(
        workload=data["workload"],
        incumbent=Variant.from_dict(data["incumbent"]),
        candidate=Variant.from_dict(data["candidate"]),
        comparison=_comparison(data),
        measures=tuple(Measure(**{k: v for k, v in row.items() if k != "ratio"}) for row in data["measures"]),
        examples=tuple(Example(**{**row, "slices": tuple(row["slices"])}) for row in data["examples"]),
        usage=Usage(**data["usage"]),
        repeats=data["repeats"],
        repetitive=data["repetitive"],
        looks=tuple(Looked(**{**look, "undecided": tuple(look["undecided"])}) for look in data.get("looks", ())),
        bound=Bound(**{**bound, "slices": tuple(bound["slices"])}),
        thresholds=Thresholds(
            **{**data["thresholds"], "critical_slices": tuple(data["thresholds"]["critical_slices"])}
        ),
        cases=data["cases"],
        notes=tuple(data["notes"]),
        finished_at=data["finished_at"],
    )


def _comparison(data: Mapping[str, Any]) -> Comparison:
    return Comparison(
        outcome=Outcome(data["outcome"]),
        verdict=Verdict(data["verdict"]),
        aggregate=_row(data["aggregate"]),
        slices=tuple(_row(row) for row in data["slices"]),
        critical_failures=tuple(data["critical_failures"]),
        unmeasured=tuple(data["unmeasured"]),
        needed=tuple(data["needed"]),
        sentence=data["sentence"],
        alpha=data["alpha"],
        margin=data["margin"],
    )


def _row(data: Mapping[str, Any]) -> SliceComparison:
    """JSON has no NaN: a score that nobody has is null there."""
    known = {field.name: data[field.name] for field in fields(SliceComparison)}
    for name in ("incumbent", "candidate", "difference"):
        known[name] = math.nan if known[name] is None else known[name]
    return SliceComparison(**{**known, "verdict": Verdict(known["verdict"])})
