"""Answers questions from the lake, on any engine; the expressions are in `expressions`, what is asked for is here.

Synchronous: asynchronous callers use a thread. A lake that is missing or empty gives empty answers. Every call sees
the lake as of its last commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from understudy.core.errors import CannotMeasure, Refused
from understudy.core.evidence import Sums
from understudy.ledger import sealing
from understudy.ledger.answers import (
    Answer,
    Asked,
    Compared,
    ComparedPair,
    Count,
    Coverage,
    Drawn,
    Ended,
    EvalSeen,
    Mark,
    PairRow,
    Quantiles,
    Served,
    SliceFigures,
    Span,
)
from understudy.ledger.arrivals import Arrivals
from understudy.ledger.lake import EvalScore, Lake, Score, Table
from understudy.ledger.metrics import MetricSpec
from understudy.ledger.pairing import NAMES, Batch, Pairing
from understudy.ledger.projection import Spent
from understudy.ledger.rows import day_of
from understudy.ledger.sealing import Seal
from understudy.ledger.ticking import Question, Ticker
from understudy.ledger.uncollected import uncollected
from understudy.ledger.views import Removed, Views, asked_again

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa

_Row = TypeVar("_Row", Score, EvalScore)
_SLICES = Compared._fields.index("slices")
APART_S = 3_600.0
"""An exchange and its copy begin within so long of each other."""
_RETRIES = 5
_ONE_EVAL_SCORE = ("eval", "arm", "suite", "case_id", "repeat", "grader", "at")
"""What tells one score of an eval from all others. An answer that is asked for anew has another time."""


_P = ParamSpec("_P")
_T = TypeVar("_T")


def _question(method: Callable[Concatenate[Ledger, _P], _T]) -> Callable[Concatenate[Ledger, _P], _T]:
    """One at a time; and asked again where a removal took files away meanwhile, of those that are there now."""

    @wraps(method)
    def answer(ledger: Ledger, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with ledger._lock:  # a method in all but its place
            return asked_again(lambda: method(ledger, *args, **kwargs))

    return answer


class Ledger:
    """The lake of one project, for reading; and for adding scores, which come from whoever grades live answers.

    seal: opens encrypted content; None is the one that the environment configures, if it does. Calls that read content
        raise UsageError where it is encrypted and there is none, DataCorrupt where the key is another.
    """

    def __init__(self, lake: str | Path | Lake, *, seal: Seal | None = None) -> None:
        self._lake = lake if isinstance(lake, Lake) else Lake(lake)
        self._views = Views(self._lake)
        self._ticker = Ticker(self._lake, self._views)
        self._lock = threading.RLock()
        self._seal = sealing.configured() if seal is None else seal

    @property
    def approximates(self) -> bool:
        """True where the engine's quantiles are estimates; all other figures are the same on every engine."""
        return self._lake.choice.approximates

    def close(self) -> None:
        """Let go of the query engine."""
        with self._lock:
            self._views.close()

    def sums(
        self,
        metrics: Sequence[MetricSpec],
        *,
        workload: str,
        upgrade: str,
        cycle_s: float,
        role: str = "served",
    ) -> list[Sums]:
        """Sums of each metric by stratum, arm, slice (and over all) and analysis bucket.

        Feedback and scores count once for each exchange, the last one said. Asked again, only days with new rows are
        read, where cycles divide the day. Raises UsageError for a metric that reads no numeric field, CannotMeasure
        where the lake cannot be read.
        """
        parts = self.sums_in_parts(metrics, workload=workload, upgrade=upgrade, cycle_s=cycle_s, role=role)
        return [row for part in parts for row in part]

    @_question
    def sums_in_parts(
        self,
        metrics: Sequence[MetricSpec],
        *,
        workload: str,
        upgrade: str,
        cycle_s: float,
        role: str = "served",
    ) -> list[list[Sums]]:
        """The same in parts, for who asks again and again: a part to which nothing came since is the same list."""
        with uncollected():
            return self._ticker.sums(Question(workload, upgrade, role, cycle_s, tuple(metrics)))

    @_question
    def quantiles(
        self,
        field: str,
        qs: Sequence[float],
        *,
        workload: str,
        arm: str,
        upgrade: str | None = None,
        stage: str | None = None,
        role: str = "served",
        since: float | None = None,
    ) -> Quantiles:
        """Quantiles of a numeric field, interpolated; no values where the field has none."""
        from understudy.ledger import expressions

        exchanges = self._views.table(Table.EXCHANGES, workload)
        chosen = expressions.served(exchanges, workload=workload, upgrade=upgrade, role=role)
        expression = expressions.quantiles(chosen, field, qs, arm=arm, stage=stage, since=since)
        (row,) = self._rows(expression)
        values = tuple(row[f"q_{index}"] for index in range(len(qs)))
        return Quantiles(() if None in values else values, self.approximates)

    @_question
    def pairs(
        self,
        *,
        workload: str,
        upgrade: str,
        fingerprint: str | None = None,
        since: float | None = None,
        only: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[PairRow]:
        """Served exchanges with their shadow copies, in order of time; of one candidate where `fingerprint` says so,
        and only those of these names, where they are given.

        Copies that failed are there too, with their `error`.
        """
        from understudy.ledger import expressions

        exchanges = self._views.table(Table.EXCHANGES, workload)
        found = expressions.pairs(
            exchanges, exchanges, workload=workload, upgrade=upgrade, fingerprint=fingerprint, since=since
        )
        if only is not None:
            found = found.filter(found.exchange.isin(only))
        return iter(self._pairs(found if limit is None else found.limit(limit)))

    @_question
    def paired(self, *, workload: str, upgrade: str, fingerprint: str) -> list[Asked]:
        """The served exchanges of which one candidate answered a copy; their content is not read."""
        from understudy.ledger import expressions

        exchanges = self._views.table(Table.EXCHANGES, workload)
        found = expressions.pairs(
            exchanges, exchanges, workload=workload, upgrade=upgrade, fingerprint=fingerprint, since=None
        )
        rows = self._rows(found.filter(found.error == "", found.error_shadow == "").select(*Asked._fields))
        return [Asked(row["exchange"], dict(each.split("=", 1) for each in row["slices"])) for row in rows]

    @_question
    def new_pairs(
        self, mark: Mark | None, *, workload: str, upgrade: str, fingerprint: str, since: float
    ) -> tuple[Pairing | None, Mark]:
        """The pairs of which one half or both came since a mark, in order of time, and the mark behind them; without a
        mark all pairs. Their answers are read by `compared`.

        None in their place where rows went since, or nobody can tell: then they have to be asked for without a mark.
        Of what was there before only the hours around the new rows are read, to find their other halves.
        """
        from understudy.ledger import expressions

        version, days = self._lake.listing(Table.EXCHANGES, workload)
        here = Mark(version, frozenset(file for files in days.values() for file in files))
        before = frozenset[str]() if mark is None else mark.files
        arrivals = Arrivals(self._lake, Table.EXCHANGES, since=-1 if mark is None else mark.version, until=version)
        files = arrivals.among(before, here.files)
        about: dict[str, Any] = {"workload": workload, "upgrade": upgrade, "fingerprint": fingerprint, "since": since}
        if not files:
            return (None if files is None else Pairing([], days, about)), here
        new = self._views.over(Table.EXCHANGES, sorted(files), "new")
        sides = [(new, new)]
        if before:
            (span,) = self._rows(new.agg(first=new.started_at.min(), last=new.started_at.max()))
            first, last = span["first"] - APART_S, span["last"] + APART_S
            near = [file for day in days if day_of(first) <= day <= day_of(last) for file in days[day]]
            around = self._views.over(Table.EXCHANGES, near, "around")
            around = around.filter(around.started_at >= first, around.started_at <= last)
            sides = [(around, new), (new, around)]
        found = [self._views.run(expressions.paired(*side, **about).select(NAMES)) for side in sides]
        return Pairing(found, days, about), here

    def compared(self, pairing: Pairing) -> Iterator[list[ComparedPair]]:
        """Pairs with their answers, a batch after the other, in their order.

        Raises Removed where an expiry or an erasure took some of them away since they were found.
        """
        for batch in pairing.batches():
            with self._lock:
                found = self._compared(pairing, batch)
            yield found

    def _compared(self, pairing: Pairing, batch: Batch) -> list[ComparedPair]:
        from understudy.ledger import expressions

        files = self._views.over(Table.EXCHANGES, pairing.files(batch), "batch")
        served = expressions.between(files, batch.first, batch.last)
        copies = expressions.between(files, batch.first_copy, batch.last_copy)
        found = expressions.paired(served, copies, **pairing.about)
        halves = [list(Compared._fields), [f"{name}_shadow" for name in Compared._fields]]
        rows = self._views.run(found.select(*halves[0], *halves[1]))
        served_sides, copied_sides = (
            [self._side(values) for values in zip(*(rows[name].to_pylist() for name in half), strict=True)]
            for half in halves
        )
        read = {
            (one.exchange, other.exchange): ComparedPair(one, other)
            for one, other in zip(served_sides, copied_sides, strict=True)
        }
        if not read.keys() >= set(batch.pairs):
            raise Removed("pairs were removed while they were read", remedy="ask again")
        return [read[names] for names in batch.pairs]

    @_question
    def shadow_coverage(
        self, *, workload: str, upgrade: str, since: float = 0.0, without: Sequence[tuple[float, float]] = ()
    ) -> Coverage:
        """How many exchanges that the incumbent served had an answered copy, and why the others had none.

        Those that began in the spans of time in `without` are left out: no copies were asked for then.
        """
        from understudy.ledger import expressions

        exchanges = self._views.table(Table.EXCHANGES, workload)
        rows = self._rows(
            expressions.coverage(exchanges, workload=workload, upgrade=upgrade, since=since, without=without)
        )
        by_reason = {"not_copied" if row["why"] is None else row["why"]: int(row["n"]) for row in rows}
        return Coverage(
            served=sum(by_reason.values()),
            copies=by_reason.pop("", 0),
            lost=dict(sorted(by_reason.items())),
        )

    @_question
    def exchanges(
        self,
        *,
        workload: str,
        upgrade: str | None = None,
        role: str = "served",
        arm: str | None = None,
        since: float | None = None,
        ungraded_by: str | None = None,
        newest: bool = False,
        only: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Answer]:
        """Exchanges with their content, in order of time or the newest first; only those of one arm, only those a
        grader has not scored, and only those of these names, where one is given.
        """
        from understudy.ledger import expressions

        exchanges = self._views.table(Table.EXCHANGES, workload)
        chosen = expressions.served(exchanges, workload=workload, upgrade=upgrade, role=role)
        if since is not None:
            chosen = chosen.filter(chosen.started_at >= since)
        if arm is not None:
            chosen = chosen.filter(chosen.arm == arm)
        if only is not None:
            chosen = chosen.filter(chosen.exchange.isin(only))
        if ungraded_by is not None:
            chosen = expressions.ungraded(chosen, self._views.table(Table.SCORES, workload), ungraded_by)
        chosen = chosen.select(Answer._fields)
        at = chosen.started_at.desc() if newest else chosen.started_at
        chosen = chosen.order_by(at, "exchange")
        rows = self._rows(chosen if limit is None else chosen.limit(limit))
        return map(self._answer, rows)

    @_question
    def asked(self, *, workload: str, variant: str, since: float, most: int, turn: int = 0) -> list[Asked]:
        """What a variant answered, without its content: all of it, or about `most` drawn evenly over all the time."""
        from understudy.ledger import expressions

        exchanges = self._views.table(Table.EXCHANGES, workload)
        every = expressions.asked(exchanges, workload=workload, variant=variant, since=since)
        (row,) = self._rows(every.agg(n=every.count()))
        part = most / max(1, int(row["n"]))
        rows = self._rows(expressions.drawn_evenly(every, part, turn).select(*Asked._fields))
        return [Asked(row["exchange"], dict(each.split("=", 1) for each in row["slices"])) for row in rows]

    @_question
    def endings(self, *, workload: str, upgrade: str, arm: str, since: float, newest: int) -> list[Ended]:
        """How the newest served exchanges of an arm ended, in order of time; content is not read."""
        from understudy.ledger import expressions

        exchanges = self._views.table(Table.EXCHANGES, workload)
        chosen = expressions.served(exchanges, workload=workload, upgrade=upgrade)
        chosen = chosen.filter(chosen.arm == arm, chosen.started_at >= since)
        chosen = chosen.order_by(chosen.started_at.desc(), "exchange").limit(newest)
        rows = self._rows(chosen.select(*Ended._fields, "started_at"))
        # The engine promises no order of a limited selection once columns are cut away.
        rows.sort(key=lambda row: float(row["started_at"]))
        return [Ended(int(row["status"]), row["error"], bool(row["masked"])) for row in rows]

    def add_scores(self, scores: Iterable[Score]) -> int:
        """Add what graders said, once for each (exchange, grader): what is there already is left out; returns how
        many were new. Two processes may do this at once.
        """
        from understudy.ledger import rows

        given = {(score.exchange, score.grader): score for score in reversed(list(scores))}
        graders = {score.grader for score in given.values()}
        return self._add_once(
            Table.SCORES,
            dict(reversed(given.items())),
            ("exchange", "grader"),
            lambda found: found.grader.isin(sorted(graders)),
            rows.scores,
        )

    def add_eval_scores(self, scores: Iterable[EvalScore]) -> int:
        """Add what the graders of evals said, once for each answer and grader: what is there already is left out;
        returns how many were new. Two processes may do this at once.
        """
        from understudy.ledger import rows

        given = {tuple(getattr(score, name) for name in _ONE_EVAL_SCORE): score for score in scores}
        evals = {score.eval for score in given.values()}
        return self._add_once(
            Table.EVAL_SCORES,
            given,
            _ONE_EVAL_SCORE,
            lambda found: found.eval.isin(sorted(evals)),
            rows.eval_scores,
        )

    @_question
    def evals(self, workload: str) -> list[EvalSeen]:
        """What evals found, by eval and arm, in order of time."""
        from understudy.ledger import expressions

        found = expressions.evals(self._views.table(Table.EVAL_SCORES, workload), workload=workload)
        return [EvalSeen(**row) for row in self._rows(found)]

    @_question
    def by_slice(self, workload: str, *, upgrade: str | None = None, role: str = "served") -> list[SliceFigures]:
        """What a person looks at: figures of each arm on each slice and over all. Quantiles are not for comparing."""
        from understudy.ledger import expressions

        exchanges = self._views.table(Table.EXCHANGES, workload)
        chosen = expressions.served(exchanges, workload=workload, upgrade=upgrade, role=role)
        rows = self._rows(expressions.by_slice(chosen))
        return [SliceFigures(**row, approximate=self.approximates) for row in rows]

    @_question
    def spent(self, workload: str, *, since: float | None = None) -> list[Spent]:
        """Tokens and cost by role and variant: what `projection.project` makes a month of."""
        from understudy.ledger import expressions

        exchanges = self._views.table(Table.EXCHANGES, workload)
        return [Spent(**row) for row in self._rows(expressions.spent(exchanges, workload=workload, since=since))]

    @_question
    def history(self, workload: str) -> list[Span]:
        """Which variant answered when, oldest first."""
        from understudy.ledger import expressions

        exchanges = self._views.table(Table.EXCHANGES, workload)
        return [Span(**row) for row in self._rows(expressions.history(exchanges, workload=workload))]

    @_question
    def who_served(self, workload: str, unit: str, at: float) -> Served | None:
        """The exchange of a unit that was the last at or before `at`; None where there is none."""
        from understudy.ledger import expressions

        exchanges = self._views.table(Table.EXCHANGES, workload)
        found = expressions.who_served(exchanges, workload=workload, unit=unit, at=at)
        for row in self._rows(found.select(Served._fields)):
            return Served(**row)
        return None

    @_question
    def counts(self, workload: str, *, upgrade: str | None = None, since: float | None = None) -> list[Count]:
        """Exchanges, units and failures by stage, step, role and arm."""
        from understudy.ledger import expressions

        exchanges = self._views.table(Table.EXCHANGES, workload)
        found = expressions.counts(exchanges, workload=workload, upgrade=upgrade, since=since)
        return [Count(**row) for row in self._rows(found)]

    @_question
    def drawn(self, workload: str, upgrade: str) -> list[Drawn]:
        """Distinct units by step of the canary and arm, of those whom the draw itself sent there."""
        from understudy.ledger import expressions

        found = expressions.drawn(self._views.table(Table.EXCHANGES, workload), workload=workload, upgrade=upgrade)
        return [Drawn(**row) for row in self._rows(found)]

    def _pairs(self, expression: ir.Table) -> list[PairRow]:
        names = [*Answer._fields, *(f"{name}_shadow" for name in Answer._fields)]
        rows = self._rows(expression.select(names))
        return [PairRow(self._answer(row), self._answer(row, "_shadow")) for row in rows]

    def _side(self, values: tuple[Any, ...]) -> Compared:
        side = Compared._make(values)
        read: dict[str, Any] = {"slices": dict(each.split("=", 1) for each in values[_SLICES])}
        for field in ("answer", "tool_calls"):
            if getattr(side, field).startswith(sealing.MARK):
                sealed = getattr(side, field).encode()
                read[field] = sealing.opened(self._seal, side.exchange, field, sealed).decode()
        return side._replace(**read)

    def _answer(self, row: Mapping[str, Any], suffix: str = "") -> Answer:
        values = {name: row[name + suffix] for name in Answer._fields}
        values["slices"] = dict(each.split("=", 1) for each in values["slices"])
        name = values["exchange"]
        values["request"] = sealing.opened(self._seal, name, "request", values["request"])
        for field in ("answer", "tool_calls"):
            if values[field].startswith(sealing.MARK):
                values[field] = sealing.opened(self._seal, name, field, values[field].encode()).decode()
        return Answer(**values)

    @_question
    def _add_once(
        self,
        table: Table,
        given: Mapping[tuple[Any, ...], _Row],
        key: Sequence[str],
        may_be: Callable[[ir.Table], ir.BooleanValue],
        columns: Callable[[Iterable[_Row]], pa.Table],
    ) -> int:
        """Add the rows, by their key, that the table does not have yet, as far as `may_be` finds them there."""
        app = str(table)
        workloads = {row.workload for row in given.values()}
        for _ in range(_RETRIES):
            version = self._lake.transaction(table, app)
            known: set[tuple[Any, ...]] = set()
            for workload in workloads:
                found = self._views.table(table, workload)
                found = found.filter(found.workload == workload, may_be(found)).select(*key)
                known |= set(zip(*self._views.run(found).to_pydict().values(), strict=True))
            new = [row for name, row in given.items() if name not in known]
            if not new:
                return 0
            try:
                self._lake.append(table, columns(new), {app: version + 1})
            except Refused:
                continue  # somebody else added scores since we looked: look again
            return len(new)
        raise CannotMeasure(
            f"scores could not be added in {_RETRIES} tries: others add them all the time",
            remedy="grade from one process",
        )

    def _rows(self, expression: ir.Table) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._views.run(expression).to_pylist()
        return rows
