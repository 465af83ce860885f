"""The reference pages say what the code does, and the example on them is a suite that loads."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

from understudy.evals import recordings, reference
from understudy.evals.graders import GRADERS
from understudy.evals.suite import load_suite

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "docs" / "reference"
REMEDY = "run `make docs`"


def test_the_grader_page_is_made_from_models_and_tables() -> None:
    """Every type with its settings and the examples of the specification, nothing else."""
    examples = runpy.run_path(str(ROOT / "tests" / "spec" / "evals" / "test_graders.py"))["EXAMPLES"]
    made = reference.graders(examples)
    assert made in (PAGES / "graders.md").read_text(), REMEDY
    for name, grader in GRADERS.items():
        assert f"\n## {name}\n" in made
        for setting, field in grader.model_fields.items():
            assert f"| `{field.alias or setting}` |" in made


def test_the_suite_page_is_made_from_models() -> None:
    """Every key of suite, case and message."""
    assert reference.suites() in (PAGES / "suites.md").read_text(), REMEDY


def test_every_setting_is_described() -> None:
    """A key without a sentence is a key nobody will find."""
    for grader in GRADERS.values():
        for name, field in grader.model_fields.items():
            assert field.description or name == "type", (grader, name)


def test_the_example_suite_loads(tmp_path: Path) -> None:
    """What the page shows can be copied."""
    (yaml,) = re.findall(r"```yaml\n(.*?)```", (PAGES / "suites.md").read_text(), re.S)
    (tmp_path / "suite.yaml").write_text(yaml)
    suite = load_suite(tmp_path / "suite.yaml")
    assert suite.slices == {"lang=en": 1, "ticket=billing": 1, "ticket=refund": 1}
    assert suite.grade(suite.cases[0], "m", "I pass this on. [escalate]").value == 1.0


def test_the_example_recording_is_read(tmp_path: Path) -> None:
    """And so can the recording."""
    (row,) = re.findall(r"```json\n(.*?)```", (PAGES / "suites.md").read_text(), re.S)
    (tmp_path / "r.jsonl").write_text(row)
    (read,) = recordings.read(tmp_path / "r.jsonl")
    assert read.numbers == {"judge_score": 4.0}
    assert set(json.loads(row)) >= {"case_id", "model", "prompt", "output"}
