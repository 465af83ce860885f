"""Decides which metrics judge a workload's canary, and what a person has accepted of their verdict. Pure.

Without a word of configuration: errors, the frozen latency quantiles, quality where the suites can grade live answers,
and cost where prices are known. What the configuration names is added or changed, and then has to have data.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from understudy.config.schema import GateSection, GatesSection
from understudy.core.evidence import ALL_SLICES, Finding, Sums
from understudy.core.playbook import Arm, Profile, Stage, Verdict
from understudy.core.slices import meant
from understudy.gates.gate import STANDARD, Gate, GateVerdict, Panel, configured
from understudy.gates.soak import Tail
from understudy.gates.tally import Tally, gather, together
from understudy.ledger.metrics import Kind, MetricSpec
from understudy.stages.assessment import Judgement

FROZEN = {"latency": "latency_s", "ttft": "ttft_s"}
"""Gates on frozen quantiles, and the field each reads."""
QUANTILES = (0.5, 0.95, 0.99)
TRACKED = "tracked_slice"
"""The kind of finding when a slice fails live that went on with a waiver."""
HARD_GUARD = "hard_guard"
"""The kind of finding when the candidate's last answers failed so hard that no test was needed."""
SLOW_TAIL = "slow_tail"
"""The kind of finding when a metric slipped during the soak."""
SCORED = ("quality", "win_rate", "refusals", "invalid_format")
"""Metrics that graders write, whether or not a suite of this workload has one."""


class Metric(NamedTuple):
    """A gate, and where its numbers are."""

    gate: Gate
    spec: MetricSpec


def metrics(
    gates: GatesSection, profile: Profile, graded: Collection[str], baseline: Mapping[str, Sequence[float]]
) -> list[Metric]:
    """The metrics of a workload. `graded` names the live graders there are, `baseline` the frozen quantiles by field
    in the order of QUANTILES.
    """
    named = gates.metrics
    chosen: list[Metric] = [_metric("errors", named.get("errors"), profile, "error", "count")]
    for base, field in FROZEN.items():
        if base == "latency" or base in named:
            chosen += _frozen(base, field, named.get(base), profile, baseline.get(field, ()))
    if "quality" in named or "quality" in graded:
        chosen.append(_metric("quality", named.get("quality"), profile, "grader:quality", "mean"))
    cost = named.get("cost")
    if cost is not None and cost.limit is not None and "cost_usd" not in named:
        # Comparing is done on logarithms; a budget is about dollars.
        only = Gate("cost_usd", "mean", "lower", limit=cost.limit, critical=cost.critical, must_have_data=False)
        only = replace(only, min_units=cost.min_units or profile.min_units, max_wait_s=profile.max_wait_s, weight=0.005)
        chosen.append(Metric(only, MetricSpec("cost_usd", "mean", "field:cost_usd")))
        cost = cost.model_copy(update={"limit": None})
    if "cost_usd" not in named:
        metric = _metric("cost", cost, profile, "field:cost_usd", "log_mean")
        # A model without a known price would hold every canary; named in the configuration, that is what is asked for.
        optional = cost is None
        chosen.append(metric._replace(gate=replace(metric.gate, must_have_data=False)) if optional else metric)
    done = {metric.gate.metric for metric in chosen} | {*FROZEN, "cost"}
    for name, section in named.items():
        if name not in done:
            scored = name in graded or name in SCORED
            source = section.source or (f"grader:{name}" if scored else _default_source(name))
            failure = source.partition(":")[0] == "error"
            kind: Kind = STANDARD[name].kind if name in STANDARD else "count" if failure else "mean"
            chosen.append(_metric(name, section, profile, source, kind))
    return chosen


def _default_source(name: str) -> str:
    return "field:cost_usd" if name == "cost_usd" else f"feedback:{name}"


def _metric(name: str, section: GateSection | None, profile: Profile, source: str, kind: Kind) -> Metric:
    source = (section.source if section else "") or source
    return Metric(_gate(name, section, profile, source), MetricSpec(name, kind, source))


def _gate(name: str, section: GateSection | None, profile: Profile, source: str) -> Gate:
    given: dict[str, Any] = {"min_units": profile.min_units, "max_wait_s": profile.max_wait_s}
    if source.startswith("feedback:"):
        given["feedback"] = True
    if source.partition(":")[0] == "error" and name not in STANDARD:
        like = STANDARD["errors"]
        given |= {"kind": like.kind, "direction": like.direction}
        if section is None or section.margin is None:
            given |= {"margin": like.margin, "relative": like.relative}
    if section is not None:
        said = {
            "margin": section.absolute_margin,
            "relative": section.relative_margin,
            "direction": section.direction,
            "critical": section.critical,
            "must_have_data": section.must_have_data if section.must_have_data is not None else True,
            "min_units": section.min_units,
            "max_wait_s": section.max_wait,
            "weight": section.weight,
            "limit": section.limit,
        }
        given |= {key: value for key, value in said.items() if value is not None}
    return configured(name, **given)


def _frozen(
    base: str, field: str, section: GateSection | None, profile: Profile, values: Sequence[float]
) -> list[Metric]:
    """One gate a quantile: how many answers of each arm are slower than the incumbent's frozen quantile."""
    found: list[Metric] = []
    source = f"field:{field}"
    for quantile, value in zip(QUANTILES, values, strict=False):
        name = f"{base}_p{quantile * 100:g}"
        gate = _gate(name, section, profile, source)
        if section is not None and section.weight is not None:
            gate = replace(gate, weight=section.weight / len(QUANTILES))
        found.append(Metric(gate, MetricSpec(name, "exceedance", source, threshold=value)))
    return found


class Gathered:
    """Tallies of the sums of one upgrade, without those of its shadow: what was tallied of a part is kept while the
    ledger answers with that part again, so that a tick costs what is new.
    """

    def __init__(self, upgrade: str) -> None:
        self.upgrade = upgrade
        self._known: dict[int, tuple[list[Sums], dict[tuple[str, str], Tally]]] = {}
        """By the identity of a part, which is kept beside it so that no other has the same."""

    def of(self, parts: Iterable[list[Sums]]) -> dict[tuple[str, str], Tally]:
        """Tallies by (metric, slice)."""
        self._known = {
            id(part): self._known.get(id(part)) or (part, gather(r for r in part if r.stratum.stage != Stage.SHADOW))
            for part in parts
        }
        return together(tallies for _, tallies in self._known.values())


def slices_in(tallies: Iterable[tuple[str, str]]) -> list[str]:
    """The live slices there are."""
    return sorted({slice_ for _, slice_ in tallies if slice_ != ALL_SLICES})


def live_names(names: Iterable[str], live: Collection[str]) -> list[str]:
    """The live slices that suites or people mean by these names: `refund` of a suite is `ticket=refund` in traffic.

    A name written out as "key=value" stays even where no traffic has it: it was asked for, so its data is missing. A
    bare name that no traffic has exists in the suite alone and was the eval's to judge.
    """
    found: list[str] = []
    for name in names:
        found += [name] if "=" in name else meant(name, live)
    return list(dict.fromkeys(found))


def remembered(gates: Iterable[Gate], sums: Sequence[Sums]) -> list[Gate]:
    """The gates of a soak: what the incumbent's mean was during the canary, plus the margin, as an absolute limit.

    A gate without a remembered mean keeps its own limit, or drops out; so does a mean of logarithms, whose limit
    nobody could read.
    """
    found: list[Gate] = []
    for gate in gates:
        limit = gate.limit
        rows = [
            r
            for r in sums
            if (r.metric, r.slice, r.arm, r.stratum.stage) == (gate.metric, ALL_SLICES, Arm.INCUMBENT, Stage.CANARY)
        ]
        n = sum(row.n for row in rows)
        if gate.compares and gate.kind != "log_mean" and n >= gate.min_units:
            mean = math.fsum(row.total for row in rows) / n
            loss = gate.tolerated(mean)
            allowed = mean + loss if gate.direction == "lower" else mean - loss
            limit = allowed if limit is None else (min if gate.direction == "lower" else max)(limit, allowed)
        if limit is not None:
            found.append(replace(gate, margin=None, relative=None, limit=limit))
    return found


def judgement(panel: Panel, tracked: Collection[str], critical: Collection[str], waived: Collection[str]) -> Judgement:
    """What the panel says, with what a person has accepted taken out.

    A slice that went on with a waiver is watched: failing live it holds the upgrade until somebody accepts that
    too, instead of rolling back what its owner has agreed to. A critical slice or gate is never taken out.
    """
    soft = [g for g in panel.failed if g.slice in tracked and g.slice not in critical and not g.critical]
    details = panel.as_dict()
    if not soft or len(soft) < len(panel.failed):
        return Judgement(panel.verdict, panel.sentence, panel.missing, details=details)
    found = tuple(Finding(TRACKED, g.slice, g.sentence, {"log_e": g.log_e}) for g in soft)
    open_slices = sorted({g.slice for g in soft if g.slice not in waived})
    rest = [g for g in panel.gates if g not in soft and g.required]
    if open_slices:
        names = ", ".join(open_slices)
        missing = (f"a waiver for what {names} does live", *panel.missing)
        said = f"A tracked slice loses live: {names}."
        return Judgement(Verdict.INCONCLUSIVE, said, missing, found, details, person=missing[:1])
    verdict = Verdict.PASS if all(g.verdict is Verdict.PASS for g in rest) else Verdict.INCONCLUSIVE
    return Judgement(verdict, f"{_word(verdict)} but for slices that were accepted.", _missing(rest), found, details)


def guarded(why: str) -> Judgement:
    """The candidate fails so hard that no statistics are needed."""
    sentence = f"The candidate fails so hard that no statistics are needed: {why}."
    return Judgement(
        Verdict.FAIL, sentence, findings=(Finding(HARD_GUARD, "", sentence, {}),), details={HARD_GUARD: why}
    )


def slipped(judged: Judgement, watched: Sequence[Tail]) -> Judgement:
    """What the limits of a soak say, with what the watch over its cycles adds: an alarm fails."""
    details = {**judged.details, "tails": [tail.as_dict() for tail in watched]}
    alarms = [tail for tail in watched if tail.verdict is Verdict.FAIL]
    if not alarms:
        return replace(judged, details=details)
    found = tuple(
        Finding(SLOW_TAIL, "", tail.sentence, {"lately": tail.lately, "allowed": tail.allowed}) for tail in alarms
    )
    said = "; ".join(tail.sentence for tail in alarms)
    sentence = judged.sentence if judged.verdict is Verdict.FAIL else f"{said}."
    return replace(
        judged, verdict=Verdict.FAIL, sentence=sentence, findings=(*judged.findings, *found), details=details
    )


def _word(verdict: Verdict) -> str:
    return "All gates pass" if verdict is Verdict.PASS else "Not decided"


def _missing(gates: Iterable[GateVerdict]) -> tuple[str, ...]:
    return tuple(f"{g.metric}: {text}" for g in gates if g.verdict is not Verdict.PASS for text in g.missing)
