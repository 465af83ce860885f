"""`understudy plan`: timeline, gates and rehearsal, from options and from a real ledger."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from understudy.cli.main import app
from understudy.config.project import open_project
from understudy.core.records import Exchange
from understudy.ledger.committer import Committer
from understudy.ledger.segments import SegmentWriter

WORKLOAD = "reply-drafting"
TRAFFIC = ["--requests-per-day", "50000", "--users", "20000"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("project")
    result = CliRunner().invoke(app, ["init", str(made)])
    assert result.exit_code == 0, result.output
    return made


def plan(folder: Path, *arguments: str, workload: str = WORKLOAD, env: dict[str, str] | None = None):
    given = ["plan", workload, "--config", str(folder / "understudy.yaml"), *arguments]
    return CliRunner().invoke(app, given, env=env)


def document(result) -> dict:
    return json.loads(result.stdout)


def test_timeline_alone(folder):
    """Without options the stages and their times are shown, and no traffic is needed."""
    result = plan(folder, "--json")
    assert result.exit_code == 0
    stages = [row["stage"] for row in document(result)["timeline"]]
    assert stages == ["shadow", "canary", "canary", "canary", "soak", "incumbent kept"]
    assert "gates" not in document(result)
    assert "17 d at the earliest" in plan(folder).stdout


def test_describing_traffic_asks_for_the_gates(folder):
    """Whoever says how much traffic there is wants to know what can be told with it; a figure that is none is said."""
    assert "gates" in document(plan(folder, *TRAFFIC, "--json"))
    assert "understudy plan reply-drafting --gates" in plan(folder).stdout
    wrong = plan(folder, *TRAFFIC, "--figure", "quality=abc")
    assert wrong.exit_code == 2
    assert "quality=abc" in wrong.output


def test_gates_from_options(folder):
    """With traffic given, each gate and slice is planned on each rung; thin slices are named."""
    result = plan(folder, "--gates", *TRAFFIC, "--slice", "ticket=delivery:2%", "--json")
    assert result.exit_code == 0
    found = document(result)
    assert found["traffic"]["source"] == "options"
    keys = {(row["metric"], row["slice"], row["share"]) for row in found["gates"]["rows"]}
    assert ("errors", "", 0.01) in keys
    assert ("quality", "ticket=delivery", 0.25) in keys
    assert any("ticket=delivery" in text for text in found["gates"]["advice"])
    shown = plan(folder, "--gates", *TRAFFIC).stdout
    assert "80 % power" in shown
    assert "assumed: errors = 0.01" in shown


def test_critical_slices_are_known_by_their_names_in_traffic(folder):
    """`critical: [refund]` is the slice ticket=refund of traffic: where it cannot be decided the plan is refused."""
    text = (folder / "understudy.yaml").read_text()
    assert "critical: [refund]" in text
    result = plan(folder, "--gates", *TRAFFIC, "--slice", "ticket=refund:0.1%", "--json")
    assert "ticket=refund" in {refusal["slice"] for refusal in document(result)["gates"]["refusals"]}
    assert result.exit_code == 1


def test_names_are_whole_at_80_columns(folder):
    """Metrics and slices stay readable in a terminal of 80 columns, whatever the number of rungs."""
    shown = plan(folder, "--gates", *TRAFFIC, "--slice", "ticket=order-status:20%", env={"COLUMNS": "80"}).stdout
    table = shown[shown.index("metric and slice") :]
    for name in ("errors", "latency_p99", "quality", "  ticket=order-status"):
        assert f"\n {name} " in table
    rows = [line for line in table.splitlines() if line.startswith(" ") and line.strip()]
    assert all(len(line) <= 80 for line in rows)


def test_an_undecidable_margin_ends_with_1(folder):
    """Two points on two hundred requests a day lie below the workload's own noise: refused with the number."""
    result = plan(folder, "--gates", "--requests-per-day", "2000", "--users", "1900", "--icc", "0.5", "--json")
    refusals = document(result)["gates"]["refusals"]
    assert result.exit_code == 1
    assert all(refusal["noise"] > refusal["margin"] for refusal in refusals)
    assert "cannot be decided" in refusals[0]["sentence"]


def test_rehearsal(folder):
    """The rehearsal is one JSON document, the same for the same seed, and has a table."""
    arguments = ["--simulate", "1", *TRAFFIC, "--seed", "3"]
    first, second = (plan(folder, *arguments, "--json") for _ in range(2))
    assert first.exit_code == 0
    assert document(first) == document(second)
    assert document(first)["simulation"]["runs"] == 1
    assert "false rollbacks" in plan(folder, *arguments).stdout


def test_given_figures_replace_assumed_ones(folder):
    """A metric's own mean, spread and share of requests are used, and then not called assumed."""
    given = ["--figure", "errors=0.002", "--figure", "satisfaction=0.8:0.4:0.05"]
    found = document(plan(folder, "--gates", *TRAFFIC, *given, "--json"))
    assert not any("errors" in text for text in found["traffic"]["assumed"])
    rows = [row for row in found["gates"]["rows"] if row["metric"] == "satisfaction"]
    assert rows[0]["values_per_day"] == pytest.approx(50_000 * 0.05 * 0.01)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gates", *TRAFFIC, "--figure", "errors"], "METRIC=MEAN"),
        (["--gates", *TRAFFIC, "--figure", "errors=0.1:-1"], "METRIC=MEAN"),
        (["--gates", *TRAFFIC, "--figure", "nonsense=0.1"], "there is no gate on nonsense"),
        (["--gates", *TRAFFIC, "--slice", "ticket"], "KEY=VALUE:SHARE"),
        (["--gates", *TRAFFIC, "--slice", "ticket=a:150%"], "KEY=VALUE:SHARE"),
        (["--gates", "--users", "100"], "--requests-per-day"),
    ],
)
def test_bad_options_are_explained(folder, arguments, said):
    """What cannot be read ends with 2 and says what to write."""
    result = plan(folder, *arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_unknown_workload_and_unseen_traffic(folder):
    """An unknown workload ends with 2; a ledger that saw nothing with 3, and the remedy."""
    assert plan(folder, workload="nope").exit_code == 2
    result = plan(folder, "--gates", "--json")
    assert result.exit_code == 3
    assert "--requests-per-day" in document(result)["remedy"]


def test_gates_from_the_ledger(tmp_path):
    """Rates, amounts and slices come from what the ledger saw of the incumbent."""
    assert CliRunner().invoke(app, ["init", str(tmp_path)]).exit_code == 0
    paths = open_project(tmp_path / "understudy.yaml").paths
    draw = random.Random(1)
    writer = SegmentWriter(paths.segments, "w0")
    for number in range(3000):
        writer.append(
            Exchange(
                exchange=f"x-{number:06d}",
                workload=WORKLOAD,
                started_at=1_700_000_000.0 + number * 86.4,
                epoch=1,
                generation="g",
                variant="old",
                served_variant="old",
                unit=f"u-{number % 700}",
                slices={"ticket": "refund" if number % 10 == 0 else "order"},
                status=200,
                error="timeout" if draw.random() < 0.02 else "",
                latency_s=draw.lognormvariate(0, 0.5),
                answer="Your order 12345 is on its way.",
            )
        )
    writer.close()
    with Committer(paths.segments, paths.lake) as committer:
        committer.run_once()
    result = plan(tmp_path, "--gates", "--json")
    found = document(result)
    unknown = found["traffic"].pop("unknown")
    assert found["traffic"] == {"source": "ledger", "assumed": [], "approximate": False}
    rows = {(row["metric"], row["slice"]) for row in found["gates"]["rows"]}
    assert "cost" in unknown and not {*unknown} & {metric for metric, _ in rows}
    assert {("errors", ""), ("errors", "ticket=refund"), ("latency_p99", "")} <= rows
    least = next(row for row in found["gates"]["rows"] if (row["metric"], row["slice"]) == ("latency_p50", ""))
    assert least["values_per_day"] == pytest.approx(10.0, rel=0.4)
    assert result.exit_code in (0, 1)
