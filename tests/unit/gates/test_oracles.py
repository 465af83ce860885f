"""ville and gbstats as oracles, from their own environment (`make oracles`)."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from benchmarks.gates import oracles

# What gbstats 0.8.0 and ville 0.1.0 answer to the first questions of `oracles.questions(random.Random(1))`; from
# `python -m benchmarks.gates.oracles`, which asks all 801 of them again.
GBSTATS = {"low": -0.10591204664919057, "high": 0.005912046649190698, "rho": 0.03984006677137368}


def test_the_kept_answers_are_ours():
    """The first question's interval, without their environment."""
    asked = oracles.questions(random.Random(1))
    kept = {"boundaries": [], "e_bh": [], "bh": [], "intervals": asked["intervals"][:1]}
    said = {"ville": {"boundaries": [], "e_bh": [], "bh": []}, "gbstats": [GBSTATS]}
    assert oracles.differences(kept, said)["two arms"] < 1e-9


def test_a_difference_is_seen():
    """An answer that is off in the seventh digit is named by its kind, a wrong flag too."""
    asked = oracles.questions(random.Random(1))
    kept = {
        "boundaries": asked["boundaries"][:1],
        "e_bh": [{"log_e": [9.0, 0.0], "rate": 0.05}],
        "bh": [],
        "intervals": asked["intervals"][:1],
    }
    off = {**GBSTATS, "high": GBSTATS["high"] + 1e-7}
    wrong = {"boundaries": [123.0], "e_bh": [[True, True]], "bh": []}
    worst = oracles.differences(kept, {"ville": wrong, "gbstats": [off]})
    assert worst["two arms"] == pytest.approx(1e-7, rel=1e-3)
    assert worst["one-sided mixture"] > 1.0
    assert worst["e-BH"] == 1.0


@pytest.mark.slow
@pytest.mark.skipif(not oracles.PYTHON.exists(), reason="`make oracles` makes their environment")
def test_they_say_the_same():
    """Two hundred questions of each kind, none differing by more than rounding."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gates.oracles"],
        cwd=oracles.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
