"""Runs the regression evals an upgrade asks for, in the background, each filed under all that its result depends on.

`understudy eval` files its results the same way, so an eval somebody ran by hand is not run again.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from understudy.config.project import Project
from understudy.core.errors import DataCorrupt, UnderstudyError
from understudy.core.playbook import Verdict
from understudy.evals import result as results
from understudy.evals import runner, setup
from understudy.evals.figures import signed as points
from understudy.evals.result import Bound, EvalResult
from understudy.evals.suite import Suite
from understudy.rollout.fold import EvalRecord, UpgradeState
from understudy.rollout.ports import EvalStatus
from understudy.tuning.unseen import judging
from understudy.upstream.client import Client

REREAD_S = 5.0
"""How long suites are taken as read while their files look the same: their cases may lie in other files."""
RETRY_S = 15.0
"""Pause before an eval that could not be run is tried again."""

_Stamp = tuple[tuple[str, int, int], ...]


@dataclass
class EvalRuns:
    """The evals of one controller. What was answered is kept on disk, so a killed run goes on where it was."""

    repeats: int = runner.DEFAULT_REPEATS
    concurrency: int = runner.DEFAULT_CONCURRENCY
    _suites: dict[str, tuple[float, _Stamp, list[Suite]]] = field(default_factory=dict)
    _cut: dict[tuple[str, str], tuple[list[Suite], list[Suite]]] = field(default_factory=dict)
    _known: dict[str, EvalRecord] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[EvalResult]] = field(default_factory=dict)
    _failed: dict[str, tuple[float, str]] = field(default_factory=dict)
    _done: dict[str, int] = field(default_factory=dict)

    def binding(self, project: Project, state: UpgradeState) -> str:
        suites = self._judging(project, state)
        limits = setup.thresholds(project, state.workload, suites)
        bound = Bound.of(suites, limits, state.incumbent, state.candidate)
        if bound.id not in self._known:
            self._look(project, state, bound)
        return bound.id

    def _look(self, project: Project, state: UpgradeState, bound: Bound) -> None:
        """Find a result of an earlier run, or of `understudy eval`."""
        try:
            for found in results.find(project.paths.evals, state.workload, state.incumbent, state.candidate):
                if found.bound.id == bound.id:
                    self._known[bound.id] = record_of(found, project.paths.evals)
        except DataCorrupt as error:
            self._failed.setdefault(bound.id, (0.0, str(error)))

    def _read(self, project: Project, workload: str) -> list[Suite]:
        stamp = _stamp(project.suites(workload))
        known = self._suites.get(workload)
        if known is not None and known[1] == stamp and time.monotonic() - known[0] < REREAD_S:
            return known[2]
        suites = setup.load_suites(project, workload)
        self._suites[workload] = (time.monotonic(), stamp, suites)
        return suites

    def _judging(self, project: Project, state: UpgradeState) -> list[Suite]:
        """The suites, without the cases that a search for the candidate's prompt saw."""
        suites = self._read(project, state.workload)
        key = (state.workload, state.candidate.fingerprint)
        known = self._cut.get(key)
        if known is None or known[0] is not suites:
            cut = judging(project.paths.evals, state.workload, state.candidate, suites)
            known = self._cut[key] = (suites, cut)
        return known[1]

    def status(self, binding: str) -> EvalStatus:
        self._collect(binding)
        if binding in self._known:
            return EvalStatus(self._known[binding])
        if binding in self._tasks:
            return EvalStatus(None, f"The eval is running: {self._done.get(binding, 0):,} answers so far.")
        failed = self._failed.get(binding)
        return EvalStatus(None, f"The eval could not be run: {failed[1]}" if failed else "")

    def start(self, project: Project, state: UpgradeState, binding: str) -> None:
        self._collect(binding)
        failed = self._failed.get(binding)
        waiting = failed is not None and time.monotonic() - failed[0] < RETRY_S
        if binding in self._known or binding in self._tasks or waiting:
            return
        suites = self._judging(project, state)
        job = runner.Job(
            workload=state.workload,
            incumbent=state.incumbent,
            candidate=state.candidate,
            providers=project.providers(),
            suites=suites,
            repeats=self.repeats,
            escalate=True,
            concurrency=self.concurrency,
            thresholds=setup.thresholds(project, state.workload, suites),
        )
        self._tasks[binding] = asyncio.create_task(self._run(project, job, binding))

    async def _run(self, project: Project, job: runner.Job, binding: str) -> EvalResult:
        def progress(done: int) -> None:
            self._done[binding] = self._done.get(binding, 0) + done

        client = Client(job.providers, project.provider_key)
        try:
            found = await runner.run(
                job,
                client,
                project.paths.evals,
                price=setup.prices(project),
                keep=setup.keeping(project),
                progress=progress,
            )
        finally:
            await client.close()
        results.save(found, project.paths.evals)
        self._known[found.bound.id] = record_of(found, project.paths.evals)
        return found

    def _collect(self, binding: str) -> None:
        """Take note of a run that has ended."""
        task = self._tasks.get(binding)
        if task is None or not task.done():
            return
        del self._tasks[binding]
        self._done.pop(binding, None)
        try:
            task.result()
        except UnderstudyError as error:
            self._failed[binding] = (time.monotonic(), error.message)

    async def close(self) -> None:
        """Stop what is running; its answers are kept."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()


def _stamp(paths: list[Path]) -> _Stamp:
    return tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in paths if path.exists())


def record_of(found: EvalResult, folder: Path) -> EvalRecord:
    """What the journal keeps of a result."""
    rows = [row for row in found.comparison.slices if row.verdict is Verdict.FAIL]
    name = f"{found.bound.incumbent}-{found.bound.candidate}-{found.bound.id}.json"
    return EvalRecord(
        id=found.bound.id,
        binding=found.bound.id,
        outcome=found.outcome,
        failed=tuple(row.slice for row in rows if not row.critical),
        critical=(*(row.slice for row in rows if row.critical), *found.comparison.critical_failures),
        summary=f"{found.comparison.sentence} {_figures(found)}",
        needed=found.comparison.needed,
        document=str(Path(folder.name) / found.workload / "results" / name),
    )


def _figures(found: EvalResult) -> str:
    total = found.comparison.aggregate
    return f"Change over all: {points(total.difference)} ({points(total.low)} to {points(total.high)})."
