"""What is asked of the ledger, as Ibis expressions: tables in, tables out, nothing is executed here.

Only what DuckDB, ClickHouse and Spark agree on is used. The arm is the assigned one throughout (intention to treat): a
failure of the candidate that the incumbent masked is the candidate's, and so are its latency and cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import ibis
from ibis import _

from understudy.assign.choose import Reason
from understudy.core.errors import UsageError
from understudy.core.evidence import ALL_SLICES
from understudy.core.playbook import Stage
from understudy.ledger.metrics import CELL, MetricSpec

if TYPE_CHECKING:
    from ibis.expr.types import FloatingValue, Scalar, Table

CLIENT_GONE = "client_gone"
_EXPOSING = (Stage.CANARY.value, Stage.SOAK.value)
_UNDRAWN = tuple(
    reason.value for reason in (Reason.KILL_FILE, Reason.BREAKER_OPEN, Reason.LEASE_EXPIRED, Reason.NO_UNIT)
)


def served(exchanges: Table, *, workload: str, upgrade: str | None, role: str = "served") -> Table:
    """The exchanges of a workload in one role; of one upgrade, unless that is None."""
    chosen = exchanges.filter(_.workload == workload, _.role == role)
    return chosen if upgrade is None else chosen.filter(_.upgrade == upgrade)


def sums(exchanges: Table, feedback: Table, scores: Table, metrics: Sequence[MetricSpec], *, cycle_s: float) -> Table:
    """Sums by cell of the chosen exchanges: one row a cell, for each metric the columns n_I, t_I, s_I and u_I.

    I is the metric's place in `metrics`. Added up per unit first: that is what a count needs (a unit with a burst of
    events counts once), and cheaper than telling units apart afterwards.
    """
    units = by_unit(exchanges, feedback, scores, metrics, cycle_s=cycle_s)
    by_cell: dict[str, Scalar] = {}
    for i, metric in enumerate(metrics):
        if metric.kind == "count":
            seen, events = units[f"t_{i}"].count(), units[f"t_{i}"].sum()
            by_cell |= {f"n_{i}": seen, f"t_{i}": events, f"s_{i}": events, f"u_{i}": seen}
        else:
            by_cell |= {f"{letter}_{i}": units[f"{letter}_{i}"].sum() for letter in "nts"}
            by_cell[f"u_{i}"] = (units[f"n_{i}"] > 0).sum()
    return units.group_by(CELL).agg(**by_cell)


def by_unit(
    exchanges: Table, feedback: Table, scores: Table, metrics: Sequence[MetricSpec], *, cycle_s: float
) -> Table:
    """One row for each unit (`who`) in a cell: t_I of a count, whether it has the event; else n_I, t_I and s_I.

    Live exchanges that no draw sent to their arm are left out: behind an open breaker or without a unit everybody gets
    the incumbent, and such a crowd is no control.
    """
    rows = exchanges.filter(~(exchanges.stage.isin(_EXPOSING) & exchanges.reason.isin(_UNDRAWN)))
    for index, metric in enumerate(metrics):
        rows = _with_value(rows, feedback, scores, metric, f"v_{index}")
    rows = rows.select(
        "stage",
        "step",
        "arm",
        "bucket",
        *(f"v_{index}" for index in range(len(metrics))),
        period=(rows.started_at / cycle_s).floor().cast("int64"),
        who=ibis.ifelse(rows.unit == "", rows.exchange, rows.unit),
        slice=ibis.array([ALL_SLICES]).concat(rows.slices).unnest(),
    )
    of_unit: dict[str, Scalar] = {}
    for i, metric in enumerate(metrics):
        value = rows[f"v_{i}"]
        if metric.kind == "count":
            of_unit[f"t_{i}"] = value.max()
        else:
            of_unit |= {f"n_{i}": value.count(), f"t_{i}": value.sum(), f"s_{i}": (value * value).sum()}
    return rows.group_by([*CELL, "who"]).agg(**of_unit)


def _with_value(rows: Table, feedback: Table, scores: Table, metric: MetricSpec, column: str) -> Table:
    """Add the metric's value as a column: null where it is missing, 1.0 or 0.0 where an event is counted."""
    what, name = metric.parts
    match what:
        case "error":
            failed = (_.error != "") & (_.error != CLIENT_GONE) if not name else _.error == name
            rows = rows.mutate(**{column: ibis.ifelse(failed, 1.0, 0.0)})
        case "field":
            if name not in rows.columns or not rows[name].type().is_numeric():
                numeric = ", ".join(c for c in rows.columns if rows[c].type().is_numeric())
                raise UsageError(
                    f"metric {metric.name!r} reads field {name!r}, which is no number of an exchange",
                    remedy=f"use one of: {numeric}",
                )
            rows = rows.mutate(**{column: rows[name].cast("float64")})
        case "feedback":
            rows = _joined(rows, latest(feedback.filter(_.name == name), ("exchange",), "value", column), column)
        case "grader":
            rows = _joined(rows, latest(scores.filter(_.grader == name), ("exchange",), "score", column), column)
        case _:
            raise UsageError(
                f"metric {metric.name!r} has source {metric.source!r}",
                remedy="write field:NAME, feedback:NAME, grader:NAME, error or error:KIND",
            )
    return rows.mutate(**{column: _shaped(rows[column], metric)})


def _shaped(value: FloatingValue, metric: MetricSpec) -> FloatingValue:
    """The value as the metric's kind adds it up."""
    match metric.kind:
        case "mean":
            return value
        case "log_mean":
            # The inner choice keeps engines that evaluate both branches from taking the logarithm of 0.
            return ibis.ifelse(value > 0, ibis.ifelse(value > 0, value, 1.0).ln(), ibis.null("float64"))
        case "count" | "exceedance":
            limit = 0.0 if metric.threshold is None else metric.threshold
            event = ibis.ifelse(value > limit, 1.0, 0.0)
            return ibis.ifelse(value.isnull(), ibis.null("float64"), event)


def latest(table: Table, keys: Sequence[str], value: str, column: str) -> Table:
    """The last word on each key: somebody who changes their mind counts once."""
    return table.group_by(list(keys)).agg(**{column: table[value].argmax(table["at"])})


def _joined(rows: Table, values: Table, column: str) -> Table:
    values = values.rename(of="exchange")
    return rows.left_join(values, rows.exchange == values.of).drop("of")


def pairs(
    exchanges: Table,
    copies: Table,
    *,
    workload: str,
    upgrade: str,
    fingerprint: str | None,
    since: float | None,
) -> Table:
    """Served exchanges beside their shadow copies; the copy's columns end in `_shadow`. In order of time."""
    found = paired(exchanges, copies, workload=workload, upgrade=upgrade, fingerprint=fingerprint, since=since)
    return found.order_by("started_at", "exchange")


def paired(
    exchanges: Table,
    copies: Table,
    *,
    workload: str,
    upgrade: str,
    fingerprint: str | None,
    since: float | None,
) -> Table:
    """The same in no order.

    exchanges, copies: where the ones and the others are looked for.
    """
    first = served(exchanges, workload=workload, upgrade=upgrade)
    second = served(copies, workload=workload, upgrade=upgrade, role="shadow").filter(_.pair != "")
    if fingerprint is not None:
        second = second.filter(_.fingerprint == fingerprint)
    if since is not None:
        first, second = first.filter(_.started_at >= since), second.filter(_.started_at >= since)
    second = second.rename("{name}_shadow")
    return first.join(second, first.exchange == second.pair_shadow)


def between(exchanges: Table, first: float, last: float) -> Table:
    """Those that began within a span of time; of a request, whether it was kept instead of what it is."""
    chosen = exchanges.filter(_.started_at >= first, _.started_at <= last)
    return chosen.mutate(kept=chosen.request.cast("string").length() > 0).drop("request")


def coverage(
    exchanges: Table, *, workload: str, upgrade: str, since: float, without: Sequence[tuple[float, float]] = ()
) -> Table:
    """For each reason ("" is an answered copy, null none at all) how many served exchanges of the incumbent have it.

    Only exchanges that the incumbent answered can be compared, so only they are eligible.
    """
    first = served(exchanges, workload=workload, upgrade=upgrade).filter(
        _.started_at >= since, _.arm == "incumbent", _.error == ""
    )
    for begin, end in without:
        first = first.filter((_.started_at < begin) | (_.started_at >= end))
    second = served(exchanges, workload=workload, upgrade=upgrade, role="shadow")
    second = second.filter(_.pair != "").group_by("pair").agg(why=_.error.min())
    joined = first.left_join(second, first.exchange == second.pair)
    return joined.group_by("why").agg(n=joined.count())


def quantiles(
    rows: Table, field: str, qs: Sequence[float], *, arm: str, stage: str | None, since: float | None
) -> Table:
    """One row with the columns q_0, q_1, ... in the order of `qs`."""
    chosen = rows.filter(_.arm == arm)
    if stage is not None:
        chosen = chosen.filter(_.stage == stage)
    if since is not None:
        chosen = chosen.filter(_.started_at >= since)
    return chosen.agg(**{f"q_{index}": chosen[field].quantile(q) for index, q in enumerate(qs)})


def by_slice(rows: Table) -> Table:
    """Figures of each (slice, arm), all traffic as slice ""; in order of slice and arm."""
    failed = (rows.error != "") & (rows.error != CLIENT_GONE)
    rows = rows.select(
        "arm",
        "latency_s",
        "ttft_s",
        "cost_usd",
        failed=failed.cast("int64"),
        slice=ibis.array([ALL_SLICES]).concat(rows.slices).unnest(),
    )
    return (
        rows.group_by(["slice", "arm"])
        .agg(
            exchanges=_.count(),
            errors=_.failed.sum(),
            latency_mean_s=_.latency_s.mean(),
            latency_p50_s=_.latency_s.quantile(0.5),
            latency_p99_s=_.latency_s.quantile(0.99),
            ttft_p50_s=_.ttft_s.quantile(0.5),
            cost_usd=_.cost_usd.sum(),
            priced=_.cost_usd.count(),
        )
        .order_by("slice", "arm")
    )


def history(exchanges: Table, *, workload: str) -> Table:
    """Which variant answered when: one row for each (epoch, stage, step, arm, variant) with times and numbers."""
    chosen = served(exchanges, workload=workload, upgrade=None)
    keys = ["generation", "epoch", "upgrade", "stage", "step", "arm", "served_variant", "fingerprint", "model_served"]
    return (
        chosen.group_by(keys)
        .agg(
            first_at=_.started_at.min(),
            last_at=_.started_at.max(),
            exchanges=_.count(),
            masked=_.masked.cast("int64").sum(),
            units=_.unit.nunique(),
        )
        .order_by("first_at", "epoch", "arm", "served_variant")
    )


def who_served(exchanges: Table, *, workload: str, unit: str, at: float) -> Table:
    """The last exchange of a unit at or before a time: at most one row."""
    chosen = served(exchanges, workload=workload, upgrade=None).filter(_.unit == unit, _.started_at <= at)
    return chosen.order_by(ibis.desc("started_at"), ibis.desc("exchange")).limit(1)


def evals(scores: Table, *, workload: str) -> Table:
    """The mean score of each side of each eval, of those that the gate compared, in order of time."""
    chosen = scores.filter(scores.workload == workload, scores.grader == "")
    return (
        chosen.group_by(["eval", "arm", "variant", "fingerprint"])
        .agg(
            score=chosen.score.mean(),
            cases=(chosen.suite + ":" + chosen.case_id).nunique(),
            answers=chosen.count(),
            first_at=chosen["at"].min(),
            last_at=chosen["at"].max(),
        )
        .order_by("first_at", "eval", ibis.desc("arm"))
    )


def counts(exchanges: Table, *, workload: str, upgrade: str | None, since: float | None) -> Table:
    """Exchanges, units, failures and masked failures by stage, step, role and arm."""
    chosen = exchanges.filter(_.workload == workload)
    if upgrade is not None:
        chosen = chosen.filter(_.upgrade == upgrade)
    if since is not None:
        chosen = chosen.filter(_.started_at >= since)
    failed = (_.error != "") & (_.error != CLIENT_GONE)
    return (
        chosen.group_by(["stage", "step", "role", "arm"])
        .agg(
            exchanges=_.count(),
            units=_.unit.nunique(),
            errors=failed.cast("int64").sum(),
            masked=_.masked.cast("int64").sum(),
            first_at=_.started_at.min(),
            last_at=_.started_at.max(),
        )
        .order_by("first_at", "role", "arm")
    )


def drawn(exchanges: Table, *, workload: str, upgrade: str) -> Table:
    """How many units each arm got by the draw, by step of the canary: what a share is held against."""
    by_draw = (Reason.BELOW_SHARE.value, Reason.ABOVE_SHARE.value)
    chosen = served(exchanges, workload=workload, upgrade=upgrade)
    chosen = chosen.filter(chosen.stage == Stage.CANARY.value, chosen.reason.isin(by_draw), chosen.unit != "")
    return chosen.group_by(["step", "arm"]).agg(units=_.unit.nunique()).order_by("step", "arm")


_PRIME = 1_000_003
_STEP = 618_035
"""Near the golden section of _PRIME: numbers that follow each other fall far apart."""


def asked(exchanges: Table, *, workload: str, variant: str, since: float) -> Table:
    """What a variant answered without failing."""
    chosen = served(exchanges, workload=workload, upgrade=None)
    return chosen.filter(_.served_variant == variant, _.started_at >= since, _.error == "")


def drawn_evenly(rows: Table, part: float, turn: int) -> Table:
    """About a part of the rows, evenly over all the time, in order of their exchanges; another `turn` draws others.

    Drawn by the number within the boot, in whole numbers, so that every engine draws the same.
    """
    if part < 1.0:
        rows = rows.filter((_.seq % _PRIME + turn % _PRIME) * _STEP % _PRIME < int(part * _PRIME))
    return rows.order_by("exchange")


def spent(exchanges: Table, *, workload: str, since: float | None) -> Table:
    """Tokens and cost by role and variant, of answers that succeeded; a masked one is the incumbent's."""
    chosen = exchanges.filter(_.workload == workload, (_.error == "") | _.masked)
    if since is not None:
        chosen = chosen.filter(_.started_at >= since)
    named = chosen.mutate(variant=ibis.ifelse(chosen.role == "served", chosen.served_variant, chosen.variant))
    tokens = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
    return named.group_by(["role", "variant"]).agg(
        exchanges=_.count(),
        priced=_.cost_usd.count(),
        cost_usd=_.cost_usd.sum(),
        first_at=_.started_at.min(),
        last_at=_.started_at.max(),
        **{name: named[name].sum().cast("int64") for name in tokens},
    )


def ungraded(exchanges: Table, scores: Table, grader: str) -> Table:
    """The exchanges that a grader has not scored yet."""
    done = scores.filter(_.grader == grader).select(of="exchange").distinct()
    return exchanges.anti_join(done, exchanges.exchange == done.of)


def numbers(exchanges: Table, feedback: Table, losses: Table) -> Table:
    """By boot and reason of loss ("" for rows that are there): how many numbers, and the one behind the last."""
    parts = [
        table.select("worker", "boot", "seq", width=ibis.literal(1, "int64"), why=ibis.literal(""))
        for table in (exchanges, feedback)
    ]
    parts.append(losses.select("worker", "boot", "seq", width=losses["count"], why=losses.why))
    every = ibis.union(*parts)
    return every.group_by(["worker", "boot", "why"]).agg(numbers=every.width.sum(), end=(every.seq + every.width).max())


def bodies(exchanges: Table) -> Table:
    """One row with the characters and bytes of all content: an answer means that every page could be read."""
    return exchanges.agg(
        answers=exchanges.answer.length().sum(),
        requests=exchanges.request.cast("string").length().sum(),
        tool_calls=exchanges.tool_calls.length().sum(),
    )


def with_opinions(exchanges: Table, feedback: Table, scores: Table) -> Table:
    """Exchanges in order of time with what was said of them: lists of "name=value", null where nobody said anything."""
    said = feedback.group_by(of_feedback="exchange").agg(
        feedback=(feedback.name + "=" + feedback.value.cast("string")).collect()
    )
    graded = scores.group_by(of_scores="exchange").agg(
        scores=(scores.grader + "=" + scores.score.cast("string")).collect()
    )
    joined = exchanges.left_join(said, exchanges.exchange == said.of_feedback)
    joined = joined.left_join(graded, joined.exchange == graded.of_scores)
    return joined.drop("of_feedback", "of_scores").order_by("started_at", "exchange")
