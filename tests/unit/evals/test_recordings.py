"""Recordings are read row by row; a broken line is named with its place, its value and what to write instead."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from understudy.core.errors import ConfigError
from understudy.evals import recordings
from understudy.evals.recordings import duplicates, read

ROW = {"case_id": "c1", "slice": "prime", "model": "m", "prompt": "Is 7 prime?", "output": "[Yes]"}


def line(**changes: Any) -> str:
    return json.dumps({**ROW, **changes}, ensure_ascii=False)


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        list(read(path))
    return [f"{p.where.line}:{p.where.column} {p.message}" for p in caught.value.problems]


def test_a_row_is_read_with_everything_it_says(tmp_path: Path) -> None:
    """Known fields have their own place, unknown numeric ones are kept by name, other unknown ones are dropped."""
    path = tmp_path / "r.jsonl"
    path.write_text(
        line(reference="[Yes]", latency_s=1.5, cost_usd=0.002, output_tokens=9, temperature=0, judge=4, ok=True, x="y")
    )
    (row,) = read(path)
    assert (row.case_id, row.slice, row.model, row.output) == ("c1", "prime", "m", "[Yes]")
    assert (row.reference, row.latency_s, row.cost_usd, row.output_tokens) == ("[Yes]", 1.5, 0.002, 9)
    assert row.temperature == 0.0
    assert row.numbers == {"judge": 4.0, "ok": 1.0}
    assert str(row.where) == f"{path}:1:1"


def test_what_a_row_does_not_say_is_unknown_and_never_zero(tmp_path: Path) -> None:
    """Absent and null figures are None; an empty reference is none."""
    path = tmp_path / "r.jsonl"
    path.write_text(line(reference="", latency_s=None))
    (row,) = read(path)
    assert (row.latency_s, row.cost_usd, row.output_tokens, row.reference) == (None, None, None, None)


def test_a_numeric_reference_is_its_text(tmp_path: Path) -> None:
    """References are compared as text, so a number may stand there unquoted."""
    path = tmp_path / "r.jsonl"
    path.write_text(line(reference=42))
    assert next(read(path)).reference == "42"


@pytest.mark.parametrize("name", ["r.jsonl.gz", "misnamed.jsonl"])
def test_gzip_is_known_by_its_bytes(tmp_path: Path, name: str) -> None:
    """Whether a file is compressed is seen from its first bytes, not from its name."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(f"{line()}\n\n{line(case_id='c2')}\n".encode()))
    assert [row.case_id for row in read(path)] == ["c1", "c2"]


def test_windows_files_are_read(tmp_path: Path) -> None:
    """A byte order mark and CRLF line ends are no obstacle."""
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{line()}\r\n{line(case_id='c2')}\r\n".encode())
    assert [row.case_id for row in read(path)] == ["c1", "c2"]


BROKEN = {
    '{"case_id": nope}': "2:13 no valid JSON from 'nope}' on",
    '{"case_id": "c1"': "2:17 the line ends before its JSON does",
    '{"case_id": "é", x}': "2:18 no valid JSON from 'x}' on",
    "[1, 2]": "2:1 the line holds a list, not an object",
    "null": "2:1 the line holds null, not an object",
    "[" * 100_000: "2:1 the line is nested too deeply",
    '{"case_id": NaN}': "2:13 no valid JSON from 'NaN}' on",
    line(case_id=""): "2:13 case_id is '', not a text",
    line(prompt=None): "prompt is null, not a text",
    line(output=["a"]): "output is a list, not a text",
    line(slice=3): "slice is 3, not a text",
    line(latency_s=-1): "latency_s is -1",
    line(cost_usd="0.1"): "cost_usd is '0.1'",
    line(output_tokens=1.5): "output_tokens is 1.5",
    line(output_tokens=True): "output_tokens is True",
    line(reference=["a"]): "reference is a list",
    line().replace('"model": "m", ', ""): "the row has no 'model'",
    line(output="\\ud800").replace("\\\\", "\\"): "2:",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda text: text[:40])
def test_a_broken_line_is_named_with_its_place(tmp_path: Path, broken: str) -> None:
    """Line and column point at the offending value, and nothing after the line is handed out."""
    path = tmp_path / "r.jsonl"
    path.write_text(f"{line()}\n{broken}\n{line(case_id='c3')}\n")
    (found,) = problems(path)
    assert found.startswith("2:")
    assert BROKEN[broken] in found
    rows = []
    with pytest.raises(ConfigError) as caught:
        for row in read(path):
            rows.append(row.case_id)
    assert rows == ["c1"]
    assert caught.value.problems[0].remedy


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    """A byte that is not UTF-8 is shown with its value and place."""
    path = tmp_path / "r.jsonl"
    path.write_bytes(line().encode().replace(b"prime?", b"pr\xffme?"))
    (found,) = problems(path)
    assert "byte 0xff is not UTF-8" in found


def test_every_broken_line_is_reported_up_to_a_limit(tmp_path: Path) -> None:
    """One run shows all the broken lines of a file, but not thousands of them."""
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join(["{", line(), "}"]))
    assert [found.split()[0] for found in problems(path)] == ["1:2", "3:1"]
    path.write_text("oops\n" * 1000)
    assert len(problems(path)) == recordings.MAX_PROBLEMS


def test_a_damaged_archive_is_named_with_the_line_it_breaks_at(tmp_path: Path) -> None:
    """A cut download is reported with the number of lines that could be read."""
    path = tmp_path / "r.jsonl.gz"
    whole = gzip.compress("".join(line(case_id=f"c{n}", output=f"{n * 7919}") + "\n" for n in range(2000)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    (found,) = problems(path)
    assert "the compressed file is damaged after line" in found
    path.write_bytes(whole[:200] + b"\x00\xff" * 50 + whole[300:])
    assert "damaged" in problems(path)[-1]


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    """A compression bomb of one endless line stops at the limit."""
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for _ in range(64):
            stream.write(b" " * (1 << 20))
    (found,) = problems(path)
    assert "1:1 the line is longer than 8,388,608 bytes, the limit" in found


@pytest.mark.parametrize(("make", "said"), [(False, "No such file"), (True, "is a folder")])
def test_a_file_that_is_none_is_named(tmp_path: Path, make: bool, said: str) -> None:
    """A missing file and a folder are a problem with the path, not a traceback."""
    path = tmp_path / "r.jsonl"
    if make:
        path.mkdir()
    assert said in problems(path)[0]


def test_duplicates_are_counted(tmp_path: Path) -> None:
    """Rows that repeat a case and model, and case ids with several prompts, are two different things."""
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join([line(), line(), line(model="n"), line(prompt="Is 8 prime?")]))
    found = duplicates(read(path))
    assert found == (1, 1)
    assert str(found) == "1 rows repeat a case and model already read; 1 case ids stand for several prompts"
    assert str(duplicates([])) == "no duplicates"
