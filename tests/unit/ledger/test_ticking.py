"""Asked again after every commit, the sums are those of a reader that never asked before, and of a count by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
from msgspec.structs import replace

from understudy.assign.bucket import analysis_bucket
from understudy.core.evidence import Stratum, Sums
from understudy.core.records import Exchange, Feedback, Loss, Record
from understudy.ledger import arrivals, growing, ticking
from understudy.ledger.erase import erase
from understudy.ledger.lake import Lake, Score, Table
from understudy.ledger.metrics import MetricSpec
from understudy.ledger.queries import Ledger
from understudy.ledger.views import Views

DAY = 86_400.0
METRICS = (
    MetricSpec("error", "count"),
    MetricSpec("latency", "log_mean", "field:latency_s"),
    MetricSpec("slow", "exceedance", "field:latency_s", 1.0),
    MetricSpec("cost_usd", "mean"),
    MetricSpec("thumb", "mean", "feedback:thumb"),
    MetricSpec("quality", "count", "grader:quality", 0.5),
)


def traffic(make: Any, rng: random.Random, count: int, first: int) -> list[Record]:
    """Three days of both arms, with bursts of errors, missing figures, and feedback that comes late."""
    found: list[Record] = []
    for number in range(first, first + count):
        found.append(
            make(
                number,
                started_at=1_700_000_000.0 + rng.randrange(3) * DAY + rng.random() * 1_000,
                arm=rng.choice(["incumbent", "candidate"]),
                unit=rng.choice(["", "a", "b", "c"]),
                slices=rng.choice([{}, {"k": "v"}, {"k": "w", "l": "x"}]),
                error=rng.choice(["", "", "timeout", "client_gone"]),
                latency_s=rng.choice([None, 0.0, 0.5, 3.0]),
                cost_usd=rng.choice([None, 0.001, 0.25]),
            )
        )
        if rng.random() < 0.5:
            about = f"x-{rng.randrange(number + 1):06d}"
            value = rng.choice([0.0, 1.0])
            found.append(Feedback(exchange=about, name="thumb", value=value, at=1_700_000_000.0 + number))
    return found


def by_hand(
    records: Iterable[Record], scores: Iterable[Score], cycle_s: float
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The same sums, added up one record after the other."""
    exchanges = [r for r in records if isinstance(r, Exchange)]
    thumbs: dict[str, Feedback] = {}
    for r in records:
        if isinstance(r, Feedback) and (r.exchange not in thumbs or r.at >= thumbs[r.exchange].at):
            thumbs[r.exchange] = r
    quality = {score.exchange: score.score for score in scores}
    values: dict[tuple[Any, ...], list[tuple[str, float]]] = {}
    for e in exchanges:
        failed = 1.0 if e.error not in ("", "client_gone") else 0.0
        found: dict[str, float | None] = {
            "error": failed,
            "latency": math.log(e.latency_s) if e.latency_s else None,
            "slow": None if e.latency_s is None else float(e.latency_s > 1.0),
            "cost_usd": e.cost_usd,
            "thumb": thumbs[e.exchange].value if e.exchange in thumbs else None,
            "quality": float(quality[e.exchange] > 0.5) if e.exchange in quality else None,
        }
        who = e.unit or e.exchange
        stratum = Stratum(e.stage, e.step, math.floor(e.started_at / cycle_s))
        for part in ["", *(f"{k}={v}" for k, v in e.slices.items())]:
            for metric, value in found.items():
                if value is not None:
                    key = (metric, stratum, e.arm, part, analysis_bucket(e.workload, who))
                    values.setdefault(key, []).append((who, value))
    added: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for key, seen in values.items():
        units = len({who for who, _ in seen})
        if key[0] in ("error", "quality"):
            events = float(len({who for who, value in seen if value > 0}))
            added[key] = (units, events, events, units)
        else:
            numbers = [value for _, value in seen]
            added[key] = (len(numbers), sum(numbers), sum(v * v for v in numbers), units)
    return added


def as_found(sums: Iterable[Sums]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    rows = list(sums)
    found = {tuple(row[:5]): tuple(row[5:]) for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("cycle_s", [3_600.0, 50_000.0])
def test_sums_after_every_commit_are_those_counted_by_hand(
    tmp_path: Path, fill: Any, make: Any, cycle_s: float
) -> None:
    """With late feedback, late scores and compaction in between, and for cycles that do and do not divide a day."""
    rng = random.Random(int(cycle_s))
    lake = tmp_path / "lake"
    ledger = Ledger(lake)
    records: list[Record] = []
    scores: list[Score] = []
    for turn in range(3):
        fresh = traffic(make, rng, 60, turn * 60)
        records += fresh
        fill(fresh)
        graded = [r.exchange for r in records if isinstance(r, Exchange)][turn * 10 :: 7]
        new = [Score(name, "reply", "quality", rng.choice([0.0, 1.0]), 1.0) for name in graded]
        known = {score.exchange for score in scores}
        scores += [score for score in new if score.exchange not in known]
        ledger.add_scores(new)
        if turn == 1:
            Lake(lake).compact(Table.EXCHANGES)
        found = as_found(ledger.sums(METRICS, workload="reply", upgrade="up-1", cycle_s=cycle_s))
        expected = by_hand(records, scores, cycle_s)
        assert found.keys() == expected.keys()
        for key, figures in expected.items():
            assert found[key] == pytest.approx(figures, rel=1e-9), key


STEPS = ("commit", "commit", "commit", "late", "compact", "vacuum", "restart", "erase", "feedback", "nothing")


def wrong_after(tmp_path: Path, fill: Any, make: Any, seed: int, steps: int) -> list[str]:
    """Random commits, late rows, compactions, vacuums, restarts and erasures; after each the sums are compared."""
    rng = random.Random(seed)
    lake = tmp_path / "lake"
    ledger = Ledger(lake)
    records: list[Record] = []
    first = 0
    for turn in range(steps):
        step = rng.choice(STEPS) if records else "commit"
        match step:
            case "commit" | "late":
                fresh = traffic(make, rng, rng.randrange(1, 25), first)
                first += 25
                if step == "late":  # of a day long past, as a gateway that was cut off brings it
                    fresh = [replace(r, started_at=r.started_at - 5 * DAY) for r in fresh if isinstance(r, Exchange)]
                fill(fresh)
                records += fresh
            case "feedback":
                about = rng.choice([r for r in records if isinstance(r, Exchange)]).exchange
                said = Feedback(exchange=about, name="thumb", value=rng.choice([0.0, 1.0]), at=1.8e9 + turn)
                fill([said])
                records.append(said)
            case "compact":
                Lake(lake).compact(Table.EXCHANGES)
            case "vacuum":
                Lake(lake).vacuum(Table.EXCHANGES, keep_hours=0)
            case "restart":
                ledger.close()
                ledger = Ledger(lake)
            case "erase":
                unit = rng.choice(["a", "b", "c"])
                erase(unit, segments=tmp_path / "segments", lake=lake)
                gone = {r.exchange for r in records if isinstance(r, Exchange) and r.unit == unit}
                records = [r for r in records if not isinstance(r, Loss) and r.exchange not in gone]
        found = as_found(ledger.sums(METRICS[:5], workload="reply", upgrade="up-1", cycle_s=DAY))
        expected = {key: value for key, value in by_hand(records, [], DAY).items() if value[0]}
        if found.keys() != expected.keys():
            return [f"turn {turn}, {step}: {len(found.keys() ^ expected.keys())} cells differ"]
        wrong = [key for key, figures in expected.items() if found[key] != pytest.approx(figures, rel=1e-9)]
        if wrong:
            return [f"turn {turn}, {step}: {wrong[0]} is {found[wrong[0]]} and not {expected[wrong[0]]}"]
    return []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_number_counts_twice_or_is_missed_whatever_happens_between_ticks(
    tmp_path: Path, fill: Any, make: Any, seed: int
) -> None:
    """The sums of a reader that remembers are those counted by hand, after each of many random steps."""
    assert wrong_after(tmp_path, fill, make, seed, steps=25) == []


@pytest.mark.parametrize(
    "defect",
    [
        "units come twice",
        "rows that went are not missed",
        "new files are overlooked",
        "a compaction brings no rows that are new",
        "a compaction brings new rows",
    ],
)
def test_a_reader_that_remembers_wrongly_is_found(
    tmp_path: Path, fill: Any, make: Any, monkeypatch: pytest.MonkeyPatch, defect: str
) -> None:
    """Planted defects of what is remembered, each found within a few steps."""
    new_files = ticking.Ticker._new_files
    match defect:
        case "units come twice":
            monkeypatch.setattr(growing.Growing, "_noted", lambda self, keys, bits: bits)
        case "rows that went are not missed":
            monkeypatch.setattr(
                ticking.Ticker,
                "_new_files",
                lambda self, known, files, version: {
                    day: new or frozenset() for day, new in new_files(self, known, files, version).items()
                },
            )
        case "new files are overlooked":
            monkeypatch.setattr(
                ticking.Ticker,
                "_new_files",
                lambda self, known, files, version: dict.fromkeys(known.days.keys() & files.keys(), frozenset()),
            )
        case "a compaction brings no rows that are new":
            monkeypatch.setattr(arrivals, "new_rows", lambda known, files, changes: frozenset())
        case _:
            monkeypatch.setattr(arrivals, "new_rows", lambda known, files, changes: files - known)
    assert wrong_after(tmp_path, fill, make, 1, steps=25)


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The files that each reading of a part of the exchanges was over."""
    found: list[list[str]] = []
    over = Views.over

    def noted(self: Views, table: Table, files: list[str], part: str = "part") -> Any:
        if table == Table.EXCHANGES:
            found.append(list(files))
        return over(self, table, files, part)

    monkeypatch.setattr(Views, "over", noted)
    return found


def rows_in(files: Iterable[str]) -> int:
    return sum(parquet.read_metadata(file).num_rows for file in files)


PLAIN = [MetricSpec("error", "count"), MetricSpec("latency_s", "mean")]


def seen(ledger: Ledger, metric: str = "latency_s") -> int:
    found = ledger.sums(PLAIN, workload="reply", upgrade="up-1", cycle_s=DAY)
    return sum(s.n for s in found if s.metric == metric and not s.slice)


def test_every_tick_of_a_day_reads_what_is_new_and_nothing_else(
    tmp_path: Path, fill: Any, make: Any, bound: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tenth tick reads, and adds up for its units, no more rows than the first; a compaction in between brings
    none, whether the rows it moved were read before it or not.
    """
    added: list[int] = []
    add = growing.Growing.add

    def noted(self: growing.Growing, units: Any) -> None:
        added.append(len(units))
        add(self, units)

    monkeypatch.setattr(growing.Growing, "add", noted)
    ledger = Ledger(tmp_path / "lake")
    for turn in range(10):
        fill([make(turn * 10 + n, latency_s=1.0, unit=f"u{n % 3}") for n in range(10)])
        if turn in (3, 4):  # the committer compacts right after it committed: nobody has read the last rows by then
            Lake(tmp_path / "lake").compact(Table.EXCHANGES)
        assert (seen(ledger), seen(ledger, "error")) == (10 * (turn + 1), 3)
        if turn == 6:
            Lake(tmp_path / "lake").compact(Table.EXCHANGES)
            assert (seen(ledger), seen(ledger, "error")) == (70, 3)
    assert [rows_in(files) for files in bound] == [10] * 10
    assert added == [3] * 10


def test_a_compaction_of_days_that_are_over_has_nothing_read(
    tmp_path: Path, fill: Any, make: Any, bound: list[list[str]]
) -> None:
    """Also of a question whose sums are not kept by unit, as cycles do not divide the day."""
    ledger = Ledger(tmp_path / "lake")
    for turn in range(2):
        fill([make(turn * 10 + n, started_at=1_700_000_000.0 + n * DAY, latency_s=1.0) for n in range(5)])
    uneven = [MetricSpec("latency_s", "mean")]
    ledger.sums(uneven, workload="reply", upgrade="up-1", cycle_s=50_000.0)
    assert seen(ledger) == 10
    bound.clear()
    Lake(tmp_path / "lake").compact(Table.EXCHANGES)
    assert seen(ledger) == 10
    assert len(ledger.sums(uneven, workload="reply", upgrade="up-1", cycle_s=50_000.0)) > 0
    assert bound == []


def test_rows_that_were_moved_before_they_were_read_and_whose_file_is_gone_are_read_where_they_are(
    tmp_path: Path, fill: Any, make: Any, bound: list[list[str]]
) -> None:
    """A vacuum may come before the reader does: then the day is read anew, and nothing counts twice."""
    lake = Lake(tmp_path / "lake")
    ledger = Ledger(tmp_path / "lake")
    for turn in range(2):
        fill([make(turn * 10 + n, latency_s=1.0) for n in range(10)])
        if turn:
            lake.compact(Table.EXCHANGES)
            lake.vacuum(Table.EXCHANGES, keep_hours=0)
        assert seen(ledger) == 10 * (turn + 1)
    assert [rows_in(files) for files in bound[-1:]] == [20]


def test_of_days_that_are_over_only_those_are_read_of_which_something_was_said(
    tmp_path: Path, fill: Any, make: Any, bound: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thumb or a score for an answer of one day leaves the others as they are, and those are the same lists; where
    what was said is overlooked, by a planted defect, the sums are no longer those of who asks anew.
    """
    ledger = Ledger(fill([make(n, started_at=1_700_000_000.0 + n % 4 * DAY) for n in range(8)]))
    metrics = [MetricSpec("thumb", "mean", "feedback:thumb"), MetricSpec("quality", "mean", "grader:quality")]

    def parts() -> list[list[Sums]]:
        return ledger.sums_in_parts(metrics, workload="reply", upgrade="up-1", cycle_s=DAY)

    assert parts() == [[], [], [], []]
    for exchange, seen in (("x-000001", 1), ("x-000006", 2)):
        before = parts()
        bound.clear()
        fill([Feedback(exchange=exchange, name="thumb", value=1.0, at=1.8e9)])
        ledger.add_scores([Score(exchange, "reply", "quality", 0.5, 1.0)])
        after = parts()
        assert [rows_in(files) for files in bound] == [2]
        assert [old is new for old, new in zip(before, after, strict=True)].count(False) == 1
        assert [sum(row.n for part in after for row in part if row.metric == m.name) for m in metrics] == [seen] * 2
    assert after == Ledger(tmp_path / "lake").sums_in_parts(metrics, workload="reply", upgrade="up-1", cycle_s=DAY)
    monkeypatch.setattr(ticking.Ticker, "_spoken_of", lambda self, question, before, said: frozenset())
    fill([Feedback(exchange="x-000003", name="thumb", value=1.0, at=1.8e9)])
    assert parts() != Ledger(tmp_path / "lake").sums_in_parts(metrics, workload="reply", upgrade="up-1", cycle_s=DAY)


def test_erased_rows_are_no_longer_counted(tmp_path: Path, fill: Any, make: Any) -> None:
    """What was remembered of a day is forgotten when rows of it go."""
    lake = fill([make(0, unit="a", latency_s=1.0), make(1, unit="b", latency_s=1.0)])
    ledger = Ledger(lake)
    metrics = [MetricSpec("latency_s", "mean")]
    assert sum(s.n for s in ledger.sums(metrics, workload="reply", upgrade="up-1", cycle_s=DAY)) == 2
    erase("a", segments=tmp_path / "segments", lake=lake)
    assert sum(s.n for s in ledger.sums(metrics, workload="reply", upgrade="up-1", cycle_s=DAY)) == 1


class Distant(Lake):
    """A lake that is read as one in an object store is: through deltalake, not by DuckDB itself."""

    @property
    def is_local(self) -> bool:
        return False


def test_a_distant_lake_is_followed_through_its_compactions(
    tmp_path: Path, fill: Any, make: Any, bound: list[list[str]]
) -> None:
    """Files that were replaced before they were read are found there too."""
    there = Ledger(Distant(tmp_path / "lake"))
    for turn in range(3):
        fill([make(turn * 10 + n, latency_s=1.0) for n in range(10)])
        if turn == 2:
            Lake(tmp_path / "lake").compact(Table.EXCHANGES)
        assert seen(there) == 10 * (turn + 1)
    assert [rows_in(files) for files in bound] == [10, 10, 10]


def test_a_distant_lake_gives_the_same_sums(tmp_path: Path, fill: Any, make: Any) -> None:
    """How files are reached decides nothing."""
    lake = fill(traffic(make, random.Random(5), 80, 0))
    here, there = Ledger(lake), Ledger(Distant(lake))
    near = here.sums(METRICS, workload="reply", upgrade="up-1", cycle_s=DAY)
    far = there.sums(METRICS, workload="reply", upgrade="up-1", cycle_s=DAY)
    assert as_found(near).keys() == as_found(far).keys()
    for key, figures in as_found(near).items():
        assert as_found(far)[key] == pytest.approx(figures, rel=1e-9)
    assert here.counts("reply") == there.counts("reply")
    fill([make(900, latency_s=1.0)])
    assert sum(c.exchanges for c in there.counts("reply")) == 81
