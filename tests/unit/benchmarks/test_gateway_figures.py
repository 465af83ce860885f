"""What the gateway benchmark says of its measurements."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.gateway import machine, mixed, page, soak, streams  # noqa: E402
from benchmarks.gateway.__main__ import PROXIES  # noqa: E402
from benchmarks.gateway.figures import Measured, Promise, paired, promises, proxy_table, slope, spread, summary  # noqa: E402


def rows() -> dict[str, Measured]:
    """Three rounds in which the machine got slower and slower, for all proxies alike."""
    ours = Measured("understudy", "all of it", [40.0, 44.0, 80.0], [12.0, 13.0, 26.0], [55.0, 63.0, 99.0])
    ours.p50_ms, ours.p99_ms = [0.2, 0.25, 0.4], [0.5, 0.7, 3.0]
    nginx = Measured("nginx", "bytes only", [20.0, 22.0, 40.0], [10.0, 12.0, 20.0])
    return {"understudy": ours, "nginx": nginx, "envoy": Measured("envoy", "", [45.0, 46.0, 90.0])}


def test_a_spread_tells_the_middle_and_how_far_apart_the_rounds_lay() -> None:
    """Median, lowest, highest; nothing measured is no figure and not zero."""
    assert spread([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0, 3)
    assert spread([]) is None
    assert spread([41.26]).text(1) == "41.3"  # type: ignore[union-attr]
    assert spread([41.26, 40.0]).text(1) == "40.6 (40.0 to 41.3)"  # type: ignore[union-attr]


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that gets twice as slow in one round for everybody changes no ratio."""
    ratio = next(one for one in promises(rows(), None) if one.what == "CPU a request, against nginx")
    assert ratio.measured == (2.0, 2.0, 2.0, 3)
    assert ratio.kept == "yes"
    assert paired([1.0, 2.0], [3.0]) == [(1.0, 3.0)]


@pytest.mark.parametrize(
    ("values", "at_least", "kept"),
    [
        ([1.0, 2.0], False, "yes"),
        ([1.0, 2.0, 9.0], False, "median"),
        ([1.0, 9.0, 9.0], False, "no"),
        ([9.0, 2.0, 9.0], True, "median"),
        ([], False, "not measured"),
    ],
)
def test_a_promise_is_kept_in_every_round_or_in_the_middle_one_or_not(
    values: list[float], at_least: bool, kept: str
) -> None:
    """What could not be measured counts as nothing."""
    assert Promise("p", spread(values), 1, 4.0, "us", at_least).kept == kept


def test_the_last_line_has_the_promised_shape() -> None:
    """One object with exactly these keys; peers appear by name, what is missing is null or absent."""
    found = summary(rows(), 17_000.6)
    assert found == {
        "cpu_us_per_request": {"understudy": 44.0, "nginx": 22.0, "envoy": 46.0},
        "cpu_us_per_chunk": {"understudy": 13.0, "nginx": 12.0},
        "shadow_adds_us": 19.0,
        "added_p50_ms": 0.25,
        "added_p99_ms": 0.7,
        "streams_per_gib": 17000,
    }
    alone = summary({"understudy": Measured("understudy", "", [40.0])}, None)
    assert list(alone) == list(found)
    assert alone["cpu_us_per_request"] == {"understudy": 40.0}
    assert alone["cpu_us_per_chunk"] == {"understudy": None}
    assert alone["shadow_adds_us"] is alone["streams_per_gib"] is None
    assert json.loads(json.dumps(alone)) == alone


def test_the_front_page_shows_what_the_page_of_results_shows() -> None:
    """The table between the two marks is the short one, and every promise is on the page with its verdict."""
    grown = [streams.Growth("reading", [(100, 60.0), (200, 61.0), (300, 62.0)])]
    result = page.Result(["today"], rows(), grown, ["litellm: not installed"], summary(rows(), grown[0].per_gib))
    whole = page.whole(result)
    short = whole.partition(page.SHORT)[2].partition(page.SHORT_END)[0].strip()
    assert short == proxy_table(rows(), short=True)
    assert short.splitlines()[2].startswith("| nginx | 22.0 | 1.00 |")
    assert "| CPU a request, everything on | 44.0 (40.0 to 80.0) us | at most 45 us | median |" in whole
    assert "| open streams in a GiB | 102400 | at least 4000 | yes |" in whole
    assert "- litellm: not installed" in whole


def test_growth_is_the_slope_and_not_the_difference_of_two_readings() -> None:
    """A constant need is not growth; one odd reading hardly is."""
    assert slope([(0, 50.0), (100, 51.0), (200, 52.0)]) == pytest.approx(0.01)
    assert streams.Growth("reading", [(100, 60.0), (200, 61.0)]).kib_each == pytest.approx(10.24)
    assert streams.Growth("reading", [(100, 60.0), (200, 60.0)]).per_gib == float("inf")
    with pytest.raises(ValueError, match=r"constant|two"):
        slope([(1, 1.0), (1, 2.0)])


def test_a_soak_is_flat_below_its_limit_and_with_one_worker_only() -> None:
    """The first fifth does not count; a worker that was replaced has forgotten its memory."""
    filling = [(done, 40.0 + done / 500) for done in range(1000, 20_000, 1000)]
    level = [(done, 80.0 + done / 100_000) for done in range(20_000, 101_000, 1000)]
    seen = soak.Seen(points=filling + level, pids={1})
    assert seen.growth == pytest.approx(1.0, abs=0.05)
    assert soak.flat(seen)
    assert not soak.flat(soak.Seen(points=filling + level, pids={1, 2}))
    leaking = [(done, 80.0 + done / 10_000) for done, _ in level]
    assert not soak.flat(soak.Seen(points=filling + leaking, pids={1}))


def test_what_a_soak_asks_is_mixed_and_the_same_for_the_same_seed() -> None:
    """Every kind comes up as often as it should, and every fault is asked for."""
    drawn = [mixed.draw(random.Random(f"7:{number}"), number, "k") for number in range(4000)]
    assert drawn[:200] == [mixed.draw(random.Random(f"7:{number}"), number, "k") for number in range(200)]
    counts = Counter(asked.kind for asked in drawn)
    for kind, percent in mixed.SHARES.items():
        assert counts[kind] == pytest.approx(percent * 40, rel=0.35), kind
    everything = b"".join(asked.data for asked in drawn if asked.kind == "fault")
    assert all(f"{fault}-".encode() in everything for fault in mixed.FAULTS)
    assert sum(mixed.SHARES.values()) == 100
    assert max(len(asked.data) for asked in drawn) > 500_000


def test_whoever_lacks_something_is_told_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing on the PATH: wrk by its package, and every proxy has a line that installs it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found = machine.missing()
    assert any(line.startswith("wrk: not installed: apt-get install wrk") for line in found)
    assert not any(line.startswith("wrk") for line in machine.missing(load=False))
    assert all(proxy.install for proxy in PROXIES.values() if proxy.command)


def test_a_machine_that_cannot_measure_ends_with_code_3(tmp_path: Path) -> None:
    """One message with the remedy, nothing on standard output, no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gateway", "--quick"],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "wrk: not installed: apt-get install wrk" in done.stderr
    assert "Traceback" not in done.stderr
