"""How documents are arranged and drawn."""

from __future__ import annotations

import re
from typing import Any

import pytest

from understudy.dashboard import charts, pages, views, words
from understudy.dashboard.charts import Exposed


def gate(metric: str = "errors", slice_: str = "", **more: Any) -> dict[str, Any]:
    given = {"metric": metric, "slice": slice_, "kind": "count", "direction": "lower", "verdict": "pass", "n": 700}
    numbers = {"estimate": 0.01, "low": -0.01, "high": 0.03, "tolerated": 0.02, "critical": False, "sentence": "said"}
    return {**given, **numbers, **more}


def left_of(drawing: str) -> float:
    found = re.search(r'class="dot" cx="([\d.]+)"', drawing)
    assert found
    return float(found[1])


@pytest.mark.parametrize(
    ("direction", "estimate", "worse"),
    [("lower", 0.01, True), ("lower", -0.01, False), ("higher", 0.01, False), ("higher", -0.01, True)],
)
def test_worse_is_drawn_to_the_left_whichever_way_is_better(direction: str, estimate: float, worse: bool) -> None:
    low, high = estimate - 0.02, estimate + 0.02
    (group,) = views.gates({"details": {"gates": [gate(direction=direction, estimate=estimate, low=low, high=high)]}})
    assert group.whole
    assert (left_of(group.whole.drawing) < charts.WIDTH / 2) is worse
    assert group.whole.change == f"{100 * estimate:+.2f} pt"


def test_a_verdict_of_a_former_version_is_drawn_by_what_its_kind_meant() -> None:
    old = gate()
    del old["direction"]
    (group,) = views.gates({"details": {"gates": [old]}})
    assert group.whole
    assert left_of(group.whole.drawing) < charts.WIDTH / 2, "more errors are worse"


def test_gates_are_grouped_and_slices_counted() -> None:
    slices = [
        gate(slice_="a", verdict="fail"),
        gate(slice_="b", verdict="inconclusive"),
        gate(slice_="c", critical=True),
    ]
    (group,) = views.gates({"details": {"gates": [gate(), *slices]}})
    assert (group.failing, group.undecided, [row.name for row in group.slices]) == (1, 1, ["c", "a", "b"])
    nothing = gate(estimate=None, low=None, high=None, tolerated=None)
    (unknown,) = views.gates({"details": {"gates": [nothing]}})
    assert unknown.whole
    assert (unknown.whole.change, unknown.whole.drawing) == ("-", "")
    assert views.gates(None) == []


def status(stage: str, ended_at: float | None = None) -> dict[str, Any]:
    return {"upgrade": {"stage": stage, "ended_at": ended_at, "share": 0.05}}


@pytest.mark.parametrize(
    ("stage", "seen", "states"),
    [
        ("draft", ["draft"], ["now", "ahead", "ahead", "ahead", "ahead"]),
        ("canary", ["regress", "shadow", "canary"], ["done", "skipped", "done", "now", "ahead"]),
        ("done", ["regress", "shadow", "canary", "soak", "done"], ["done", "skipped", "done", "done", "done"]),
        ("rolled_back", ["regress", "shadow", "canary", "rolled_back"], ["done", "skipped", "done", "ended", "ahead"]),
    ],
)
def test_the_path_says_what_became_of_each_stage(stage: str, seen: list[str], states: list[str]) -> None:
    over = 9.0 if stage in ("done", "rolled_back") else None
    stops = views.path(status(stage, over), [{"stage": each} for each in seen])
    assert [stop.state for stop in stops] == states


def test_exposure_rises_by_its_steps_and_falls_at_the_end() -> None:
    upgrade = {"started_at": 0.0, "ended_at": 400.0}
    event = {"event": "widened", "share": 0.01, "at": 100.0}
    ended = {"event": "rolled_back", "share": 0.05, "at": 400.0}
    drawn = views.exposure(upgrade, [event, event | {"share": 0.05, "at": 200.0}, ended], 999.0)
    assert drawn
    assert "1 % from 1970-01-01 00:01:40; 5 % from 1970-01-01 00:03:20; 0 % from 1970-01-01 00:06:40" in drawn
    assert views.exposure(upgrade, [], 999.0) is None


def test_latencies_of_all_arms_are_drawn_to_one_scale() -> None:
    common = {"slice": "", "exchanges": 10, "errors": 1, "ttft_p50_s": None, "cost_usd": None, "priced": 0}
    slow = {**common, "arm": "incumbent", "latency_p50_s": 1.0, "latency_p99_s": 4.0}
    fast = {**common, "arm": "candidate", "latency_p50_s": 0.5, "latency_p99_s": 1.0}
    never = {**common, "slice": "a", "arm": "candidate", "latency_p50_s": None, "latency_p99_s": None}
    old, new, unknown = views.arms([never, fast, slow])
    assert (old.arm, new.arm, unknown.drawing, unknown.p50) == ("incumbent", "candidate", "", "-")
    assert left_of(old.drawing) == 52.0, "a quarter of the way to the slowest"
    assert left_of(new.drawing) == 28.0
    assert (old.failures, old.cost) == ("1 (10 %)", "-")


def test_a_drawing_keeps_text_text_and_stays_within_its_frame() -> None:
    hostile = '"><script>alert(1)</script>'
    drawn = charts.interval(-9.0, -5.0, 9.0, 0.1, 1.0, hostile)
    assert "<script>" not in drawn
    assert drawn.count('class="off"') == 2, "an arrow at each end"
    numbers = [float(n) for n in re.findall(r'(?:x|cx|x1|x2|width)="([\d.-]+)"', drawn)]
    assert min(numbers) >= 0
    assert max(numbers) <= charts.WIDTH
    assert "<script>" not in charts.exposure([Exposed(0, 0), Exposed(1, 1)], 2, hostile, (hostile, hostile))


def test_words() -> None:
    assert words.plain("a\u202eb\x1b[1m\nc") == "a\ufffdb\ufffd[1m\nc"
    assert str(words.coded("start `up` & <b>")) == "start <code>up</code> &amp; &lt;b&gt;"
    assert str(words.coded("one ` alone <b>")) == "one ` alone &lt;b&gt;"
    assert [words.dollars(v) for v in (None, 0.0, 0.0000888, 1.5)] == ["-", "$0.00", "$0.0000888", "$1.50"]
    assert (words.seconds(0.0162), words.seconds(2.0), words.seconds(None)) == ("16 ms", "2 s", "-")
    assert (words.ago(0, 120), words.ago(120, 0)) == ("2 min ago", "in 2 min")


def test_a_journal_of_very_many_events_shows_the_latest() -> None:
    """A page is read anew every two seconds: ten thousand events would be megabytes."""
    known = {"event": "noted", "share": 0.0, "variant": "new", "by": "controller", "effective_s": None}
    changes = [{**known, "at": float(n), "why": f"why {n}."} for n in range(10_000)]
    parts: Any = pages.TEMPLATES.get_template("parts.html").module
    written = str(parts.journal(changes, 100))
    assert written.count("<li>") == 100
    assert written.index("why 9999.") < written.index("why 9900.")
    assert "why 9899." not in written
    assert str(parts.journal(changes[:3], 100)).count("<li>") == 3
