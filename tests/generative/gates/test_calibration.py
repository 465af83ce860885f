"""The promised error rates, simulated with a fixed seed; the bounds leave room for the simulation's own error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.gates import defects

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow(30)
def test_promised_rates_are_kept():
    """The short calibration ends with 0 and one JSON object whose rates are what the gates promise."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gates.calibrate", "--short"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(found) == {
        "false_rollback", "wrong_pass", "delay_over_oracle", "eval_false_block", "eval_power", "drift_fdr"
    }  # fmt: skip
    # One-sided bounds for 20 to 100 runs at a true 5 %.
    assert all(rate <= 0.20 for rate in found["false_rollback"].values())
    assert sum(found["false_rollback"].values()) / len(found["false_rollback"]) <= 0.05
    assert all(rate <= 0.18 for rate in found["wrong_pass"].values())
    assert all(ratio <= 2.6 for ratio in found["delay_over_oracle"].values())
    assert found["eval_false_block"] <= 0.14
    assert found["eval_power"] >= 0.85
    assert found["drift_fdr"] <= 0.25


def test_a_broken_promise_is_a_failure():
    """A scenario whose rate is beyond its promise is named, and the command ends with 1."""
    script = (
        "import sys; from benchmarks.gates import calibrate as c;"
        "c.false_rollbacks = lambda bench: bench.each('x', lambda rng: [c.Line('false rollback','x',.2,400,'',.05)]);"
        "sys.argv = ['calibrate', '--short', '--only', 'x'];"
        "[setattr(c, n, lambda bench: None) for n in ('wrong_passes','delays','evals','drifts','guards')];"
        "sys.exit(c.main())"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-2].endswith("missed: false rollback: x")
    assert json.loads(done.stdout.splitlines()[-1])["false_rollback"] == {"x": 0.2}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(defects.PLANTED))
def test_a_planted_defect_turns_it_red(name: str):
    """An estimator with a bug exceeds its promise in the scenario that is there for it, also with few runs."""
    _, only, scale = defects.PLANTED[name]
    command = [sys.executable, "-m", "benchmarks.gates.calibrate", "--scale", str(scale), "--only", only]
    sound = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert sound.returncode == 0, sound.stdout
    broken = subprocess.run([*command, "--plant", name], cwd=ROOT, capture_output=True, text=True, check=False)
    assert broken.returncode == 1, broken.stdout
    assert "missed: nothing" in sound.stdout
    assert "missed: nothing" not in broken.stdout
