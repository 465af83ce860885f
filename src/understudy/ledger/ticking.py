"""Sums that are asked for again and again: what was read once is not read anew.

Exchanges are stored by day, and where cycles divide the day no stratum reaches over midnight: the sums of a day whose
files are still the same are still the same. Of the newest days, to which rows are being added, the sums of each unit
are kept as well, and only new files are read: a unit that comes again is then still one unit. Where a file is gone, by
compaction, erasure or expiry, its day is read anew. Feedback and scores may come later than the day they speak of, so
metrics that read them are kept apart and added up anew whenever anything was said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from understudy.core.evidence import Stratum, Sums
from understudy.ledger.lake import Lake, Table
from understudy.ledger.metrics import CELL, MetricSpec
from understudy.ledger.rows import day_of
from understudy.ledger.views import Views

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa

DAY = 86_400.0
GROWING = 2
"""So many of the newest days may yet get rows: around midnight two of them do."""
_UNITS_KEPT = 2_000_000
"""Rows of units kept of a day: about 200 MB. A day with more of them is read anew each time."""
_KEPT = 16
"""Questions remembered at once: a few upgrades, each with its panel."""


class Question(NamedTuple):
    """Everything that the sums depend on, beside the rows."""

    workload: str
    upgrade: str
    role: str
    cycle_s: float
    metrics: tuple[MetricSpec, ...]

    @property
    def whole_days(self) -> bool:
        """Whether every stratum lies within one day."""
        return DAY % self.cycle_s == 0


class _Day(NamedTuple):
    """The answer for one day, and the state of the tables it was read from."""

    files: frozenset[str]
    said: tuple[int, ...]
    sums: list[Sums]
    units: pa.Table | None = None
    """The rows of `expressions.by_unit`, where rows may yet be added to the day."""


class Ticker:
    """Remembers the sums of each day. Not for several threads at once."""

    def __init__(self, lake: Lake, views: Views) -> None:
        self._lake = lake
        self._views = views
        self._days: dict[Question, dict[str, _Day]] = {}
        self._asked: dict[tuple[Question, str], tuple[tuple[ir.Table, ...], ir.Table]] = {}
        """Expressions with the tables they are over: making one takes as long as answering it from a few new rows."""

    def sums(self, question: Question) -> list[Sums]:
        """The sums of all metrics of a question, as of the last commit."""
        opinions = [metric for metric in question.metrics if metric.parts[0] in ("feedback", "grader")]
        plain = [metric for metric in question.metrics if metric not in opinions]
        found: list[Sums] = []
        for metrics in (plain, opinions):
            if metrics:
                found += self._answer(question._replace(metrics=tuple(metrics)), versions=metrics is opinions)
        return found

    def _answer(self, question: Question, *, versions: bool) -> list[Sums]:
        said = tuple(self._lake.version(table) for table in (Table.FEEDBACK, Table.SCORES)) if versions else ()
        found = self._lake.files_by_day(Table.EXCHANGES, question.workload)
        if not question.whole_days:
            found = {"": [file for day in found.values() for file in day]} if found else {}
        files = {day: frozenset(names) for day, names in found.items()}
        known = self._days.pop(question, {})
        days = {
            day: known[day]
            for day in files
            if day in known and (known[day].files, known[day].said) == (files[day], said)
        }
        growing = sorted(files)[-GROWING:] if question.whole_days and not versions else []
        for day in growing:
            before = known.get(day)
            if day not in days and (before is None or before.units is not None):
                days[day] = self._grown(question, files[day], before)
        stale = files.keys() - days.keys()
        if stale:
            fresh: dict[str, list[Sums]] = {day: [] for day in stale}
            for row in self._read(question, sorted(file for day in stale for file in files[day])):
                fresh[day_of(row.stratum.period * question.cycle_s) if question.whole_days else ""].append(row)
            days |= {day: _Day(files[day], said, rows) for day, rows in fresh.items()}
        self._days[question] = {day: days[day] if day in growing else days[day]._replace(units=None) for day in files}
        while len(self._days) > _KEPT:
            del self._days[next(iter(self._days))]
        return [row for day in sorted(files) for row in days[day].sums]

    def _grown(self, question: Question, files: frozenset[str], known: _Day | None) -> _Day:
        """A day with its new files: beside what is known of its units, where none of its files is gone."""
        import pyarrow as pa

        pieces = []
        if known is not None and known.units is not None and known.files <= files:
            pieces.append(known.units)
            new = files - known.files
        else:
            new = files
        pieces.append(self._views.run(self._expression(question, sorted(new), "by_unit")))
        units = pieces[0] if len(pieces) == 1 else merged(pa.concat_tables(pieces), question.metrics)
        rows = list(rows_of(added_up(units, question.metrics), question.metrics))
        return _Day(files, (), rows, units if len(units) <= _UNITS_KEPT else None)

    def _read(self, question: Question, files: Sequence[str]) -> Iterator[Sums]:
        return rows_of(self._views.run(self._expression(question, files, "sums")), question.metrics)

    def _expression(self, question: Question, files: Sequence[str], what: Literal["sums", "by_unit"]) -> ir.Table:
        from understudy.ledger import expressions

        exchanges = self._views.over(Table.EXCHANGES, list(files))
        inputs = (exchanges, self._views.table(Table.FEEDBACK), self._views.table(Table.SCORES, question.workload))
        former, expression = self._asked.get((question, what), ((), None))
        if expression is None or any(a is not b for a, b in zip(former, inputs, strict=True)):
            chosen = expressions.served(
                exchanges, workload=question.workload, upgrade=question.upgrade, role=question.role
            )
            make = expressions.sums if what == "sums" else expressions.by_unit
            expression = make(chosen, *inputs[1:], question.metrics, cycle_s=question.cycle_s)
            while len(self._asked) >= 4 * _KEPT:
                del self._asked[next(iter(self._asked))]
            self._asked[question, what] = inputs, expression
        return expression


def merged(units: pa.Table, metrics: Sequence[MetricSpec]) -> pa.Table:
    """Rows of `expressions.by_unit` with several for one unit in a cell, as one for each."""
    wanted = [
        (f"t_{i}", "max") if metric.kind == "count" else (f"{letter}_{i}", "sum")
        for i, metric in enumerate(metrics)
        for letter in ("t" if metric.kind == "count" else "nts")
    ]
    found = units.group_by([*CELL, "who"]).aggregate(wanted)
    return found.rename_columns([*CELL, "who", *(name for name, _ in wanted)]).cast(units.schema)


def added_up(units: pa.Table, metrics: Sequence[MetricSpec]) -> pa.Table:
    """What `expressions.sums` makes of the rows of `expressions.by_unit`."""
    import pyarrow.compute as pc

    wanted: list[tuple[str, str]] = []
    names: list[str] = []
    for i, metric in enumerate(metrics):
        if metric.kind == "count":
            units = units.append_column(f"events_{i}", units[f"t_{i}"])
            wanted += [(f"t_{i}", "count"), (f"t_{i}", "sum"), (f"events_{i}", "sum"), (f"events_{i}", "count")]
        else:
            units = units.append_column(f"some_{i}", pc.greater(units[f"n_{i}"], 0))
            wanted += [(f"{letter}_{i}", "sum") for letter in "nts"] + [(f"some_{i}", "sum")]
        names += [f"{letter}_{i}" for letter in "ntsu"]
    return units.group_by(list(CELL)).aggregate(wanted).rename_columns([*CELL, *names])


def rows_of(found: pa.Table, metrics: Sequence[MetricSpec]) -> Iterator[Sums]:
    """The columns of `expressions.sums` as rows, cells without a value left out."""
    columns: Mapping[str, list[Any]] = found.to_pydict()
    keys = [columns[name] for name in CELL]
    strata: dict[tuple[str, int, int], Stratum] = {}
    for index, metric in enumerate(metrics):
        values = (columns[f"{letter}_{index}"] for letter in "ntsu")
        for stage, step, period, arm, part, bucket, n, total, squares, units in zip(*keys, *values, strict=True):
            if n:
                stratum = strata.setdefault((stage, step, period), Stratum(stage, step, period))
                yield Sums(metric.name, stratum, arm, part, bucket, n, total, squares, units)
