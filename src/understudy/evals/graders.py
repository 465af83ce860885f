"""Scores one answer: each grader type says in a number from 0 to 1, with a reason, how far it is what it should be.

Pure: what the answer is compared with arrives beside it, and no answer, however strange, makes a grader raise. Which
graders apply to which cases, and which score the gate compares, is decided in `suite`. The fields of these models
are the settings of the suite file, and their docstrings are the reference page.
"""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import re2
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from understudy.config.schema import Wrong
from understudy.core.refusal import refusal
from understudy.evals.extract import (
    Occurrence,
    as_text,
    compiled,
    fences,
    likeness,
    matches,
    number,
    numbers,
    read_json,
    same,
    shown,
    value_at,
    well_formed,
    within,
)
from understudy.evals.schemas import misfit, schema_error

REFERENCE = "reference"
"""As a setting: the reference of each case, instead of a literal text."""
MAX_COMPARED = 50_000
"""Characters of each text that `similarity` looks at; its cost grows with the product of the lengths."""


_SINGLE_BYTE = re.compile(r"(?<!\\)(?:\\\\)*\\C")


class Answered(NamedTuple):
    """An answer, and what it may be held against."""

    text: str
    reference: str | None = None
    recorded: Mapping[str, float] | None = None
    """Numeric fields of the recording of this very answer; None where there is no such recording."""
    outside: Mapping[str, Score] | None = None
    """What judges and commands said of this answer, by the name of the grader."""


class Score(NamedTuple):
    """From 0 (wrong) to 1 (right), and why in a few words; None: this answer cannot be scored by this grader."""

    value: float | None
    reason: str


def _text(value: object) -> object:
    """A number in the file is taken as its text; true and false are not."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_text), Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1)]


class Grader(BaseModel, ABC):
    """Base of all types. A grader is made once for a suite and used on every answer."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    type: str
    name: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]{0,64}$")
    """What the score is called in results and gates; the type where none is given."""
    weight: float = Field(default=1.0, ge=0, le=1000, allow_inf_nan=False)
    """Part in the suite's score where `score` names no grader; with 0 it is reported and not counted."""

    against: ClassVar[str] = ""
    """The setting that may say `reference`."""

    @property
    def label(self) -> str:
        return self.name or self.type

    @property
    def needs_reference(self) -> bool:
        """True where the score depends on the case's reference: such a grader cannot score live answers."""
        return bool(self.against) and getattr(self, self.against) == REFERENCE

    @property
    def needs_recording(self) -> bool:
        """True where the score is read from a recording: such a grader cannot score live answers."""
        return False

    @property
    def needs_asking(self) -> bool:
        """True where a model or a program has to be asked first: such a grader does not score live answers."""
        return False

    def grade(self, answered: Answered) -> Score:
        """The score of an answer. Never raises; text that is no Unicode is scored with U+FFFD in its place."""
        if self.needs_reference and answered.reference is None:
            return Score(None, "the case has no reference")
        text, reference = well_formed(answered.text), answered.reference
        return self._grade(text, answered._replace(text=text, reference=well_formed(reference or "")))

    @abstractmethod
    def _grade(self, text: str, answered: Answered) -> Score: ...

    def _wanted(self, answered: Answered) -> str:
        """What the answer is held against: the literal of the settings, or the case's reference."""
        literal = str(getattr(self, self.against))
        return (answered.reference or "") if literal == REFERENCE else literal


class Exact(Grader):
    """The whole answer equals the wanted text; white space around both is ignored."""

    type: Literal["exact"]
    equals: Text = REFERENCE
    """`reference`, or a literal text."""
    ignore_case: bool = False
    """Upper and lower case are the same."""
    against: ClassVar[str] = "equals"

    def _grade(self, text: str, answered: Answered) -> Score:
        wanted = self._wanted(answered)
        if same(text, wanted, self.ignore_case):
            return Score(1.0, "equal")
        return Score(0.0, f"says {shown(text)}, wanted {shown(wanted)}")


class Contains(Grader):
    """The answer contains the wanted text, or all or any of several."""

    type: Literal["contains"]
    text: Text | Texts
    """`reference`, a literal text, or a list of texts."""
    match: Literal["all", "any"] = "all"
    """How many of a list must be there."""
    ignore_case: bool = False
    """Upper and lower case are the same."""
    against: ClassVar[str] = "text"

    def _grade(self, text: str, answered: Answered) -> Score:
        wanted = [self._wanted(answered)] if isinstance(self.text, str) else self.text
        there = [within(one, text, self.ignore_case) for one in wanted]
        if all(there) if self.match == "all" else any(there):
            return Score(1.0, "contains it")
        return Score(0.0, f"lacks {shown(wanted[there.index(False)])}")


class NotContains(Grader):
    """The answer contains none of the texts."""

    type: Literal["not_contains"]
    text: Text | Texts
    """`reference`, a literal text, or a list of texts."""
    ignore_case: bool = False
    """Upper and lower case are the same."""
    against: ClassVar[str] = "text"

    def _grade(self, text: str, answered: Answered) -> Score:
        unwanted = [self._wanted(answered)] if isinstance(self.text, str) else self.text
        for one in unwanted:
            if within(one, text, self.ignore_case):
                return Score(0.0, f"contains {shown(one)}")
        return Score(1.0, "contains none of it")


class RegexMatch(Grader):
    """A pattern is found in the answer; with `equals`, what it finds is the wanted text."""

    type: Literal["regex_match"]
    pattern: str = Field(min_length=1, max_length=10_000)
    """An RE2 pattern: linear in time on any answer, hence without look-around and back references."""
    occurrence: Occurrence = "first"
    """Which of several matches is held against `equals`."""
    ignore_case: bool = False
    """Upper and lower case are the same, in the pattern and in the comparison."""
    equals: Text | None = None
    """`reference` or a literal text: the whole match, or the pattern's first group, must equal it."""
    against: ClassVar[str] = "equals"

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        if _SINGLE_BYTE.search(value):
            raise Wrong(r"\C would match half a character", "write . for any character")
        try:
            compiled(value, False)
        except re2.error as error:
            said = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
            raise Wrong(
                f"RE2 cannot read the pattern: {said}",
                "correct the pattern; RE2 has no look-around and no back references",
            ) from None
        return value

    def _grade(self, text: str, answered: Answered) -> Score:
        found = list(matches(compiled(self.pattern, self.ignore_case), text, self.occurrence))
        if not found:
            return Score(0.0, "no match")
        whole = found[0][0]
        if self.equals is None:
            return Score(1.0, f"finds {shown(whole)}")
        wanted = self._wanted(answered)
        for one in found:
            if any(same(part, wanted, self.ignore_case) for part in one):
                return Score(1.0, f"finds {shown(one[0])}")
        return Score(0.0, f"finds {shown(whole)}, wanted {shown(wanted)}")


class JsonValid(Grader):
    """The whole answer is strict JSON."""

    type: Literal["json_valid"]
    shape: Literal["any", "object", "list"] = "any"
    """What the outermost value must be."""
    allow_fence: bool = False
    """Take the answer out of a Markdown code fence first."""

    def _grade(self, text: str, answered: Answered) -> Score:
        value, wrong = read_json(text, self.allow_fence)
        if wrong:
            return Score(0.0, wrong)
        wanted = {"any": object, "object": dict, "list": list}[self.shape]
        if not isinstance(value, wanted):
            return Score(0.0, f"JSON, but no {self.shape}")
        return Score(1.0, "valid JSON")


class JsonField(Grader):
    """The answer is JSON and has a value at a path; with `equals`, the wanted one."""

    type: Literal["json_field"]
    path: str = Field(pattern=r"^[^.\[\]\s]+(\.[^.\[\]\s]+|\[\d{1,6}\])*$", max_length=500)
    """Keys with dots between them and list positions in brackets: `items[0].price`."""
    equals: Text | bool | None = None
    """`reference` or a literal; numbers are compared as numbers. Without it, anything but null will do."""
    ignore_case: bool = False
    """Upper and lower case are the same."""
    allow_fence: bool = False
    """Take the answer out of a Markdown code fence first."""
    against: ClassVar[str] = "equals"

    def _grade(self, text: str, answered: Answered) -> Score:
        value, wrong = read_json(text, self.allow_fence)
        if wrong:
            return Score(0.0, wrong)
        found = value_at(value, self.path)
        if found is None:
            return Score(0.0, f"nothing at {self.path}")
        said = as_text(found)
        if self.equals is None:
            return Score(1.0, f"{self.path} is there")
        wanted = str(self.equals).lower() if isinstance(self.equals, bool) else self._wanted(answered)
        if same(said, wanted, self.ignore_case) or number(said) == number(wanted) is not None:
            return Score(1.0, f"{self.path} is {shown(said)}")
        return Score(0.0, f"{self.path} is {shown(said)}, wanted {shown(wanted)}")


class JsonSchema(Grader):
    """The whole answer is JSON that fits a schema."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")
    """The JSON schema, in the draft its `$schema` names, else 2020-12. References stay inside it; patterns are RE2."""
    allow_fence: bool = False
    """Take the answer out of a Markdown code fence first."""

    @field_validator("schema_")
    @classmethod
    def _is_a_schema(cls, value: dict[str, Any]) -> dict[str, Any]:
        why = schema_error(value)
        if why:
            raise Wrong(f"it is no JSON schema: {why}", "see json-schema.org, or write type: json_valid")
        return value

    def _grade(self, text: str, answered: Answered) -> Score:
        value, wrong = read_json(text, self.allow_fence)
        if wrong:
            return Score(0.0, wrong)
        why = misfit(self.schema_, value)
        return Score(float(not why), why or "fits")


class Numeric(Grader):
    """A number in the answer equals the wanted one, within a tolerance."""

    type: Literal["numeric"]
    equals: Text = REFERENCE
    """`reference`, or a literal number."""
    occurrence: Occurrence = "last"
    """Which of several numbers counts; thousands separators as in 1,234.5 are understood."""
    tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """How far off it may be, in the number's own unit."""
    relative: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    """How far off it may be, as a part of the wanted number; the wider of the two tolerances holds."""
    against: ClassVar[str] = "equals"

    @field_validator("equals")
    @classmethod
    def _is_number(cls, value: str) -> str:
        if value != REFERENCE and number(value) is None:
            raise Wrong(f"{value!r} is no number", "write `reference` or a number")
        return value

    def _grade(self, text: str, answered: Answered) -> Score:
        wanted = next(numbers(self._wanted(answered)), None)
        if wanted is None:
            return Score(None, f"the reference {shown(answered.reference or '')} holds no number")
        found = list(numbers(text))
        if not found:
            return Score(0.0, "no number")
        allowed = max(self.tolerance, self.relative * abs(wanted))
        looked_at = {"first": found[:1], "last": found[-1:], "any": found}[self.occurrence]
        for one in looked_at:
            if one == wanted or abs(one - wanted) <= allowed:
                return Score(1.0, f"says {one:g}")
        return Score(0.0, f"says {looked_at[0]:g}, wanted {wanted:g}")


class _Length(Grader):
    characters: int | None = Field(default=None, ge=0)
    """The limit in characters."""
    words: int | None = Field(default=None, ge=0)
    """The limit in words: runs of anything but white space."""

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.characters is None) == (self.words is None):
            given = "neither" if self.characters is None else "both"
            raise Wrong(f"it has {given} of characters and words", "give one limit, such as characters: 400")
        return self

    def _measured(self, text: str) -> tuple[int, int, str]:
        if self.characters is not None:
            return len(text), self.characters, "characters"
        return len(text.split()), self.words or 0, "words"


class MaxLength(_Length):
    """The answer is no longer than a limit."""

    type: Literal["max_length"]

    def _grade(self, text: str, answered: Answered) -> Score:
        length, limit, unit = self._measured(text)
        return Score(float(length <= limit), f"{length:,} {unit}")


class MinLength(_Length):
    """The answer is no shorter than a limit."""

    type: Literal["min_length"]

    def _grade(self, text: str, answered: Answered) -> Score:
        length, limit, unit = self._measured(text)
        return Score(float(length >= limit), f"{length:,} {unit}")


class Similarity(Grader):
    """How alike the answer and the wanted text are, from 0 to 1, by edit distance; or 0 and 1 with a threshold."""

    type: Literal["similarity"]
    to: Text = REFERENCE
    """`reference`, or a literal text."""
    method: Literal["ratio", "token_set"] = "ratio"
    """`ratio` compares letter by letter; `token_set` compares the words, in any order and number."""
    at_least: float | None = Field(default=None, gt=0, le=1)
    """With it, the score is 1 from this likeness on and 0 below."""
    ignore_case: bool = False
    """Upper and lower case are the same."""
    against: ClassVar[str] = "to"

    def _grade(self, text: str, answered: Answered) -> Score:
        one, other = (self._folded(each) for each in (text, self._wanted(answered)))
        alike = likeness(self.method)(one, other) / 100
        score = alike if self.at_least is None else float(alike >= self.at_least)
        return Score(score, f"{alike:.2f} alike")

    def _folded(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text.strip()[:MAX_COMPARED])
        return text.casefold() if self.ignore_case else text


class Refusal(Grader):
    """The answer does not decline its task (or does, where it should), by the phrases listed below."""

    type: Literal["refusal"]
    expected: bool = False
    """Whether declining is right."""

    def _grade(self, text: str, answered: Answered) -> Score:
        how = refusal(text)
        return Score(float(bool(how) == self.expected), f"declines ({how})" if how else "does not decline")


class CodeFence(Grader):
    """The answer has a closed Markdown code fence, or none at all."""

    type: Literal["code_fence"]
    present: bool = True
    """Whether a fence should be there; a fence that is opened and not closed is wrong either way."""
    language: str = Field(default="", max_length=40)
    """The language that the fence must name, where it should be there."""

    @model_validator(mode="after")
    def _language_of_what(self) -> Self:
        if self.language and not self.present:
            raise Wrong(
                "it names the language of a fence that should not be there", "remove language, or present: false"
            )
        return self

    def _grade(self, text: str, answered: Answered) -> Score:
        languages, open_at_end = fences(text)
        if open_at_end:
            return Score(0.0, "a fence is not closed")
        if not self.present:
            return Score(float(not languages), "a fence" if languages else "no fence")
        if not languages:
            return Score(0.0, "no fence")
        if self.language and self.language.lower() not in languages:
            return Score(0.0, f"a fence of {shown(languages[0] or 'no language')}")
        return Score(1.0, "a fence")


class Recorded(Grader):
    """The score is a numeric field of the recording that holds this very answer of this model to this case."""

    type: Literal["recorded"]
    field: str = Field(min_length=1, max_length=200)
    """The field's name, such as `judge_score`."""
    scale: tuple[float, float] = (0.0, 1.0)
    """The field's lowest and highest value, which become 0 and 1."""

    @field_validator("scale")
    @classmethod
    def _rises(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] < value[1] or value[1] - value[0] == float("inf"):
            raise Wrong(f"it goes from {value[0]:g} to {value[1]:g}", "write [lowest, highest], like [1, 10]")
        return value

    @property
    def needs_recording(self) -> bool:
        return True

    def _grade(self, text: str, answered: Answered) -> Score:
        if answered.recorded is None:
            return Score(None, "this answer is in no recording")
        value = answered.recorded.get(self.field)
        if value is None:
            return Score(None, f"the recording has no {self.field}")
        low, high = self.scale
        if not low <= value <= high:
            return Score(None, f"{self.field} {value:g} is outside {low:g} to {high:g}")
        return Score((value - low) / (high - low), f"{self.field} {value:g}")


class Outside(Grader):
    """Base of the types whose score comes from outside this process: it is asked for before an answer is graded."""

    @property
    def needs_asking(self) -> bool:
        return True

    def _grade(self, text: str, answered: Answered) -> Score:
        found = (answered.outside or {}).get(self.label)
        return Score(None, "nobody was asked") if found is None else found


class Judge(Outside):
    """A model says which of both variants' answers is better; the candidate's score is how often its own wins.

    Each pair is shown both ways round, as judges prefer a place; a tie counts one half, and answers that are word for
    word the same are one without asking. The incumbent's score is always one half: an equal candidate has that too.
    """

    type: Literal["judge"]
    provider: str = Field(min_length=1)
    """A provider of understudy.yaml."""
    model: str = Field(min_length=1)
    """The judge, pinned: another judge makes every former verdict void."""
    criteria: str = Field(min_length=1, max_length=20_000)
    """What makes an answer the better one, in a few sentences."""
    repeats: int = Field(default=1, ge=1, le=20)
    """How often each pair is shown each way round."""
    params: dict[str, Any] = {}
    """Parameters of the judge's requests, such as max_tokens."""


class Command(Outside):
    """A program of yours says it: it gets one JSON object on its input and prints a number from 0 to 1.

    The object has `suite`, `case`, `variant`, `model`, `messages`, `answer` and `reference`. It runs in the suite's
    folder with PATH and LANG alone in its environment, so no key reaches it, and only where understudy.yaml says
    `command_graders: true`: a suite file that somebody sent is no reason to run a program.
    """

    type: Literal["command"]
    run: Annotated[list[Text], Field(min_length=1, max_length=100)]
    """The program and its arguments; no shell is in between."""
    timeout: float = Field(default=30.0, gt=0, le=3600)
    """Seconds after which it is killed, and the answer has no score."""


GRADERS: dict[str, type[Grader]] = {
    "exact": Exact,
    "contains": Contains,
    "not_contains": NotContains,
    "regex_match": RegexMatch,
    "json_valid": JsonValid,
    "json_field": JsonField,
    "numeric": Numeric,
    "max_length": MaxLength,
    "min_length": MinLength,
    "similarity": Similarity,
    "refusal": Refusal,
    "code_fence": CodeFence,
    "recorded": Recorded,
    "json_schema": JsonSchema,
    "judge": Judge,
    "command": Command,
}
