"""Every engine gives the same answers, to 1e-9; only quantiles may be estimates, and then they say so."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.ledger.conftest import BEGAN, DAY, exchange, fill, traffic
from typer.testing import CliRunner

from understudy.cli.main import app
from understudy.core.errors import CannotMeasure, UsageError
from understudy.ledger.answers import Coverage
from understudy.ledger.choice import Choice
from understudy.ledger.export import export
from understudy.ledger.lake import Lake, Table
from understudy.ledger.metrics import MetricSpec
from understudy.ledger.queries import Ledger
from understudy.ledger.verify import verify

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),  # Spark leaves its own open
]

METRICS = (
    MetricSpec("error", "count"),
    MetricSpec("timeouts", "mean", "error:timeout"),
    MetricSpec("latency", "log_mean", "field:latency_s"),
    MetricSpec("slow", "exceedance", "field:latency_s", 1.0),
    MetricSpec("cost_usd", "mean"),
    MetricSpec("thumb", "mean", "feedback:thumb"),
    MetricSpec("quality", "count", "grader:quality", 0.5),
)
FIGURES = ("latency_p50_s", "latency_p99_s", "ttft_p50_s")
RELATIVE = 1e-9


def same(left: Any, right: Any) -> bool:
    """Equal in form and kind, numbers with a fraction to 1e-9."""
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=RELATIVE, abs_tol=1e-12)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and bool(left == right)


def test_the_comparison_sees_what_it_is_for() -> None:
    """A number that is off by 1e-8, a missing row, and a zero in the place of a null are differences."""
    row = ("a", 1, 2.0, None)
    assert same([row], [("a", 1, 2.0 * (1 + 1e-11), None)])
    for other in ([], [("a", 1, 2.0 * (1 + 1e-8), None)], [("a", 1, 2.0, 0.0)], [("a", 1.0, 2.0, None)], [row, row]):
        assert not same([row], other)


QUESTIONS: dict[str, Callable[[Ledger], Any]] = {
    "sums by day": lambda it: sorted(it.sums(METRICS, workload="reply", upgrade="up-1", cycle_s=DAY)),
    "sums by hour": lambda it: sorted(it.sums(METRICS, workload="reply", upgrade="up-1", cycle_s=3_600.0)),
    "sums over midnight": lambda it: sorted(it.sums(METRICS, workload="reply", upgrade="up-1", cycle_s=50_000.0)),
    "sums of copies": lambda it: sorted(
        it.sums(METRICS[:3], workload="reply", upgrade="up-1", cycle_s=DAY, role="shadow")
    ),
    "pairs": lambda it: list(it.pairs(workload="reply", upgrade="up-1")),
    "pairs of one candidate": lambda it: list(
        it.pairs(workload="reply", upgrade="up-1", fingerprint="f-1", since=BEGAN + DAY / 4, limit=7)
    ),
    "compared pairs": lambda it: [
        pair
        for batch in it.compared(
            it.new_pairs(None, workload="reply", upgrade="up-1", fingerprint="f-1", since=BEGAN + DAY / 4)[0]
        )
        for pair in batch
    ],
    "coverage": lambda it: it.shadow_coverage(workload="reply", upgrade="up-1"),
    "exchanges": lambda it: list(it.exchanges(workload="reply", upgrade="up-1")),
    "exchanges of a number": lambda it: list(it.exchanges(workload="007")),
    "exchanges by name": lambda it: list(
        it.exchanges(workload="reply", only=[each.exchange for each in it.exchanges(workload="reply")][3:9])
    ),
    "what was asked": lambda it: it.asked(workload="reply", variant="old", since=BEGAN, most=40, turn=7),
    "ungraded": lambda it: list(
        it.exchanges(workload="reply", arm="candidate", ungraded_by="quality", newest=True, limit=20)
    ),
    "spent": lambda it: sorted(it.spent("reply")),
    "spent since": lambda it: sorted(it.spent("reply", since=BEGAN + DAY)),
    "history": lambda it: sorted(it.history("reply")),
    "evals": lambda it: it.evals("reply"),
    "who served": lambda it: it.who_served("reply", "Ünï \\ 'c'", BEGAN + 2 * DAY),
    "who served a stranger": lambda it: it.who_served("reply", "nobody", BEGAN + 2 * DAY),
    "counts": lambda it: sorted(it.counts("reply", since=BEGAN + DAY / 8)),
    "drawn": lambda it: it.drawn("reply", "up-1"),
    "figures": lambda it: [
        tuple(value for name, value in row._asdict().items() if name not in (*FIGURES, "approximate"))
        for row in it.by_slice("reply", upgrade="up-1")
    ],
    "a workload that is not there": lambda it: (
        it.sums(METRICS, workload="x", upgrade="up-1", cycle_s=DAY), it.counts("x"), it.history("x"), it.by_slice("x"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("question", sorted(QUESTIONS))
def test_every_question_has_the_same_answer(ledger: Ledger, reference: Ledger, question: str) -> None:
    """With rows of an older version, removed rows, compacted files, and text that has to be quoted."""
    found, expected = QUESTIONS[question](ledger), QUESTIONS[question](reference)
    assert found or question.startswith(("a workload", "who served a stranger"))
    assert same(found, expected), first_difference(found, expected)


def first_difference(found: Any, expected: Any) -> str:
    if not isinstance(found, list) or not isinstance(expected, list) or len(found) != len(expected):
        return f"{found!r}\n{expected!r}"[:2_000]
    return next((f"{a!r}\n{b!r}" for a, b in zip(found, expected, strict=True) if not same(a, b)), "")


def test_quantiles_are_exact_or_marked(ledger: Ledger, reference: Ledger) -> None:
    """On a few hundred values the estimates are close; DuckDB and Spark are exact and say so."""
    asked: dict[str, Any] = {"workload": "reply", "arm": "candidate"}
    found, approximate = ledger.quantiles("latency_s", [0.05, 0.5, 0.99], **asked)
    expected, exact = reference.quantiles("latency_s", [0.05, 0.5, 0.99], **asked)
    assert (approximate, exact) == (ledger.approximates, False)
    rows, known = ledger.by_slice("reply"), reference.by_slice("reply")
    assert {row.approximate for row in rows} == {ledger.approximates}
    if ledger.approximates:
        assert found == pytest.approx(expected, rel=0.02)
    else:
        assert same(found, expected)
        assert same(rows, known)
    assert ledger.quantiles("latency_s", [0.5], workload="nobody", arm="candidate").values == ()


def test_people_are_told_where_quantiles_are_estimates(tmp_path: Path, choice: Choice) -> None:
    """`plan` takes limits of latency from the ledger: as a sentence, and for programs as `approximate`."""
    if choice.engine == "spark":
        pytest.skip("its quantiles are exact, and its options are those of the tests")
    assert CliRunner().invoke(app, ["init", str(tmp_path)]).exit_code == 0
    file = tmp_path / "understudy.yaml"
    engine = {"engine": choice.engine} | ({"clickhouse": dict(choice.options)} if choice.options else {})
    file.write_text(file.read_text() + f"\nledger: {json.dumps(engine)}\n")
    records = [exchange(n, workload="reply-drafting", latency_s=1.0 + n / 100, unit=f"u-{n}") for n in range(300)]
    fill(tmp_path / ".understudy", records)
    asked = ["plan", "reply-drafting", "--gates", "--config", str(file)]
    found = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert found["traffic"]["approximate"] is choice.approximates
    assert ("are estimates" in CliRunner().invoke(app, asked).stdout) is choice.approximates


def test_a_missing_lake_has_empty_answers(tmp_path: Path, choice: Choice) -> None:
    """Before the first request there is nothing to say, on any engine."""
    ledger = Ledger(Lake(tmp_path / "nowhere", choice=choice))
    assert ledger.sums(METRICS, workload="w", upgrade="u", cycle_s=DAY) == []
    assert ledger.quantiles("latency_s", [0.5], workload="w", arm="candidate").values == ()
    assert ledger.shadow_coverage(workload="w", upgrade="u") == Coverage(0, 0, {})
    assert list(ledger.exchanges(workload="w", ungraded_by="g")) == []


def test_a_tick_reads_only_what_is_new(tmp_path: Path, choice: Choice) -> None:
    """After a commit the sums are those of a reader that never asked before, and files of older days are not opened:
    they are taken away here."""
    rng = random.Random(3)
    fill(tmp_path, traffic(rng, 60))
    opened = Lake(tmp_path / "lake", choice=choice)
    ledger = Ledger(opened)
    asked: dict[str, Any] = {"workload": "reply", "upgrade": "up-1", "cycle_s": DAY}
    metrics = METRICS[:5]  # the others read what was said of any day
    before = ledger.sums(metrics, **asked)
    assert before
    old = opened.files(Table.EXCHANGES)
    fill(tmp_path, traffic(rng, 40, first=60, day=5), "w1")
    expected = Ledger(Lake(tmp_path / "lake")).sums(metrics, **asked)
    for file in old:
        Path(file).rename(Path(file).with_suffix(".away"))
    found = ledger.sums(metrics, **asked)
    assert len(found) > len(before)
    assert same(sorted(found), sorted(expected))
    with pytest.raises(CannotMeasure, match="cannot be read"):
        Ledger(opened).sums(metrics, **asked)


def test_verify_and_export_on_every_engine(tmp_path: Path, folder: Path, choice: Choice) -> None:
    """The account of all numbers, and the file that people take away, are the same whoever reads."""
    lake = Lake(folder / "lake", choice=choice)
    assert verify(folder / "segments", lake) == verify(folder / "segments", folder / "lake")
    found, expected = tmp_path / "found.jsonl", tmp_path / "expected.jsonl"
    assert export(found, lake=lake, workload="reply") == export(expected, lake=folder / "lake", workload="reply")
    assert same(lines(found), lines(expected))


def lines(file: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        for field in ("feedback", "scores"):
            said = row[field] or []  # an opinion is written as name=value; engines write 1.0 and 1
            row[field] = sorted((name, float(value)) for name, _, value in (each.partition("=") for each in said))
    return rows


def test_another_opened_lake_is_not_mixed_in(tmp_path: Path, choice: Choice) -> None:
    """Two ledgers of one process are two, also where the engine is one."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    fill(tmp_path / "a", [exchange(n) for n in range(3)])
    fill(tmp_path / "b", [exchange(n) for n in range(5)])
    one, other = (Ledger(Lake(tmp_path / name / "lake", choice=choice)) for name in "ab")
    for _ in range(2):
        assert [row.exchanges for row in one.counts("reply")] == [3]
        assert [row.exchanges for row in other.counts("reply")] == [5]


@pytest.mark.parametrize(("engine", "library"), [("clickhouse", "clickhouse_connect"), ("spark", "pyspark")])
def test_an_engine_that_is_not_installed_says_what_to_install(tmp_path: Path, engine: str, library: str) -> None:
    """And a machine without it is not shown a traceback."""
    code = f"""
import sys
sys.modules[{library!r}] = None
from understudy.cli.main import app
from understudy.core.errors import UsageError
from understudy.ledger.choice import Choice
from understudy.ledger.lake import Lake
from understudy.ledger.queries import Ledger
try:
    Ledger(Lake({str(tmp_path)!r}, choice=Choice({engine!r}, {{"url": "chdb://memory"}}))).counts("w")
except UsageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"pip install 'understudy[{engine}]'" in done.stdout


def test_spark_without_java_says_so(tmp_path: Path) -> None:
    """In a process that finds none."""
    code = f"""
from understudy.cli.main import app
from understudy.core.errors import CannotMeasure
from understudy.ledger.choice import Choice
from understudy.ledger.lake import Lake
from understudy.ledger.queries import Ledger
try:
    Ledger(Lake({str(tmp_path)!r}, choice=Choice("spark"))).counts("w")
except CannotMeasure as error:
    print(error)
"""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "ps", "cat"):  # what Spark's own launcher is written with
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    (tools / "python3").symlink_to(sys.executable)
    environment = {key: value for key, value in os.environ.items() if key != "JAVA_HOME"} | {"PATH": str(tools)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "Spark needs Java 17 or newer" in done.stdout


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """The address is named, the password is not."""
    options = {"url": "http://127.0.0.1:9", "user": "u", "password": "hunter-two"}
    ledger = Ledger(Lake(tmp_path, choice=Choice("clickhouse", options)))
    with pytest.raises(CannotMeasure, match=r"ledger\.clickhouse") as raised:
        ledger.counts("w")
    assert "hunter-two" not in str(raised.value)
    with pytest.raises(UsageError, match="no address"):
        Ledger(Lake(tmp_path, choice=Choice("clickhouse", {"url": "somewhere"}))).counts("w")
