"""Rows 62, 63, 66: the disk under the ledger is full, fails, or is slow, and no request notices.

Full and read-only need the right to mount a small disk; without it the limit on the size of files stands in for a full
one, and failing calls for a read-only one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import resource
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from benchmarks.chaos.row import Row, Scale, at_most, in_time, only, plant_fact, quantile
from benchmarks.chaos.waiting import waited
from benchmarks.chaos.world import Evidence, World, world

from understudy.ledger import tally

SLOW_MS = 1500
"""A request that takes longer than this has waited for a disk of two seconds."""


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A disk of 16 MB at a folder, which holds every record of the row; False where there is no right to mount one."""
    folder.mkdir(mode=0o700)
    mounted = _mount("-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", str(folder))
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def set_full(made: World, mounted: bool, full: bool) -> None:
    """Take the last byte of the ledger's disk, or give it back."""
    if not mounted:
        _, hard = resource.prlimit(made.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(made.pid, resource.RLIMIT_FSIZE, (4096 if full else hard, hard))
        return
    filler = made.segments / "filler"
    if full:
        with filler.open("wb", buffering=0) as file:
            _fill(file)
    else:
        filler.unlink()


def _fill(file: io.FileIO) -> None:
    """Until the disk takes no more: how much that is cannot be asked beforehand, the gateway writes too."""
    while True:
        try:
            file.write(bytes(64 * 1024))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return


async def resumed(made: World, patience: float = 60.0) -> float:
    """Seconds until the worker says that all it was told is on the disk."""
    begun = time.monotonic()
    while time.monotonic() - begun < patience:
        counts = [tally.read(path) for path in made.segments.glob(f"*{tally.SUFFIX}")]
        if counts and all(c is not None and not c.errno and c.durable == c.appended for c in counts):
            break
        await asyncio.sleep(0.02)
    return time.monotonic() - begun


async def full_disk(scale: Scale) -> Evidence:
    """Full before the gateway starts and while it serves; space comes back both times."""
    async with world(begin=False) as made:
        with small_disk(made.segments) as mounted:
            if mounted:
                set_full(made, mounted, True)
            await made.start()
            await made.many(scale.n(40, 2000), lambda i: made.ask(stream=i % 2 == 0))
            await asyncio.sleep(0.3)
            if mounted:
                set_full(made, mounted, False)
            slowest = await resumed(made)
            await made.many(10, lambda i: made.ask())
            set_full(made, mounted, True)
            await made.many(scale.n(60, 2000), lambda i: made.ask(stream=i % 2 == 0))
            await asyncio.sleep(0.3)
            set_full(made, mounted, False)
            made.facts["resume_s"] = round(max(slowest, await resumed(made)), 2)
            await made.many(10, lambda i: made.ask())
            evidence = await made.finish()
            evidence.facts["said"] = evidence.log.count("cannot be written")
            return evidence


def judge_full_disk(evidence: Evidence) -> list[str]:
    found = only(evidence, "ok") + accounted(evidence) + in_time(evidence, "resume_s", 5.0)
    return found if evidence.facts["said"] else [*found, "the gateway did not say that its ledger cannot be written"]


def accounted(evidence: Evidence) -> list[str]:
    """Every request is in the ledger once, or in a counted loss."""
    there = {record.unit for record in evidence.served()}
    missing = len({saw.mark for saw in evidence.saw} - there) - sum(evidence.lost.values())
    return [f"{missing} requests are neither in the ledger nor counted as lost"] if missing > 0 else []


@asynccontextmanager
async def injected(made: World, fault: str) -> AsyncIterator[int]:
    """System calls of the gateway fail or take long; how often is in the facts. Yields the id of strace, which the
    gateway waits for. Raises RuntimeError without strace."""
    trace = made.folder / "trace"
    call = fault.split(":")[0]
    command = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={call}", "-e", f"inject={fault}"]
    process = await asyncio.create_subprocess_exec(
        *command, "-p", str(made.pid), stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    with contextlib.suppress(TimeoutError):  # it ends at once only where it cannot attach
        await asyncio.wait_for(process.wait(), 1.0)
    if process.returncode is not None:
        assert process.stderr is not None
        raise RuntimeError(f"strace: {(await process.stderr.read()).decode()}")
    try:
        yield process.pid
    finally:
        process.terminate()
        await process.wait()
        said = trace.read_text()
        made.facts["injected"] = made.facts.get("injected", 0) + said.count("INJECTED") + said.count("DELAYED")


async def failing_disk(scale: Scale) -> Evidence:
    """Read-only when the gateway starts; later one sync in three fails."""
    async with world(begin=False) as made:
        with small_disk(made.segments) as mounted:
            if mounted:
                mounted = _mount("-o", "remount,ro", str(made.segments))
            await made.start()
            await made.many(scale.n(30, 500), lambda i: made.ask(stream=i % 2 == 0))
            if mounted:
                _mount("-o", "remount,rw", str(made.segments))
            await resumed(made)
            async with injected(made, "fdatasync:error=EIO:when=1+3"):
                for _ in range(scale.n(8, 60)):
                    await made.many(10, lambda i: made.ask(stream=i % 2 == 0))
                    await asyncio.sleep(0.06)
            await resumed(made)
            await made.many(10, lambda i: made.ask())
            return await made.finish()


def judge_failing_disk(evidence: Evidence) -> list[str]:
    found = only(evidence, "ok") + accounted(evidence)
    if evidence.lost:
        found.append(f"records were lost though the disk came back: {evidence.lost}")
    twice = len(evidence.served()) - len({record.exchange for record in evidence.served()})
    found += [f"{twice} records are there twice"] if twice else []
    return found if evidence.facts["injected"] else [*found, "no call was made to fail"]


async def slow_disk(scale: Scale) -> Evidence:
    """Every sync takes two seconds. Over once so many were slow that the rest cannot change it."""
    async with world() as made:
        await made.many(10, lambda i: made.ask())
        async with injected(made, "fdatasync:delay_exit=2000000") as tracer:
            taken: list[float] = []
            all_of_us = (os.getpid(), made.pid, tracer)
            count = scale.n(12, 500)
            while len(taken) < count and sum(each > SLOW_MS / 1000 for each in taken) <= 0.01 * count:
                begun, before = time.monotonic(), waited(*all_of_us)
                await made.ask()
                # Without what a busy machine adds: the time that we all waited for a processor.
                taken.append(time.monotonic() - begun - (waited(*all_of_us) - before))
                await asyncio.sleep(0.02)
            made.facts["p99_ms"] = round(1000 * quantile(taken, 0.99))
        return await made.finish()


def judge_slow_disk(evidence: Evidence) -> list[str]:
    found = only(evidence, "ok") + accounted(evidence) + at_most(evidence, "p99_ms", SLOW_MS)
    return found if evidence.facts["injected"] else [*found, "no call was made slow"]


def plant_silent_loss(evidence: Evidence) -> None:
    """A gateway that forgets a record and tells nobody."""
    evidence.records.remove(evidence.served()[0])


ROWS = [
    Row(
        62,
        "the ledger's disk is full, at the start and later",
        "no request fails, all is in the ledger within 5 s of space",
        full_disk,
        judge_full_disk,
        plant_silent_loss,
    ),
    Row(
        63,
        "the ledger's disk is read-only, its syncs fail",
        "no request fails, every record is there once",
        failing_disk,
        judge_failing_disk,
        plant_silent_loss,
    ),
    Row(
        66,
        "each sync of the ledger takes 2 s",
        "no request waits for a disk",
        slow_disk,
        judge_slow_disk,
        plant_fact("p99_ms", 2000),
    ),
]
