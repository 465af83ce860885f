"""Weighs one effect against one gate: how strong the evidence of harm is, and that the loss stays below a margin.

Means are weighed by the normal mixture. Events are weighed for harm by the grid of ratios, and for a pass by the same
grid upside down and by the normal mixture, half and half: the grid is quick where the incumbent has events to compare
with, the mixture where it has hardly any.
"""

from __future__ import annotations

import math

from understudy.gates.effect import Effect
from understudy.gates.gate import Gate
from understudy.gates.stats.mixture import log_e, variance_needed
from understudy.gates.stats.multiple import log_mean
from understudy.gates.stats.ratio_grid import RatioGrid

SCALE = 2.0
"""Prior scale of an effect in margins: a flat optimum, simulated for losses of one to five margins."""

HARM_SCALE = 3.0
"""The same for harm, whose prior begins at the margin: a smaller loss fails nothing, so no bet is wasted on it."""


def worse(gate: Gate, effect: Effect) -> float:
    """The loss seen: positive where the candidate is worse."""
    return -effect.difference if gate.direction == "higher" else effect.difference


def harm_evidence(gate: Gate, effect: Effect, tolerated: float) -> float:
    """log e-value against "the candidate is no worse"; `tolerated` is the gate's margin without any widening."""
    if not gate.compares or effect.strata == 0:
        return 0.0
    if gate.events:
        return _grid(effect, 1.0, wanted=gate.direction == "higher").log_e(effect.design_effect)
    if tolerated <= 0.0 or not math.isfinite(effect.variance):
        return 0.0
    return log_e(worse(gate, effect), effect.variance, HARM_SCALE * tolerated, tolerated)


def pass_evidence(gate: Gate, effect: Effect, margin: float) -> float:
    """log e-value against "the candidate is worse by the margin or more"."""
    if not gate.compares or margin <= 0.0 or not math.isfinite(effect.variance):
        return 0.0
    mixture = log_e(margin - worse(gate, effect), pass_variance(gate, effect, margin), SCALE * margin)
    if not gate.events or gate.direction == "higher":
        return mixture
    grid = _pass_grid(effect, margin)
    return log_mean([mixture, grid.log_e(effect.design_effect) if grid is not None else 0.0])


def pass_variance(gate: Gate, effect: Effect, margin: float) -> float:
    """At least the variance there would be with the candidate at the margin: no error seen is not no risk.

    Known for shares and scores in [0, 1] only; it is what keeps a run of luck near 0 or 1 from passing.
    """
    if effect.dispersion is None:
        return effect.variance
    shift = margin if gate.direction == "lower" else -margin
    rate = min(1.0, max(0.0, effect.incumbent + shift))
    n = effect.n_incumbent
    # One value that was not seen keeps an incumbent without any event from having no variance at all.
    base = min(1.0, (effect.incumbent * n + 1.0) / (n + 1.0))
    at_margin = rate * (1.0 - rate) * effect.candidate_weight + base * (1.0 - base) * effect.incumbent_weight
    return max(effect.variance, at_margin * effect.dispersion * effect.design_effect)


def growth_needed(gate: Gate, effect: Effect, margin: float, threshold: float) -> float:
    """How many times the present data a candidate without any loss needs to pass; below 1 where it has enough."""
    by_mixture = pass_variance(gate, effect, margin) / variance_needed(margin, SCALE * margin, threshold)
    if not gate.events or gate.direction == "higher":
        return by_mixture
    even = effect._replace(
        events=tuple(e._replace(candidate=e.incumbent * e.share / (1.0 - e.share)) for e in effect.events)
    )
    grid = _pass_grid(even, margin)
    best = max(grid.weights) / effect.design_effect if grid is not None else 0.0
    # Half the evidence goes to the mixture, and the average over the grid is about e below its best point.
    by_grid = (threshold + math.log(2.0) + 1.0) / best if best > 0.0 else math.inf
    return min(by_mixture, by_grid)


def _grid(effect: Effect, tolerated: float, *, wanted: bool) -> RatioGrid:
    """All strata on one grid of ratios above the tolerated one; with `wanted` the harm is in too few events."""
    grid = RatioGrid(tolerated)
    for candidate, incumbent, share in effect.events:
        if wanted:
            grid.add(incumbent, candidate, 1.0 - share)
        else:
            grid.add(candidate, incumbent, share)
    return grid


def _pass_grid(effect: Effect, margin: float) -> RatioGrid | None:
    """Whether the candidate's rate is below (incumbent + margin) / incumbent times the incumbent's.

    The incumbent's rate is taken one standard error high, which makes the ratio smaller and the test stricter. None
    where the incumbent has no event to compare with.
    """
    events = math.fsum(entry.incumbent for entry in effect.events)
    if events <= 0.0:
        return None
    high = effect.incumbent * (1.0 + math.sqrt(effect.design_effect / events))
    return _grid(effect, high / (high + margin), wanted=True)
