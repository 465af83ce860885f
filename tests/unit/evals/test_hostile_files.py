"""Whatever bytes a suite, a CSV or a recordings file holds, reading them ends in cases or in a ConfigError."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from understudy.core.errors import ConfigError
from understudy.core.variant import Variant
from understudy.evals import recordings
from understudy.evals.answers import AnswerFile
from understudy.evals.suite import load_suite

FUZZ = settings(
    derandomize=True, max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

ROW = {"case_id": "c", "slice": "s", "model": "m", "prompt": "p", "output": "o", "reference": "r", "latency_s": 1.5}
RECORDINGS = "\n".join(json.dumps({**ROW, "case_id": f"c{n}", "x": n}) for n in range(5)).encode()
CSV = b'id,prompt,slice,critical\na,"one, two",x;y,true\nb,three,,\n'
SUITE = b"""\
suite: s
cases:
  - {id: a, prompt: x, slices: {k: v}, reference: 1, critical: true}
  - {id: b, messages: [{role: user, content: "hi"}], slice: z, reference: two}
graders:
  - {name: answer, type: regex_match, pattern: '\\[(yes|no)\\]', occurrence: first, equals: reference}
  - {type: max_length, words: 3, weight: 0}
  - {type: numeric, tolerance: 0.5}
score: answer
"""

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=2)
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The file with a piece cut out, doubled, or replaced by other bytes."""
    at = draw(st.integers(0, len(whole)))
    end = draw(st.integers(at, min(len(whole), at + 40)))
    between = draw(st.one_of(st.just(b""), st.just(whole[at:end] * 2), st.binary(max_size=8), st.sampled_from(PIECES)))
    return whole[:at] + between + whole[end:]


PIECES = [
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",  # a surrogate as UTF-8
    b"\xe2\x80\xa8",  # a line separator
    b'"',
    b"\r",
    b"[" * 2000,
    b"{" * 2000,
    b"9" * 5000,
    b"1e999",
    b"NaN",
    b"&a *a !!python/object:os.system",
    b"\\ud800",
    b"- - - -",
    b"? :",
]


def endures(read: object) -> None:
    assert callable(read)
    try:
        read()
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.where.line >= 1
            assert problem.where.column >= 1
            assert problem.message
            assert problem.remedy
            str(problem).encode()


@given(data=damaged(RECORDINGS))
@FUZZ
def test_damaged_recordings(tmp_path: Path, data: bytes) -> None:
    """A row is whole or named; plain and gzipped files behave alike."""
    for name, content in (("r.jsonl", data), ("r.jsonl.gz", gzip.compress(data, 1))):
        path = tmp_path / name
        path.write_bytes(content)
        endures(lambda path=path: list(recordings.read(path)))


@given(cut=st.integers(0, 300), junk=st.binary(max_size=20))
@FUZZ
def test_damaged_archives(tmp_path: Path, cut: int, junk: bytes) -> None:
    """A gzip file that was cut or overwritten anywhere."""
    whole = gzip.compress(RECORDINGS, 6, mtime=0)
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(whole[:cut] + junk + whole[cut + len(junk) :] if cut % 2 else whole[:cut] + junk)
    endures(lambda: list(recordings.read(path)))


@given(changes=st.dictionaries(st.sampled_from([*ROW, "x", "cost_usd", "output_tokens"]), VALUES, max_size=4))
@FUZZ
def test_rows_of_any_type(tmp_path: Path, changes: dict[str, object]) -> None:
    """Each field with a value of each kind: kept as what it is, or named."""
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({**ROW, **changes}))
    endures(lambda: list(recordings.read(path)))


@given(data=damaged(CSV))
@FUZZ
def test_damaged_csv(tmp_path: Path, data: bytes) -> None:
    """Cells, quotes and encodings that broke."""
    (tmp_path / "c.csv").write_bytes(data)
    (tmp_path / "s.yaml").write_text("suite: s\ncases: c.csv\ngraders: [{type: refusal}]\n")
    endures(lambda: load_suite(tmp_path / "s.yaml"))


@given(data=damaged(SUITE))
@FUZZ
def test_damaged_suites(tmp_path: Path, data: bytes) -> None:
    """YAML that broke, and YAML that is whole and means something else now; what loads can grade."""

    def read() -> None:
        suite = load_suite(tmp_path / "s.yaml")
        assert suite.fingerprint
        for case in suite.cases:
            suite.grade(case, "m", "[yes] 1")

    (tmp_path / "s.yaml").write_bytes(data)
    endures(read)


@given(data=damaged(b"\n".join(b'{"key":"%d","text":"x","at":1,"latency_s":1,"ttft_s":1}' % n for n in range(4))))
@FUZZ
def test_damaged_answer_files(tmp_path: Path, data: bytes) -> None:
    """A file of kept answers is never a reason to stop: what cannot be read is asked again."""
    variant = Variant("v", "p", "m")
    (tmp_path / f"{variant.fingerprint}.jsonl").write_bytes(data)
    file = AnswerFile(tmp_path, variant)
    file.close()
    assert len(file) <= 8


@pytest.mark.parametrize("bomb", ["aliases", "depth", "size"])
def test_bombs_are_refused(tmp_path: Path, bomb: str) -> None:
    """Aliases that multiply, endless nesting, and files beyond the limit."""
    text = {
        "aliases": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
        "depth": "suite: " + "[" * 10_000,
        "size": "suite: s\n# " + "x" * (2 << 20),
    }[bomb]
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_suite(path)
