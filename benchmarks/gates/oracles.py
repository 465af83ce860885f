"""Our numbers beside those of ville and gbstats, which live in an environment of their own: `make oracles`.

They want other versions of numpy and pandas than we do, so they are asked in a process. Prints what differs most of
each kind and ends with 1 where something differs by more than rounding; the last line is one JSON object.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from understudy.gates.stats.mixture import log_e, radius
from understudy.gates.stats.multiple import benjamini_hochberg, e_benjamini_hochberg

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-oracles" / "bin" / "python"
TOLERANCE = 1e-8


def questions(draw: random.Random) -> dict[str, Any]:
    """Many cases of each kind; a boundary at intrinsic time v with precision rho is ours at variance 1 / v."""
    boundaries = [
        {
            "v": 10 ** draw.uniform(0, 5),
            "alpha": draw.choice((0.001, 0.015, 0.05, 0.1)),
            "rho": 10 ** draw.uniform(-1, 3),
            "one_sided": one_sided,
        }
        for one_sided in (True, False)
        for _ in range(100)
    ]
    intervals: list[dict[str, Any]] = [{"n": [10_000, 500], "sum": [8_500, 400], "tuning": 5_000, "alpha": 0.05}]
    for _ in range(100):
        n = [draw.randrange(200, 50_000), draw.randrange(200, 5_000)]
        tuning, alpha = draw.choice((500, 5_000, 50_000)), draw.choice((0.01, 0.05, 0.1))
        intervals.append(
            {"n": n, "sum": [round(k * draw.uniform(0.1, 0.9)) for k in n], "tuning": tuning, "alpha": alpha}
        )
        means = [draw.gauss(3.0, 0.2) for _ in n]
        squares = [k * (mean * mean + draw.uniform(0.1, 4.0)) for k, mean in zip(n, means, strict=True)]
        graded = {"n": n, "sum": [k * m for k, m in zip(n, means, strict=True)], "squares": squares}
        intervals.append({**graded, "tuning": tuning, "alpha": alpha})
    return {
        "boundaries": boundaries,
        "e_bh": [
            {"log_e": [draw.gauss(1.0, 2.5) for _ in range(draw.randrange(1, 40))], "rate": 0.05} for _ in range(200)
        ],
        "bh": [{"p": [draw.random() ** 3 for _ in range(draw.randrange(1, 40))], "rate": 0.1} for _ in range(200)],
        "intervals": intervals,
    }


def _variance(question: dict[str, Any], arm: int) -> float:
    n, total = question["n"][arm], question["sum"][arm]
    if "squares" not in question:
        return float(total / n * (1 - total / n))
    return float((question["squares"][arm] - total * total / n) / (n - 1))


def differences(asked: dict[str, Any], said: dict[str, Any]) -> dict[str, float]:
    """The largest difference of each kind."""
    worst = dict.fromkeys(("one-sided mixture", "two-sided mixture", "two arms", "e-BH", "BH"), 0.0)

    def note(kind: str, difference: float) -> None:
        worst[kind] = max(worst[kind], abs(difference))

    for one, bound in zip(asked["boundaries"], said["ville"]["boundaries"], strict=True):
        scale, variance = 1 / math.sqrt(one["rho"]), 1 / one["v"]
        if one["one_sided"]:
            note("one-sided mixture", log_e(bound / one["v"], variance, scale) - math.log(1 / one["alpha"]))
        else:
            note("two-sided mixture", radius(variance, scale, one["alpha"]) * one["v"] / bound - 1)
    for one, answer in zip(asked["intervals"], said["gbstats"], strict=True):
        variance = math.fsum(_variance(one, arm) / one["n"][arm] for arm in (0, 1))
        half = radius(variance, answer["rho"] * math.sqrt(variance * sum(one["n"])), one["alpha"])
        middle = one["sum"][1] / one["n"][1] - one["sum"][0] / one["n"][0]
        note("two arms", middle - half - answer["low"])
        note("two arms", middle + half - answer["high"])
    for one, flags in zip(asked["e_bh"], said["ville"]["e_bh"], strict=True):
        note("e-BH", float(e_benjamini_hochberg(one["log_e"], one["rate"]) != flags))
    for one, flags in zip(asked["bh"], said["ville"]["bh"], strict=True):
        note("BH", float([q <= one["rate"] for q in benjamini_hochberg(one["p"])] != flags))
    return worst


def main() -> int:
    if not PYTHON.exists():
        print(f"there is no {PYTHON}: `make oracles` makes it", file=sys.stderr)
        return 2
    asked = questions(random.Random(1))
    done = subprocess.run(
        [str(PYTHON), str(Path(__file__).with_name("oracle_numbers.py"))],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return 2
    said = json.loads(done.stdout.strip().splitlines()[-1])
    worst = differences(asked, said)
    counts = {name: len(asked[name]) for name in asked}
    for kind, value in worst.items():
        print(f"{kind:20} {value:.2e}{'' if value <= TOLERANCE else '  DIFFERS'}")
    print(json.dumps({"largest_difference": worst, "asked": counts, "versions": said["versions"]}))
    return 0 if all(value <= TOLERANCE for value in worst.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
