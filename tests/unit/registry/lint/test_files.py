"""Which files are read: .gitignore as git understands it, and the command as typed."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from understudy.cli.main import app
from understudy.core.errors import UsageError
from understudy.registry.lint.files import _below, sources
from understudy.registry.lint.gitignore import ignored, parse
from understudy.registry.lint.rules import RULES

NAMES = ["a", "b.py", "build", "a/b.py", "a/build/c.py", "build/a", "a/b/c.py", "x.log", "a/x.log", "[z]", "a b"]
PATTERNS = [
    "a", "/a", "a/", "*.py", "/*.py", "build/", "**/build", "a/**", "a/**/c.py", "!a", "!*.py", "!b.py", "x.*",
    "?.py", "[ab].py", "[!a].py", "a/b", "/a/*", "*", "!*/", "# c", "", "\\#", "a b", "a b ", "**", "a/*/c.py",
    "[z]", "\\[z]", "*b*",
]  # fmt: skip


def said_by_git(folder: Path, patterns: list[str], paths: list[str]) -> set[str]:
    (folder / ".gitignore").write_text("\n".join(patterns) + "\n")
    asked = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin", "-z"],
        cwd=folder, input="\0".join(paths), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.returncode in (0, 1), asked.stderr
    return {path for path in asked.stdout.split("\0") if path}


def said_here(patterns: list[str], paths: list[str]) -> set[str]:
    ignores = [parse(patterns)]

    def left_out(path: str) -> bool:
        parts = path.split("/")
        folders = ["/".join(parts[:number]) for number in range(1, len(parts))]
        return any(ignored(folder, True, ignores) for folder in folders) or ignored(path, False, ignores)

    return {path for path in paths if left_out(path)}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


@settings(max_examples=60)
@given(patterns=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=5))
def test_gitignore_is_understood_as_git_does(repository: Path, patterns: list[str]) -> None:
    assert said_here(patterns, NAMES) == said_by_git(repository, patterns, NAMES)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    for name in ("src/a.py", "src/generated/b.py", "node_modules/c.py", "old/d.py", ".venv/e.py", "src/deep/f.py"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('MODEL = "gpt-4o"\n')
    (tmp_path / ".gitignore").write_text("generated/\n/old\n")
    (tmp_path / "src/deep/.gitignore").write_text("f.*\n")
    (tmp_path / "README.md").write_text("gpt-4o")
    return tmp_path


def below(root: Path, *paths: str, exclude: tuple[str, ...] = ()) -> list[str]:
    found = sources([root / path for path in paths] or [root], exclude, {})
    return [str(source.path.relative_to(root)) for source in found]


def test_what_git_ignores_and_what_was_installed_is_not_read(tree: Path) -> None:
    assert below(tree) == ["src/a.py"]
    assert below(tree, exclude=("a.py",)) == []


def test_ignores_of_folders_above_hold_and_what_is_named_is_read(tree: Path) -> None:
    assert below(tree, "src") == ["src/a.py"]
    assert below(tree, "old", ".venv", "src/generated/b.py") == ["old/d.py", ".venv/e.py", "src/generated/b.py"]


@pytest.mark.parametrize("name", ["nowhere", "README.md", "pipe.py"])
def test_what_cannot_be_read_is_refused_when_it_is_named(tree: Path, name: str) -> None:
    os.mkfifo(tree / "pipe.py")
    with pytest.raises(UsageError):
        below(tree, name)


def typed(folder: Path, *words: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, ["lint", "--today", "2026-11-21", *words])
    return done.exit_code, done.stdout


def test_findings_are_said_with_their_place_and_remedy(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = typed(tree, monkeypatch=monkeypatch)
    assert code == 1
    assert said.startswith("src/a.py:1:10: PIN001 gpt-4o may change under you")
    assert "\n  remedy: write the snapshot: gpt-4o-YYYY-MM-DD\n" in said
    assert said.endswith("1 finding in 1 of 1 file read for names of models: PIN001 1\n")


def test_a_name_that_is_no_text_is_printed_all_the_same(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "src/a.py").rename(os.fsdecode(bytes(tree / "src") + b"/\xff \x1b.py"))
    assert "src/\ufffd \ufffd.py:1:10: PIN001" in typed(tree, monkeypatch=monkeypatch)[1]
    document = json.loads(typed(tree, "--format", "sarif", monkeypatch=monkeypatch)[1])
    place = document["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "src/%EF%BF%BD%20%1B.py"


def test_a_name_of_two_lines_is_printed_in_one(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "src/a.py").rename(tree / "src/two\nlines.py")
    assert typed(tree, monkeypatch=monkeypatch)[1].startswith("src/two\ufffdlines.py:1:10: PIN001")


def test_the_formats_say_the_same(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (only,) = json.loads(typed(tree, "--json", monkeypatch=monkeypatch)[1])["findings"]
    assert (only["file"], only["line"], only["column"], only["code"]) == ("src/a.py", 1, 10, "PIN001")
    _, github = typed(tree, "--format", "github", monkeypatch=monkeypatch)
    assert github.startswith("::error file=src/a.py,line=1,col=10,title=PIN001 floating-name::gpt-4o may change")
    (run,) = json.loads(typed(tree, "--format", "sarif", monkeypatch=monkeypatch)[1])["runs"]
    (result,) = run["results"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == list(RULES)
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "PIN001"
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "src/a.py"
    assert place["region"] == {"startLine": 1, "startColumn": 10, "endColumn": 16}


def test_a_fingerprint_outlives_lines_put_before_it(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def marks() -> list[str]:
        (run,) = json.loads(typed(tree, "--format", "sarif", monkeypatch=monkeypatch)[1])["runs"]
        return [result["partialFingerprints"]["pin/v1"] for result in run["results"]]

    before = marks()
    file = tree / "src/a.py"
    file.write_text("import os\n" + file.read_text())
    assert marks() == before
    file.write_text(file.read_text() * 2)
    assert len(set(marks())) == 2


def test_rules_are_chosen_and_exit_codes_follow(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert typed(tree, "--ignore", "PIN001", monkeypatch=monkeypatch)[0] == 0
    assert typed(tree, "--select", "pin002, PIN003", monkeypatch=monkeypatch)[0] == 0
    assert typed(tree, "--select", "PIN01", monkeypatch=monkeypatch)[0] == 2
    assert typed(tree, "--select", "PIN001", "--ignore", "PIN001", monkeypatch=monkeypatch)[0] == 2
    assert typed(tree, "nowhere", monkeypatch=monkeypatch)[0] == 2


def test_the_project_declares_what_stays(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `models:` is looked at: the rest of the file may lack its secrets where a linter runs."""
    (tree / "understudy.yaml").write_text("providers: {p: {base_url: '${UNSET}'}}\nmodels: {gpt-4o: {exact: true}}\n")
    assert typed(tree, monkeypatch=monkeypatch)[0] == 0
    (tree / "understudy.yaml").write_text("models: {gpt-4o: {exactly: true}}\n")
    assert typed(tree, monkeypatch=monkeypatch)[0] == 2


def test_what_is_no_python_is_passed_over_and_said(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "src/a.py").write_text('print "gpt-4o"\n')
    code, said = typed(tree, "--json", monkeypatch=monkeypatch)
    assert code == 0
    assert json.loads(said)["passed_over"] == {"src/a.py": "not what its name says (SyntaxError)"}


def test_no_file_that_could_hold_a_name_is_left_out_in_silence(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "src/a.py").write_bytes(b'MODEL = "gpt-4o"\0')
    (tree / "large.json").write_text('"gpt-4o"' + " " * (2 << 20))
    code, said = typed(tree, monkeypatch=monkeypatch)
    assert (code, said) == (0, "no findings; 0 files read for names of models, 2 passed over\n")
    document = json.loads(typed(tree, "large.json", ".", "--json", monkeypatch=monkeypatch)[1])
    assert document["passed_over"] == {"large.json": "larger than 2 MiB", "src/a.py": "no text"}


def test_a_folder_that_cannot_be_listed_is_said(tree: Path) -> None:
    """A name that is longer than any file system lists."""
    closed: dict[str, str] = {}
    assert list(_below(tree / ("x" * 300), "", [], closed)) == []
    assert list(closed.values()) == ["File name too long"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_however_they_end(
    tree: Path, encoding: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows writes UTF-16 where a shell redirects, and old editors ended lines with a carriage return alone."""
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    for name, text in (
        ("src/a.py", 'import os|M = "gpt-4o"|'),
        ("b.env", "A=1|M=gpt-4o|"),
        ("c.yaml", "a: 1|m: gpt-4o|"),
    ):
        (tree / name).write_bytes((mark + text.replace("|", end)).encode(encoding))
    found = json.loads(typed(tree, "--json", monkeypatch=monkeypatch)[1])["findings"]
    assert [(each["file"], each["line"], each["column"]) for each in found] == [
        ("b.env", 2, 3),
        ("c.yaml", 2, 4),
        ("src/a.py", 2, 6),
    ]


def test_a_file_that_is_named_twice_is_read_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, said = typed(tree, "src", ".", "src/a.py", "./src/../src/a.py", monkeypatch=monkeypatch)
    assert said.endswith("1 finding in 1 of 1 file read for names of models: PIN001 1\n")


def test_bundles_and_catalogues_are_passed_over_and_pictures_in_notebooks_are_not(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "src/a.py").write_text("".join(f"m{number} = 'gpt-{number + 10}'\n" for number in range(50)))
    (tree / "bundle.js").write_text('f("gpt-4o");' + "x" * 30_000)
    cells = [{"cell_type": "code", "source": ["m = 'gpt-4o'"], "outputs": [{"image/png": "x" * 30_000}]}]
    (tree / "a.ipynb").write_text(json.dumps({"cells": cells}))
    document = json.loads(typed(tree, "--json", monkeypatch=monkeypatch)[1])
    assert [each["file"] for each in document["findings"]] == ["a.ipynb"]
    assert document["passed_over"] == {
        "bundle.js": "generated: nobody writes lines that long",
        "src/a.py": "a catalogue of models, which pins none",
    }


def test_the_types_of_the_official_sdks_are_no_pins() -> None:
    """They list every name there is, and use none."""
    found = [find_spec(name) for name in ("openai", "anthropic")]  # importing them takes seconds
    folders = [Path(spec.origin).parent / "types" for spec in found if spec and spec.origin]
    names = [folders[0] / "shared" / "chat_model.py", folders[1] / "model.py"]
    done = CliRunner().invoke(app, ["lint", *map(str, names)])
    assert done.exit_code == 0, done.output
    assert "gpt-4o" in names[0].read_text()
    assert "claude-opus" in names[1].read_text()
