"""`understudy eval` as a user runs it: a process of its own, providers on a port, recorded answers of real models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from understudy.testing.background import running
from understudy.testing.dialects import Asked, Said
from understudy.testing.provider import Answered, ProviderServer
from understudy.testing.recorded import RecordedProvider

DATA = Path(__file__).parents[4] / "shared" / "data" / "llmdrift"
MODELS = ("gpt-4-0314", "gpt-4-0613", "gpt-3.5-turbo-0301", "gpt-3.5-turbo-0613")

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the LLMDrift recordings are not in {DATA}")

PRIME = f"""\
suite: prime
cases: {DATA}/prime.jsonl.gz
graders:
  - name: answer
    type: regex_match
    pattern: '\\[(yes|no)\\]'
    occurrence: first
    ignore_case: true
    equals: reference
  - {{name: short, type: max_length, characters: 400, weight: 0}}
score: answer
"""
LEETCODE = f"""\
suite: leetcode
cases: {DATA}/leetcode.jsonl.gz
graders:
  - {{name: runs, type: recorded, field: directly_executable}}
score: runs
"""
OPINION = f"""\
suite: opinion
cases: {DATA}/opinion.jsonl.gz
graders:
  - {{name: gives_an_option, type: regex_match, pattern: '^\\([A-Z]\\)'}}
"""


def project(folder: Path, base_url: str, *, suite: str = PRIME, key: str = "", extra: str = "") -> None:
    variants = "".join(f"      {model}: {{provider: replay, model: {model}}}\n" for model in MODELS)
    api_key = f", api_key: {key}" if key else ""
    (folder / "understudy.yaml").write_text(
        f"providers:\n  replay: {{wire: openai, base_url: {base_url}{api_key}}}\n"
        f"workloads:\n  work:\n    owner: tests\n    incumbent: gpt-4-0314\n    variants:\n{variants}"
        f"    suites: [suite.yaml]\n{extra}"
    )
    (folder / "suite.yaml").write_text(suite)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "understudy", "eval", "work", *arguments]


def evaluate(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {name: value for name, value in os.environ.items() if name not in ("UNDERSTUDY_CONFIG", "COLUMNS")}
    return subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, timeout=120, env={**given, **environment}
    )


def as_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert "Traceback" not in done.stderr, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def replay() -> Iterator[RecordedProvider]:
    files = [DATA / f"{name}.jsonl.gz" for name in ("prime", "leetcode", "opinion")]
    with running(lambda: RecordedProvider(files)) as provider:
        yield provider


def points(document: dict[str, Any]) -> dict[str, tuple[float, float, str]]:
    rows = [document["aggregate"], *document["slices"]]
    return {
        row["slice"]: (round(100 * row["incumbent"], 1), round(100 * row["candidate"], 1), row["verdict"])
        for row in rows
    }


@needs_data
def test_gpt_4_loses_the_primes(tmp_path: Path, replay: RecordedProvider) -> None:
    """84.0 to 50.2: the slice prime fails, composite passes, the playbook says retune, exit code 1."""
    project(tmp_path, replay.base_url)
    done = evaluate(tmp_path, "--candidate", "gpt-4-0613", "--json")
    found = as_json(done)
    assert done.returncode == 1
    assert (found["outcome"], found["verdict"]) == ("retune", "fail")
    assert points(found) == {
        "": (84.0, 50.2, "fail"),
        "composite": (70.4, 98.0, "pass"),
        "prime": (97.6, 2.4, "fail"),
    }
    assert found["slices"][1]["low"] < found["slices"][1]["difference"] < found["slices"][1]["high"] < -0.9
    length = next(measure for measure in found["measures"] if measure["name"] == "characters")
    assert (round(length["incumbent"]), round(length["candidate"])) == (638, 4)


@needs_data
def test_gpt_3_5_gains_on_average_and_loses_a_slice(tmp_path: Path, replay: RecordedProvider) -> None:
    """50.8 to 68.1 hides 98.8 to 51.8: the playbook says caution, exit code 1."""
    project(tmp_path, replay.base_url)
    done = evaluate(
        tmp_path, "--incumbent", "gpt-3.5-turbo-0301", "--candidate", "gpt-3.5-turbo-0613", "--json", "--repeats", "1"
    )
    found = as_json(done)
    assert done.returncode == 1
    assert found["outcome"] == "caution"
    assert points(found) == {
        "": (50.8, 68.1, "pass"),
        "composite": (98.8, 51.8, "fail"),
        "prime": (2.8, 84.4, "pass"),
    }
    assert "waiver" in found["next_step"]
    assert "composite" in found["next_step"]


@needs_data
@pytest.mark.parametrize(
    ("incumbent", "candidate", "scores"),
    [("gpt-4-0314", "gpt-4-0613", (52.0, 10.0)), ("gpt-3.5-turbo-0301", "gpt-3.5-turbo-0613", (22.0, 2.0))],
)
def test_recorded_judgements_are_used(
    tmp_path: Path, replay: RecordedProvider, incumbent: str, candidate: str, scores: tuple[float, float]
) -> None:
    """Leetcode's own word on which answers run: 52 to 10 and 22 to 2."""
    project(tmp_path, replay.base_url, suite=LEETCODE)
    found = as_json(evaluate(tmp_path, "--incumbent", incumbent, "--candidate", candidate, "--json"))
    assert points(found)[""] == (*scores, "fail")
    assert found["outcome"] == "retune"


@needs_data
def test_gpt_4_stops_giving_opinions(tmp_path: Path, replay: RecordedProvider) -> None:
    """98.0 to 23.4 % begin with an option, and the three case ids with several prompts lose nothing."""
    project(tmp_path, replay.base_url, suite=OPINION)
    done = evaluate(tmp_path, "--candidate", "gpt-4-0613", "--json")
    found = as_json(done)
    assert found["aggregate"]["n"] == 1498
    assert points(found)[""] == (98.0, 23.4, "fail")
    assert any("3 case ids stand for several prompts" in note for note in found["notes"])


@needs_data
@pytest.mark.parametrize("suite", [PRIME, LEETCODE], ids=["prime", "leetcode"])
def test_a_model_against_itself_never_fails(tmp_path: Path, replay: RecordedProvider, suite: str) -> None:
    """No slice fails; exit code 0 or 3 by the number of cases; a note says what was compared."""
    project(tmp_path, replay.base_url, suite=suite)
    done = evaluate(tmp_path, "--incumbent", "gpt-4-0314", "--candidate", "gpt-4-0314", "--json")
    found = as_json(done)
    assert done.returncode == {"proceed": 0, "inconclusive": 3}[found["outcome"]]
    assert all(row["verdict"] != "fail" for row in found["slices"])
    assert "are the same variant" in found["notes"][0]
    if found["outcome"] == "inconclusive":
        assert found["needed"]
    assert evaluate(tmp_path, "--candidate", "gpt-4-0314").returncode == 2


@needs_data
@pytest.mark.parametrize("columns", ["80", "140"])
def test_the_table_fits_the_terminal(tmp_path: Path, replay: RecordedProvider, columns: str) -> None:
    """A row for the aggregate and each slice, figures in points, the outcome and the next command in the end."""
    project(tmp_path, replay.base_url)
    done = evaluate(tmp_path, "--candidate", "gpt-4-0613", "--repeats", "1", COLUMNS=columns)
    lines = done.stdout.splitlines()
    row = next(line.split() for line in lines if line.startswith(" prime "))
    assert row[:5] == ["prime", "500", "97.6", "2.4", "-95.2"]
    assert row[-1] == "fail"
    assert all(len(line) <= int(columns) for line in lines if "─" in line or "fail" in line[-10:])
    assert ("●" in done.stdout) is (columns == "140")
    assert "RETUNE" in done.stdout
    assert "understudy eval work --candidate NEW" in done.stdout
    assert done.stderr == ""


@needs_data
def test_slices_can_be_picked(tmp_path: Path, replay: RecordedProvider) -> None:
    """--slice asks only its cases, and a slice nobody is in is refused with the nearest name."""
    project(tmp_path, replay.base_url)
    found = as_json(evaluate(tmp_path, "--candidate", "gpt-4-0613", "--slice", "composite", "--json"))
    assert (found["aggregate"]["n"], found["outcome"]) == (500, "proceed")
    assert found["bound"]["slices"] == ["composite"]
    assert "without --slice" in found["next_step"]
    wrong = evaluate(tmp_path, "--candidate", "gpt-4-0613", "--slice", "composit")
    assert wrong.returncode == 2
    assert "did you mean composite?" in wrong.stderr


SMALL = """\
suite: small
cases:
""" + "".join(f"  - {{id: c{n}, prompt: 'say {n}', reference: '{n}'}}\n" for n in range(300))
SMALL += "graders: [{type: exact}]\n"


def slow(asked: Asked) -> Answered:
    return Answered(Said(asked.last_user.split()[-1], asked.model, 5, 5), 0.0, 0.01)


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_pays_for_nothing_twice(tmp_path: Path, kill: signal.Signals) -> None:
    """Killed in the middle and run again, only the calls under way at the kill are made a second time."""
    begun: list[Asked] = []
    killed = threading.Event()

    def held(asked: Asked) -> Answered:
        begun.append(asked)
        return slow(asked)._replace(total_s=0.01 if len(begun) <= 200 or killed.is_set() else 3600)

    with running(lambda: ProviderServer(held, models=MODELS)) as provider:
        project(tmp_path, provider.base_url, suite=SMALL)
        options = ("--candidate", "gpt-4-0613", "--repeats", "1", "--concurrency", "4", "--json")
        with subprocess.Popen(command(*options), cwd=tmp_path, stdout=-1, stderr=-1, text=True) as first:
            deadline = time.monotonic() + 120
            while len(begun) < 204:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            first.send_signal(kill)
            out, err = first.communicate(timeout=120)
        killed.set()
        if kill is signal.SIGINT:
            assert first.returncode == 3
            assert "its answers are kept" in out
            assert "Traceback" not in err
        found = as_json(evaluate(tmp_path, *options))
        assert found["usage"]["kept"] + found["usage"]["asked"] == 600
        assert found["usage"]["kept"] == 200
        assert len(begun) == 600 + 4
        assert (found["outcome"], found["aggregate"]["n"]) == ("proceed", 300)
        check_scores_in_the_ledger(tmp_path, found, 600)
        # Killed once more behind the ledger, before the result was written: the same eval adds nothing.
        for result in (tmp_path / ".understudy" / "evals" / "work" / "results").iterdir():
            result.unlink()
        check_scores_in_the_ledger(tmp_path, as_json(evaluate(tmp_path, *options)), 600)
        check_scores_in_the_ledger(tmp_path, as_json(evaluate(tmp_path, *options, "--fresh")), 1200)


def check_scores_in_the_ledger(folder: Path, found: dict[str, Any], answers: int) -> None:
    """Each answer counts once, the means are those of the result, and the numbers of all records are accounted for."""

    def understudy(*arguments: str) -> Any:
        program = [sys.executable, "-m", "understudy", *arguments, "--json"]
        done = subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    sides = {seen["arm"]: seen for seen in understudy("history", "work")["evals"]}
    assert {seen["eval"] for seen in sides.values()} == {found["bound"]["id"]}
    assert sum(seen["answers"] for seen in sides.values()) == answers
    for arm, seen in sides.items():
        assert seen["cases"] == 300
        assert seen["score"] == pytest.approx(found["aggregate"][arm])
    verified = understudy("ledger", "verify")
    assert (verified["in_order"], verified["uncounted"]) == (True, 0)


def test_nobody_at_the_port_is_exit_3(tmp_path: Path) -> None:
    """An unreachable provider: its name and address, what to check, exit code 3."""
    with running(lambda: ProviderServer(slow, models=MODELS)) as provider:
        address = provider.base_url
    project(tmp_path, address, suite=SMALL)
    done = evaluate(tmp_path, "--candidate", "gpt-4-0613")
    assert done.returncode == 3
    assert address in done.stderr
    assert "replay" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_key_is_exit_2(tmp_path: Path) -> None:
    """A refused key and an unset variable: configuration, exit code 2, and the key itself is never shown."""
    with running(lambda: ProviderServer(slow, models=MODELS, key="right")) as provider:
        project(tmp_path, provider.base_url, suite=SMALL, key="${REPLAY_KEY}")
        wrong = evaluate(tmp_path, "--candidate", "gpt-4-0613", REPLAY_KEY="sk-secret-of-mine")
        unset = evaluate(tmp_path, "--candidate", "gpt-4-0613", "--json")
        right = evaluate(tmp_path, "--candidate", "gpt-4-0613", REPLAY_KEY="right")
    assert wrong.returncode == 2
    assert "refuses the key (401)" in wrong.stderr
    assert "REPLAY_KEY" in wrong.stderr
    assert "sk-secret-of-mine" not in wrong.stderr + wrong.stdout
    assert unset.returncode == 2
    assert "REPLAY_KEY" in json.dumps(as_json(unset))
    assert right.returncode == 0


def test_an_unknown_model_is_exit_3_with_the_providers_word(tmp_path: Path) -> None:
    """A model the provider does not serve: its own message, after a few calls and not after all of them."""
    rows = [{"case_id": f"c{n}", "model": "gpt-4-0314", "prompt": f"say {n}", "output": str(n)} for n in range(300)]
    (tmp_path / "r.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with running(lambda: RecordedProvider([tmp_path / "r.jsonl"])) as provider:
        project(tmp_path, provider.base_url, suite=SMALL)
        done = evaluate(tmp_path, "--candidate", "gpt-4-0613", "--json")
        assert len(provider.journal) < 100
    found = as_json(done)
    assert done.returncode == 3
    assert found["error"] == "CannotMeasure"
    assert "no recordings of model 'gpt-4-0613'; the nearest is 'gpt-4-0314'" in found["message"]


def test_broken_files_are_exit_2_with_their_place(tmp_path: Path) -> None:
    """A broken recordings line and a broken suite name file, line and column; unknown names get the nearest."""
    (tmp_path / "r.jsonl").write_text('{"case_id": "a", "model": "m", "prompt": "p", "output": "o"}\n{"case_id": 3}\n')
    project(tmp_path, "http://127.0.0.1:9/v1", suite="suite: s\ncases: r.jsonl\ngraders: [{type: exact}]\n")
    broken = evaluate(tmp_path, "--candidate", "gpt-4-0613", "--json")
    (problem,) = as_json(broken)["problems"]
    assert broken.returncode == 2
    assert (Path(problem["file"]).name, problem["line"], problem["column"]) == ("r.jsonl", 2, 13)
    project(tmp_path, "http://127.0.0.1:9/v1", suite="suite: s\ncases: []\ngraders: [{type: exact}]\n")
    empty = evaluate(tmp_path, "--candidate", "gpt-4-0613")
    assert empty.returncode == 2
    assert "suite.yaml:2:8: the suite has no cases" in empty.stderr
    unknown = evaluate(tmp_path, "--candidate", "gpt-4-613")
    assert unknown.returncode == 2
    assert "did you mean gpt-4-0613?" in unknown.stderr


def test_what_changed_in_the_prompt_is_shown(tmp_path: Path) -> None:
    """A candidate with another prompt is shown beside the incumbent, with the reason that was written down."""
    with running(lambda: ProviderServer(slow, models=MODELS)) as provider:
        project(tmp_path, provider.base_url, suite=SMALL)
        text = (tmp_path / "understudy.yaml").read_text()
        text = text.replace("gpt-4-0314, model: gpt-4-0314", "x").replace(
            "    suites:",
            '      v2: {provider: replay, model: gpt-4-0314, system_prompt: "text:Say the number.", '
            'why: "it explained itself"}\n    suites:',
        )
        (tmp_path / "understudy.yaml").write_text(text)
        done = evaluate(tmp_path, "--candidate", "v2", "--repeats", "1")
    assert done.returncode == 0
    assert "why: it explained itself" in done.stdout
    assert "+ Say the number." in done.stdout
    assert "PROCEED" in done.stdout
