"""Judges a canary or soak: all gates on all slices, under one error budget, to one verdict with its evidence.

A gate FAILS on evidence and size together: an e-value beyond 1 / its part of the error budget, and an estimate at
least as bad as the margin. It PASSES where the same kind of evidence says that the loss is below the margin (times
`widen` on a low rung, which is there to catch disasters among few users). Everything else is INCONCLUSIVE, missing
data included. The evidence is a function of the sums alone: looking oftener, later or in another order changes
nothing, and the stages of one upgrade add up instead of starting over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from understudy.core.evidence import ALL_SLICES, BUCKETS, Sums
from understudy.core.playbook import Arm, Verdict
from understudy.gates.effect import NOTHING_ALONE, Effect, Own, measure, measure_alone
from understudy.gates.gate import (
    MIN_CLUSTERS,
    PASS_ALPHA,
    ROLLBACK_ALPHA,
    Gate,
    GateVerdict,
    Panel,
    binding,
    error_budget,
)
from understudy.gates.guards import Assigned, check_split
from understudy.gates.stats.mixture import log_e, radius
from understudy.gates.stats.multiple import e_benjamini_hochberg, log_mean
from understudy.gates.tally import Tally, gather
from understudy.gates.weighing import SCALE, growth_needed, harm_evidence, pass_evidence
from understudy.gates.wording import gate_sentence, panel_sentence

SLICE_WIDEN = 2.5
"""Margins of a slice are this much wider in a pass, as in the regression eval (2 points overall, 5 in a slice)."""

SPLIT = "assignment"
"""Name of the check that users are split as intended."""


class Look(NamedTuple):
    """What a verdict depends on besides gates and data."""

    widen: float
    elapsed_s: float
    step: int | None
    feedback_matured: bool


class _Reading(NamedTuple):
    """One gate on one slice before the slices are weighed against each other."""

    tally: Tally
    effect: Effect
    own: Own
    tolerated: float
    widened: float
    log_harm: float
    log_pass: float
    log_limit: float
    unripe: tuple[str, ...]
    """Why neither a pass nor a fail may be said yet."""
    short: tuple[str, ...]
    """Why no pass may be said yet."""


def judge(
    gates: Sequence[Gate],
    sums: Iterable[Sums],
    *,
    slices: Sequence[str] = (),
    critical_slices: Sequence[str] = (),
    widen: float = 1.0,
    elapsed_s: float = 0.0,
    step: int | None = None,
    feedback_matured: bool = True,
    assigned: Sequence[Assigned] = (),
    alpha: float = ROLLBACK_ALPHA,
) -> Panel:
    """Judge all sums of an upgrade's canary (or soak) so far.

    `slices` are judged beside the aggregate; a critical one has to pass before a rung with `widen` 1 is left. `step`
    is the present rung, on which min_units must be met anew; `elapsed_s` how long it has lasted. Raises ValueError for
    no gates, a metric with two gates, or an unknown arm.
    """
    return judge_tallies(
        gates,
        gather(sums),
        slices=slices,
        critical_slices=critical_slices,
        look=Look(widen, elapsed_s, step, feedback_matured),
        assigned=assigned,
        alpha=alpha,
    )


def judge_tallies(
    gates: Sequence[Gate],
    tallies: Mapping[tuple[str, str], Tally],
    *,
    slices: Sequence[str],
    critical_slices: Sequence[str],
    look: Look,
    assigned: Sequence[Assigned] = (),
    alpha: float = ROLLBACK_ALPHA,
) -> Panel:
    """As `judge`, on sums that are merged already."""
    if not gates:
        raise ValueError("a panel needs at least one gate")
    budget = error_budget(gates, alpha)
    names = [name for name in dict.fromkeys((*slices, *critical_slices)) if name != ALL_SLICES]
    verdicts: list[GateVerdict] = []
    for gate in gates:
        readings = {
            name: _read(gate, tallies.get((gate.metric, name)), look, slice_widen=SLICE_WIDEN if name else 1.0)
            for name in (ALL_SLICES, *(names if gate.compares else ()))
        }
        verdicts += _gate_verdicts(gate, readings, budget[gate.metric], look, frozenset(critical_slices))
    if assigned:
        verdicts.append(_split_verdict(assigned))
    return _panel(verdicts, binding(gates, names, critical_slices, look.widen, alpha))


def _panel(verdicts: Sequence[GateVerdict], bound_to: str) -> Panel:
    required = [verdict for verdict in verdicts if verdict.required]
    if any(verdict.verdict is Verdict.FAIL for verdict in verdicts):
        verdict = Verdict.FAIL
    elif required and all(verdict.verdict is Verdict.PASS for verdict in required):
        verdict = Verdict.PASS
    else:
        verdict = Verdict.INCONCLUSIVE
    waiting = [v for v in required if v.verdict is Verdict.INCONCLUSIVE] if verdict is Verdict.INCONCLUSIVE else []
    known = [v.decidable_in_s for v in waiting if v.decidable_in_s is not None]
    in_s = max(known) if known and len(known) == len(waiting) else None
    missing = tuple(f"{v.metric}{f' in {v.slice}' if v.slice else ''}: {text}" for v in waiting for text in v.missing)
    return Panel(
        verdict=verdict,
        sentence=panel_sentence(verdict, verdicts, in_s),
        gates=tuple(verdicts),
        missing=missing,
        overdue=any(v.overdue for v in waiting),
        decidable_in_s=in_s,
        bound_to=bound_to,
    )


def _read(gate: Gate, tally: Tally | None, look: Look, *, slice_widen: float) -> _Reading:
    """The evidence of one gate on one slice."""
    tally = tally if tally is not None else Tally()
    effect = measure(tally, gate.tolerated(math.nan))
    own = NOTHING_ALONE if gate.limit is None else measure_alone(tally)
    tolerated = gate.tolerated(effect.incumbent)
    widened = tolerated * look.widen * slice_widen
    return _Reading(
        tally=tally,
        effect=effect,
        own=own,
        tolerated=tolerated,
        widened=widened,
        log_harm=harm_evidence(gate, effect, tolerated),
        log_pass=pass_evidence(gate, effect, widened),
        log_limit=_limit_evidence(gate, own),
        unripe=_unripe(gate, tally, effect, look),
        short=_short(gate, tally, look),
    )


def _limit_evidence(gate: Gate, own: Own) -> float:
    """Evidence that the candidate's own mean is beyond the absolute limit; needs no incumbent."""
    if gate.limit is None or own.clusters < MIN_CLUSTERS or own.n < gate.min_units or not math.isfinite(own.variance):
        return 0.0
    return log_e(_beyond(gate, own), own.variance, max(SCALE * 0.05 * abs(gate.limit), math.sqrt(own.variance)))


def _beyond(gate: Gate, own: Own) -> float:
    """How far the candidate's own mean is on the wrong side of the limit."""
    assert gate.limit is not None
    return own.mean - gate.limit if gate.direction == "lower" else gate.limit - own.mean


def _unripe(gate: Gate, tally: Tally, effect: Effect, look: Look) -> tuple[str, ...]:
    if gate.feedback and not look.feedback_matured:
        return ("its feedback window has not passed",)
    if effect.strata == 0:
        arms = [arm for arm in Arm if tally.count(arm) == 0]
        if not arms:
            return ("both arms within one cycle of one step",)
        nobody = f" ({tally.outside} values name no unit)" if tally.outside else ""
        return (f"any {gate.metric} measured of the {' or the '.join(arms)}{nobody}",)
    missing = []
    # Events are counted exactly at any number; a mean's error has to be estimated first.
    # Once every bucket is hit they say no more about how many units there are.
    n = effect.n_candidate if effect.clusters == BUCKETS else min(effect.n_candidate, effect.units)
    if not gate.events and n < gate.min_units:
        missing.append(f"{gate.min_units - n} more units with the candidate (about {n} of {gate.min_units})")
    if effect.clusters < MIN_CLUSTERS:
        missing.append(f"more users: {effect.clusters} of {MIN_CLUSTERS} buckets have candidate traffic")
    if gate.compares and not gate.events and gate.tolerated(effect.incumbent) <= 0.0:
        missing.append("an absolute margin: the incumbent's value is 0, of which a part is nothing")
    return tuple(missing)


def _short(gate: Gate, tally: Tally, look: Look) -> tuple[str, ...]:
    missing = []
    here = tally.count(Arm.CANDIDATE, look.step)
    if here < gate.min_units:
        missing.append(f"{gate.min_units - here} more candidate values at this step ({here} of {gate.min_units})")
    if tally.unusable:
        missing.append(f"{tally.unusable} rows whose numbers cannot be are explained")
    return tuple(missing)


def _gate_verdicts(
    gate: Gate, readings: Mapping[str, _Reading], alpha: float, look: Look, critical_slices: frozenset[str]
) -> list[GateVerdict]:
    """Split the gate's part of the budget over its questions, and answer them."""
    names = [name for name in readings if name != ALL_SLICES]
    questions = int(gate.compares) + int(gate.compares and bool(names)) + int(gate.limit is not None)
    threshold = math.log(questions / alpha)
    harmed = _harmed_slices(gate, {name: readings[name] for name in names}, alpha / questions)
    made = []
    for name, reading in readings.items():
        whole = name == ALL_SLICES
        ripe = not reading.unripe
        evident = reading.log_harm >= threshold if whole else name in harmed
        fails = ripe and evident and gate.large(reading.effect.difference, reading.effect.incumbent)
        if whole and gate.limit is not None:
            fails = fails or reading.log_limit >= threshold
        required = gate.required if whole else name in critical_slices and gate.required and look.widen <= 1.0
        verdict = Verdict.FAIL if fails else _pass_or_not(gate, reading, whole=whole)
        made.append(_verdict(gate, name, reading, verdict, threshold, look, name in critical_slices, required))
    return made


def _harmed_slices(gate: Gate, readings: Mapping[str, _Reading], alpha: float) -> set[str]:
    """Slices named by e-BH; where only all together are evident, the one with the most evidence."""
    usable = {name: r for name, r in readings.items() if not r.unripe}
    if not usable:
        return set()
    # Slices that cannot speak yet count as having no evidence, so that the family does not depend on the data.
    values = [r.log_harm if name in usable else 0.0 for name, r in readings.items()]
    flags = e_benjamini_hochberg(values, alpha)
    named = {name for name, flag in zip(readings, flags, strict=True) if flag}
    if not named and log_mean(values) >= math.log(1.0 / alpha):
        large = [name for name, r in usable.items() if gate.large(r.effect.difference, r.effect.incumbent)]
        if large:
            named = {max(large, key=lambda name: usable[name].log_harm)}
    return named


def _pass_or_not(gate: Gate, reading: _Reading, *, whole: bool) -> Verdict:
    if reading.unripe or reading.short:
        return Verdict.INCONCLUSIVE
    if gate.compares and reading.log_pass < math.log(1.0 / PASS_ALPHA):
        return Verdict.INCONCLUSIVE
    if whole and gate.limit is not None and not _beyond(gate, reading.own) <= 0.0:
        return Verdict.INCONCLUSIVE
    return Verdict.PASS


def _decidable_in(gate: Gate, reading: _Reading, look: Look) -> float | None:
    """Seconds until a candidate that is no worse would pass, at this step's traffic."""
    here = reading.tally.count(Arm.CANDIDATE, look.step)
    if here == 0 or look.elapsed_s <= 0.0 or reading.widened <= 0.0 or not gate.compares:
        return None
    if not math.isfinite(reading.effect.variance):
        return None
    growth = growth_needed(gate, reading.effect, reading.widened, math.log(1.0 / PASS_ALPHA))
    more = max(reading.effect.n_candidate * (growth - 1.0), gate.min_units - here, 0.0)
    return more * look.elapsed_s / here


def _strongest(gate: Gate, reading: _Reading) -> float:
    """The stronger evidence of harm of the questions this gate asks."""
    asked = [reading.log_harm] if gate.compares else []
    return max([*asked, reading.log_limit] if gate.limit is not None else asked)


def _verdict(
    gate: Gate,
    name: str,
    reading: _Reading,
    verdict: Verdict,
    threshold: float,
    look: Look,
    critical_slice: bool,
    required: bool,
) -> GateVerdict:
    effect = reading.effect
    open_ = verdict is Verdict.INCONCLUSIVE
    in_s = _decidable_in(gate, reading, look) if open_ else 0.0
    missing = reading.unripe + reading.short if open_ else ()
    if open_ and not missing:
        evidence = math.exp(min(reading.log_pass, 20.0))
        missing = (f"more data: evidence for a pass is {evidence:.2g} of the {1 / PASS_ALPHA:g} needed",)
    half = radius(effect.variance, SCALE * reading.tolerated, ROLLBACK_ALPHA) if reading.tolerated > 0 else math.inf
    low, high = effect.difference - half, effect.difference + half
    known = effect.strata > 0
    return GateVerdict(
        metric=gate.metric,
        slice=name,
        kind=gate.kind,
        direction=gate.direction,
        verdict=verdict,
        critical=gate.critical or critical_slice,
        required=required,
        incumbent=effect.incumbent if known else None,
        candidate=effect.candidate if known else None,
        estimate=effect.difference if known else None,
        low=low if math.isfinite(low) else None,
        high=high if math.isfinite(high) else None,
        tolerated=reading.widened if known else None,
        log_e=_strongest(gate, reading),
        log_e_needed=threshold,
        log_e_pass=reading.log_pass,
        log_e_pass_needed=math.log(1.0 / PASS_ALPHA),
        n=effect.n_candidate,
        units=effect.units,
        clusters=effect.clusters,
        strata=effect.strata,
        missing=missing,
        decidable_in_s=in_s,
        overdue=open_ and required and gate.max_wait_s is not None and look.elapsed_s >= gate.max_wait_s,
        sentence=gate_sentence(
            gate,
            name,
            verdict,
            levels=(effect.incumbent, effect.candidate),
            interval=(low, effect.difference, high),
            tolerated=reading.widened,
            n=effect.n_candidate,
            missing=missing,
        ),
    )


def _split_verdict(assigned: Sequence[Assigned]) -> GateVerdict:
    """A wrong split passes nothing; it rolls back nothing either, as it says nothing about the candidate."""
    split = check_split(assigned)
    verdict = Verdict.PASS if split.fair else Verdict.INCONCLUSIVE
    word = "as intended" if split.fair else "not as intended, which makes every comparison doubtful"
    return GateVerdict(
        metric=SPLIT,
        slice=ALL_SLICES,
        kind="count",
        verdict=verdict,
        critical=True,
        required=True,
        incumbent=None,
        candidate=None,
        estimate=None,
        low=None,
        high=None,
        tolerated=None,
        log_e=split.log_e,
        log_e_needed=math.log(1000.0),
        log_e_pass=0.0,
        log_e_pass_needed=0.0,
        n=sum(rung.candidate for rung in assigned),
        units=max(rung.candidate for rung in assigned),
        clusters=0,
        strata=len(assigned),
        missing=() if split.fair else (f"a routing fault to be found: {split.sentence}",),
        decidable_in_s=0.0 if split.fair else None,
        overdue=False,
        sentence=f"Users are split {word}: {split.sentence}.",
    )
