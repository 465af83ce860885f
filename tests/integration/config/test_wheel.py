"""A wheel is made with and without what compiling needs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NO_COMPILER = {"CC": "no-such-compiler"}


def _build(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    clean = {name: value for name, value in os.environ.items() if name != "UNDERSTUDY_COMPILE"}
    return subprocess.run(
        command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow(5)
def test_without_a_compiler_the_wheel_is_plain_and_says_so(tmp_path: Path) -> None:
    done = _build(tmp_path, **NO_COMPILER)
    assert done.returncode == 0, done.stderr
    assert "not compiled, so the gateway is slower: there is no C compiler (no-such-compiler)" in done.stderr
    (wheel,) = tmp_path.iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "understudy/gateway/session.py" in names
    assert not [name for name in names if name.endswith(".so")]


@pytest.mark.slow(3)
def test_where_it_must_be_compiled_what_is_missing_is_an_error(tmp_path: Path) -> None:
    done = _build(tmp_path, UNDERSTUDY_COMPILE="1", **NO_COMPILER)
    assert done.returncode != 0
    assert "could not be compiled: there is no C compiler (no-such-compiler)" in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow(3)
def test_it_can_be_asked_not_to_compile(tmp_path: Path) -> None:
    done = _build(tmp_path, UNDERSTUDY_COMPILE="0")
    assert done.returncode == 0, done.stderr
    assert "not compiled" not in done.stderr
    assert [path.name.endswith("-py3-none-any.whl") for path in tmp_path.iterdir()] == [True]
