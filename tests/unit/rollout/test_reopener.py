"""The configuration is read anew when one of its files has changed, and only then."""

from __future__ import annotations

import os

import pytest

from understudy.config.project import Project
from understudy.core.errors import ConfigError
from understudy.wiring import Reopener


def touch(project: Project, text: str) -> None:
    """Write the file, with a time that differs whatever the clock's resolution."""
    before = project.file.stat().st_mtime_ns
    project.file.write_text(text)
    os.utime(project.file, ns=(before + 1_000_000, before + 1_000_000))


def test_an_unchanged_configuration_is_not_read_again(project: Project) -> None:
    """Nothing new: the same project."""
    reopen = Reopener(project)
    assert reopen(project) is project


def test_a_change_is_taken_and_a_mistake_is_said_every_time(project: Project) -> None:
    """A wrong file raises until it is mended, and what was good before is not lost."""
    reopen = Reopener(project)
    good = project.file.read_text()
    touch(project, good.replace("incumbent: old", "incumbent: new", 1))
    changed = reopen(project)
    assert changed.config.workloads["reply"].incumbent == "new"
    assert reopen(project) is changed
    touch(project, good.replace("incumbent: old", "incumbent: nobody", 1))
    for _ in range(2):
        with pytest.raises(ConfigError, match="nobody"):
            reopen(changed)
    touch(project, good + "\n")
    assert reopen(changed).config.workloads["reply"].incumbent == "old"
