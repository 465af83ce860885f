"""Reads the cases of a suite, from a list in the file, a CSV file or recordings; what scores them is elsewhere."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError, model_validator

from understudy.config.explain import explain, nearest
from understudy.config.load import Document, KeyPath
from understudy.config.schema import Wrong
from understudy.core.errors import ConfigError, Position, Problem
from understudy.evals import recordings
from understudy.evals.recordings import MAX_PROBLEMS, Recording
from understudy.wires.base import Message

COLUMNS = ("id", "slice", "prompt", "reference", "critical")
"""Of a CSV file with cases; several slices of a case stand in one cell with ; between them."""

_TRUTH = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to ask both variants. `slices` are names, or "key=value" where the traffic is cut the same way."""

    id: str
    messages: tuple[Message, ...]
    slices: tuple[str, ...]
    reference: str | None
    critical: bool
    """Must pass: where the incumbent always does and the candidate mostly does not, the eval fails."""
    where: Position


class Cases(NamedTuple):
    """The cases of a suite, and the recorded answers to them where they come from a recordings file."""

    cases: tuple[Case, ...]
    answers: Mapping[tuple[str, str], tuple[Recording, ...]] = {}
    """By (case id, model)."""
    notes: tuple[str, ...] = ()


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


Name = Annotated[str, BeforeValidator(_as_text), StringConstraints(min_length=1, max_length=200)]


class MessageSection(BaseModel):
    """One turn of a conversation. A system prompt belongs to the variant, not to the case."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    role: Literal["user", "assistant"]
    """Who speaks."""
    content: str
    """What is said."""


class CaseSection(BaseModel):
    """One case of an inline list."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    id: Name
    """A name that no other case of the suite has."""
    prompt: str | None = None
    """What the user says. Either this or `messages`."""
    messages: list[MessageSection] | None = None
    """A conversation that ends with the user's turn."""
    slice: Name | None = None
    """The slice it belongs to."""
    slices: list[Name] | dict[str, Name] = []
    """Several slices: a list of names, or `key: value` pairs as in the workload's slice_by."""
    reference: Annotated[str, BeforeValidator(_as_text)] | None = None
    """The right answer, for graders that compare with it."""
    critical: bool = False
    """Must pass: losing it fails the eval, whatever the averages say."""

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            both = "both" if self.prompt is not None else "neither"
            raise Wrong(f"it has {both} of prompt and messages", "give one of them")
        if self.messages is not None and (not self.messages or self.messages[-1].role != "user"):
            raise Wrong("its messages do not end with the user's turn", "let the last one have role: user")
        if self.slice is not None and self.slices:
            raise Wrong("it has both slice and slices", "put all of them into slices")
        return self

    def case(self, where: Position) -> Case:
        asked = [Message("user", self.prompt)] if self.prompt is not None else []
        asked += [Message(each.role, each.content) for each in self.messages or ()]
        several = [f"{k}={v}" for k, v in self.slices.items()] if isinstance(self.slices, dict) else self.slices
        names = [self.slice] if self.slice is not None else several
        return Case(self.id, tuple(asked), tuple(dict.fromkeys(names)), self.reference or None, self.critical, where)


def explained(
    error: ValidationError, document: Document, path: KeyPath, model: type[BaseModel], called: str
) -> list[Problem]:
    """The problems of one section of a document, with the places they have in the whole."""
    data = document.data
    for key in path:
        data = data[key]
    inside = {place[len(path) :]: at for place, at in document.places.items() if place[: len(path)] == path}
    found = explain(error, Document(document.file, data, inside), model)
    return [problem._replace(message=problem.message.replace("the file", called, 1)) for problem in found]


def inline(document: Document, path: KeyPath, rows: Sequence[object]) -> Cases:
    """The cases of a list in the suite file. Raises ConfigError with every problem, up to MAX_PROBLEMS of them."""
    problems: list[Problem] = []
    cases = []
    for index, row in enumerate(rows):
        try:
            cases.append(CaseSection.model_validate(row).case(document.key_position((*path, index))))
        except ValidationError as error:
            problems += explained(error, document, (*path, index), CaseSection, "the case")
            if len(problems) >= MAX_PROBLEMS:
                break
    problems = problems[:MAX_PROBLEMS] or list(_repeated(cases))
    if problems:
        raise ConfigError(problems)
    return Cases(tuple(cases))


def from_file(path: Path, shown_as: str) -> Cases:
    """The cases of a CSV file or, whatever else it is called, of a recordings file. Raises ConfigError."""
    if path.suffix.lower() == ".csv":
        return _from_csv(path, shown_as)
    return _from_recordings(path)


def _repeated(cases: Sequence[Case]) -> Iterator[Problem]:
    first: dict[str, Position] = {}
    for case in cases:
        known = first.setdefault(case.id, case.where)
        if known is not case.where:
            yield Problem(case.where, f"the id {case.id!r} stands in line {known.line} already", "give it another id")


class _Entry:
    """A case on its way out of recordings: what its rows say together."""

    def __init__(self, name: str, row: Recording) -> None:
        self.name = name
        self.row = row
        self.said: dict[str, str | None] = {"slice": row.slice or None, "reference": row.reference}

    def case(self) -> Case:
        slice_, reference = self.said["slice"], self.said["reference"]
        asked = (Message("user", self.row.prompt),)
        return Case(self.name, asked, (slice_,) if slice_ else (), reference, False, self.row.where)

    def add(self, row: Recording) -> Problem | None:
        """Take in what a further row says; a problem where it contradicts an earlier one."""
        for key, says in (("slice", row.slice or None), ("reference", row.reference)):
            said = self.said[key]
            if said is None:
                self.said[key] = says
            elif says is not None and said != says:
                message = f"{key} of {row.case_id!r} is {says!r} here and {said!r} in a row above"
                return Problem(
                    row.where, message, f"correct one of the two; the case begins in line {self.row.where.line}"
                )
        return None


def _from_recordings(path: Path) -> Cases:
    """One case a (case_id, prompt): rows of several models about one case are one case.

    Where a case_id stands for several prompts, the second and further ones are called `id#2`, `id#3`.
    """
    entries: dict[tuple[str, str], _Entry] = {}
    prompts: dict[str, int] = {}
    answers: dict[tuple[str, str], list[Recording]] = {}
    problems: list[Problem] = []
    for row in recordings.read(path):
        entry = entries.get((row.case_id, row.prompt))
        if entry is None:
            nth = prompts[row.case_id] = prompts.get(row.case_id, 0) + 1
            name = row.case_id if nth == 1 else f"{row.case_id}#{nth}"
            entry = entries[row.case_id, row.prompt] = _Entry(name, row)
        elif (problem := entry.add(row)) and len(problems) < MAX_PROBLEMS:
            problems.append(problem)
        answers.setdefault((entry.name, row.model), []).append(row)
    cases = tuple(entry.case() for entry in entries.values())
    problems = problems or list(_repeated(cases))[:MAX_PROBLEMS]
    if problems:
        raise ConfigError(problems)
    return Cases(cases, {key: tuple(rows) for key, rows in answers.items()}, tuple(_notes(path, prompts, answers)))


def _notes(path: Path, prompts: Mapping[str, int], answers: Mapping[tuple[str, str], list[Recording]]) -> Iterator[str]:
    several = sum(count > 1 for count in prompts.values())
    if several:
        yield f"{path.name}: {several} case ids stand for several prompts; the further ones became cases of their own"
    again = sum(len(rows) - 1 for rows in answers.values())
    if again:
        yield f"{path.name}: {again} rows repeat a case and model"


@dataclass(slots=True)
class _Csv:
    """A CSV file being read: which column is which, and what was wrong."""

    shown_as: str
    problems: list[Problem] = field(default_factory=list)

    def say(self, line: int, message: str, remedy: str) -> None:
        self.problems.append(Problem(Position(self.shown_as, line, 1), message, remedy))

    def heading(self, names: Sequence[str]) -> list[str]:
        heads = [name.strip().lower() for name in names]
        heads = [{"case_id": "id", "slices": "slice"}.get(head, head) for head in heads]
        for needed in ("id", "prompt"):
            if needed not in heads:
                self.say(1, f"there is no column {needed}", f"the first line names the columns: {', '.join(COLUMNS)}")
        for head in heads:
            near = nearest(head, COLUMNS)
            if head not in COLUMNS and near:
                self.say(1, f"the column {head!r} is unknown", f"did you mean {near}?")
            if head in COLUMNS and heads.count(head) > 1:
                self.say(1, f"the column {head} stands twice", "keep one of them")
        return heads

    def row(self, line: int, cells: Mapping[str, str]) -> Case | None:
        critical = _TRUTH.get(cells.get("critical", "").strip().lower())
        if not cells["id"].strip():
            self.say(line, "the case has no id", "write one in the column id")
        elif not cells["prompt"].strip():
            self.say(line, f"case {cells['id']!r} has no prompt", "write one in the column prompt")
        elif critical is None:
            self.say(line, f"critical is {cells['critical']!r}", "write true or false")
        else:
            slices = tuple(dict.fromkeys(name.strip() for name in cells.get("slice", "").split(";") if name.strip()))
            asked = (Message("user", cells["prompt"]),)
            reference = cells.get("reference") or None
            return Case(cells["id"].strip(), asked, slices, reference, critical, Position(self.shown_as, line, 1))
        return None


def _from_csv(path: Path, shown_as: str) -> Cases:
    reading = _Csv(shown_as)
    cases: list[Case] = []
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            heads = reading.heading(next(reader, []))
            line = reader.line_num
            for cells in reader if not reading.problems else ():
                begins, line = line + 1, reader.line_num
                if len(cells) > len(heads):
                    reading.say(begins, f"{len(cells)} cells for {len(heads)} columns", "quote cells that hold a comma")
                elif cells:
                    case = reading.row(begins, dict.fromkeys(heads, "") | dict(zip(heads, cells, strict=False)))
                    cases += [case] if case else []
                if len(reading.problems) >= MAX_PROBLEMS:
                    break
    except OSError as error:
        reading.say(1, f"{shown_as} cannot be read: {error.strerror}", "check the path and who may read it")
    except UnicodeDecodeError as error:
        said = f"byte 0x{error.object[error.start]:02x} after line {line} is not UTF-8"
        reading.say(line + 1, said, "save the file as UTF-8")
    except csv.Error as error:
        reading.say(line + 1, f"no valid CSV: {error}", "check the quotes of this line")
    problems = reading.problems or list(_repeated(cases))[:MAX_PROBLEMS]
    if problems:
        raise ConfigError(problems)
    return Cases(tuple(cases))
