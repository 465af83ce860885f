"""What ville and gbstats say, as JSON on standard output: run by `oracles` with the Python of `.venv-oracles`."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import Any

import numpy as np


def ville_says(asked: dict[str, Any]) -> dict[str, Any]:
    from ville import evalues, normal_mixture

    return {
        "boundaries": [
            float(normal_mixture(each["v"], each["alpha"], each["rho"], one_sided=each["one_sided"]))
            for each in asked["boundaries"]
        ],
        "e_bh": [evalues.ebh(np.exp(each["log_e"]), each["rate"]).tolist() for each in asked["e_bh"]],
        "bh": [evalues.bh(each["p"], each["rate"]).tolist() for each in asked["bh"]],
    }


def gbstats_says(asked: dict[str, Any]) -> list[dict[str, float]]:
    from gbstats.frequentist.tests import SequentialConfig, SequentialTwoSidedTTest
    from gbstats.models.statistics import ProportionStatistic, SampleMeanStatistic

    said = []
    for each in asked["intervals"]:
        if "squares" in each:
            arms = [
                SampleMeanStatistic(n=n, sum=total, sum_squares=squares)
                for n, total, squares in zip(each["n"], each["sum"], each["squares"], strict=True)
            ]
        else:
            arms = [ProportionStatistic(n=n, sum=total) for n, total in zip(each["n"], each["sum"], strict=True)]
        config = SequentialConfig(
            difference_type="absolute", sequential_tuning_parameter=each["tuning"], alpha=each["alpha"]
        )
        test = SequentialTwoSidedTTest(*arms, config)
        low, high = test.compute_result().ci
        said.append({"low": float(low), "high": float(high), "rho": float(test.rho)})
    return said


if __name__ == "__main__":
    question = json.load(sys.stdin)
    answer = {"ville": ville_says(question), "gbstats": gbstats_says(question)}
    print(json.dumps({**answer, "versions": {name: version(name) for name in ("ville", "gbstats", "numpy")}}))
