"""Sums that are asked for again and again: what was read once is not read anew.

Exchanges are stored by day, and where cycles divide the day no stratum reaches over midnight: the sums of a day that
got no rows are still the same. To the newest days rows are being added: of those what is needed to add to them is kept
(`growing`), and only new rows are read. A compaction brings no rows, only other files: the log of the table says so,
and the files it replaced are read where they were not read before. Where rows went, by erasure or expiry, their day is
read anew. Feedback and scores may come later than the day they speak of, so metrics that read them are kept apart: days
of which something new was said are added up anew, which are found by the names of the exchanges alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from understudy.core.evidence import Sums
from understudy.ledger.answers import Mark
from understudy.ledger.arrivals import Arrivals
from understudy.ledger.growing import MOST_METRICS, Growing, rows_of
from understudy.ledger.lake import Lake, Table
from understudy.ledger.metrics import MetricSpec
from understudy.ledger.rows import day_of
from understudy.ledger.views import Views

if TYPE_CHECKING:
    import ibis.expr.types as ir

DAY = 86_400.0
GROWING = 2
"""So many of the newest days may yet get rows: around midnight two of them do."""
_UNITS_KEPT = 2_000_000
"""Units kept of a day, each once in each cell. A day with more of them is read anew each time."""
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
    """The answer for one day, and the files it was read from."""

    files: frozenset[str]
    sums: list[Sums]
    growing: Growing | None = None
    """Where rows may yet be added to the day."""


class _Known(NamedTuple):
    """The days of a question, as of one version of the table, and the opinions that are counted in them."""

    version: int
    days: dict[str, _Day]
    said: dict[Table, Mark]


class Ticker:
    """Remembers the sums of each day. Not for several threads at once."""

    def __init__(self, lake: Lake, views: Views) -> None:
        self._lake = lake
        self._views = views
        self._known: dict[Question, _Known] = {}
        self._asked: dict[tuple[Question, str], tuple[tuple[ir.Table, ...], ir.Table]] = {}
        """Expressions with the tables they are over: making one takes as long as answering it from a few new rows."""

    def sums(self, question: Question) -> list[list[Sums]]:
        """The sums of all metrics of a question, as of the last commit, in parts: a part to which nothing came since
        the last answer is the same list. No stratum of a metric is in two parts.
        """
        opinions = [metric for metric in question.metrics if metric.parts[0] in ("feedback", "grader")]
        plain = [metric for metric in question.metrics if metric not in opinions]
        found: list[list[Sums]] = []
        for metrics in (plain, opinions):
            if metrics:
                found += self._answer(question._replace(metrics=tuple(metrics)), versions=metrics is opinions)
        return found

    def _answer(self, question: Question, *, versions: bool) -> list[list[Sums]]:
        said = self._opinions(question) if versions else {}
        version, found = self._lake.listing(Table.EXCHANGES, question.workload)
        if not question.whole_days:
            found = {"": [file for day in found.values() for file in day]} if found else {}
        files = {day: frozenset(names) for day, names in found.items()}
        # Gone until it is answered: what fails halfway is begun anew.
        known = self._known.pop(question, _Known(-1, {}, {}))
        new = self._new_files(known, files, version)
        spoken_of = self._spoken_of(question, known.said, said) if known.days else frozenset()
        may_grow = question.whole_days and not versions and len(question.metrics) <= MOST_METRICS
        growing = sorted(files)[-GROWING:] if may_grow else []
        days: dict[str, _Day] = {}
        for day, before in known.days.items():
            if new.get(day) == frozenset() and spoken_of is not None and day not in spoken_of:
                days[day] = before._replace(files=files[day])
        for day in growing:
            if day not in days and (day not in known.days or known.days[day].growing is not None):
                days[day] = self._grown(question, files[day], new.get(day), known.days.get(day))
        stale = files.keys() - days.keys()
        if stale:
            fresh: dict[str, list[Sums]] = {day: [] for day in stale}
            for row in self._read(question, sorted(file for day in stale for file in files[day])):
                fresh[day_of(row.stratum.period * question.cycle_s) if question.whole_days else ""].append(row)
            days |= {day: _Day(files[day], rows) for day, rows in fresh.items()}
        kept = {day: days[day] if day in growing else days[day]._replace(growing=None) for day in files}
        self._known[question] = _Known(version, kept, said)
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]
        return [days[day].sums for day in sorted(files)]

    def _opinions(self, question: Question) -> dict[Table, Mark]:
        """The tables that the metrics of a question read beside the exchanges, as they are now."""
        kinds = {metric.parts[0] for metric in question.metrics}
        found = {}
        for table, kind, workload in ((Table.FEEDBACK, "feedback", None), (Table.SCORES, "grader", question.workload)):
            if kind in kinds:
                version, days = self._lake.listing(table, workload)
                found[table] = Mark(version, frozenset(file for files in days.values() for file in files))
        return found

    def _spoken_of(
        self, question: Question, before: Mapping[Table, Mark], said: Mapping[Table, Mark]
    ) -> frozenset[str] | None:
        """The days of which something was said since; None where opinions went, or nobody can tell."""
        days: set[str] = set()
        for table, now in said.items():
            then = before[table]
            arrivals = Arrivals(self._lake, table, since=then.version, until=now.version)
            new = arrivals.among(then.files, now.files)
            if new is None:
                return None
            if new:
                opinions = self._views.over(table, sorted(new), "new")
                exchanges = self._views.table(Table.EXCHANGES, question.workload)
                about = exchanges.semi_join(opinions, exchanges.exchange == opinions.exchange)
                days |= set(self._views.run(about.select("day").distinct())["day"].to_pylist())
        return frozenset(days) if question.whole_days else frozenset({""} if days else ())

    def _new_files(
        self, known: _Known, files: Mapping[str, frozenset[str]], version: int
    ) -> dict[str, frozenset[str] | None]:
        """For each known day the files with rows that were not read yet; None where it has to be read anew."""
        arrivals = Arrivals(self._lake, Table.EXCHANGES, since=known.version, until=version)
        return {day: arrivals.among(before.files, files[day]) for day, before in known.days.items() if day in files}

    def _grown(self, question: Question, files: frozenset[str], new: frozenset[str] | None, known: _Day | None) -> _Day:
        """A day with its new files, beside what is known of it; all of it anew where `new` is None."""
        growing = None if known is None or new is None else known.growing
        if growing is None or new is None:
            growing, new = Growing(question.metrics), files
        growing.add(self._views.run(self._expression(question, sorted(new), "by_unit")))
        return _Day(files, growing.sums(), growing if growing.units <= _UNITS_KEPT else None)

    def _read(self, question: Question, files: Sequence[str]) -> list[Sums]:
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
