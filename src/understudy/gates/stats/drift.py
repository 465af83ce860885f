"""Whether paired answers differ by more than chance and more than matters; which features are paired is elsewhere.

One state serves both kinds of feature. A number (a log length ratio, a rate of hedges) adds its difference; a flag
(the JSON parses, the answer refuses) adds +1 where only the candidate's answer has it, -1 where only the incumbent's
has it and 0 otherwise, from which the discordant pairs can be counted back. Pairs of one user depend on each other,
so sums are kept per analysis bucket and the error is the clustered one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from understudy.gates.stats.distributions import normal_cdf, normal_quantile, t_cdf, t_quantile
from understudy.gates.stats.multiple import benjamini_hochberg
from understudy.gates.stats.paired import mcnemar, tango

STATE_VERSION = 1
FEW_CLUSTERS = 12
"""Up to here all sign patterns are tried; a clustered t test would claim too much certainty."""


class PairedSums:
    """Sums of paired differences per analysis bucket: count, total and squares. Order-free and mergeable."""

    __slots__ = ("buckets",)

    def __init__(self, buckets: Mapping[int, tuple[int, float, float]] | None = None) -> None:
        self.buckets: dict[int, tuple[int, float, float]] = dict(buckets or {})

    def add(self, bucket: int, difference: float) -> None:
        """One pair. Raises ValueError for NaN and infinity: the caller counts such pairs as unmeasured."""
        if not math.isfinite(difference):
            raise ValueError(f"a paired difference must be a finite number, not {difference}")
        n, total, squares = self.buckets.get(bucket, (0, 0.0, 0.0))
        self.buckets[bucket] = (n + 1, total + difference, squares + difference * difference)

    def merge(self, other: PairedSums) -> PairedSums:
        """Both together, as a new state."""
        merged = PairedSums(self.buckets)
        for bucket, (n, total, squares) in other.buckets.items():
            m, t, s = merged.buckets.get(bucket, (0, 0.0, 0.0))
            merged.buckets[bucket] = (m + n, t + total, s + squares)
        return merged

    @property
    def n(self) -> int:
        return sum(n for n, _, _ in self.buckets.values())

    @property
    def total(self) -> float:
        return math.fsum(total for _, total, _ in self.buckets.values())

    @property
    def squares(self) -> float:
        return math.fsum(squares for _, _, squares in self.buckets.values())

    def as_dict(self) -> dict[str, Any]:
        return {"version": STATE_VERSION, "buckets": [[b, *sums] for b, sums in sorted(self.buckets.items())]}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> PairedSums:
        """Raises ValueError for another version."""
        if state.get("version") != STATE_VERSION:
            raise ValueError(f"paired sums of version {state.get('version')!r} cannot be read, only {STATE_VERSION}")
        return cls({int(b): (int(n), float(total), float(squares)) for b, n, total, squares in state["buckets"]})


class Drift(NamedTuple):
    """A mean paired difference with its interval and two-sided p-value, clustered by user bucket."""

    n: int
    clusters: int
    effect: float
    low: float
    high: float
    p: float
    spread: float
    """Standard deviation of one difference: effect / spread is the standardised difference d_z."""
    error: float

    @property
    def standardised(self) -> float:
        return self.effect / self.spread if self.spread > 0 else 0.0


NOTHING = Drift(0, 0, 0.0, -math.inf, math.inf, 1.0, 0.0, math.inf)
"""No pairs: no effect is excluded."""


def mean_drift(sums: PairedSums, *, resolution: float, alpha: float = 0.05) -> Drift:
    """The mean difference by a t test clustered on user buckets, interval two-sided 1 - alpha.

    `resolution` is a difference too small to matter; one pair at each side of it is added to the spread, so that
    identical differences never make certainty. Up to 12 clusters the p-value is that of all sign flips of whole
    clusters, which needs no variance at all.
    """
    n, clusters = sums.n, len(sums.buckets)
    if n < 2 or clusters < 2:
        return NOTHING._replace(n=n, clusters=clusters, effect=sums.total / n if n else 0.0)
    effect = sums.total / n
    spread2 = (max(0.0, sums.squares - n * effect * effect) + 2.0 * resolution * resolution) / (n - 1)
    # A large cluster pulls the mean towards itself, which the jackknife takes back (1 - its share); and clusters of
    # uneven size are worth as many as n^2 / sum of squared sizes of even ones.
    residuals = [(total - effect * count) / (1.0 - count / n) for count, total, _ in sums.buckets.values()]
    clustered = math.fsum(r * r for r in residuals) * (clusters - 1) / clusters / (n * n)
    freedom = max(1.0, n * n / math.fsum(count * count for count, _, _ in sums.buckets.values()) - 1.0)
    error = math.sqrt(max(clustered, spread2 / n))
    if clusters <= FEW_CLUSTERS:
        p = _sign_flip_p([total for _, total, _ in sums.buckets.values()])
    else:
        p = 2.0 * t_cdf(-abs(effect) / error, freedom)
    radius = t_quantile(1.0 - alpha / 2.0, round(freedom, 1)) * error
    return Drift(n, clusters, effect, effect - radius, effect + radius, p, math.sqrt(spread2), error)


def _sign_flip_p(totals: Sequence[float]) -> float:
    """Share of sign patterns over the clusters whose sum is at least as far from zero as the one seen."""
    seen = abs(math.fsum(totals)) * (1.0 - 1e-12)
    first, rest = totals[0], totals[1:]
    patterns = itertools.product((-1.0, 1.0), repeat=len(rest))
    hits = sum(abs(first + sum(s * t for s, t in zip(signs, rest, strict=True))) >= seen for signs in patterns)
    return float(hits) / float(2 ** len(rest))


def flag_drift(sums: PairedSums, *, alpha: float = 0.05) -> Drift:
    """The difference of two rates: Tango's interval and mid-p McNemar, both widened where users cluster.

    `effect` is the candidate's rate minus the incumbent's.
    """
    n, clusters = sums.n, len(sums.buckets)
    if n == 0:
        return NOTHING
    gained = round((sums.squares + sums.total) / 2.0)
    lost = round((sums.squares - sums.total) / 2.0)
    effect = (gained - lost) / n
    interval = tango(gained, lost, n, alpha)
    low, high, p = interval.low, interval.high, mcnemar(gained, lost).two_mid
    discordant = (gained + lost + 1.0) / (n + 1.0)
    stretch = math.sqrt(_design_effect(sums))
    if stretch > 1.0:
        low, high = max(-1.0, effect - (effect - low) * stretch), min(1.0, effect + (high - effect) * stretch)
        if 0.0 < p < 1.0:
            p = 2.0 * normal_cdf(normal_quantile(p / 2.0) / stretch)
    if clusters <= FEW_CLUSTERS:
        p = max(p, _sign_flip_p([total for _, total, _ in sums.buckets.values()]))
    return Drift(n, clusters, effect, low, high, p, math.sqrt(discordant), stretch * math.sqrt(discordant / n))


def _design_effect(sums: PairedSums) -> float:
    """How many times the clustered variance of the mean exceeds that of independent pairs, at least 1."""
    n = sums.n
    effect = sums.total / n
    alone = sums.squares - n * effect * effect
    if alone <= 0.0:
        return 1.0
    together = math.fsum((total - effect * count) ** 2 for count, total, _ in sums.buckets.values())
    return max(1.0, together / alone)


def excess_drift(swap: Drift, self_variation: Drift, *, alpha: float = 0.05) -> Drift:
    """How much further the candidate's answers are from the incumbent's than the incumbent's are from its own.

    Both arguments measure the same distance, the second between two answers of the incumbent to one request.
    Welch's t; the smaller number of clusters, less one, as degrees of freedom (conservative).
    """
    if not math.isfinite(swap.error) or not math.isfinite(self_variation.error):
        return NOTHING
    effect = swap.effect - self_variation.effect
    error = math.hypot(swap.error, self_variation.error)
    clusters = min(swap.clusters, self_variation.clusters)
    freedom = max(1, clusters - 1)
    radius = t_quantile(1.0 - alpha / 2.0, freedom) * error
    p = 2.0 * t_cdf(-abs(effect) / error, freedom) if error > 0 else 1.0
    n = min(swap.n, self_variation.n)
    return Drift(n, clusters, effect, effect - radius, effect + radius, p, swap.spread, error)


class Flag(NamedTuple):
    """What is made of one p-value among many."""

    q: float
    """Benjamini-Hochberg adjusted p-value."""
    flagged: bool


def flag(p_values: Sequence[float], beyond: Sequence[bool], *, rate: float = 0.10) -> list[Flag]:
    """Flag what is both no chance (false discovery rate `rate` over all) and beyond the floor of what matters."""
    adjusted = benjamini_hochberg(p_values)
    return [Flag(q, q <= rate and large) for q, large in zip(adjusted, beyond, strict=True)]


def shrunken(effects: Sequence[float], errors: Sequence[float]) -> list[float]:
    """Effects pulled towards zero by their noise, for ranking slices: theta tau^2 / (tau^2 + error^2).

    tau^2, the true variance between slices, by the weighted method of moments around zero (DerSimonian, Laird 1986).
    """
    weights = [1.0 / (error**2 + 1e-18) if math.isfinite(error) else 0.0 for error in errors]
    known = sum(weight > 0.0 for weight in weights)
    if not known:
        return [0.0] * len(effects)
    heterogeneity = math.fsum(weight * effect**2 for weight, effect in zip(weights, effects, strict=True))
    tau2 = max(0.0, (heterogeneity - known) / math.fsum(weights))
    return [
        effect * tau2 / (tau2 + error**2) if tau2 > 0 and math.isfinite(error) else 0.0
        for effect, error in zip(effects, errors, strict=True)
    ]
