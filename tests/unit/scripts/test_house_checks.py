"""The house's own checks, each shown a planted defect."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def run(script: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_long_function_is_named(tmp_path: Path) -> None:
    """A function above the limit is reported with its file, line and size."""
    (tmp_path / "long.py").write_text('"""Doc."""\n\ndef f():\n' + "    x = 1\n" * 81)
    done = run("check_sizes.py", str(tmp_path))
    assert done.returncode == 1
    assert "long.py:3: f has 82 lines, the limit is 80" in done.stdout


def test_a_long_module_and_a_missing_docstring_are_named(tmp_path: Path) -> None:
    """Both limits are reported at once."""
    (tmp_path / "big.py").write_text("x = 1\n" * 601)
    done = run("check_sizes.py", str(tmp_path))
    assert done.returncode == 1
    assert "601 lines" in done.stdout
    assert "no docstring" in done.stdout


def test_a_sound_tree_passes(tmp_path: Path) -> None:
    """Nothing is reported where nothing is wrong."""
    (tmp_path / "fine.py").write_text('"""Doc."""\n')
    assert run("check_sizes.py", str(tmp_path)).returncode == 0


def test_dead_links_are_found(tmp_path: Path) -> None:
    """A missing file and a missing heading are both dead links; a good link and a web address are not."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from check_docs import dead_links
    finally:
        sys.path.pop(0)
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# A heading: with `code`\n")
    page.write_text(
        "[a](other.md) [b](other.md#a-heading-with-code) [c](https://example.org/x) [d](gone.md) [e](other.md#gone)\n"
        "```\n[f](not-a-link.md)\n```\n"
    )
    assert [line.rpartition("link to ")[2] for line in dead_links(page)] == [
        "gone.md: no such file",
        "other.md#gone: no such heading",
    ]


def test_pages_that_a_merge_cut_off_are_found(tmp_path: Path) -> None:
    """The pages of this tree are whole; each of them that lost its second half is named, as is a page nobody finds."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from check_docs import cut_off, unfinished
    finally:
        sys.path.pop(0)
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("README.md", "GLOSSARY.md"):
        shutil.copy(ROOT / name, tmp_path)
    assert cut_off(tmp_path) == []
    for name, said in (
        ("README.md", "README.md: does not end with Apache-2.0."),
        ("GLOSSARY.md", "GLOSSARY.md: no row for committer"),
        ("docs/index.md", "docs/index.md: no link to docs/sdk.md"),
    ):
        whole = (tmp_path / name).read_text()
        lines = whole.splitlines(keepends=True)
        (tmp_path / name).write_text("".join(lines[: len(lines) // 2]))
        assert f"{tmp_path}/{said}" in cut_off(tmp_path)
        (tmp_path / name).write_text(whole)
    (tmp_path / "docs" / "lost.md").write_text("# Lost\n")
    assert cut_off(tmp_path) == [f"{tmp_path}/docs/index.md: no link to docs/lost.md"]
    assert unfinished("```sh\nls\n") == ["a code block is not closed"]
    assert unfinished("| a | b |\n|---|---|\n| c\n") == ["the last line is not whole"]
    assert unfinished("a\n<<<<<<< HEAD\nb\n=======\nc\n>>>>>>> x\n") == ["a conflict of a merge is left in it"]


def test_a_generated_part_that_drifted_is_found() -> None:
    """The comparison is with the code as it is now."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from generate_docs import profiles, regenerated
    finally:
        sys.path.pop(0)
    stale = "<!-- generated: profiles -->\nold\n<!-- end: profiles -->"
    fresh = f"<!-- generated: profiles -->\n{profiles()}\n<!-- end: profiles -->"
    assert regenerated(stale) == fresh
    assert regenerated(fresh) == fresh


def test_an_import_against_the_layers_is_refused(tmp_path: Path) -> None:
    """The contracts are live: a gateway that imports the control plane breaks them."""
    import shutil

    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path / ".importlinter")
    bad = tmp_path / "src" / "understudy" / "gateway" / "bad.py"
    bad.write_text('"""Planted."""\n\nimport understudy.rollout.machine\n')
    linter = Path(sys.executable).parent / "lint-imports"
    program = [str(linter), "--no-cache"]
    environment = {"PYTHONPATH": str(tmp_path / "src"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "The hot path does not know the control plane BROKEN" in done.stdout
