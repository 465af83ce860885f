"""The log against a model: any order of appending, flushing, rotating, crashing, full disks, commits and erasures.

The model is a dictionary of what was acknowledged. Whatever happens, the lake holds of each boot exactly the records
that were acknowledged, each once, or a counted loss in their place; nothing that was durable is lost.
"""

from __future__ import annotations

import resource
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from understudy.core.records import Exchange
from understudy.ledger.committer import Committer
from understudy.ledger.erase import erase
from understudy.ledger.frames import Boot
from understudy.ledger.lake import Lake, Table
from understudy.ledger.segments import SegmentWriter
from understudy.ledger.verify import verify

UNLIMITED = resource.getrlimit(resource.RLIMIT_FSIZE)


def full_disk(limit: int) -> None:
    """No file of this process may grow beyond so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, UNLIMITED[1]))


def space() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, UNLIMITED)


class LogMachine(RuleBasedStateMachine):
    """One worker at a time, one committer, one disk."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="understudy-log-"))
        self.generation = 0
        self.folder = self.root / "segments-0"
        self.lake = self.root / "lake"
        self.now = 1_700_000_000.0
        self.acknowledged: dict[Boot, dict[int, str]] = {}
        self.durable: dict[Boot, int] = {}
        self.erased: set[str] = set()
        self.number = 0
        self.full = False
        self.committer = Committer(self.folder, self.lake, batch=7)
        self._start()

    def _start(self) -> None:
        self.writer = SegmentWriter(
            self.folder, "w0", group_s=3_600, segment_bytes=900, max_buffered=2_500, clock=lambda: self.now
        )
        self.acknowledged[self.writer.boot] = {}

    @rule(count=st.integers(1, 6), size=st.integers(0, 400), unit=st.sampled_from(["a", "b"]))
    def append(self, count: int, size: int, unit: str) -> None:
        for _ in range(count):
            name = f"x-{self.number}"
            self.number += 1
            seq = self.writer.append(
                Exchange(
                    exchange=name,
                    workload="w",
                    started_at=self.now,
                    epoch=1,
                    generation="g",
                    unit=unit,
                    answer="a" * size,
                )
            )
            assert seq == len(self.acknowledged[self.writer.boot])
            self.acknowledged[self.writer.boot][seq] = name

    @rule()
    def append_what_cannot_be_encoded(self) -> None:
        bad = Exchange(exchange="\ud800", workload="w", started_at=self.now, epoch=1, generation="g")
        self.acknowledged[self.writer.boot][self.writer.append(bad)] = ""

    @rule()
    def flush(self) -> None:
        flushed = self.writer.flush()
        assert flushed or self.full
        self.durable[self.writer.boot] = self.writer.count().durable

    @rule(seconds=st.sampled_from([1.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(limit=st.sampled_from([0, 100, 700]))
    def fill_disk(self, limit: int) -> None:
        self.full = True
        full_disk(limit)

    @rule()
    def free_space(self) -> None:
        self.full = False
        space()

    @rule()
    def restart_worker(self) -> None:
        self.writer.close()
        if not list(self.folder.glob(f"{self.writer.boot}.*")):
            self._forget()
        self._start()

    def _forget(self) -> None:
        """The one blind spot: begun on a full disk and stopped before there was room for a first byte."""
        assert self.full
        del self.acknowledged[self.writer.boot]
        self.durable.pop(self.writer.boot, None)

    @rule(torn=st.integers(0, 500))
    def crash(self, torn: int) -> None:
        """The machine stops: what was not synced may be cut anywhere, and both processes begin anew."""
        self.durable[self.writer.boot] = self.writer.count().durable
        if not self.writer._tally.on_disk:
            self.full = True  # it was when this worker began, and the writer has not looked again
            self._forget()
        space()
        self.generation += 1
        fresh = self.root / f"segments-{self.generation}"
        shutil.copytree(self.folder, fresh)
        open_segment = self.folder / f"{self.writer.boot}.{self.writer._index:06d}.seg"
        if open_segment.exists():
            synced = self.writer._size
            with (fresh / open_segment.name).open("r+b") as file:
                file.truncate(max(synced, open_segment.stat().st_size - torn))
        self.writer.close()
        self.committer.close()
        shutil.rmtree(self.folder)
        self.folder, self.full = fresh, False
        self.committer = Committer(self.folder, self.lake, batch=7)
        self._start()

    @rule()
    def commit(self) -> None:
        self._with_space(self.committer.run_once)

    @rule()
    def restart_committer(self) -> None:
        self.committer.close()
        self.committer = Committer(self.folder, self.lake, batch=5)

    @rule(unit=st.sampled_from(["a", "b"]))
    @precondition(lambda self: self.number > 3)
    def erase(self, unit: str) -> None:
        def work() -> None:
            self.writer.flush()
            self.durable[self.writer.boot] = self.writer.count().durable
            self.committer.run_once()
            before = self._stored()
            erase(unit, segments=self.folder, lake=self.lake, now=self.now)
            self.erased |= before - self._stored()

        self._with_space(work)

    def _with_space(self, work) -> None:  # type: ignore[no-untyped-def]
        """The lake lies on another disk than the segments."""
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        space()
        try:
            work()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    def _rows(self, table: Table, *columns: str) -> list[tuple[object, ...]]:
        opened = Lake(self.lake).table(table)
        if opened is None:
            return []
        found = opened.to_pyarrow_table(columns=list(columns)).to_pydict()
        return list(zip(*(found[column] for column in columns), strict=True))

    def _stored(self) -> set[str]:
        return {str(name) for (name,) in self._rows(Table.EXCHANGES, "exchange")}

    @invariant()
    def memory_is_bounded(self) -> None:
        if hasattr(self, "writer"):
            assert self.writer._buffered < 2_500 + 2_000

    def teardown(self) -> None:
        if not hasattr(self, "writer"):
            return
        space()
        self.writer.close()
        self.committer.run_once()
        self.committer.close()
        stored = self._rows(Table.EXCHANGES, "worker", "boot", "seq", "exchange")
        for worker, boot, seq, name in stored:
            assert self.acknowledged[Boot(str(worker), str(boot))][int(str(seq))] == name
        assert len(stored) == len({name for *_, name in stored})
        found = verify(self.folder, self.lake)
        assert found.in_order, found
        given = {Boot(state.worker, state.boot): state for state in found.boots}
        for boot, names in self.acknowledged.items():
            if names:
                assert given[boot].given == len(names)
        there = {name for *_, name in stored}
        for boot, durable in self.durable.items():
            lost = {name for seq, name in self.acknowledged[boot].items() if seq < durable} - there - self.erased - {""}
            reasons = given[boot].lost if boot in given else {}
            dropped = sum(count for why, count in reasons.items() if why in ("buffer_full", "disk_full"))
            assert len(lost) <= dropped, (boot, lost, reasons)
        shutil.rmtree(self.root)


LogMachine.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


class TestLog(LogMachine.TestCase):  # type: ignore[name-defined,misc]
    """Whatever happens in whatever order, the books balance and what was durable is there."""
