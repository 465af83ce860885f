"""Reads a suite: the cases both variants answer, the graders that score an answer, and the score the gate compares.

Everything that can be known to be wrong before the first paid call is found here and named with its place in the file.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from understudy.config.explain import suggest, validate
from understudy.config.load import Document, load_yaml
from understudy.core.canonical import digest
from understudy.core.errors import ConfigError, Problem, UsageError
from understudy.evals import cases as cases_of
from understudy.evals.cases import Case, Cases
from understudy.evals.graders import GRADERS, Answered, Grader, Recorded, Score, Similarity
from understudy.evals.recordings import Recording


class SuiteSection(BaseModel):
    """A suite file."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    suite: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    """The suite's name in results and evidence."""
    cases: Any
    """A recordings file (.jsonl or .jsonl.gz), a CSV file, or a list of cases. Paths are relative to the suite."""
    graders: Annotated[list[dict[str, Any]], Field(min_length=1)]
    """What scores an answer; see the grader reference."""
    score: str = ""
    """The grader whose score the gate compares; without it, the mean of all by `weight`."""


class SuiteScore(BaseModel):
    """What a suite says of one answer: the score the gate compares, and each grader's own."""

    model_config = ConfigDict(frozen=True)
    value: float | None
    """None where a grader that counts could not score the answer."""
    parts: dict[str, Score]


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite that was read and checked."""

    name: str
    file: str
    cases: tuple[Case, ...]
    graders: tuple[Grader, ...]
    score: str
    """Name of the grader the gate compares, "" for the mean by weight."""
    answers: Mapping[tuple[str, str], tuple[Recording, ...]] = field(default_factory=dict)
    """Recorded answers by (case id, model), where the cases come from a recordings file."""
    notes: tuple[str, ...] = ()
    filtered: tuple[str, ...] = ()
    """The slices it was cut down to; a result of a part is no result of the suite."""

    @property
    def slices(self) -> dict[str, int]:
        """Every slice with its number of cases."""
        counts: dict[str, int] = {}
        for case in self.cases:
            for name in case.slices:
                counts[name] = counts.get(name, 0) + 1
        return dict(sorted(counts.items()))

    @property
    def fingerprint(self) -> str:
        """Hash of all that a verdict depends on: cases, graders, score, and the recorded fields that graders read."""
        fields = sorted(grader.field for grader in self.graders if isinstance(grader, Recorded))
        recorded = [
            [case, model, row.output, [row.numbers.get(name) for name in fields]]
            for (case, model), rows in sorted(self.answers.items())
            for row in rows
        ]
        return digest(
            {
                "cases": [[c.id, c.messages, c.slices, c.reference, c.critical] for c in self.cases],
                "graders": [grader.model_dump() for grader in self.graders],
                "score": self.score,
                "recorded": recorded if fields else [],
            }
        )

    @property
    def counting(self) -> tuple[Grader, ...]:
        """The graders that make up the score."""
        if self.score:
            return tuple(grader for grader in self.graders if grader.label == self.score)
        return tuple(grader for grader in self.graders if grader.weight > 0)

    def recording(self, case: str, model: str, text: str) -> Recording | None:
        """The recording of this very answer: of the case, by the model, with the same text."""
        for row in self.answers.get((case, model), ()):
            if row.output.strip() == text.strip():
                return row
        return None

    def grade(self, case: Case, model: str, text: str, outside: Mapping[str, Score] | None = None) -> SuiteScore:
        """What the graders say of one answer to a case; `outside` is what judges and commands said of it."""
        recording = self.recording(case.id, model, text)
        answered = Answered(text, case.reference, recording.numbers if recording else None, outside)
        parts = {grader.label: grader.grade(answered) for grader in self.graders}
        return SuiteScore(value=weighted(self.counting, parts, alone=bool(self.score)), parts=parts)

    def only(self, wanted: Sequence[str]) -> Suite:
        """The suite cut down to the cases in any of the slices; possibly without any case."""
        inside = tuple(case for case in self.cases if set(case.slices) & set(wanted))
        return replace(self, cases=inside, filtered=tuple(sorted(set(wanted))))


def weighted(counting: Sequence[Grader], parts: Mapping[str, Score], *, alone: bool) -> float | None:
    """The mean of the counting graders by weight; None where there is none or one of them could not score."""
    total = 0.0
    weights = 0.0
    for grader in counting:
        value = parts[grader.label].value
        if value is None:
            return None
        weight = 1.0 if alone else grader.weight
        total += weight * value
        weights += weight
    return min(1.0, total / weights) if weights else None


def load_suite(path: Path, *, shown_as: str = "") -> Suite:
    """Read and check a suite file. Raises ConfigError with everything wrong in it or in the file of its cases."""
    document = load_yaml(path, shown_as=shown_as)
    section = validate(document, SuiteSection)
    graders, problems = _graders(document, section.graders)
    problems += _score_problems(document, section.score, graders) if not problems else []
    try:
        found = _cases(document, section.cases, path.parent)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    for index, grader in graders.items():
        problems += _fit(document, index, grader, found)
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.where[1:]))
    return Suite(
        name=section.suite,
        file=document.file,
        cases=found.cases,
        graders=tuple(graders.values()),
        score=section.score,
        answers=found.answers,
        notes=found.notes,
    )


def select(suites: Sequence[Suite], wanted: Sequence[str]) -> list[Suite]:
    """The suites cut down to some slices, those without a case left out; all as they are where none is wanted.

    Raises UsageError naming a slice that no case of any suite is in.
    """
    if not wanted:
        return list(suites)
    known = {name for suite in suites for name in suite.slices}
    for name in wanted:
        if name not in known:
            raise UsageError(f"no case is in the slice {name!r}", remedy=suggest(name, known, none="no case has one"))
    return [cut for cut in (suite.only(wanted) for suite in suites) if cut.cases]


def _cases(document: Document, value: Any, folder: Path) -> Cases:
    path = ("cases",)
    if isinstance(value, str):
        found = cases_of.from_file(folder / value, str(Path(document.file).parent / value))
    elif isinstance(value, list):
        found = cases_of.inline(document, path, value)
    else:
        said = "cases is neither a file nor a list"
        raise ConfigError([document.problem(path, said, "name a recordings or CSV file, or list the cases")])
    if not found.cases:
        said = f"the suite has no cases: {value if isinstance(value, str) else 'the list'} is empty"
        raise ConfigError([document.problem(path, said, "add cases: an upgrade without an eval has no first stage")])
    return found


def _graders(document: Document, sections: Sequence[Mapping[str, Any]]) -> tuple[dict[int, Grader], list[Problem]]:
    """The graders by their place in the list, and what is wrong with the others."""
    graders: dict[int, Grader] = {}
    problems: list[Problem] = []
    for index, section in enumerate(sections):
        path = ("graders", index)
        kind = section.get("type")
        if kind is None:
            problems.append(Problem(document.key_position(path), "the grader has no type", "add type: exact, say"))
        elif not isinstance(kind, str) or kind not in GRADERS:
            said, remedy = f"{kind} is no grader type", suggest(str(kind), GRADERS)
            problems.append(document.problem((*path, "type"), said, remedy))
        else:
            try:
                graders[index] = GRADERS[kind].model_validate(section)
            except ValidationError as error:
                problems += cases_of.explained(error, document, path, GRADERS[kind], "the grader")
    seen: dict[str, int] = {}
    for index, grader in graders.items():
        if seen.setdefault(grader.label, index) != index:
            said = f"two graders are called {grader.label}"
            problems.append(Problem(document.key_position(("graders", index)), said, "give one of them another name"))
    return graders, problems


def _score_problems(document: Document, score: str, graders: Mapping[int, Grader]) -> list[Problem]:
    labels = [grader.label for grader in graders.values()]
    if score and score not in labels:
        return [document.problem(("score",), f"score names {score!r}, no grader of this suite", suggest(score, labels))]
    if not score and not any(grader.weight > 0 for grader in graders.values()):
        said = "no grader has a weight and score names none: nothing is compared"
        return [document.problem(("graders",), said, f"add score: {labels[0]}, or a weight above 0")]
    return []


def _fit(document: Document, index: int, grader: Grader, found: Cases) -> list[Problem]:
    """What a grader reads and the cases do not have."""
    path = ("graders", index)
    if grader.needs_reference:
        without = [case for case in found.cases if case.reference is None]
        if without:
            said = f"{grader.label} compares with the reference, and {len(without):,} of {len(found.cases):,} cases "
            said += f"have none, the first being {without[0].id} ({without[0].where})"
            return [document.problem(path, said, "give these cases a reference, or the grader a literal text")]
    if isinstance(grader, Similarity) and importlib.util.find_spec("rapidfuzz") is None:
        said = "the grader type similarity needs the package rapidfuzz, which is not installed"
        return [document.problem((*path, "type"), said, "install understudy[all]")]
    return _recorded_fit(document, index, grader, found) if isinstance(grader, Recorded) else []


def _recorded_fit(document: Document, index: int, grader: Recorded, found: Cases) -> list[Problem]:
    rows = [row for each in found.answers.values() for row in each]
    path = ("graders", index, "field")
    if not rows:
        said = f"{grader.label} reads a field of a recording, and the cases come from no recordings file"
        return [document.problem(path, said, "name a recordings file under cases, or use another grader")]
    known = {name for row in rows for name in row.numbers}
    if grader.field not in known:
        said = f"no recording has the numeric field {grader.field!r}"
        return [document.problem(path, said, suggest(grader.field, known, none="the recordings have no such field"))]
    low, high = grader.scale
    for row in rows:
        value = row.numbers.get(grader.field)
        if value is not None and not low <= value <= high:
            said = f"{grader.field} is {value:g} at {row.where}, outside the scale {low:g} to {high:g}"
            return [document.problem(path, said, "state the field's lowest and highest value: scale: [1, 10]")]
    return []
