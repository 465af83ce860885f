"""A suite is read with everything that could go wrong found before the first paid call, each with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.core.errors import ConfigError, UsageError
from understudy.evals.suite import Suite, load_suite, select
from understudy.wires.base import Message

INLINE = """\
suite: replies
cases:
  - {id: a, slice: refunds, prompt: "Where is my money?", reference: soon, critical: true}
  - id: b
    slices: {ticket: billing, lang: de}
    messages:
      - {role: user, content: Hallo}
      - {role: assistant, content: Guten Tag}
      - {role: user, content: Meine Rechnung?}
    reference: 12
graders:
  - {type: exact}
  - {name: short, type: max_length, characters: 400, weight: 0}
"""


def write(folder: Path, text: str, name: str = "suite.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def load(folder: Path, text: str) -> Suite:
    return load_suite(write(folder, text), shown_as="suite.yaml")


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    assert all(problem.remedy for problem in caught.value.problems)
    return [f"{Path(p.where.file).name}:{p.where.line}:{p.where.column} {p.message}" for p in caught.value.problems]


def recordings(folder: Path, *rows: dict[str, Any], name: str = "r.jsonl") -> None:
    full = [{"case_id": "c", "slice": "s", "model": "m", "prompt": "p", "output": "o", **row} for row in rows]
    write(folder, "\n".join(json.dumps(row) for row in full), name)


def test_inline_cases_are_read_whole(tmp_path: Path) -> None:
    """Prompt or conversation, one slice or several, numbers as text, and a score that is the mean by weight."""
    suite = load(tmp_path, INLINE)
    first, second = suite.cases
    assert (first.id, first.slices, first.reference, first.critical) == ("a", ("refunds",), "soon", True)
    assert first.messages == (Message("user", "Where is my money?"),)
    assert (second.slices, second.reference, second.critical) == (("ticket=billing", "lang=de"), "12", False)
    assert [message.role for message in second.messages] == ["user", "assistant", "user"]
    assert suite.slices == {"lang=de": 1, "refunds": 1, "ticket=billing": 1}
    assert suite.grade(first, "m", "soon").value == 1.0
    assert suite.grade(first, "m", "later").value == 0.0
    assert suite.grade(first, "m", "soon").parts["short"].value == 1.0


def test_the_score_is_the_named_grader_or_the_mean_by_weight(tmp_path: Path) -> None:
    """`score` picks one grader, whatever the weights; without it weights decide and 0 does not count."""
    text = """\
suite: s
cases: [{id: a, prompt: x}]
graders:
  - {name: one, type: contains, text: a, weight: 3}
  - {name: two, type: contains, text: b}
  - {name: three, type: contains, text: c, weight: 0}
"""
    mean = load(tmp_path, text)
    assert mean.grade(mean.cases[0], "m", "a").value == 0.75
    named = load(tmp_path, text + "score: three\n")
    assert named.grade(named.cases[0], "m", "a").value == 0.0
    assert named.grade(named.cases[0], "m", "c").value == 1.0


def test_recordings_become_cases_once_for_all_their_models(tmp_path: Path) -> None:
    """Rows of several models about one case are one case; the reference may stand in any of them."""
    recordings(
        tmp_path, {"model": "m"}, {"model": "n", "output": "other", "reference": "r"}, {"case_id": "d", "prompt": "q"}
    )
    suite = load(tmp_path, "suite: s\ncases: r.jsonl\ngraders: [{type: refusal}]\n")
    assert [(case.id, case.reference) for case in suite.cases] == [("c", "r"), ("d", None)]
    assert suite.recording("c", "n", " other ") is not None
    assert suite.recording("c", "n", "o") is None
    assert suite.recording("c", "m", "other") is None


def test_one_case_id_for_several_prompts_is_several_cases(tmp_path: Path) -> None:
    """Nothing recorded is dropped: the further prompts get names of their own, and a note says so."""
    recordings(tmp_path, {"prompt": "p"}, {"prompt": "q"}, {"prompt": "q", "model": "n"}, {"prompt": "p"})
    suite = load(tmp_path, "suite: s\ncases: r.jsonl\ngraders: [{type: refusal}]\n")
    assert [(case.id, case.messages[0].content) for case in suite.cases] == [("c", "p"), ("c#2", "q")]
    assert suite.notes == (
        "r.jsonl: 1 case ids stand for several prompts; the further ones became cases of their own",
        "r.jsonl: 1 rows repeat a case and model",
    )


def test_recorded_scores_hold_for_the_recorded_answer_only(tmp_path: Path) -> None:
    """The same case and model with another answer has no recorded score."""
    recordings(tmp_path, {"runs": 1}, {"model": "n", "output": "x", "runs": 0})
    suite = load(tmp_path, "suite: s\ncases: r.jsonl\ngraders: [{type: recorded, field: runs}]\n")
    case = suite.cases[0]
    assert suite.grade(case, "m", "o").value == 1.0
    assert suite.grade(case, "n", "x").value == 0.0
    assert suite.grade(case, "n", "o").value is None
    assert suite.grade(case, "unheard", "o").parts["recorded"].reason == "this answer is in no recording"


def test_csv_cases_are_read(tmp_path: Path) -> None:
    """Slices apart by semicolons, quoted cells over several lines, a byte order mark, true and false in any case."""
    write(
        tmp_path,
        '\ufeffid,prompt,slices,reference,critical\na,"one\ntwo",x;lang=de,ref,TRUE\n\nb,"say ""hi""",,,\n',
        "cases.csv",
    )
    suite = load(tmp_path, "suite: s\ncases: cases.csv\ngraders: [{type: refusal}]\n")
    a, b = suite.cases
    assert (a.messages[0].content, a.slices, a.reference, a.critical) == ("one\ntwo", ("x", "lang=de"), "ref", True)
    assert (b.messages[0].content, b.slices, b.reference, b.critical) == ('say "hi"', (), None, False)
    assert a.where.line == 2
    assert b.where.line == 5


GRADER = "graders: [{type: refusal}]\n"
ONE = "suite: s\ncases: [{id: a, prompt: x}]\n"
BROKEN = {
    "suite: s\ncases: []\n" + GRADER: "suite.yaml:2:8 the suite has no cases: the list is empty",
    "suite: s\ncases: none.jsonl\n" + GRADER: "none.jsonl:1:1",
    "suite: s\ncases: empty.jsonl\n" + GRADER: "suite.yaml:2:8 the suite has no cases: empty.jsonl is empty",
    "suite: s\ncases: 3\n" + GRADER: "suite.yaml:2:8 cases is neither a file nor a list",
    "suite: s\n" + GRADER: "suite.yaml:1:1 the file has no cases",
    "suite: two words\ncases: []\n" + GRADER: "suite.yaml:1:8 suite is",
    ONE + "graders: []\n": "suite.yaml:3:10 graders is",
    ONE + "graders: [{name: x}]\n": "suite.yaml:3:11 the grader has no type",
    ONE + "graders: [{type: regexmatch}]\n": "3:18 regexmatch is no grader type",
    ONE + "graders: [{type: judge}]\n": "3:11 the grader has no provider",
    ONE + "graders: [{type: command, run: []}]\n": "3:32 run is empty",
    ONE + "graders: [{type: json_schema, schema: {type: text}}]\n": "it is no JSON schema: 'text' is not valid",
    ONE
    + "graders: [{type: json_schema, schema: {pattern: '(?=x)'}}]\n": "it is no JSON schema: a pattern is none of RE2",
    ONE + "graders: [{type: json_schema, schema: {$ref: 'http://127.0.0.1:9/x'}}]\n": "a reference leads nowhere",
    ONE + "graders: [{type: json_schema, schema: {$ref: '#'}}]\n": "it refers to itself without an end",
    ONE + "graders: [{type: exact, ignorecase: true}]\n": "3:25 ignorecase is no key of the grader",
    ONE + "graders: [{type: regex_match, pattern: '('}]\n": "3:40 pattern: RE2 cannot read",
    ONE + "graders: [{type: exact}]\n": "3:11 exact compares with the reference, and 1 of 1",
    ONE + GRADER + "score: refusl\n": "4:8 score names 'refusl', no grader",
    ONE + "graders: [{type: refusal, weight: 0}]\n": "nothing is compared",
    ONE + "graders: [{type: refusal}, {type: refusal}]\n": "3:28 two graders are called",
    "suite: s\ncases: [{id: a, prompt: x}, {id: a, prompt: y}]\n" + GRADER: "2:29 the id 'a' stands in line 2 already",
    "suite: s\ncases: [{id: a}]\n" + GRADER: "2:9 the case: it has neither of prompt and messages",
    "suite: s\ncases: [{id: a, prompt: x, mesages: []}]\n" + GRADER: "2:28 mesages is no key of the case",
    "suite: s\ncases: [{id: a, prompt: x, slice: y, slices: [z]}]\n" + GRADER: "the case: it has both slice and slices",
    "suite: s\ncases: [{id: a, messages: [{role: system, content: x}]}]\n" + GRADER: "2:35 messages[0].role is",
    "suite: s\ncases: [{id: a, messages: [{role: assistant, content: x}]}]\n"
    + GRADER: "do not end with the user's turn",
    ONE + "graders: [{type: recorded, field: runs}]\n": "come from no recordings file",
    "suite: s\ncases: r.jsonl\ngraders: [{type: recorded, field: judgescore}]\n": "numeric field 'judgescore'",
    "suite: s\ncases: r.jsonl\ngraders: [{type: recorded, field: judge_score}]\n": "outside the scale 0 to 1",
    "suite: s\ncases: clash.jsonl\n" + GRADER: "clash.jsonl:2:1 reference of 'c' is 'y' here and 'x' in a row above",
    "suite: s\ncases: [{id: &x a, prompt: *x}]\n" + GRADER: "2:14 the anchor &x is refused",
    "suite: s\ncases: bad.csv\n" + GRADER: "bad.csv:3:1 case 'b' has no prompt",
    "suite: s\ncases: wide.csv\n" + GRADER: "wide.csv:2:1 3 cells for 2 columns",
    "suite: s\ncases: typo.csv\n" + GRADER: "typo.csv:1:1 the column 'refrence' is unknown",
    "suite: s\ncases: latin.csv\n" + GRADER: "byte 0xe9 after line",
    "suite: s\ncases: quote.csv\n" + GRADER: "quote.csv:2:1 no valid CSV",
    "suite: s\ncases: headless.csv\n" + GRADER: "headless.csv:1:1 there is no column id",
    "suite: s\ncases: .\n" + GRADER: "is a folder",
    "suite: s\ncases: missing.csv\n" + GRADER: "missing.csv cannot be read: No such file",
}


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: BROKEN[text])
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str) -> None:
    """File, line and column, the value, and a remedy; never a traceback."""
    recordings(tmp_path, {"judge_score": 7})
    recordings(tmp_path, {"reference": "x"}, {"reference": "y", "model": "n"}, name="clash.jsonl")
    write(tmp_path, "", "empty.jsonl")
    write(tmp_path, "id,prompt\na,x\nb,\n", "bad.csv")
    write(tmp_path, "id,prompt\na,x,y\n", "wide.csv")
    write(tmp_path, "id,prompt,refrence\na,x,y\n", "typo.csv")
    write(tmp_path, 'id,prompt\na,"x" y\n', "quote.csv")
    write(tmp_path, "name,prompt\na,x\n", "headless.csv")
    (tmp_path / "latin.csv").write_bytes(b"id,prompt\na,caf\xe9\n")
    assert any(BROKEN[text] in found for found in problems(tmp_path, text))


def test_suggestions_name_what_was_meant(tmp_path: Path) -> None:
    """A misspelt type, field, score or slice gets the nearest name that exists."""
    recordings(tmp_path, {"judge_score": 0.5})
    for text, meant in {
        "suite: s\ncases: r.jsonl\ngraders: [{type: regexmatch, pattern: x}]\n": "did you mean regex_match?",
        "suite: s\ncases: r.jsonl\ngraders: [{type: recorded, field: judgescore}]\n": "did you mean judge_score?",
        "suite: s\ncases: r.jsonl\n" + GRADER + "score: refusl\n": "did you mean refusal?",
    }.items():
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, text)
        assert meant in caught.value.problems[0].remedy
    suite = load(tmp_path, INLINE)
    with pytest.raises(UsageError) as wrong:
        select([suite], ["refund"])
    assert wrong.value.remedy == "did you mean refunds?"


def test_a_suite_can_be_cut_down_to_slices(tmp_path: Path) -> None:
    """Suites without a case in the wanted slices are left out; a part has another fingerprint than the whole."""
    suite = load(tmp_path, INLINE)
    other = load(tmp_path, "suite: other\ncases: [{id: a, slice: x, prompt: y}]\n" + GRADER)
    (cut,) = select([suite, other], ["lang=de"])
    assert [case.id for case in cut.cases] == ["b"]
    assert cut.filtered == ("lang=de",)
    assert cut.fingerprint != suite.fingerprint
    assert select([suite, other], []) == [suite, other]


def test_the_fingerprint_follows_what_a_verdict_depends_on(tmp_path: Path) -> None:
    """Cases, references, graders, weights, score and recorded fields count; order of keys and comments do not."""
    base = load(tmp_path, INLINE).fingerprint
    assert load(tmp_path, "# a comment\n" + INLINE).fingerprint == base
    for old, new in [
        ("money?", "money!"),
        ("soon", "later"),
        ("true", "false"),
        ("400", "401"),
        ("weight: 0", "weight: 1"),
        ("type: exact", "type: exact, ignore_case: true"),
        ("refunds", "returns"),
    ]:
        assert load(tmp_path, INLINE.replace(old, new)).fingerprint != base, (old, new)
    text = "suite: s\ncases: r.jsonl\ngraders: [{type: recorded, field: runs}]\n"
    recordings(tmp_path, {"runs": 1, "other": 1})
    recorded = load(tmp_path, text).fingerprint
    recordings(tmp_path, {"runs": 1, "other": 0})
    assert load(tmp_path, text).fingerprint == recorded
    recordings(tmp_path, {"runs": 0, "other": 0})
    assert load(tmp_path, text).fingerprint != recorded


@pytest.mark.parametrize("kind", ["recordings", "csv", "inline"])
def test_the_work_of_loading_grows_with_the_cases_and_no_faster(
    tmp_path: Path, kind: str, calls: Callable[[Callable[[], object]], int]
) -> None:
    """Twice the cases are at most twice the steps."""

    def steps(count: int) -> int:
        if kind == "recordings":
            recordings(tmp_path, *({"case_id": f"c{n}", "prompt": f"{n}?", "output": "x" * 500} for n in range(count)))
            text = "suite: s\ncases: r.jsonl\n" + GRADER
        elif kind == "csv":
            write(tmp_path, "id,prompt\n" + "".join(f"c{n},{n}?\n" for n in range(count)), "c.csv")
            text = "suite: s\ncases: c.csv\n" + GRADER
        else:
            cases = "".join(f"  - {{id: c{n}, prompt: '{n}?'}}\n" for n in range(count))
            text = "suite: s\ncases:\n" + cases + GRADER
        path = write(tmp_path, text)
        assert len(load_suite(path).cases) == count
        return calls(lambda: load_suite(path))

    assert steps(400) <= 2.1 * steps(200)
