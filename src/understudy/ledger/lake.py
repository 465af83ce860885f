"""The Delta tables of the ledger: their columns, how they are opened, appended to and kept small.

Columns follow `core.records` field by field, so a field added there is a column here; older files read as null. Rows
carry the number (worker, boot, seq) they were appended under. What is written together with a transaction (an
application id and a version) is written once: a second writer of the same transaction fails instead of repeating it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, NamedTuple, Union, get_args, get_origin, get_type_hints
from urllib.parse import unquote

from understudy.core.errors import CannotMeasure, DataCorrupt, Refused
from understudy.core.records import Exchange, Feedback, Loss
from understudy.ledger import panics
from understudy.ledger.choice import DEFAULT, Choice

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable, WriterProperties
    from pyarrow.fs import PyFileSystem

CHECKPOINT_EVERY = 50
LOG_RETENTION = "interval 1 days"
CHANGES_READ = 200
"""Commits whose files are followed one by one: hours of them."""
_DAY = re.compile(r"/day=(\d{4}-\d{2}-\d{2})/")
VACUUM_KEEP_HOURS = 1
"""Files replaced by a compaction stay this long for readers that hold an older list of files."""


class Table(StrEnum):
    EXCHANGES = "exchanges"
    FEEDBACK = "feedback"
    LOSSES = "losses"
    SCORES = "scores"
    EVAL_SCORES = "eval_scores"
    DECISIONS = "decisions"


class Score(NamedTuple):
    """What a grader said of a live exchange: `score` lies in [0, 1]; `detail` says why, for people."""

    exchange: str
    """Id of the exchange whose answer was scored."""
    workload: str
    """Its workload."""
    grader: str
    """Name of the grader in its suite."""
    score: float
    """From 0 to 1."""
    at: float
    """When it was scored."""
    detail: str = ""
    """Why, for people."""


class EvalScore(NamedTuple):
    """What a grader said of one answer in a regression eval."""

    eval: str
    """Id of the eval: a hash of all that its result depends on. A decision names it."""
    workload: str
    """Its workload."""
    arm: str
    """Which side of the eval the answer is on: incumbent or candidate."""
    variant: str
    """Name of the variant that answered."""
    fingerprint: str
    """Its fingerprint."""
    suite: str
    """Name of the suite."""
    case_id: str
    """The case that was asked; one made of live traffic has the id of its exchange."""
    slices: tuple[str, ...]
    """The case's slices."""
    repeat: int
    """Which of the answers to this case by this variant, from 0."""
    grader: str
    """Name of the grader; "" for the score that the gate compares."""
    score: float | None
    """From 0 to 1; None where the grader could not score the answer."""
    at: float
    """When the answer came."""


class Decision(NamedTuple):
    """One event of an upgrade's journal, as the control store had it when it was copied here."""

    upgrade: str
    """Id of the upgrade."""
    workload: str
    """Its workload."""
    seq: int
    """Number of the event within the upgrade, from 1."""
    at: float
    """When it was decided."""
    kind: str
    """What happened: started, cleared, exposed, widened, rolled_back, ..."""
    by: str
    """Who decided: the controller, or the name of a person."""
    why: str
    """The reason given."""
    data: str
    """What belongs to it, with the evidence, as JSON."""
    epoch: int
    """Epoch of the control store after this event."""
    previous: str
    """Hash of the event before."""
    hash: str
    """SHA-256 over all of this and the hash before: one changed event breaks the chain."""


class Listing(NamedTuple):
    """Data files by day, "" where a table has no days, at one version of it; -1 before the first."""

    version: int
    days: dict[str, list[str]]


class Change(NamedTuple):
    """What one commit did to the data files of a table: the places (see `place_of`) of those that came and went."""

    added: frozenset[str]
    removed: frozenset[str]
    moved: bool
    """Only files changed: what came holds the very rows of what went, folder by folder."""


_NUMBERED = {"worker": str, "boot": str, "seq": int}
_ADDED: Mapping[Table, Mapping[str, Any]] = {
    Table.EXCHANGES: {"bucket": int, "cost_source": str, "cost_as_of": str, "schema_version": int, **_NUMBERED},
    Table.FEEDBACK: _NUMBERED,
    Table.LOSSES: _NUMBERED,
    Table.SCORES: {},
    Table.EVAL_SCORES: {},
    Table.DECISIONS: {},
}
_RECORDS: Mapping[Table, Any] = {
    Table.EXCHANGES: Exchange,
    Table.FEEDBACK: Feedback,
    Table.LOSSES: Loss,
    Table.SCORES: Score,
    Table.EVAL_SCORES: EvalScore,
    Table.DECISIONS: Decision,
}
PARTITIONS: Mapping[Table, tuple[str, ...]] = {
    Table.EXCHANGES: ("day", "workload"),
    Table.FEEDBACK: ("day", "workload"),
    Table.LOSSES: ("day",),
    Table.SCORES: ("workload",),
    Table.EVAL_SCORES: ("workload",),
    Table.DECISIONS: ("workload",),
}


STATISTICS: Mapping[Table, str] = {
    Table.EXCHANGES: "started_at,seq",
    Table.FEEDBACK: "at,seq",
    Table.LOSSES: "at,seq",
    Table.SCORES: "at",
    Table.EVAL_SCORES: "at",
    Table.DECISIONS: "at,seq",
}


def record_fields(table: Table) -> tuple[str, ...]:
    """The columns that are fields of the record, in order."""
    return tuple(get_type_hints(_RECORDS[table]))


def schema(table: Table) -> pa.Schema:
    """The Arrow schema of a table. Slices are a list of "key=value"; `day` is the day in UTC, as YYYY-MM-DD."""
    import pyarrow as pa

    hints = {**get_type_hints(_RECORDS[table]), **_ADDED[table]}
    columns = [(name, _arrow_type(hint)) for name, hint in hints.items()]
    if "day" in PARTITIONS[table]:
        columns.append(("day", pa.string()))
    return pa.schema(columns)


def _arrow_type(hint: Any) -> pa.DataType:
    import pyarrow as pa

    if get_origin(hint) in (Union, UnionType):
        (hint,) = (each for each in get_args(hint) if each is not NoneType)
    if get_origin(hint) in (dict, tuple):
        return pa.list_(pa.string())
    return {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_(), bytes: pa.binary()}[hint]


class Lake:
    """The folder, or the address in an object store, under which the tables lie; one opened handle a table.

    options: what `deltalake` needs to reach an object store (`AWS_ENDPOINT_URL`, ...); empty for a folder.
    choice: the engine that queries are answered by.
    """

    def __init__(
        self, where: str | Path, *, options: Mapping[str, str] | None = None, choice: Choice = DEFAULT
    ) -> None:
        self.where = str(where)
        self.options = dict(options or {})
        self.choice = choice
        self._open: dict[Table, DeltaTable] = {}

    @property
    def is_local(self) -> bool:
        return "://" not in self.where or self.where.startswith("file://")

    def uri(self, table: Table) -> str:
        return f"{self.where.rstrip('/')}/{table}"

    def table(self, table: Table) -> DeltaTable | None:
        """The table as it is now, or None where nothing was ever written to it.

        Raises DataCorrupt where its log cannot be read, CannotMeasure where the store cannot be reached.
        """
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        try:
            opened = self._open.get(table)
            if opened is not None:
                opened.update_incremental()
                return opened
            opened = DeltaTable(self.uri(table), storage_options=self.options)
        except TableNotFoundError:
            return None
        except DeltaError as error:
            raise DataCorrupt(
                f"the log of table {self.uri(table)} cannot be read: {error}",
                remedy="restore the folder from a backup, or move it away to begin an empty ledger",
            ) from error
        except OSError as error:
            raise CannotMeasure(
                f"the ledger at {self.uri(table)} cannot be reached: {error}",
                remedy="check the address, the credentials and the network",
            ) from error
        self._open[table] = opened
        return opened

    def transaction(self, table: Table, app: str) -> int:
        """The version last written for an application id, or -1."""
        opened = self.table(table)
        version = None if opened is None else opened.transaction_version(app)
        return -1 if version is None else int(version)

    def append(self, table: Table, rows: pa.Table, transactions: Mapping[str, int]) -> None:
        """Add rows and record the transactions, both or neither.

        On a local disk the rows have reached it when this returns. Raises Refused where another writer recorded one of
        the transactions since we looked, CannotMeasure where the store cannot be written.
        """
        from deltalake import CommitProperties, Transaction, write_deltalake

        opened = self.table(table)
        settings = {
            "delta.checkpointInterval": str(CHECKPOINT_EVERY),
            "delta.logRetentionDuration": LOG_RETENTION,
            # Statistics are written into the log: of numbers only, or the log would keep what somebody wrote.
            "delta.dataSkippingStatsColumns": STATISTICS[table],
        }
        made = [Transaction(app, version) for app, version in transactions.items()]
        with self._changing(table):
            if self.is_local:  # what people wrote is for this user alone, whatever the umask says
                Path(self.where.removeprefix("file://")).mkdir(mode=0o700, parents=True, exist_ok=True)
            write_deltalake(
                opened if opened is not None else self.uri(table),
                rows,
                mode="append",
                schema_mode="merge",
                partition_by=None if opened is not None else list(PARTITIONS[table]),
                configuration=None if opened is not None else settings,
                storage_options=self.options,
                writer_properties=_writing(table),
                commit_properties=CommitProperties(app_transactions=made),
            )
            if self.is_local:
                written = self.table(table)
                assert written is not None
                _sync_commit(Path(self.uri(table).removeprefix("file://")), written.version())

    @contextmanager
    def _changing(self, table: Table) -> Iterator[None]:
        """Says in our words why a table could not be changed."""
        from deltalake.exceptions import CommitFailedError, DeltaError

        try:
            with panics.unprinted():
                yield
        except CommitFailedError as error:
            raise Refused(
                f"another process wrote to {self.uri(table)} at the same time: {error}",
                remedy="run one committer a machine, and give each machine's gateways worker names of their own",
            ) from error
        except (OSError, DeltaError) as error:
            raise self._unwritable(table, error) from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of the writer's language; it has no class we could import
                raise
            raise self._unwritable(table, error) from error

    def _unwritable(self, table: Table, error: BaseException) -> CannotMeasure:
        return CannotMeasure(
            f"table {self.uri(table)} cannot be written: {error}",
            remedy="see to space, permissions and network; records stay in the segments until then",
        )

    def compact(self, table: Table) -> None:
        """Make few large files of many small ones; readers of the old ones are not disturbed."""
        opened = self.table(table)
        if opened is not None:
            with self._changing(table):
                opened.optimize.compact(writer_properties=_writing(table))

    def delete_where(self, table: Table, condition: str) -> int:
        """Remove the rows for which an SQL condition holds. It is written into the log of the table for good: it must
        name nobody. Their old files stay until `vacuum`; returns how many rows went.
        """
        opened = self.table(table)
        if opened is None:
            return 0
        with self._changing(table):
            return int(opened.delete(condition, writer_properties=_writing(table))["num_deleted_rows"])

    def vacuum(self, table: Table, *, keep_hours: int = VACUUM_KEEP_HOURS) -> int:
        """Remove files that no version of the last hours needs; returns how many."""
        opened = self.table(table)
        if opened is None:
            return 0
        with self._changing(table):
            return len(opened.vacuum(retention_hours=keep_hours, enforce_retention_duration=False, dry_run=False))

    def version(self, table: Table) -> int:
        """Grows with every change of a table; -1 before the first."""
        opened = self.table(table)
        return -1 if opened is None else int(opened.version())

    def listing(self, table: Table, workload: str | None) -> Listing:
        """The data files of a workload, or of all, by the day whose rows they hold, as of one version of the table."""
        opened = self.table(table)
        days: dict[str, list[str]] = {}
        if opened is None:
            return Listing(-1, days)
        for file in self._files(table, opened, workload, None):
            days.setdefault(_day(file), []).append(file)
        return Listing(int(opened.version()), days)

    def changes(self, table: Table, since: int, until: int) -> list[Change] | None:
        """What each commit behind version `since`, up to `until`, did to the data files; None where the log no longer
        has one of them, or where there are so many that reading the files takes less.
        """
        if until - since > CHANGES_READ:
            return None
        store = self._store(table)
        found = []
        for version in range(since + 1, until + 1):
            try:
                with store.open_input_stream(f"_delta_log/{version:020d}.json") as stream:
                    found.append(_change(stream.read().decode()))
            except FileNotFoundError:
                return None
        return found

    def _store(self, table: Table) -> PyFileSystem:
        """The folder of a table, wherever it is."""
        from deltalake.fs import DeltaStorageHandler
        from pyarrow.fs import PyFileSystem

        return PyFileSystem(DeltaStorageHandler(self.uri(table), self.options))

    def replaced(self, table: Table, places: Iterable[str]) -> list[str] | None:
        """The addresses of data files that belong to the table no longer; None where one is not there any more."""
        wanted = sorted(places)
        if not all(each.is_file for each in self._store(table).get_file_info(wanted)):
            return None
        return [f"{self.uri(table)}/{place}" for place in wanted]

    def files(self, table: Table, *, workload: str | None = None, since_day: str | None = None) -> list[str]:
        """The addresses of the data files a query has to read.

        Raises CannotMeasure where rows of a file were removed by a mark beside it: engines would read them.
        """
        opened = self.table(table)
        return [] if opened is None else self._files(table, opened, workload, since_day)

    def _files(self, table: Table, opened: DeltaTable, workload: str | None, since_day: str | None) -> list[str]:
        if "deletionVectors" in (opened.protocol().reader_features or ()):
            self._refuse_marks(table, opened)
        filters: list[tuple[str, str, str]] = []
        if workload is not None and "workload" in PARTITIONS[table]:
            filters.append(("workload", "=", workload))
        if since_day is not None and "day" in PARTITIONS[table]:
            filters.append(("day", ">=", since_day))
        found = opened.file_uris(file_pruning_predicate=filters or None)
        return [unquote(file) for file in found] if self.is_local else list(found)  # a folder may have a space

    def _refuse_marks(self, table: Table, opened: DeltaTable) -> None:
        marked = sum(batch.num_rows for batch in opened.deletion_vectors())
        if marked:
            raise CannotMeasure(
                f"{marked} files of table {self.uri(table)} have deletion vectors, which our engines do not read",
                remedy="another program wrote them: let it rewrite the files (REORG TABLE ... APPLY (PURGE)), and set "
                "delta.enableDeletionVectors to false",
            )


_NO_DICTIONARY = ("exchange", "pair", "started_at", "at", "seq", "ttft_s", "latency_s", "cost_usd", "request", "answer")
"""Columns in which few values come twice: collecting them first costs time and space."""


def _writing(table: Table) -> WriterProperties:
    """How the files are written. Statistics of each page, which the writer's default is, cost as much time as all the
    rest, and no query of ours is narrowed by them."""
    from deltalake import ColumnProperties, WriterProperties

    columns = set(schema(table).names)
    once = {name: ColumnProperties(dictionary_enabled=False, statistics_enabled="NONE") for name in _NO_DICTIONARY}
    kept = {
        name: ColumnProperties(dictionary_enabled=False, statistics_enabled="CHUNK")
        for name in STATISTICS[table].split(",")
    }
    return WriterProperties(
        compression="ZSTD",
        compression_level=3,
        default_column_properties=ColumnProperties(statistics_enabled="NONE"),
        column_properties={name: chosen for name, chosen in (once | kept).items() if name in columns},
    )


def place_of(table: Table, file: str) -> str:
    """Where a data file lies within its table: its partitions as folders, then its name, which no other ever has."""
    return "/".join(file.rsplit("/", 1 + len(PARTITIONS[table]))[1:])


def _change(commit: str) -> Change:
    actions = [json.loads(line) for line in commit.splitlines()]
    added = [each["add"] for each in actions if "add" in each]
    removed = [each["remove"] for each in actions if "remove" in each]
    return Change(
        added=frozenset(unquote(each["path"]) for each in added),
        removed=frozenset(unquote(each["path"]) for each in removed),
        moved=not any(each["dataChange"] for each in (*added, *removed)),
    )


def _day(file: str) -> str:
    found = _DAY.search(file)
    return found[1] if found else ""


def in_condition(column: str, values: Sequence[str]) -> str:
    """The SQL condition that a column has one of these values; false without any."""
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({quoted})" if values else "false"


def arrow(table: Table, columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Columns of Python values as an Arrow table in the table's schema."""
    import pyarrow as pa

    wanted = schema(table)
    return pa.table([_array(columns[field.name], field.type) for field in wanted], schema=wanted)


def _array(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    """Many columns hold one value over a whole batch: seeing that takes less time than converting it each time."""
    import pyarrow as pa

    if (
        values
        and values[0] == values[-1]
        and not isinstance(values[0], list)
        and values.count(values[0]) == len(values)
    ):
        return pa.repeat(pa.scalar(values[0], type_), len(values))
    return pa.array(values, type=type_)


def _sync_commit(folder: Path, version: int) -> None:
    """Bring a commit to the disk: the files it added and its line in the log (deltalake leaves that to the kernel)."""
    log = folder / "_delta_log" / f"{version:020d}.json"
    added = [json.loads(line).get("add") for line in log.read_text().splitlines()]
    paths = [folder / unquote(each["path"]) for each in added if each]
    for path in {*paths, *(path.parent for path in paths), log, log.parent}:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
