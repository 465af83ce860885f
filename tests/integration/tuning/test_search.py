"""A whole search against a real provider: what is asked when, what is found, what it costs, and what a kill leaves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from understudy.cli.eval import eval_
from understudy.cli.tune_search import Wanted, searched
from understudy.config.project import Project, open_project
from understudy.core.errors import CannotMeasure, Refused, UsageError
from understudy.core.playbook import Outcome, Verdict
from understudy.evals.setup import prices
from understudy.rollout.begin import Request, begin
from understudy.rollout.journal import Event
from understudy.testing.background import running
from understudy.testing.behaviour import Behaviour
from understudy.testing.dialects import Asked, Said
from understudy.testing.provider import Answered, ProviderServer
from understudy.testing.simulated import SimulatedProvider
from understudy.testing.writer import KINDS
from understudy.tuning import filing, search
from understudy.tuning.filing import Report
from understudy.tuning.search import Plan, carry_out, prepare
from understudy.tuning.split import Part, Split
from understudy.upstream.client import Client
from understudy.wiring import control

DAY, CARD = "say when the refund arrives", "name the card it goes back to"
IDEAS = f"Be brief.|If money was taken, {DAY}.|Use no exclamation marks.|For money back, {CARD}."
MODELS = {
    "classic-1": Behaviour(),
    "nova-2": Behaviour(wrong_slice="refund", wrong_share=0.5, wrong_unless=f"{DAY}|{CARD}"),
    "stubborn-2": Behaviour(wrong_slice="refund", wrong_share=0.5),
    "editor-1": Behaviour(proposes=IDEAS),
}
EVAL: dict[str, Any] = {
    "incumbent": "", "suite": None, "repeats": None, "escalate": None, "concurrency": 8, "slice_": None, "fresh": False,
}  # fmt: skip
KINDS_ASKED = ("refund", "delivery")
CASES = 80
"""For each kind of ticket: enough for the proof of a slice at a margin of 10 points."""


class Listening(SimulatedProvider):
    """A simulated provider that remembers what it was asked, in order."""

    def __init__(self, port: int = 0) -> None:
        self.asked: list[Asked] = []
        super().__init__(MODELS, port=port)

    def _decide(self, asked: Asked) -> Any:
        self.asked.append(asked)
        return super()._decide(asked)


@dataclass
class World:
    provider: Listening
    folder: Path

    @property
    def project(self) -> Project:
        return open_project(self.folder / "understudy.yaml", {})

    def plan(self, candidate: str = "nova", **changes: Any) -> Plan:
        return prepare(self.project, "reply", candidate=candidate, reflect_with="sim/editor-1", **changes)

    def run(self, plan: Plan) -> Report:
        return ran(self.project, plan)


def ran(project: Project, plan: Plan) -> Report:
    async def main() -> Report:
        client = Client(plan.providers, lambda name: "")
        try:
            return await carry_out(plan, client, prices(project))
        finally:
            await client.close()

    return asyncio.run(main())


def write(folder: Path, base_url: str, *, priced: bool = True) -> None:
    lines = ["suite: desk", "graders: [{type: contains, text: reference}]", "cases:"]
    for kind in KINDS_ASKED:
        for n in range(CASES):
            row = {"id": f"{kind}-{n}", "slice": kind, "prompt": f"[{kind}] order {1000 + n}"}
            lines.append(f"  - {json.dumps({**row, 'reference': KINDS[kind].resolution, 'critical': n % 20 == 0})}")
    (folder / "desk.yaml").write_text("\n".join(lines) + "\n")
    (folder / "reply.md").write_text("You answer mail.\n")
    variants = "".join(
        f"      {name}:\n        provider: sim\n        model: {model}\n        system_prompt: reply.md\n"
        for name, model in (("classic", "classic-1"), ("nova", "nova-2"), ("stubborn", "stubborn-2"))
    )
    known = MODELS if priced else ["classic-1", "nova-2"]
    (folder / "understudy.yaml").write_text(
        f"providers: {{sim: {{wire: openai, base_url: '{base_url}'}}}}\n"
        f"prices: {{{', '.join(f'{model}: {{input: 2, output: 8}}' for model in known)}}}\n"
        "workloads:\n  reply:\n    incumbent: classic\n    suites: [desk.yaml]\n    policy: demo\n"
        f"    gates: {{quality: {{margin: 10pt}}}}\n    variants:\n{variants}"
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running(Listening) as provider:
        write(tmp_path, provider.base_url)
        yield World(provider, tmp_path)


def leaks(world: World, plan: Plan) -> set[str]:
    """Held-out questions that were asked, or quoted, before the best prompt was known."""
    held_out = {case.messages[-1].content for suite in plan.part(Part.PROOF) for case in suite.cases}
    tuned = [n for n, asked in enumerate(world.provider.asked) if asked.last_user in held_out and DAY in asked.system]
    last = max(n for n, asked in enumerate(world.provider.asked) if "```" in asked.last_user)
    searching = world.provider.asked[: min([*tuned, len(world.provider.asked)])]
    told = [asked.last_user for asked in world.provider.asked[: last + 1] if asked.model == "editor-1"]
    quoted = {each for each in held_out if any(f"{each}\n" in request for request in told)}
    before = {asked.last_user for asked in searching[: last + 1]} & held_out
    return quoted | before


def test_a_search_closes_a_gap_and_proves_it_on_cases_it_never_saw(world: World) -> None:
    """Both rules are found and said, the proof passes, and no held-out case was asked or shown before it."""
    plan = world.plan()
    report = world.run(plan)
    assert (report.verdict, report.outcome) == (Verdict.PASS, Outcome.PROCEED)
    assert report.proof is not None
    assert DAY in report.proof.result.candidate.system_prompt
    assert CARD in report.proof.result.candidate.system_prompt
    assert report.document["gap"]["before"] > 0.3
    assert report.document["gap"]["after"] == 0
    assert any(DAY in line for line in report.document["wanted"])
    assert report.document["words_by"] == "editor-1"
    assert report.proof.result.comparison.aggregate.n == plan.count(Part.PROOF) == CASES
    assert leaks(world, plan) == set()
    assert report.document["paid"] == len(world.provider.asked)
    # Kept answers of the incumbent to must-pass cases of the search serve a second time.
    assert 0 <= report.document["asked"] - report.document["paid"] <= 8
    assert filing.searches(plan.tuning)[-1]["outcome"] == "proceed"


def test_the_checker_sees_a_search_that_scores_on_the_held_out_cases(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the selection is made of the proof's cases."""
    plan = world.plan()

    def mixed(self: Split, suites: Any, *parts: Part) -> Any:
        return cut(self, suites, *({Part.SELECTION: Part.PROOF}.get(part, part) for part in parts))

    cut = Split.cut
    monkeypatch.setattr(Split, "cut", mixed)
    world.run(plan)
    monkeypatch.undo()
    assert leaks(world, plan)


def test_a_gap_that_no_prompt_closes_ends_in_a_finding_and_no_proof(world: World) -> None:
    """The search comes to a plateau; nothing went to the proof, and the outcome is to stop."""
    plan = world.plan("stubborn")
    report = world.run(plan)
    assert (report.verdict, report.outcome, report.proof) == (Verdict.FAIL, Outcome.STOP, None)
    assert report.document["ended"] == "plateau"
    assert "stubborn" in report.findings[0].sentence
    held_out = {case.messages[-1].content for suite in plan.part(Part.PROOF) for case in suite.cases}
    assert not held_out & {asked.last_user for asked in world.provider.asked}


def test_a_budget_is_kept_and_a_larger_one_goes_on(world: World) -> None:
    """Never more questions than --calls; what was asked is not asked again when there is more."""
    least = world.plan().reserved
    with pytest.raises(UsageError, match=r"--calls 900 is below [0-9,]+, the least for 160 cases"):
        world.plan(calls=900)
    small = world.plan(calls=least + 2 * 80 + 20)
    report = world.run(small)
    assert report.document["ended"] == "budget"
    assert report.outcome is Outcome.RETUNE
    first = len(world.provider.asked)
    assert first <= small.calls - least
    larger = world.run(world.plan())
    assert larger.outcome is Outcome.PROCEED
    assert larger.document["paid"] == len(world.provider.asked) - first
    assert larger.document["asked"] >= len(world.provider.asked)


def test_dollars_need_a_known_price(world: World) -> None:
    """An unknown price is refused before the first call, and a known one limits the search."""
    write(world.folder, world.provider.base_url, priced=False)
    with pytest.raises(CannotMeasure, match="the price of editor-1 is unknown"):
        world.plan(usd=1.0)
    assert world.provider.asked == []
    write(world.folder, world.provider.base_url)
    report = world.run(world.plan(usd=0.7))
    assert report.document["ended"] == "budget"
    assert 0 < report.document["spent_usd"] <= 0.7


def test_where_there_is_no_gap_nothing_is_searched(world: World) -> None:
    """A candidate like the incumbent is sent to its eval."""
    world.provider.set("nova-2", wrong_share=0.0)
    with pytest.raises(Refused, match="there is no gap to close"):
        world.run(world.plan())


def test_a_second_prompt_on_the_same_cases_is_proven_with_less_alpha(world: World) -> None:
    """The first proof has 80 % of alpha, the next 80 % of the rest; the same one again is no further one."""
    first = world.run(world.plan())
    assert first.proof is not None
    again = world.run(world.plan())
    assert again.proof is not None
    assert (first.proof.number, again.proof.number) == (1, 1)
    assert again.document["paid"] == 0
    world.provider.set("editor-1", proposes=IDEAS.replace("For money", "With money"))
    other = world.run(world.plan(seed=5))
    assert other.proof is not None
    assert other.proof.result.candidate != first.proof.result.candidate
    assert (other.proof.number, other.proof.alpha) == (2, pytest.approx(0.008))
    assert "1 prompt was held against these held-out cases before" in " ".join(other.document["notes"])


def test_a_search_is_filed_with_the_upgrade_under_way(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The finding is in the journal; with --write the upgrade goes on with the new variant, and `tune` shows both."""
    project = world.project

    async def begun() -> None:
        async with control(project) as (store, board):
            await begin(project, store, board, Request("reply", "nova", "ana", "retired", "t"), time.time())

    async def journal() -> list[Event]:
        async with control(world.project) as (store, _):
            [state] = await store.upgrades("reply")
            return list(await store.journal(state.id))

    asyncio.run(begun())
    wanted = Wanted("reply", "", "sim/editor-1", None, None, 0, False, False, "ben")
    assert searched(project, wanted, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["switched"] is False
    assert searched(world.project, wanted._replace(resume=True, reflect_with="", write=True), as_json=False) == 0
    assert "the upgrade goes on with it" in capsys.readouterr().out
    events = asyncio.run(journal())
    assert [str(event.kind) for event in events] == ["started", "noted", "noted", "switched"]
    noted, switched = events[-2:]
    assert noted.by == "ben"
    assert DAY in noted.data["findings"][0]["sentence"]
    assert "In the words of editor-1" in noted.data["findings"][0]["sentence"]
    assert switched.data["candidate"]["name"] == "nova-tuned"
    assert DAY in switched.why
    # Its eval is the cases of the proof again, whose answers are kept: nothing is asked, no searched case counts.
    calls = len(world.provider.asked)
    with pytest.raises(SystemExit) as ended:
        eval_("reply", "nova-tuned", config=world.folder / "understudy.yaml", as_json=True, **EVAL)
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["aggregate"]["n"] == CASES
    assert len(world.provider.asked) == calls


def tune(folder: Path, *arguments: str) -> list[str]:
    command = [sys.executable, "-m", "understudy", "tune", "reply", *arguments]
    return [*command, "--config", str(folder / "understudy.yaml"), "--json"]


def test_a_search_that_was_killed_goes_on_where_it_was(world: World, tmp_path: Path) -> None:
    """kill -9 in the middle, then --resume: nothing is asked twice, and it ends as an undisturbed search does."""
    undisturbed = world.run(world.plan())
    questions = [(asked.model, asked.system, asked.last_user) for asked in world.provider.asked]
    search.filing.folder_of(world.project.paths.evals, "reply").rename(tmp_path / "first")
    (world.project.paths.evals / "reply" / "answers").rename(tmp_path / "answers")
    world.provider.asked.clear()
    world.provider.set("editor-1", latency_s=0.2)
    wanted = tune(world.folder, "--search", "--candidate", "nova", "--reflect-with", "sim/editor-1")
    process = subprocess.Popen(wanted, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while sum(asked.model == "editor-1" for asked in world.provider.asked) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    killed = len(world.provider.asked)
    assert 0 < killed < len(questions)
    done = subprocess.run(tune(world.folder, "--resume", "--write"), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["tuned"] == undisturbed.document["tuned"]
    assert document["asked"] == undisturbed.document["asked"]
    again = [(asked.model, asked.system, asked.last_user) for asked in world.provider.asked]
    # What was on its way when it was killed is asked again, and nothing else.
    assert len(again) <= len(questions) + 16
    assert sorted(set(again)) == sorted(set(questions))
    tuned = world.project.variant("reply", "nova-tuned")
    assert tuned.fingerprint == undisturbed.document["tuned"]["fingerprint"]
    assert (world.folder / document["written"]["prompt"]).read_text().rstrip() == tuned.system_prompt


def test_a_suite_with_a_judge_is_searched_within_its_calls(tmp_path: Path) -> None:
    """Judgements count as questions, and a limit in dollars is refused, as their price is not known."""

    def answer(asked: Asked) -> Answered:
        text = "fine" if "Be fine." in asked.system or asked.model == "classic-1" else "poor"
        if asked.model == "judge-1":
            first, second = asked.last_user.partition("Answer A:")[2].split("Answer B:")
            text = "[[tie]]" if first.split() == second.split() else "[[A]]" if "fine" in first else "[[B]]"
        elif asked.model == "editor-1":
            text = "```\nBe fine.\n```"
        return Answered(Said(text, asked.model, 10, 5))

    with running(lambda: ProviderServer(answer, models=["classic-1", "nova-2", "judge-1", "editor-1"])) as provider:
        write(tmp_path, provider.base_url)
        suite = (tmp_path / "desk.yaml").read_text()
        judge = "graders: [{type: judge, provider: sim, model: judge-1, criteria: fine is better}]"
        (tmp_path / "desk.yaml").write_text(suite.replace("graders: [{type: contains, text: reference}]", judge))
        project = open_project(tmp_path / "understudy.yaml", {})
        wanted: dict[str, Any] = {"candidate": "nova", "reflect_with": "sim/editor-1"}
        with pytest.raises(UsageError, match="has a judge, whose calls are not priced"):
            prepare(project, "reply", usd=1.0, **wanted)
        plan = prepare(project, "reply", **wanted)
        report = ran(project, plan)
        calls = [seen.model for seen in provider.journal]
    assert report.proof is not None
    assert report.proof.result.candidate.system_prompt == "Be fine."
    assert report.document["spent_usd"] is None
    assert calls.count("judge-1") > 0
    assert len(calls) <= plan.calls


@pytest.mark.parametrize("said", ["```\nHalf of a pro", "Be fine.", "```\n```"])
def test_a_proposal_without_a_whole_prompt_is_not_tried(tmp_path: Path, said: str) -> None:
    """A cut answer, one without backticks and an empty one cost their questions and nothing more."""

    def answer(asked: Asked) -> Answered:
        right = asked.model == "classic-1" or asked.system != "You answer mail."
        text = " ".join(kind.resolution for kind in KINDS.values()) if right else "No."
        return Answered(Said(said if asked.model == "editor-1" else text, asked.model, 10, 5))

    with running(lambda: ProviderServer(answer, models=["classic-1", "nova-2", "editor-1"])) as provider:
        write(tmp_path, provider.base_url)
        project = open_project(tmp_path / "understudy.yaml", {})
        plan = prepare(project, "reply", candidate="nova", reflect_with="sim/editor-1")
        report = ran(project, plan)
    assert report.document["ended"] == "plateau"
    assert len(report.document["prompts"]) == 1
    assert report.outcome is Outcome.STOP
