"""Sums that are asked for again and again: only days with new rows are read anew.

Exchanges are stored by day, and where cycles divide the day no stratum reaches over midnight: the sums of a day whose
files are still the same are still the same. Feedback and scores may come later than the day they speak of, so metrics
that read them are kept apart and added up anew whenever anything was said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from understudy.core.evidence import Stratum, Sums
from understudy.ledger.lake import Lake, Table
from understudy.ledger.metrics import MetricSpec
from understudy.ledger.rows import day_of
from understudy.ledger.views import Views

if TYPE_CHECKING:
    import pyarrow as pa

DAY = 86_400.0
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

    state: tuple[Any, ...]
    sums: list[Sums]


class Ticker:
    """Remembers the sums of each day. Not for several threads at once."""

    def __init__(self, lake: Lake, views: Views) -> None:
        self._lake = lake
        self._views = views
        self._days: dict[Question, dict[str, _Day]] = {}

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
        files = self._lake.files_by_day(Table.EXCHANGES, question.workload)
        if not question.whole_days:
            files = {"": [file for day in files.values() for file in day]} if files else {}
        known = self._days.pop(question, {})
        states = {day: (tuple(sorted(files[day])), said) for day in files}
        stale = [day for day in files if day not in known or known[day].state != states[day]]
        if stale:
            fresh: dict[str, list[Sums]] = {day: [] for day in stale}
            for row in self._read(question, [file for day in stale for file in files[day]]):
                fresh[day_of(row.stratum.period * question.cycle_s) if question.whole_days else ""].append(row)
            known |= {day: _Day(states[day], rows) for day, rows in fresh.items()}
        self._days[question] = {day: known[day] for day in files}
        while len(self._days) > _KEPT:
            del self._days[next(iter(self._days))]
        return [row for day in sorted(files) for row in known[day].sums]

    def _read(self, question: Question, files: list[str]) -> Iterator[Sums]:
        from understudy.ledger import expressions

        exchanges = self._views.over(Table.EXCHANGES, files)
        chosen = expressions.served(exchanges, workload=question.workload, upgrade=question.upgrade, role=question.role)
        feedback, scores = self._views.table(Table.FEEDBACK), self._views.table(Table.SCORES, question.workload)
        found = expressions.sums(chosen, feedback, scores, question.metrics, cycle_s=question.cycle_s)
        return rows_of(self._views.run(found), question.metrics)


def rows_of(found: pa.Table, metrics: Sequence[MetricSpec]) -> Iterator[Sums]:
    """The columns of `expressions.sums` as rows, cells without a value left out."""
    columns: Mapping[str, list[Any]] = found.to_pydict()
    keys = [columns[name] for name in ("stage", "step", "period", "arm", "slice", "bucket")]
    strata: dict[tuple[str, int, int], Stratum] = {}
    for index, metric in enumerate(metrics):
        values = (columns[f"{letter}_{index}"] for letter in "ntsu")
        for stage, step, period, arm, part, bucket, n, total, squares, units in zip(*keys, *values, strict=True):
            if n:
                stratum = strata.setdefault((stage, step, period), Stratum(stage, step, period))
                yield Sums(metric.name, stratum, arm, part, bucket, n, total, squares, units)
