"""`understudy init` and `understudy check` as a user runs them: what is printed where, and the exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

UNDERSTUDY = Path(sys.executable).parent / "understudy"


def run(*arguments: str, folder: Path, columns: int = 100, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("UNDERSTUDY")}
    return subprocess.run(
        [UNDERSTUDY, *arguments],
        cwd=folder,
        env={**clean, "COLUMNS": str(columns), **environment},
        text=True,
        capture_output=True,
        check=False,
        timeout=180,
    )


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    done = run("init", ".", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "understudy eval reply-drafting --candidate small-2" in done.stdout
    return folder


def test_init_then_check_from_anywhere_below(example: Path) -> None:
    """A newcomer's first two commands work, also from a folder inside the project."""
    for folder in (example, example / "prompts"):
        done = run("check", folder=folder)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert "reply-drafting, owned by support-platform" in done.stdout
        assert "small-1-2025-03-01" in done.stdout
        assert "no warnings" in done.stdout


def test_check_as_data(example: Path) -> None:
    """--json prints one document with everything the table shows."""
    done = run("check", "--json", folder=example)
    found = json.loads(done.stdout)
    workload = found["workloads"]["reply-drafting"]
    assert workload["incumbent"] == "small-1"
    assert [len(v["fingerprint"]) for v in workload["variants"]] == [16, 16]
    assert [step["share"] for step in workload["ladder"]] == [0.01, 0.05, 0.25, 1.0]
    assert found["warnings"] == []
    assert done.stderr == ""


@pytest.mark.parametrize("columns", [80, 140])
def test_check_fits_the_terminal(example: Path, columns: int) -> None:
    """No line of the table is broken at the width it is printed for."""
    done = run("check", folder=example, columns=columns)
    rows = [line for line in done.stdout.splitlines() if "small-" in line]
    assert len(rows) == 3
    assert all(len(line) <= columns for line in rows)


def test_a_budget_for_a_model_without_a_price_is_warned_of(tmp_path: Path) -> None:
    """Such a candidate's copies would rest; the warning stands at the model, and a price takes it away."""
    assert run("init", ".", folder=tmp_path).returncode == 0
    file = tmp_path / "understudy.yaml"
    file.write_text(text := file.read_text().replace("  small-2-2026-02-10: {input: 0.25, output: 1}\n", ""))
    (warning,) = json.loads(run("check", "--json", folder=tmp_path).stdout)["warnings"]
    place = text.index("model: small-2") + len("model: ")
    line = text.count("\n", 0, place) + 1
    assert (warning["line"], warning["column"]) == (line, place - text.rindex("\n", 0, place))
    assert "price of small-2-2026-02-10 is not known" in warning["message"]
    file.write_text(text.replace("      budget: {usd_per_day: 50}\n", ""))
    assert json.loads(run("check", "--json", folder=tmp_path).stdout)["warnings"] == []


def test_init_writes_over_nothing(example: Path) -> None:
    """A second init leaves with exit code 2, lists what is there, and changes nothing."""
    (example / "prompts" / "reply.md").write_text("mine\n")
    done = run("init", folder=example)
    assert done.returncode == 2
    assert "already has prompts/reply.md" in done.stderr
    assert "nothing was written" in done.stderr
    assert (example / "prompts" / "reply.md").read_text() == "mine\n"


def test_every_problem_with_its_place_and_exit_code_2(tmp_path: Path) -> None:
    """A broken file is answered with all its problems at once, as text and as data, and no traceback."""
    (tmp_path / "understudy.yaml").write_text(
        "providers:\n  p: {wire: opnai, base_url: https://h}\nworkloads:\n  w: {incumbnt: a, variants: {}}\n"
    )
    done = run("check", folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        'error: understudy.yaml:2:13: providers.p.wire is "opnai", it can be openai, anthropic or gemini',
        "  remedy: did you mean openai?",
        "understudy.yaml:4:7: incumbnt is no key of workloads.w",
        "  remedy: did you mean incumbent?",
        "understudy.yaml:4:30: workloads.w.variants is empty, and at least 1 is needed",
        "  remedy: add what is missing",
    ]
    data = run("check", "--json", folder=tmp_path)
    assert data.returncode == 2
    assert data.stderr == ""
    assert [(p["line"], p["column"]) for p in json.loads(data.stdout)["problems"]] == [(2, 13), (4, 7), (4, 30)]


def test_no_configuration_says_how_to_begin(tmp_path: Path) -> None:
    """Where there is none, the remedy is `understudy init`."""
    done = run("check", folder=tmp_path)
    assert done.returncode == 2
    assert "understudy init" in done.stderr


def test_a_secret_never_reaches_the_output(tmp_path: Path) -> None:
    """A literal key is warned about and printed nowhere, and neither is one from the environment."""
    (tmp_path / "understudy.yaml").write_text(
        "providers:\n"
        "  a: {wire: openai, base_url: https://h, api_key: sk-bird-file}\n"
        "  b: {wire: openai, base_url: https://h, api_key: ${KEY}}\n"
        "workloads:\n"
        "  w: {incumbent: x, variants: {x: {provider: a, model: m}, y: {provider: b, model: m}}}\n"
    )
    for arguments in (["check"], ["check", "--json"]):
        done = run(*arguments, folder=tmp_path, KEY="sk-bird-environment")
        assert done.returncode == 0
        assert "stands in the file in the clear" in done.stdout
        assert "bird" not in done.stdout + done.stderr


def test_the_schema_is_the_one_init_writes(example: Path) -> None:
    """`check --schema` needs no project and prints the file that editors use."""
    done = run("check", "--schema", folder=Path("/"))
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads((example / "understudy.schema.json").read_text())


def test_suites_are_read_too(tmp_path: Path) -> None:
    """What is wrong in a suite is found before the first eval, and what a suite leaves open is a warning."""
    assert run("init", folder=tmp_path).returncode == 0
    suite, config = tmp_path / "suites" / "reply.yaml", tmp_path / "understudy.yaml"
    good = suite.read_text()
    suite.write_text(good.replace("type: max_length", "type: max_lenght"))
    done = run("check", folder=tmp_path)
    assert done.returncode == 2
    assert "suites/reply.yaml:9:" in done.stderr
    assert "did you mean max_length?" in done.stderr

    suite.write_text(good.replace('garden desk"}', 'garden desk", weight: 0}'))
    config.write_text(config.read_text().replace("critical: [refund]", "critical: [refnd]"))
    done = run("check", folder=tmp_path)
    assert done.returncode == 0
    said = " ".join(done.stdout.split())
    assert "the quality gate of reply-drafting has no source of live scores" in said
    assert "the critical slice 'refnd' is in no suite of reply-drafting" in said
    assert "did you mean refund?" in said
    assert "in order, 2 warnings" in said


def test_the_example_evaluates_as_its_hint_says(example: Path) -> None:
    """The three commands that `init` prints run, and the eval finds what the recordings plant."""
    with subprocess.Popen(
        [UNDERSTUDY, "replay", "serve", "--recordings", "recordings/replies.jsonl", "--json"],
        cwd=example,
        stdout=subprocess.PIPE,
        text=True,
    ) as provider:
        assert provider.stdout is not None
        try:
            port = json.loads(provider.stdout.readline())["port"]
            config = example / "on-this-port.yaml"
            config.write_text((example / "understudy.yaml").read_text().replace(":9100/", f":{port}/"))
            arguments = ("eval", "reply-drafting", "--candidate", "small-2", "--json", "--config", config.name)
            done = run(*arguments, folder=example)
        finally:
            provider.terminate()
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert found["outcome"] == "retune"
    assert {s["slice"]: s["verdict"] for s in found["slices"]} == {"refund": "fail", "delivery": "inconclusive"}
