"""What the stages ask of the ledger, on small lakes whose answers can be counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from understudy.core.errors import CannotMeasure, DataCorrupt, UsageError
from understudy.core.evidence import ALL_SLICES, Stratum
from understudy.core.records import Feedback
from understudy.ledger.answers import Coverage
from understudy.ledger.lake import Lake, Score, Table
from understudy.ledger.metrics import MetricSpec
from understudy.ledger.queries import Ledger

DAY = 86_400.0


def total(sums: list[Any], metric: str, arm: str, slice_: str = ALL_SLICES) -> tuple[int, float]:
    chosen = [s for s in sums if (s.metric, s.arm, s.slice) == (metric, arm, slice_)]
    return sum(s.n for s in chosen), sum(s.total for s in chosen)


def ask(lake: Path, *metrics: MetricSpec, **options: Any) -> list[Any]:
    return Ledger(lake).sums(metrics, **({"workload": "reply", "upgrade": "up-1", "cycle_s": DAY} | options))


def test_a_missing_lake_has_empty_answers(tmp_path: Path) -> None:
    """Before the first request there is nothing to say, and saying so is no error."""
    ledger = Ledger(tmp_path / "nowhere")
    assert ledger.sums([MetricSpec("error", "count")], workload="w", upgrade="u", cycle_s=1) == []
    assert ledger.quantiles("latency_s", [0.5], workload="w", arm="candidate") == ((), False)
    assert list(ledger.pairs(workload="w", upgrade="u")) == []
    assert ledger.shadow_coverage(workload="w", upgrade="u") == Coverage(0, 0, {})
    assert list(ledger.exchanges(workload="w", ungraded_by="g")) == []
    assert ledger.history("w") == []
    assert ledger.who_served("w", "u", 1.0) is None
    assert ledger.counts("w") == []
    assert ledger.add_scores([]) == 0


def test_the_lake_is_for_its_owner_alone(fill: Any, make: Any) -> None:
    """Data files are written by a library with the usual rights: the folder above them keeps others out."""
    assert fill([make(0)]).stat().st_mode & 0o077 == 0


def test_errors_are_counted_once_a_unit_and_never_a_client_that_left(fill: Any, make: Any) -> None:
    """A unit with a burst of failures has one event; a client that went away is no failure."""
    lake = fill(
        [make(n, unit="burst", arm="candidate", error="timeout") for n in range(5)]
        + [make(10, unit="calm", arm="candidate")]
        + [make(11, unit="left", arm="candidate", error="client_gone")]
    )
    sums = ask(
        lake,
        MetricSpec("error", "count"),
        MetricSpec("rate", "mean", "error"),
        MetricSpec("t", "count", "error:timeout"),
    )
    assert total(sums, "error", "candidate") == (3, 1.0)
    assert total(sums, "rate", "candidate") == (7, 5.0)
    assert total(sums, "t", "candidate") == (3, 1.0)


def test_a_masked_failure_is_the_candidates(fill: Any, make: Any) -> None:
    """The arm is the assigned one: what the incumbent answered instead counts against the candidate."""
    lake = fill(
        [make(0, arm="candidate", variant="new", served_variant="old", masked=True, error="connect", latency_s=9.0)]
    )
    sums = ask(lake, MetricSpec("error", "count"), MetricSpec("latency_s", "mean"))
    assert total(sums, "error", "candidate") == (1, 1.0)
    assert total(sums, "latency_s", "candidate") == (1, 9.0)
    assert total(sums, "error", "incumbent") == (0, 0)


def test_only_served_exchanges_of_the_upgrade_count(fill: Any, make: Any) -> None:
    """Shadow copies, other upgrades and other workloads stay out."""
    lake = fill(
        [
            make(0, latency_s=1.0),
            make(1, latency_s=1.0, role="shadow", pair="x-000000", arm="candidate"),
            make(2, latency_s=1.0, upgrade="up-0"),
            make(3, latency_s=1.0, workload="other"),
        ]
    )
    metric = MetricSpec("latency_s", "mean")
    assert sum(s.n for s in ask(lake, metric)) == 1
    assert sum(s.n for s in ask(lake, metric, role="shadow")) == 1


@pytest.mark.parametrize("reason", ["kill_file", "breaker_open", "lease_expired", "no_unit"])
def test_who_was_not_drawn_is_no_control(fill: Any, make: Any, reason: str) -> None:
    """In canary and soak the crowd behind an open breaker stays out of the sums; in shadow nobody was drawn anyway."""
    lake = fill(
        [
            make(0, latency_s=1.0, reason="above_share"),
            make(1, latency_s=9.0, reason=reason),
            make(2, latency_s=5.0, reason=reason, stage="shadow", step=-1),
        ]
    )
    found = {s.stratum.stage: s.total for s in ask(lake, MetricSpec("latency_s", "mean")) if s.slice == ""}
    assert found == {"canary": 1.0, "shadow": 5.0}


def test_strata_are_stage_step_and_cycle(fill: Any, make: Any) -> None:
    """Evidence is kept apart by step and by whole cycle of time."""
    lake = fill(
        [
            make(0, started_at=10 * DAY + 1, latency_s=2.0),
            make(1, started_at=11 * DAY - 1, latency_s=2.0),
            make(2, started_at=11 * DAY, latency_s=2.0),
            make(3, started_at=11 * DAY, latency_s=2.0, step=1),
        ]
    )
    sums = ask(lake, MetricSpec("latency_s", "mean"))
    found: dict[Stratum, int] = {}
    for s in sums:
        found[s.stratum] = found.get(s.stratum, 0) + s.n
    assert found == {Stratum("canary", 0, 10): 2, Stratum("canary", 0, 11): 1, Stratum("canary", 1, 11): 1}


def test_each_slice_is_summed_beside_all_traffic(fill: Any, make: Any) -> None:
    """An exchange counts in the aggregate and in each slice it belongs to; one without slices in the aggregate."""
    lake = fill(
        [
            make(0, slices={"ticket": "billing", "lang": "a=b"}, latency_s=1.0),
            make(1, slices={"ticket": "billing"}, latency_s=2.0),
            make(2, latency_s=4.0),
        ]
    )
    sums = ask(lake, MetricSpec("latency_s", "mean"))
    assert {s.slice for s in sums} == {"", "ticket=billing", "lang=a=b"}
    assert total(sums, "latency_s", "incumbent") == (3, 7.0)
    assert total(sums, "latency_s", "incumbent", "ticket=billing") == (2, 3.0)


def test_values_are_shaped_by_kind(fill: Any, make: Any) -> None:
    """Means add values, logarithms leave out what has none, an exceedance is 0 or 1 a value; null is missing."""
    lake = fill([make(n, latency_s=v) for n, v in enumerate([1.0, 2.718281828459045, 0.0, None])])
    sums = ask(
        lake,
        MetricSpec("mean", "mean", "field:latency_s"),
        MetricSpec("log", "log_mean", "field:latency_s"),
        MetricSpec("slow", "exceedance", "field:latency_s", 0.5),
    )
    assert total(sums, "mean", "incumbent") == (3, pytest.approx(3.718281828459045))
    assert total(sums, "log", "incumbent") == (2, pytest.approx(1.0))
    assert total(sums, "slow", "incumbent") == (3, 2.0)


def test_feedback_counts_the_last_word(fill: Any, make: Any) -> None:
    """A user who changes a thumb from down to up gave one thumb: up. Feedback on nothing counts nowhere."""
    lake = fill(
        [
            make(0, arm="candidate"),
            make(1, arm="candidate"),
            Feedback(exchange="x-000000", name="thumb", value=0.0, at=1.0),
            Feedback(exchange="x-000000", name="thumb", value=1.0, at=2.0),
            Feedback(exchange="x-000001", name="stars", value=5.0, at=2.0),
            Feedback(exchange="x-999999", name="thumb", value=1.0, at=2.0),
        ]
    )
    sums = ask(lake, MetricSpec("satisfaction", "mean", "feedback:thumb"))
    assert total(sums, "satisfaction", "candidate") == (1, 1.0)


def test_scores_are_added_once_for_each_exchange_and_grader(fill: Any, make: Any) -> None:
    """Grading again changes nothing; the first score stands."""
    lake = fill([make(n, arm="candidate") for n in range(3)])
    ledger = Ledger(lake)
    first = [Score(f"x-{n:06d}", "reply", "quality", 0.5, 1.0) for n in range(2)]
    assert ledger.add_scores([*first, first[0]._replace(score=0.9)]) == 2
    assert ledger.add_scores([s._replace(score=0.0) for s in first]) == 0
    assert Ledger(lake).add_scores([Score("x-000002", "reply", "quality", 1.0, 1.0)]) == 1
    assert ledger.add_scores([first[0]._replace(grader="refusal")]) == 1
    sums = ledger.sums([MetricSpec("quality", "mean", "grader:quality")], workload="reply", upgrade="up-1", cycle_s=DAY)
    assert total(sums, "quality", "candidate") == (3, 2.0)
    assert [a.exchange for a in ledger.exchanges(workload="reply", ungraded_by="quality")] == []
    assert [a.exchange for a in ledger.exchanges(workload="reply", ungraded_by="refusal")] == ["x-000001", "x-000002"]


def test_units_are_counted_where_the_draw_sent_them(fill: Any, make: Any) -> None:
    """A unit counts once on a rung, and only with the arm the draw gave it."""
    lake = fill(
        [
            make(0, unit="a", reason="above_share"),
            make(1, unit="a", reason="above_share"),
            make(2, unit="b", reason="below_share", arm="candidate"),
            make(3, unit="c", reason="breaker_open"),
            make(4, unit="", reason="no_unit"),
            make(5, unit="a", reason="above_share", step=1),
        ]
    )
    assert Ledger(lake).drawn("reply", "up-1") == [(0, "candidate", 1), (0, "incumbent", 1), (1, "incumbent", 1)]


def test_exchanges_are_asked_for_by_arm_and_the_newest_first(fill: Any, make: Any) -> None:
    """A limit on the newest leaves out the oldest, and the other arm."""
    lake = fill([make(n, started_at=10 * DAY + n, arm="candidate" if n % 2 else "incumbent") for n in range(6)])
    found = Ledger(lake).exchanges(workload="reply", arm="candidate", newest=True, limit=2)
    assert [a.exchange for a in found] == ["x-000005", "x-000003"]


def test_units_share_a_bucket_and_the_nameless_are_spread(fill: Any, make: Any) -> None:
    """All exchanges of a unit fall in one bucket; exchanges without one do not all fall in the same."""
    lake = fill([make(n, unit="one") for n in range(20)] + [make(100 + n, unit="") for n in range(20)])
    table = Lake(lake).table(Table.EXCHANGES)
    assert table is not None
    rows = table.to_pyarrow_table().to_pylist()
    assert len({row["bucket"] for row in rows if row["unit"]}) == 1
    assert len({row["bucket"] for row in rows if not row["unit"]}) > 10
    assert all(0 <= row["bucket"] < 256 for row in rows)
    assert sum(s.units for s in ask(lake, MetricSpec("error", "mean"))) == 21


def test_pairs_have_both_sides(fill: Any, make: Any) -> None:
    """A shadow copy is found beside what it copies, failed ones too; a copy of another candidate is left out."""
    lake = fill(
        [
            make(0, answer="old", slices={"k": "v"}),
            make(1, role="shadow", pair="x-000000", arm="candidate", fingerprint="f-1", answer="new"),
            make(2, answer="old again"),
            make(3, role="shadow", pair="x-000002", arm="candidate", fingerprint="f-2", error="timeout"),
            make(4, answer="alone"),
        ]
    )
    ledger = Ledger(lake)
    pairs = list(ledger.pairs(workload="reply", upgrade="up-1"))
    assert [(p.served.answer, p.shadow.answer, p.shadow.error) for p in pairs] == [
        ("old", "new", ""), ("old again", "", "timeout"),
    ]  # fmt: skip
    assert pairs[0].slices == {"k": "v"}
    assert [p.served.exchange for p in ledger.pairs(workload="reply", upgrade="up-1", fingerprint="f-1")] == [
        "x-000000"
    ]
    assert len(list(ledger.pairs(workload="reply", upgrade="up-1", since=1_700_000_001.0))) == 1
    assert len(list(ledger.pairs(workload="reply", upgrade="up-1", limit=1))) == 1


def test_pairs_are_compared_as_they_are_whatever_the_batch(fill: Any, make: Any) -> None:
    """In order of time and a batch at a time: the pairs that are read at once, over midnight and with late copies."""
    records = []
    for number in range(30):
        at = 10 * DAY - 15 + number // 2
        records.append(make(number, started_at=at, answer=f"old {number}", request=b"{}" if number % 3 else b""))
        copy = make(number + 100, started_at=at + number * 100, role="shadow", pair=f"x-{number:06d}", answer="new")
        records.append(msgspec.structs.replace(copy, fingerprint="f-1", error="" if number % 7 else "timeout"))
    ledger = Ledger(fill(records))
    found, _ = ledger.new_pairs(None, workload="reply", upgrade="up-1", fingerprint="f-1", since=0.0)
    assert found is not None
    names = [batch.pairs for batch in found.batches(7)]
    assert [len(each) for each in names] == [7, 7, 7, 7, 2]
    read = [pair for batch in found.batches(7) for pair in ledger._compared(found, batch)]
    assert read == [pair for batch in ledger.compared(found) for pair in batch]
    expected = list(ledger.pairs(workload="reply", upgrade="up-1"))
    assert [(p.served.exchange, p.shadow.exchange) for p in read] == [
        (p.served.exchange, p.shadow.exchange) for p in expected
    ]
    for mine, theirs in zip(read, expected, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            assert one._asdict() == {name: getattr(other, name) for name in one._fields}


def test_coverage_says_what_became_of_each_served_exchange(fill: Any, make: Any) -> None:
    """Answered copies, failed copies by kind, and exchanges nobody copied; failures of the incumbent are no case."""
    lake = fill(
        [make(n) for n in range(4)]
        + [make(9, error="timeout")]
        + [make(10, role="shadow", pair="x-000000", arm="candidate")]
        + [make(11, role="shadow", pair="x-000001", arm="candidate", error="shadow_busy")]
        + [make(12, role="shadow", pair="x-000002", arm="candidate", error="status_5xx")]
    )
    coverage = Ledger(lake).shadow_coverage(workload="reply", upgrade="up-1")
    assert coverage == Coverage(4, 1, {"not_copied": 1, "shadow_busy": 1, "status_5xx": 1})
    assert Ledger(lake).shadow_coverage(workload="reply", upgrade="up-1", since=1_700_000_003.0).served == 1
    rests = [(1_700_000_001.0, 1_700_000_002.0), (1_700_000_003.0, 1_700_000_009.0)]
    assert Ledger(lake).shadow_coverage(workload="reply", upgrade="up-1", without=rests).served == 2


def test_history_and_who_served_name_variant_and_reason(fill: Any, make: Any) -> None:
    """Which variant answered when, and whom; at a time before the first exchange nobody."""
    lake = fill(
        [
            make(0, unit="u"),
            make(
                100,
                unit="u",
                epoch=2,
                arm="candidate",
                variant="new",
                served_variant="new",
                fingerprint="f-new",
                reason="share",
            ),
            make(200, unit="u", epoch=2, arm="candidate", variant="new", served_variant="old", masked=True),
        ]
    )
    ledger = Ledger(lake)
    spans = ledger.history("reply")
    assert [(s.epoch, s.served_variant, s.exchanges, s.masked) for s in spans] == [
        (1, "old", 1, 0), (2, "new", 1, 0), (2, "old", 1, 1),
    ]  # fmt: skip
    at = 1_700_000_000.0
    served = ledger.who_served("reply", "u", at + 150)
    assert served is not None
    assert (served.served_variant, served.reason, served.epoch) == ("new", "share", 2)
    assert ledger.who_served("reply", "u", at - 1) is None
    assert ledger.who_served("reply", "nobody", at + 150) is None
    assert ledger.who_served("other", "u", at + 150) is None


def test_figures_by_slice_are_for_people(fill: Any, make: Any) -> None:
    """Each arm on each slice and over all; unknown costs are left out of the total and counted as such."""
    lake = fill(
        [make(n, slices={"k": "v"}, latency_s=float(n), cost_usd=None if n == 0 else 0.5) for n in range(3)]
        + [make(9, arm="candidate", error="timeout")]
    )
    whole, other, part = Ledger(lake).by_slice("reply", upgrade="up-1")
    assert (whole.slice, whole.arm, whole.exchanges, whole.errors, whole.latency_mean_s) == (
        "",
        "candidate",
        1,
        1,
        None,
    )
    assert (other.slice, other.arm, other.latency_p50_s, other.cost_usd, other.priced) == ("", "incumbent", 1.0, 1.0, 2)
    assert part[2:] == other[2:]
    assert part.slice == "k=v"


def test_an_opened_ledger_sees_what_is_committed_later(tmp_path: Path, fill: Any, make: Any) -> None:
    """Every call sees the newest commit, also the first one ever."""
    ledger = Ledger(tmp_path / "lake")
    assert ledger.counts("reply") == []
    fill([make(0)])
    assert ledger.counts("reply")[0].exchanges == 1
    fill([make(1)])
    assert ledger.counts("reply")[0].exchanges == 2


@pytest.mark.parametrize(
    "metric",
    [MetricSpec("nothing", "mean"), MetricSpec("unit", "mean"), MetricSpec("x", "mean", "weather:today")],
)
def test_a_metric_that_reads_no_number_is_refused(fill: Any, make: Any, metric: MetricSpec) -> None:
    """The message says what can be read."""
    with pytest.raises(UsageError, match=metric.name):
        ask(fill([make(0)]), metric)


def test_a_damaged_lake_is_said_to_be_damaged(fill: Any, make: Any) -> None:
    """Broken log or broken data file: an error of ours with a remedy, no traceback."""
    lake = fill([make(0)])
    for path in (lake / "exchanges").rglob("*.parquet"):
        path.write_bytes(b"PAR1 no more PAR1")
    with pytest.raises(CannotMeasure):
        Ledger(lake).counts("reply")
    next((lake / "exchanges" / "_delta_log").glob("*.json")).write_text("{broken")
    with pytest.raises(DataCorrupt):
        Ledger(lake).counts("reply")
