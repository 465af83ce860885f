"""`understudy models` and `understudy plan --deadline`, as typed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from understudy.cli import check, lint, models, plan
from understudy.config.project import open_project
from understudy.core.records import Exchange
from understudy.ledger.committer import Committer
from understudy.ledger.segments import SegmentWriter
from understudy.rollout.begin import Request, begin
from understudy.wiring import control

CONFIG = """
providers:
  openai: {wire: openai, base_url: "http://127.0.0.1:9/v1"}
  hosted: {wire: openai, base_url: "https://ours.openai.azure.com/openai/v1"}
workloads:
  reply:
    incumbent: old
    variants:
      old: {provider: openai, model: OLD, pin: {since: 2026-01-02, why: passed the suite}}
      new: {provider: openai, model: gpt-4o}
  hosted:
    incumbent: four
    variants:
      four: {provider: hosted, model: gpt-4o-2024-08-06, pin: {why: passed}}
models:
  ours-2026-01-01: {retires: 2027-06-01, source: contract 17}
"""
RUN = CliRunner()


def written(folder: Path, old: str) -> str:
    (folder / "understudy.yaml").write_text(CONFIG.replace("OLD", old))
    return str(folder / "understudy.yaml")


def listed(config: str, *more: str, code: int) -> dict[str, dict[str, Any]]:
    done = RUN.invoke(models.app, ["-c", config, "--json", "--today", "2026-11-21", *more])
    assert done.exit_code == code, done.output
    return {row["variant"]: row for row in json.loads(done.output)["models"]}


def test_a_project_in_order_has_nothing_to_do(tmp_path: Path) -> None:
    rows = listed(written(tmp_path, "ours-2026-01-01"), code=0)
    assert rows["old"]["tier"] == "production"
    assert rows["old"]["pin"] == {"since": "2026-01-02", "why": "passed the suite"}
    assert (rows["old"]["retires"], rows["old"]["days_left"]) == ("2027-06-01", 192)
    assert rows["old"]["begin_by"] == "2027-04-03"
    assert rows["new"]["tier"] == "experimental"
    assert rows["new"]["name"]["promise"] == "alias"
    assert (rows["four"]["name"]["scheme"], rows["four"]["retires"]) == ("azure", None)


@pytest.mark.parametrize(
    ("old", "kind"), [("gpt-4o", "alias"), ("gpt-4-0613", "retired"), ("gpt-4o-2024-08-06", "too_near")]
)
def test_what_needs_doing_is_said_and_makes_the_exit_code_1(tmp_path: Path, old: str, kind: str) -> None:
    config = written(tmp_path, old)
    needs = listed(config, "reply", code=1)["old"]["needs"]
    assert kind in [need["kind"] for need in needs if need["urgent"]]
    shown = RUN.invoke(models.app, ["-c", config, "--today", "2026-11-21"], env={"COLUMNS": "60"})
    assert shown.exit_code == 1
    for need in needs:
        assert need["what"] in shown.output
    words = shown.output.replace("tier ", "").replace("model ", "").split()
    assert ("old", "production", old) in zip(words, words[1:], words[2:], strict=False)


def test_an_upgrade_under_way_gives_its_variants_their_tiers(tmp_path: Path) -> None:
    """The control store knows of it; the candidate serves nobody yet."""
    config = written(tmp_path, "ours-2026-01-01")
    (tmp_path / "suite.yaml").write_text(
        "suite: s\ncases: [{id: a, prompt: p, reference: r}]\ngraders: [{name: g, type: exact}]\nscore: g\n"
    )
    text = Path(config).read_text().replace("    incumbent: old\n", "    incumbent: old\n    suites: [suite.yaml]\n")
    Path(config).write_text(text)

    async def started() -> None:
        project = open_project(Path(config))
        async with control(project) as opened:
            await begin(project, opened.store, opened.board, Request("reply", "new", "ada", "cheaper", "t"), 1.0)

    asyncio.run(started())
    rows = listed(config, "reply", code=0)
    assert (rows["old"]["tier"], rows["old"]["share"]) == ("production", 1.0)
    assert rows["new"]["tier"] == "experimental"


def test_what_answered_is_read_from_the_ledger(tmp_path: Path) -> None:
    """The last answer of the variant as it is configured counts, not one that the incumbent gave in its place."""
    config = written(tmp_path, "gpt-4.1-2025-04-14")
    project = open_project(Path(config))
    marks = {name: variant.fingerprint for name, variant in project.variants("reply").items()}
    answers = [("old", "old", "gpt-4.1-2025-04-14"), ("old", "old", "gpt-4.1-2025-09-09"), ("new", "old", "unheard-of")]
    writer = SegmentWriter(project.paths.segments, "w0")
    for number, (variant, served, model) in enumerate([*answers, ("new", "new", "gpt-4o-2024-11-20")]):
        writer.append(
            Exchange(
                exchange=f"x-{number}",
                workload="reply",
                started_at=1_700_000_000.0 + number,
                epoch=1,
                generation="g",
                variant=variant,
                fingerprint=marks[variant],
                served_variant=served,
                model_served=model,
                status=200,
            )
        )
    writer.close()
    with Committer(project.paths.segments, project.paths.lake) as committer:
        committer.run_once()
    rows = listed(config, "reply", code=1)
    assert (rows["old"]["served"], rows["new"]["served"]) == ("gpt-4.1-2025-09-09", "gpt-4o-2024-11-20")
    assert "served_other" in [need["kind"] for need in rows["old"]["needs"] if need["urgent"]]
    (alias,) = [need["what"] for need in rows["new"]["needs"] if need["kind"] == "alias"]
    assert alias.endswith("it last answered as gpt-4o-2024-11-20")


def planned(config: str, *more: str, code: int) -> dict[str, Any]:
    done = RUN.invoke(plan.app, ["reply", "-c", config, "--json", "--today", "2026-11-21", *more])
    assert done.exit_code == code, done.output
    document: dict[str, Any] = json.loads(done.output)
    return document


def test_a_plan_is_counted_back_from_the_day_that_is_known_or_given(tmp_path: Path) -> None:
    config = written(tmp_path, "gpt-4o-2024-08-06")
    known = planned(config, code=1)["deadline"]
    assert (known["deadline"], known["verdict"]) == ("2027-01-14", "shortened")
    assert "gpt-4o-2024-08-06 is shut down, says https://" in known["why"]
    assert planned(config, "--deadline", "2027-03-01", code=0)["deadline"]["verdict"] == "fits"
    assert planned(config, "--deadline", "2026-12-18", code=1)["deadline"]["verdict"] == "forced"
    assert planned(config, "--deadline", "2026-12-01", code=1)["deadline"]["verdict"] == "too_late"
    ready = planned(config, "--deadline", "2027-01-07", "--prompt-work", "0", code=0)["deadline"]
    assert ready["stages"][0]["least_s"] == 0


def test_a_model_that_nobody_knows_a_date_of_has_a_plan_without_a_deadline(tmp_path: Path) -> None:
    assert "deadline" not in planned(written(tmp_path, "unheard-of"), code=0)


@pytest.mark.parametrize(
    ("option", "day", "said"),
    [
        ("--deadline", "soon", "'soon' is no day"),
        ("--deadline", "", "'' is no day"),
        ("--deadline", "0001-01-02", "'0001-01-02' lies outside the years 2000 to 2999"),
        ("--today", "9999-12-31", "'9999-12-31' lies outside the years 2000 to 2999"),
    ],
)
def test_a_day_that_is_none_is_refused(tmp_path: Path, option: str, day: str, said: str) -> None:
    given = ["--deadline", "2027-03-01", option, day]
    done = RUN.invoke(plan.app, ["reply", "-c", written(tmp_path, "x"), *given])
    assert done.exit_code == 2
    assert f"{option} {said}" in done.output


@pytest.mark.parametrize(("day", "said"), [("2030-01-01", "(in 1,137 days)"), ("2020-01-01", "(2,516 days ago)")])
def test_days_are_counted_to_the_last(tmp_path: Path, day: str, said: str) -> None:
    given = ["--today", "2026-11-21", "--deadline", day]
    shown = RUN.invoke(plan.app, ["reply", "-c", written(tmp_path, "x"), *given]).output
    assert said in shown
    assert max(map(len, shown.splitlines())) <= 120


@pytest.mark.parametrize(
    ("old", "said"),
    [
        ("claude-sonnet-4-5", "claude-sonnet-4-5 is no pin: before 4.6 a Claude name without a date is an alias"),
        ("anthropic.claude-sonnet-4-6-v1:0", "is no pin: Bedrock has no such id"),
        ("gpt-4-0613", "gpt-4-0613 is gone since 2026-10-23, says https://"),
    ],
)
def test_a_check_warns_of_pins_that_float_or_are_gone(tmp_path: Path, old: str, said: str) -> None:
    done = RUN.invoke(check.app, ["-c", written(tmp_path, old), "--json"])
    assert done.exit_code == 0, done.output
    found = [each for each in json.loads(done.output)["warnings"] if said in each["message"]]
    assert [(each["line"], each["column"]) for each in found] == [(9, 38)]
    assert found[0]["remedy"]


def test_a_check_says_nothing_of_a_pin_that_holds(tmp_path: Path) -> None:
    done = RUN.invoke(check.app, ["-c", written(tmp_path, "claude-opus-5"), "--json"])
    warned = [each["message"] for each in json.loads(done.output)["warnings"]]
    assert [message for message in warned if "no pin" in message] == [
        "gpt-4o is no pin: a name without a date points to the snapshot that OpenAI chooses, and is moved"
    ]


CLOUDS = """
providers:
  aws: {wire: anthropic, base_url: "https://bedrock-mantle.eu-west-1.api.aws/anthropic"}
  google: {wire: gemini, base_url: "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/l"}
  microsoft: {wire: openai, base_url: "https://ours.openai.azure.com/openai/v1"}
workloads:
  aws: {incumbent: a, variants: {a: {provider: aws, model: eu.anthropic.claude-opus-4-1-20250805-v1:0, pin: {why: w}}}}
  google: {incumbent: a, variants: {a: {provider: google, model: gemini-2.5-pro, pin: {why: w}}}}
  microsoft: {incumbent: a, variants: {a: {provider: microsoft, model: chat-prod, pin: {why: w}}}}
  unheard: {incumbent: a, variants: {a: {provider: aws, model: anthropic.claude-opus-4-7, pin: {why: w}}}}
models:
  chat-prod: {exact: true, model: gpt-4o-2024-11-20}
"""


@pytest.mark.parametrize(
    ("workload", "on", "day", "title"),
    [
        ("aws", "bedrock", "2027-01-08", "Amazon Bedrock"),
        ("google", "vertex", "2027-03-31", "Google Cloud"),
        ("microsoft", "azure", "2027-04-14", "Azure"),
        ("unheard", "bedrock", None, "Amazon Bedrock"),
    ],
)
def test_each_command_goes_by_the_dates_of_the_cloud_that_serves(
    tmp_path: Path, workload: str, on: str, day: str | None, title: str
) -> None:
    config = tmp_path / "understudy.yaml"
    config.write_text(CLOUDS)
    given = [workload, "-c", str(config), "--today", "2026-11-21"]
    row = json.loads(RUN.invoke(models.app, [*given, "--json"]).output)["models"][0]
    assert (row["on"], row["retires"]) == (on, day)
    shown = RUN.invoke(models.app, given).output
    assert "public dates were last looked up on 2026-11-21" in shown
    document = json.loads(RUN.invoke(plan.app, [*given, "--json"]).output)
    if day is None:
        assert f"goes on {title}, where its maker's dates do not hold: look at https://" in shown
        assert f"goes on {title}, where its maker's dates do not hold: look at https://" in document["no_deadline"]
        assert "Nobody knows here when anthropic.claude-opus-4-7" in RUN.invoke(plan.app, given).output
    else:
        assert document["deadline"]["deadline"] == day
        assert f"is shut down on {title}, says https://" in document["deadline"]["why"]
    warned = json.loads(RUN.invoke(check.app, ["-c", str(config), "--json"]).output)["warnings"]
    assert [each for each in warned if "gone since" in each["message"]] == []


def test_dates_that_nobody_has_looked_up_for_long_are_said_to_be_old(tmp_path: Path) -> None:
    config = written(tmp_path, "gpt-4.1-2025-04-14")
    shown = RUN.invoke(models.app, ["-c", config, "--today", "2027-03-01"]).output
    assert "last looked up on 2026-11-21, 100 days ago, and may have changed since: install a newer" in shown
    (tmp_path / "app.py").write_text('MODEL = "claude-opus-5"\n')
    linted = RUN.invoke(lint.app, [str(tmp_path / "app.py"), "-c", config, "--today", "2027-03-01"])
    assert "100 days ago" in linted.stderr
    fresh = RUN.invoke(lint.app, [str(tmp_path / "app.py"), "-c", config, "--today", "2026-12-01"])
    assert "days ago" not in fresh.stderr
    data = json.loads(RUN.invoke(lint.app, [str(tmp_path / "app.py"), "-c", config, "--json"]).output)
    assert data["facts_looked_up"] == "2026-11-21"
