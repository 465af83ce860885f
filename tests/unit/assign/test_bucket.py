from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.assign.bucket import analysis_bucket, bucket

GOLDEN = [
    ("upgrade-1", "user-1", 83036, 153),
    ("upgrade-1", "user-2", 512205, 23),
    ("upgrade-2", "user-1", 515915, 194),
    ("", "user-1", 637252, 224),
    ("upgrade-1", "", 896653, 99),
    ("s", "\xe9", 366168, 102),
    ("s", "e\u0301", 558167, 90),
    ("s", "\u65e5\u672c\u8a9e", 930029, 117),
    ("s", "\ud800", 757479, 134),
    ("s" * 64, "u", 974142, 200),
    ("s" * 65, "u", 386157, 135),
    ("s", "u" * 10000, 23104, 44),
]
"""Written once; a change here moves users of running upgrades between arms and is a broken promise."""


@pytest.mark.parametrize(("salt", "unit", "place", "group"), GOLDEN)
def test_golden_vectors(salt: str, unit: str, place: int, group: int) -> None:
    """The buckets of known units never change."""
    assert (bucket(salt, unit), analysis_bucket(salt, unit)) == (place, group)


@pytest.mark.parametrize("seed", ["0", "1", "4242", "random"])
def test_every_process_agrees(seed: str) -> None:
    """Processes with different hash seeds put every unit in the same bucket."""
    program = (
        "from understudy.assign.bucket import bucket, analysis_bucket\n"
        f"golden = {GOLDEN!r}\n"
        "print(all((bucket(s, u), analysis_bucket(s, u)) == (b, a) for s, u, b, a in golden))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONUTF8": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@settings(derandomize=True)
@given(st.text(st.characters(), max_size=200), st.text(st.characters(), max_size=2000))
def test_any_text_has_a_bucket_in_range(salt: str, unit: str) -> None:
    """Every salt and unit, lone surrogates too, has both buckets."""
    assert 0 <= bucket(salt, unit) < 1_000_000
    assert 0 <= analysis_bucket(salt, unit) < 256


def test_shares_come_out_as_wanted_and_only_grow() -> None:
    """At 1, 5, 25 % the part of 50,000 units below the share is within 0.3 points, and no unit ever leaves."""
    places = [bucket("upgrade-1", f"user-{n}") for n in range(50_000)]
    previous: set[int] = set()
    for share in (10_000, 50_000, 250_000, 1_000_000):
        now = {n for n, place in enumerate(places) if place < share}
        assert previous <= now
        assert abs(len(now) / len(places) - share / 1_000_000) < 0.003
        previous = now


def test_two_upgrades_choose_independent_cohorts() -> None:
    """The users one upgrade tries first are no more likely to be first in another."""
    units = [f"user-{n}" for n in range(50_000)]
    both = sum(bucket("a", u) < 100_000 and bucket("b", u) < 100_000 for u in units)
    assert abs(both / len(units) - 0.01) < 0.002


def test_analysis_groups_say_nothing_about_the_arm() -> None:
    """Each of the 256 groups holds its part of the canary: the two hashes are independent."""
    in_canary = [0] * 256
    total = [0] * 256
    for n in range(100_000):
        group = analysis_bucket("s", f"user-{n}")
        total[group] += 1
        in_canary[group] += bucket("s", f"user-{n}") < 500_000
    assert min(total) > 250
    # 0.5 +- 5 standard deviations of a binomial share over about 390 units
    assert all(abs(part / whole - 0.5) < 0.13 for part, whole in zip(in_canary, total, strict=True))
