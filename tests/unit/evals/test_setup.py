"""What an eval takes from a project: the right variants, suites, limits and prices, or a sentence why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.config.project import Project, open_project
from understudy.core.errors import UsageError
from understudy.core.variant import Variant
from understudy.evals.answers import Kept
from understudy.evals.setup import prepare, prices, thresholds

FILE = """\
providers:
  p: {wire: openai, base_url: http://127.0.0.1:9/v1}
workloads:
  w:
    owner: tests
    incumbent: old
    variants:
      old: {provider: p, model: own-model}
      new: {provider: p, model: gpt-4o-2024-08-06}
      twin: {provider: p, model: own-model}
    suites: [s.yaml]
    gates: {quality: {margin: 3pt}, critical: [s1, s2]}
  bare:
    owner: tests
    incumbent: old
    variants:
      old: {provider: p, model: own-model}
      new: {provider: p, model: own-model-2}
prices:
  own-model: {input: 2, output: 10}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "understudy.yaml").write_text(FILE)
    (tmp_path / "s.yaml").write_text(
        "suite: s\ncases: [{id: a, slice: s1, prompt: x}, {id: b, slice: s3, prompt: x}]\ngraders: [{type: refusal}]\n"
    )
    return open_project(tmp_path / "understudy.yaml", {})


def test_a_job_is_made_of_what_the_project_says(project: Project) -> None:
    """The serving variant is the incumbent, the workload's suites are asked, its quality margin is the limit."""
    job = prepare(project, "w", candidate="new")
    assert (job.incumbent.name, job.candidate.name, job.cases, job.questions) == ("old", "new", 2, 20)
    assert (job.thresholds.margin, job.thresholds.critical_slices) == (0.03, ("s1", "s2"))
    assert thresholds(project, "bare", []).margin == 0.02


def test_slices_narrow_cases_and_critical_slices_alike(project: Project) -> None:
    """A critical slice that is not looked at cannot fail for want of cases."""
    job = prepare(project, "w", candidate="new", slices=["s1"])
    assert (job.cases, job.thresholds.critical_slices) == (1, ("s1",))


def test_a_critical_slice_is_known_by_its_name_in_traffic_too(project: Project, tmp_path: Path) -> None:
    """A suite made of traffic writes `ticket=s1` for what the configuration calls s1."""
    (tmp_path / "s.yaml").write_text(
        "suite: s\ncases: [{id: a, slice: ticket=s1, prompt: x}, {id: b, slice: s2, prompt: x}]\n"
        "graders: [{type: refusal}]\n"
    )
    assert prepare(project, "w", candidate="new").thresholds.critical_slices == ("s2", "ticket=s1")


@pytest.mark.parametrize("candidate", ["old", "twin"])
def test_the_incumbent_is_no_candidate_unless_asked_for(project: Project, candidate: str) -> None:
    """By name or by content: refused with the remedy, and done where both are named."""
    with pytest.raises(UsageError) as caught:
        prepare(project, "w", candidate=candidate)
    assert "there is nothing to compare" in caught.value.message
    assert "--incumbent old" in caught.value.remedy
    assert prepare(project, "w", candidate=candidate, incumbent="old").same


def test_a_workload_without_a_suite_has_no_first_stage(project: Project) -> None:
    """The suite comes before the upgrade."""
    with pytest.raises(UsageError, match="has no suite"):
        prepare(project, "bare", candidate="new")
    job = prepare(project, "bare", candidate="new", suites=[project.root / "s.yaml"])
    assert [suite.name for suite in job.suites] == ["s"]


def test_answers_cost_what_the_project_or_the_public_list_says(project: Project) -> None:
    """Own prices first; tokens or a price that nobody knows make an unknown cost, never 0."""
    price = prices(project)
    kept = Kept(key="k", text="", at=1_760_000_000.0, latency_s=1, ttft_s=1, input_tokens=1000, output_tokens=100)
    assert price(Variant("v", "p", "own-model"), kept) == pytest.approx(0.003)
    assert (price(Variant("v", "p", "gpt-4o-2024-08-06"), kept) or 0) > 0
    assert price(Variant("v", "p", "nobody-sells-this"), kept) is None
    unknown = Kept(key="k", text="", at=1.0, latency_s=1, ttft_s=1)
    assert price(Variant("v", "p", "own-model"), unknown) is None
