"""A small project on disk, and a rehearsal of it in virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.config.project import Project, open_project
from understudy.rollout.rehearsal import Rehearsal

CONFIG = """
providers:
  local: {wire: openai, base_url: "http://127.0.0.1:9/v1"}
workloads:
  reply:
    incumbent: old
    variants:
      old: {provider: local, model: model-1, system_prompt: "text:Be kind."}
      new: {provider: local, model: model-2, system_prompt: "text:Be kind."}
      newer: {provider: local, model: model-2, system_prompt: "text:Be kind and short."}
      twin: {provider: local, model: model-1, system_prompt: "text:Be kind."}
    suites: [suite.yaml]
  other:
    incumbent: old
    variants:
      old: {provider: local, model: model-1}
      new: {provider: local, model: model-2}
    suites: [suite.yaml]
"""

SUITE = """
suite: reply
cases:
  - {id: one, slice: a, prompt: "1 + 1?", reference: "2"}
graders:
  - {name: answer, type: exact}
score: answer
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "understudy.yaml").write_text(CONFIG)
    (tmp_path / "suite.yaml").write_text(SUITE)
    return open_project(tmp_path / "understudy.yaml")


@pytest.fixture
def rehearsal(project: Project) -> Rehearsal:
    return Rehearsal(project)
