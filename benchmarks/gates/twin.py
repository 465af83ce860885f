"""The gates' estimators for thousands of upgrades at once, on numpy; a test holds them to the product's own numbers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from understudy.core.evidence import BUCKETS
from understudy.gates.effect import POOLED_FLOOR
from understudy.gates.gate import MIN_CLUSTERS, PASS_ALPHA
from understudy.gates.stats.ratio_grid import RATIOS
from understudy.gates.weighing import HARM_SCALE, SCALE

Array = NDArray[np.float64]


def log_e(excess: Array, variance: Array, scale: float, beyond: float = 0.0) -> Array:
    """`understudy.gates.stats.mixture.log_e`, element by element; 0 where the variance is not known."""
    variance = np.where(np.isfinite(variance) & (variance > 0), variance, np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        prior = scale * scale
        shrink = prior / (variance + prior)
        z = excess / np.sqrt(variance)
        value = (
            0.5 * np.log(variance / (variance + prior))
            + 0.5 * z * z * shrink
            + special.log_ndtr((excess * shrink - beyond) / np.sqrt(variance * shrink))
            - special.log_ndtr(-beyond / scale)
        )
    return np.where(np.isfinite(variance), value, 0.0)


def harm_log_e(worse: Array, variance: Array, margin: float) -> Array:
    """`understudy.gates.weighing.harm_evidence` of a mean, element by element."""
    return log_e(worse, variance, HARM_SCALE * margin, margin)


def distinct(buckets: Array) -> Array:
    """`understudy.gates.effect.distinct`, element by element."""
    with np.errstate(divide="ignore"):
        return np.where(buckets >= BUCKETS, 1420.0, np.round(-BUCKETS * np.log1p(-buckets / BUCKETS)))


def _ripe(look: dict[str, Array], min_units: int) -> Array:
    n = np.where(look["clusters"] == BUCKETS, look["n"], np.minimum(look["n"], look["units"]))
    return (n >= min_units) & (look["clusters"] >= MIN_CLUSTERS)


class Running:
    """One metric of R upgrades at once: what `tally` and `effect` hold, with closed strata folded together."""

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.folded = np.zeros((2, runs, BUCKETS))
        """Residuals of closed strata, weighted with the candidate's values: incumbent, candidate."""
        self.seen = np.zeros((2, runs, BUCKETS), bool)
        self.within = np.zeros((2, runs))
        self.n = np.zeros((2, runs))
        self.freedom = np.zeros((2, runs))
        self.difference = np.zeros(runs)
        """Sum over strata of candidate values times the difference."""
        self.base = np.zeros(runs)
        self.weight = np.zeros(runs)
        """Sum over strata of candidate values squared over incumbent values."""
        self.pooled = np.zeros((2, runs))
        self.grid = np.zeros((runs, len(RATIOS)))
        self.strata = np.zeros(runs)
        self.events: list[tuple[Array, Array, Array]] = []
        """Candidate events, incumbent events and share of each closed stratum; 0, 0 and a half where it has one arm."""
        self.open_stratum()

    def open_stratum(self) -> None:
        self.counts = np.zeros((2, self.runs, BUCKETS))
        self.totals = np.zeros((2, self.runs, BUCKETS))
        self.squares = np.zeros((2, self.runs))

    def add(self, arm: int, counts: Array, totals: Array, squares: Array | None = None) -> None:
        """Values per (run, bucket) of one arm (0 incumbent, 1 candidate); without `squares` they are 0 or 1."""
        self.counts[arm] += counts
        self.totals[arm] += totals
        self.squares[arm] += totals.sum(1) if squares is None else squares

    def _open(self) -> dict[str, Array]:
        n = self.counts.sum(2)
        both = (n[0] > 0) & (n[1] > 0)
        total = self.totals.sum(2)
        safe = np.maximum(n, 1.0)
        mean = total / safe
        ratio = np.where(both, n[1] / safe[0], 0.0)
        factor = np.stack([ratio, np.where(both, 1.0, 0.0)])
        residual = factor[:, :, None] * (self.totals - mean[:, :, None] * self.counts)
        within = np.maximum(0.0, self.squares - total * mean) * both
        all_n, all_total = n.sum(0), total.sum(0)
        pooled = np.maximum(0.0, self.squares.sum(0) - all_total**2 / np.maximum(all_n, 1.0)) * both
        share = np.where(both, n[1] / np.maximum(all_n, 1.0), 0.5)
        odds = np.where(both, share / np.maximum(1.0 - share, 1e-12), 1.0)
        grid = np.zeros((self.runs, len(RATIOS)))
        base = np.log1p(odds)
        for g, r in enumerate(RATIOS):
            shift = np.log1p(odds * r) - base
            grid[:, g] = np.where(both, total[1] * (math.log(r) - shift) - total[0] * shift, 0.0)
        return {
            "residual": residual,
            "within": within,
            "n": n * both,
            "freedom": (n - 1) * both,
            "difference": np.where(both, n[1] * (mean[1] - mean[0]), 0.0),
            "base": np.where(both, n[1] * mean[0], 0.0),
            "weight": np.where(both, n[1] * ratio, 0.0),
            "pooled": np.stack([pooled, all_n * both]),
            "grid": grid,
            "strata": both * 1.0,
            "events": np.stack([total[1] * both, total[0] * both, share]),
            "seen": (self.counts > 0) & both[None, :, None],
        }

    def close_stratum(self) -> None:
        opened = self._open()
        self.folded += opened["residual"]
        self.seen |= opened["seen"].astype(bool)
        for name in ("within", "n", "freedom", "difference", "base", "weight", "pooled", "grid", "strata"):
            setattr(self, name, getattr(self, name) + opened[name])
        self.events.append(tuple(opened["events"]))
        self.open_stratum()

    def look(self, unbounded: float | None = None) -> dict[str, Array]:
        """difference, variance, base, n, clusters, design and grid, as `effect.measure` gives them.

        `unbounded`: values have no ends, and this is the gate's margin; else they lie between 0 and 1.
        """
        o = self._open()
        residual = self.folded + o["residual"]
        seen = self.seen | o["seen"].astype(bool)
        clusters = seen.sum(2)
        n, freedom, within = self.n + o["n"], self.freedom + o["freedom"], self.within + o["within"]
        span: float | Array = 1.0
        if unbounded is not None:
            spread = np.sqrt(within.sum(0) / np.maximum(freedom.sum(0), 1.0))
            span = np.maximum(10.0 * unbounded, spread)
        with np.errstate(invalid="ignore", divide="ignore"):
            total_n = n[1]
            weight = np.stack([(self.weight + o["weight"]) / total_n**2, 1.0 / total_n])
            independent = within / freedom * weight
            smoothed = (within + span * span) / freedom * weight
            clustered = (residual**2).sum(2) / total_n**2 * clusters / (clusters - 1) * n / freedom
            known = (freedom > 0) & (clusters >= 2)
            arm = np.where(known, np.maximum(clustered, smoothed), np.inf)
            pooled = self.pooled + o["pooled"]
            floor = POOLED_FLOOR * pooled[0] / pooled[1] * weight.sum(0)
            variance = np.maximum(arm.sum(0), floor)
            design = clustered.sum(0) / independent.sum(0)
            difference = (self.difference + o["difference"]) / total_n
            base = (self.base + o["base"]) / total_n
        bad = ~np.isfinite(variance) | (total_n <= 0)
        return {
            "difference": np.where(total_n > 0, difference, 0.0),
            "base": np.where(total_n > 0, base, np.nan),
            "variance": np.where(bad, np.inf, variance),
            "n": total_n,
            "n_base": n[0],
            "clusters": clusters[1].astype(float),
            "design": np.where(np.isfinite(design), np.maximum(1.0, design), 1.0),
            "grid": self.grid + o["grid"],
            "weight": np.where(np.isfinite(weight), weight, np.inf),
            "units": distinct(clusters[1]),
            "events": np.stack([np.stack(e) for e in (*self.events, tuple(o["events"]))]),
        }


def mean_fails(
    look: dict[str, Array], margin: float, alpha: float, *, lower: bool = False, min_units: int = 100
) -> Array:
    """Where a gate on a mean fails."""
    worse = look["difference"] if lower else -look["difference"]
    evident = harm_log_e(worse, look["variance"], margin) >= math.log(1 / alpha)
    return _ripe(look, min_units) & evident & (worse >= margin - 1e-12)


def mean_passes(look: dict[str, Array], margin: float, *, lower: bool = False, min_units: int = 100) -> Array:
    """Where a gate on a mean of rights and wrongs passes, the fail aside."""
    worse = look["difference"] if lower else -look["difference"]
    variance = np.maximum(look["variance"], _at_margin(look, margin if lower else -margin))
    return _ripe(look, min_units) & (log_e(margin - worse, variance, SCALE * margin) >= math.log(1 / PASS_ALPHA))


def _at_margin(look: dict[str, Array], shift: float | Array) -> Array:
    """The variance with the candidate's rate at the margin, as `weighing.pass_variance` has it."""
    rate = np.clip(look["base"] + shift, 0, 1)
    base = np.minimum(1.0, (look["base"] * look["n_base"] + 1) / (look["n_base"] + 1))
    spread = rate * (1 - rate) * look["weight"][1] + base * (1 - base) * look["weight"][0]
    return np.nan_to_num(spread * look["design"], nan=np.inf)


def grid_log_e(look: dict[str, Array]) -> Array:
    return special.logsumexp(look["grid"] / look["design"][:, None], axis=1) - math.log(len(RATIOS))


def events_fail(look: dict[str, Array], alpha: float, relative: float = 0.25) -> Array:
    """Where a gate on events (lower is better) fails."""
    large = (look["difference"] > 0) & (look["difference"] >= relative * look["base"] - 1e-12)
    return (look["clusters"] >= MIN_CLUSTERS) & (grid_log_e(look) >= math.log(1 / alpha)) & large


def events_pass(
    look: dict[str, Array], margin: float, relative: float = 0.25, min_units: int = 100, widen: float = 1.0
) -> Array:
    """Where a gate on events passes, the fail aside."""
    widened = widen * np.maximum(margin, relative * np.nan_to_num(look["base"]))
    variance = np.maximum(look["variance"], _at_margin(look, widened))
    mixture = np.array(
        [log_e(w - d, v, SCALE * w) for w, d, v in zip(widened, look["difference"], variance, strict=True)]
    )
    value = np.logaddexp(mixture, _pass_grid(look, widened)) - math.log(2.0)
    return _ripe(look, min_units) & (value >= math.log(1 / PASS_ALPHA))


def _pass_grid(look: dict[str, Array], margin: Array) -> Array:
    """The grid of ratios upside down, as `weighing` makes it for a pass."""
    candidate, incumbent, share = look["events"].transpose(1, 0, 2)
    total = incumbent.sum(0)
    high = look["base"] * (1 + np.sqrt(look["design"] / np.maximum(total, 1e-12)))
    odds = (1 - share) / share * (high / (high + margin))
    null = np.log1p(odds)
    weights = []
    for ratio in RATIOS:
        shift = np.log1p(odds * ratio) - null
        weights.append((incumbent * (math.log(ratio) - shift) - candidate * shift).sum(0))
    value = special.logsumexp(np.stack(weights) / look["design"], axis=0) - math.log(len(RATIOS))
    return np.where(total > 0, value, 0.0)
