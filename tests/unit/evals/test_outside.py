"""Judges over a real provider, and commands as real processes."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from understudy.config.project import open_project
from understudy.core.errors import CannotMeasure, UsageError
from understudy.core.playbook import Verdict
from understudy.core.routing import Provider
from understudy.core.variant import Variant
from understudy.evals.graders import Command, Judge, Score
from understudy.evals.live import live_graders
from understudy.evals.outside import reading
from understudy.evals.outside import run as run_command
from understudy.evals.result import EvalResult
from understudy.evals.runner import Job, run
from understudy.evals.setup import load_suites
from understudy.evals.suite import load_suite
from understudy.testing.dialects import Asked, Said
from understudy.testing.provider import Answered, Outcome, ProviderServer
from understudy.upstream.client import Client

OLD = Variant(name="old", provider="p", model="m-old")
NEW = Variant(name="new", provider="p", model="m-new")
JUDGE = "{name: kinder, type: judge, provider: p, model: m-judge, criteria: The kinder answer wins., repeats: 2}"


def said(text: str, asked: Asked) -> Outcome:
    return Answered(Said(text, asked.model, 10, 5))


def serving(verdict: Callable[[str, str], str], counts: Counter[str]) -> Callable[[Asked], Outcome]:
    """Both variants, and a judge that is asked with both answers in order."""

    def answer(asked: Asked) -> Outcome:
        counts[asked.model] += 1
        if asked.model != "m-judge":
            return said(f"{asked.model} says hello {asked.last_user}", asked)
        _, _, rest = asked.last_user.partition("Answer A:")
        first, _, second = rest.partition("Answer B:")
        return said(verdict(first.strip(), second.strip()), asked)

    return answer


def suite_file(folder: Path, graders: str, count: int = 40) -> Path:
    lines = "".join(f"  - {{id: c{n}, prompt: 'say {n}', reference: '{n}'}}\n" for n in range(count))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "judged.yaml"
    path.write_text(f"suite: judged\ncases:\n{lines}graders: [{graders}]\n")
    return path


def evaluated(
    folder: Path, verdict: Callable[[str, str], str], graders: str = JUDGE, *, times: int = 1, **changes: Any
) -> tuple[EvalResult, Counter[str]]:
    counts: Counter[str] = Counter()

    async def main() -> EvalResult:
        server = ProviderServer(serving(verdict, counts), models=["m-old", "m-new", "m-judge"])
        async with server:
            providers = {"p": Provider("p", "openai", server.base_url)}
            given: dict[str, Any] = {"suites": [load_suite(suite_file(folder, graders))], "repeats": 1, **changes}
            job = Job("w", given.pop("incumbent", OLD), given.pop("candidate", NEW), providers, **given)
            client = Client(providers, lambda name: "")
            try:
                for _ in range(times - 1):
                    await run(job, client, folder / "evals", now=lambda: 1000.0)
                return await run(job, client, folder / "evals", now=lambda: 1000.0)
            finally:
                await client.close()

    return asyncio.run(main()), counts


def test_a_judge_prefers_an_answer(tmp_path: Path) -> None:
    """Each pair is shown both ways round, as often as the grader says; the win rate is the candidate's score."""
    result, counts = evaluated(tmp_path, lambda a, b: "Because.\n[[A]]" if "m-new" in a else "[[B]]")
    total = result.comparison.aggregate
    assert (total.incumbent, total.candidate, total.verdict) == (0.5, 1.0, Verdict.PASS)
    assert counts["m-judge"] == 40 * 2 * 2
    worse, _ = evaluated(tmp_path / "worse", lambda a, b: "[[A]]" if "m-old" in a else "[[B]]")
    assert (worse.comparison.aggregate.candidate, worse.comparison.verdict) == (0.0, Verdict.FAIL)
    assert "better in 0 % of 4 judgements" in worse.examples[0].candidate_says


def test_a_judge_that_prefers_a_place_prefers_nobody(tmp_path: Path) -> None:
    """Whoever always names the first answer is found out by the swap: one half each, and no verdict against anybody."""
    result, _ = evaluated(tmp_path, lambda a, b: "[[A]]")
    assert result.comparison.aggregate.difference == 0.0
    ties, _ = evaluated(tmp_path / "ties", lambda a, b: "**[[tie]]**")
    assert ties.comparison.aggregate.candidate == 0.5


def test_what_a_judge_said_is_kept(tmp_path: Path) -> None:
    """A second run asks nobody; answers that are the same are not judged; another judge is asked anew."""
    _, counts = evaluated(tmp_path, lambda a, b: "[[tie]]", times=2)
    assert counts == {"m-old": 40, "m-new": 40, "m-judge": 160}
    _, again = evaluated(tmp_path / "twin", lambda a, b: "[[A]]", candidate=replace(OLD, name="twin"))
    assert again["m-judge"] == 0


def test_a_judge_that_says_nothing_is_no_verdict(tmp_path: Path) -> None:
    """Words without a mark, or both marks, are no score; a whole eval of them measures nothing."""
    with pytest.raises(CannotMeasure, match="the judge does not say which is better"):
        evaluated(tmp_path, lambda a, b: "Both have their merits.")
    assert reading("[[A]]\n[[B]]") == 0.0
    assert reading("[[A]] [[B]]") is None
    assert reading("") is None


def test_an_unknown_judge_is_named(tmp_path: Path) -> None:
    """A provider that the configuration does not have ends the run before anything is compared."""
    with pytest.raises(UsageError, match="the judge kinder names provider 'q'"):
        evaluated(tmp_path, lambda a, b: "[[A]]", JUDGE.replace("provider: p", "provider: q"))


def test_another_judge_voids_the_verdict(tmp_path: Path) -> None:
    """The judge is part of what a result is bound to."""
    one = load_suite(suite_file(tmp_path, JUDGE)).fingerprint
    assert load_suite(suite_file(tmp_path, JUDGE.replace("m-judge", "m-judge-2"))).fingerprint != one
    assert load_suite(suite_file(tmp_path, JUDGE.replace("kinder answer", "shorter answer"))).fingerprint != one


def test_no_live_answer_is_judged(tmp_path: Path) -> None:
    """Judges and programs are asked in evals alone."""
    path = suite_file(tmp_path, JUDGE + ", {type: command, run: [x]}, {type: refusal}")
    assert [grader.label for grader in live_graders([load_suite(path)]).graders] == ["refusal"]


def program(folder: Path, body: str) -> str:
    path = folder / "grade.py"
    path.write_text(f"#!{sys.executable}\nimport json, sys, os, time\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def scored(folder: Path, body: str, timeout: float = 20.0) -> Score:
    folder.mkdir(exist_ok=True)
    grader = Command.model_validate({"type": "command", "run": [program(folder, body)], "timeout": timeout})
    return asyncio.run(run_command(grader, {"answer": "x" * 200_000, "reference": None}, folder))


def test_a_program_grades(tmp_path: Path) -> None:
    """It reads one JSON object and prints a number; an answer beyond a pipe's buffer arrives whole."""
    assert scored(tmp_path, "print(len(json.load(sys.stdin)['answer']) / 400_000)").value == 0.5
    assert scored(tmp_path, "print(0.25)").value == 0.25  # it need not read at all


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("sys.exit(3)", "ended with 3"),
        ("print('good')", "prints 'good', no number"),
        ("print(7)", "prints 7, outside 0 to 1"),
        ("print('nan')", "outside 0 to 1"),
        ("pass", "prints '', no number"),
        ("os.write(1, b'9' * 10_000_000)", "ended with -9"),
    ],
)
def test_a_program_that_goes_wrong_scores_nothing(tmp_path: Path, body: str, why: str) -> None:
    """No number from 0 to 1, no score; and never a made-up one."""
    score = scored(tmp_path, body)
    assert score.value is None
    assert why in score.reason


def test_a_program_that_hangs_is_killed(tmp_path: Path) -> None:
    """After its timeout it is gone, however far it came until then, and the next one is asked."""
    score = scored(tmp_path, "time.sleep(100_000)", timeout=1.0)
    assert score.reason.endswith("took longer than 1 s")
    assert working_in(tmp_path) == []
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, cwd=tmp_path) as left:
        assert working_in(tmp_path) == [left.pid]  # one that was left over would be found
        left.kill()


def working_in(folder: Path) -> list[int]:
    """The processes whose working directory this is."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(folder):
                found.append(process.pid)
    return found


def test_a_program_that_is_not_there_scores_nothing(tmp_path: Path) -> None:
    """The reason names it."""
    grader = Command.model_validate({"type": "command", "run": ["./no-such-program"]})
    assert "no-such-program cannot be run" in asyncio.run(run_command(grader, {}, tmp_path)).reason


def test_a_program_sees_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PATH and LANG alone: what else is in our environment is none of its business."""
    monkeypatch.setenv("PROVIDER_KEY", "secret")
    body = "print(float(set(os.environ) <= {'PATH', 'LANG', 'LC_CTYPE', 'PWD', '__CF_USER_TEXT_ENCODING'}))"
    assert scored(tmp_path, body).value == 1.0


def test_a_program_scores_an_eval(tmp_path: Path) -> None:
    """From the suite to the verdict, once it is allowed."""
    name = program(tmp_path, "given = json.load(sys.stdin)\nprint(float(given['variant'] == 'old'))")
    grader = json.dumps({"name": "mine", "type": "command", "run": [name]})
    result, _ = evaluated(tmp_path, lambda a, b: "", grader)
    assert (result.comparison.aggregate.incumbent, result.comparison.aggregate.candidate) == (1.0, 0.0)


CONFIG = """
providers: {local: {wire: openai, base_url: "http://127.0.0.1:9/v1"}}
workloads:
  reply:
    incumbent: old
    variants: {old: {provider: local, model: m-1}}
    suites: [judged.yaml]
"""


def test_programs_are_off_by_default(tmp_path: Path) -> None:
    """A suite that runs programs is refused with the word that allows it, and read once that is there."""
    suite_file(tmp_path, "{type: command, run: [./grade.py]}")
    (tmp_path / "understudy.yaml").write_text(CONFIG)
    with pytest.raises(UsageError, match="programs are off") as caught:
        load_suites(open_project(tmp_path / "understudy.yaml"), "reply")
    assert "command_graders: true" in caught.value.remedy
    (tmp_path / "understudy.yaml").write_text(CONFIG + "command_graders: true\n")
    (suite,) = load_suites(open_project(tmp_path / "understudy.yaml"), "reply")
    assert isinstance(suite.graders[0], Command)
    assert not isinstance(suite.graders[0], Judge)
