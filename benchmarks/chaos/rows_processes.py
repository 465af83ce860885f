"""Rows 15, 21, 22, 23, 72, 73, 74, 80: leaks, exhaustion, restarts, kills, and everything else on the machine dead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
from benchmarks.chaos.client import DIALECTS, Leave, raw
from benchmarks.chaos.row import (
    Row,
    Scale,
    at_most,
    in_time,
    none_of,
    only,
    plant_fact,
    plant_hang,
    plant_user_failure,
    quantile,
)
from benchmarks.chaos.rows_requests import status_of
from benchmarks.chaos.waiting import waited
from benchmarks.chaos.world import Evidence, World, world


def serving(made: World) -> list[psutil.Process]:
    """The worker processes that live, without the supervisor."""
    found = []
    for child in psutil.Process(made.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.status() != psutil.STATUS_ZOMBIE and "worker" in " ".join(child.cmdline()):
                found.append(child)
    return found


async def two_workers(made: World, patience: float = 120.0) -> list[psutil.Process]:
    """Both workers, as soon as both live. Raises TimeoutError."""
    async with asyncio.timeout(patience):
        while len(found := serving(made)) < 2:
            await asyncio.sleep(0.02)
    return found


MIX = ("f/ok", "f/ok", "f/ok", "f/500", "f/eof@3", "f/rst@2", "f/err@1", "f/rst@pre", "f/429;ra=1")


MORE_FDS = 2
"""So many more open files after than before are no leak: a connection here or there that is just ending."""


async def soak(scale: Scale) -> Evidence:
    """A mixture of successes, errors, disconnects and fallbacks, over and over."""
    rounds, per_round = scale.n(3, 20), scale.n(150, 1000)
    async with world() as made:
        process = psutil.Process(made.pid)
        made.reconcile = False
        sizes: list[int] = []

        async def one(index: int) -> None:
            leave = Leave(after_bytes=50) if index % 10 == 9 else None
            await made.ask(DIALECTS[index % 5], stream=index % 3 != 0, counted=False, leave=leave)

        for number in range(rounds + 1):
            for kind in MIX:
                made.inc.become("inc", kind)
                await made.many(per_round // len(MIX) + 1, one)
            await asyncio.sleep(0.3)
            if number:
                sizes.append(process.memory_info().rss)
            if number == 1:
                made.facts["fds_before"] = process.num_fds()
            made.inc.ledger.clear()
        for _ in range(300):
            await asyncio.sleep(0.1)
            made.facts["fds_after"] = process.num_fds()
            if made.facts["fds_after"] <= made.facts["fds_before"] + MORE_FDS:
                break
        requests = per_round * (rounds - 1)
        made.facts["rss_mb_per_100k"] = round((sizes[-1] - sizes[0]) / 1e6 / requests * 100_000, 1) if requests else 0
        made.facts["requests"] = per_round * (rounds + 1)
        return await made.finish()


def judge_soak(evidence: Evidence) -> list[str]:
    facts = evidence.facts
    # A short run says little about a slope: a page here and there is megabytes per 100,000 requests.
    found = at_most(evidence, "rss_mb_per_100k", 5 if facts["requests"] > 10_000 else 600)
    if facts["fds_after"] > facts["fds_before"] + MORE_FDS:
        found.append(f"{facts['fds_after']} open files after, {facts['fds_before']} before")
    return found


async def exhausted(scale: Scale) -> Evidence:
    async with world(deadlines={"headers_s": 3.0, "first_token_s": 3.0}) as made:
        await made.ask()
        _, hard = resource.prlimit(made.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(made.pid, resource.RLIMIT_NOFILE, (64, hard))
        made.inc.become("inc", "f/silent")
        await made.many(scale.n(120, 600), lambda i: made.ask(patience=30), at_once=600)
        made.inc.become("inc", "f/ok")
        for _ in range(10):
            await made.ask()
        made.facts["alive_after"] = sum(saw.outcome == "ok" for saw in made.saw[-10:])
        # Without a descriptor there is nothing to answer on: being closed at once is all that is left.
        made.tolerates = frozenset({"nothing"})
        return await made.finish()


def judge_exhausted(evidence: Evidence) -> list[str]:
    found = only(evidence, "ok", "error", "nothing")
    return found if evidence.facts["alive_after"] == 10 else [*found, "the gateway did not recover"]


async def rolling(scale: Scale) -> Evidence:
    async with world(workers=2) as made:
        made.inc.become("inc", "f/lat=0.2")
        stop = asyncio.Event()

        async def client(index: int) -> None:
            while not stop.is_set():
                await made.ask(DIALECTS[index % 5], stream=index % 2 == 0, close=index % 3 != 0)

        clients = [asyncio.create_task(client(index)) for index in range(scale.n(16, 128))]
        await asyncio.sleep(0.5)
        restarts = scale.n(2, 100)
        for _ in range(restarts):
            before = {process.pid for process in serving(made)}
            os.kill(made.pid, signal.SIGHUP)
            for _ in range(1200):
                await asyncio.sleep(0.05)
                now = {process.pid for process in serving(made)}
                if len(now) == 2 and not now & before:
                    break
            else:
                made.facts["restart_stuck"] = 1
        made.facts["restarts"] = restarts
        stop.set()
        await asyncio.gather(*clients)
        return await made.finish()


def judge_rolling(evidence: Evidence) -> list[str]:
    evidence.facts["failed"] = sum(saw.outcome != "ok" for saw in evidence.saw)
    stuck = ["the workers were not replaced within a minute"] if evidence.facts.get("restart_stuck") else []
    return stuck + none_of(evidence, "failed") + only(evidence, "ok")


async def worker_killed(scale: Scale) -> Evidence:
    async with world(workers=2) as made:
        respawns: list[float] = []
        under_way: list[float] = []
        made.inc.become("inc", "f/lat=0.05")
        for number in range(scale.n(3, 30)):
            clients = [asyncio.create_task(made.ask(patience=20)) for _ in range(12)]
            await asyncio.sleep(0.02)
            victim = (await two_workers(made))[number % 2]
            victim.send_signal(signal.SIGKILL)
            killed = time.monotonic()
            under_way.append(killed)
            while len(serving(made)) < 2 and time.monotonic() - killed < 20:
                await asyncio.sleep(0.01)
            respawns.append(time.monotonic() - killed)
            await asyncio.gather(*clients)
            if respawns[-1] > 20:
                break
            # New connections after the kill: none may fail, whether their worker is back already or not.
            later = await made.many(12, lambda i: made.ask(patience=20))
            made.facts["new_failures"] = made.facts.get("new_failures", 0) + sum(s.outcome != "ok" for s in later)
        made.facts["respawn_max_ms"] = round(1000 * max(respawns))
        # What was under way in the killed process breaks, and could not be written down any more.
        made.tolerates = frozenset({"nothing", "broken"})
        return await made.finish()


def judge_worker_killed(evidence: Evidence) -> list[str]:
    # A worker that keeps dying young is given pauses of up to 5 s; its connections wait for it.
    found = none_of(evidence, "new_failures") + in_time(evidence, "respawn_max_ms", 6500)
    return found + [f"{s.mark} ended as {s.outcome}" for s in evidence.saw if s.outcome in ("hung", "quiet", "odd")]


async def controller_dead(scale: Scale) -> Evidence:
    """Nothing runs but the gateway; the table is ten days old; the lake and the heartbeats of others are gone."""
    async with world(begin=False) as made:
        made.publish(share=0.5)
        old = time.time() - 10 * 86_400
        os.utime(made.table, (old, old))
        await made.start(workers=2)
        await made.many(scale.n(500, 100_000), lambda i: made.ask(DIALECTS[i % 5], stream=i % 4 == 0))
        return await made.finish()


def judge_all_ok(evidence: Evidence) -> list[str]:
    evidence.facts["user_failures"] = sum(saw.outcome != "ok" for saw in evidence.saw)
    return only(evidence, "ok")


async def database_gone(scale: Scale) -> Evidence:
    """The control store is locked, then garbage, then missing: the gateway has no file of it open."""
    async with world(begin=False) as made:
        store = made.folder / "control.db"
        connection = sqlite3.connect(store)
        connection.execute("CREATE TABLE t (x)")
        connection.commit()
        connection.execute("BEGIN EXCLUSIVE")
        await made.start(workers=1)
        await made.many(scale.n(150, 34_000), lambda i: made.ask(DIALECTS[i % 5]))
        connection.close()
        store.write_bytes(b"\x00" * 5000)
        await made.many(scale.n(150, 34_000), lambda i: made.ask(DIALECTS[i % 5]))
        store.unlink()
        await made.many(scale.n(150, 34_000), lambda i: made.ask(DIALECTS[i % 5]))
        opened = [file.path for process in serving(made) for file in process.open_files()]
        made.facts["databases_open"] = sum(".db" in path or "sqlite" in path for path in opened)
        return await made.finish()


def judge_database_gone(evidence: Evidence) -> list[str]:
    return judge_all_ok(evidence) + none_of(evidence, "databases_open")


def _command(made: World, table: Path, port: int = 0) -> list[str]:
    command = [sys.executable, "-m", "understudy", "gateway", "--json", "--workers", "1", "--port", str(port)]
    return [*command, "--table", str(table), "--segments", str(made.segments)]


async def cold_start(scale: Scale) -> Evidence:
    async with world(begin=False) as made:
        made.publish(share=0.2)
        times = []
        for _ in range(scale.n(2, 10)):
            begun, ours = time.monotonic(), waited(os.getpid())
            await made.start(workers=1)
            saw = await made.ask()
            took = time.monotonic() - begun
            # What a busy machine adds: the time that command and worker, and we, waited for a processor.
            busy = waited(made.pid, *(worker.pid for worker in serving(made))) + waited(os.getpid()) - ours
            times.append(max(0.0, took - busy) if saw.outcome == "ok" else 99.0)
            await made.stop()
        made.facts["first_answer_s"] = round(quantile(times, 0.5), 2)
        no_table = made.folder / "nowhere" / "table.json"
        torn = made.folder / "torn.json"
        torn.write_bytes(made.table.read_bytes()[:200])
        complaints = []
        for table, words in ((no_table, "no routing table"), (torn, "routing table")):
            done = subprocess.run(
                _command(made, table), capture_output=True, text=True, timeout=30, check=False, env=made.environment()
            )
            said = done.stdout + done.stderr
            if done.returncode not in (2, 3) or words not in said or "Traceback" in said:
                complaints.append(f"without a good table: exit {done.returncode}, {said[-200:]!r}")
        made.facts["complaints"] = complaints
        made.facts["exit_code"] = 0
        return await made.finish()


def judge_cold_start(evidence: Evidence) -> list[str]:
    return only(evidence, "ok") + in_time(evidence, "first_answer_s", 1.5) + list(evidence.facts["complaints"])


async def health(scale: Scale) -> Evidence:
    """The truth table: alive whenever the loop runs, ready whenever there is a valid table, whatever else is dead."""

    async def probes() -> tuple[int, int]:
        answers = []
        for path in (b"/healthz", b"/readyz"):
            answer, _ = await raw(made.port, b"GET %s HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n" % path)
            answers.append(status_of(answer))
        return answers[0], answers[1]

    async with world() as made:
        cases = [("all well", await probes(), (200, 200))]
        made.inc.server.stop_listening()
        made.cand.server.stop_listening()
        cases.append(("both providers dead", await probes(), (200, 200)))
        made.write(b"{")
        await asyncio.sleep(0.4)
        cases.append(("a torn table after a good one", await probes(), (200, 200)))
        made.table.unlink()
        await asyncio.sleep(0.4)
        cases.append(("no table any more", await probes(), (200, 200)))
        wrong = [f"{name}: alive {got[0]}, ready {got[1]}, wanted {want}" for name, got, want in cases if got != want]
        made.facts["wrong"] = wrong
        return await made.finish()


def judge_health(evidence: Evidence) -> list[str]:
    return list(evidence.facts["wrong"])


def _plant_wrong(evidence: Evidence) -> None:
    evidence.facts["wrong"] = [*evidence.facts["wrong"], "both providers dead: alive 200, ready 503"]


ROWS = [
    Row(
        15,
        "a long mixture of successes, errors, disconnects",
        "flat memory, no file left open",
        soak,
        judge_soak,
        plant_fact("fds_after", 10_000),
    ),
    Row(
        21,
        "no file descriptors left",
        "fails fast, never hangs, recovers",
        exhausted,
        judge_exhausted,
        plant_hang,
    ),
    Row(
        22,
        "rolling restarts under load with live streams",
        "no request lost",
        rolling,
        judge_rolling,
        plant_user_failure,
    ),
    Row(
        23,
        "a worker killed with SIGKILL",
        "new connections served, worker back, losses counted",
        worker_killed,
        judge_worker_killed,
        plant_fact("new_failures", 2),
    ),
    Row(72, "controller dead for days", "no user notices", controller_dead, judge_all_ok, plant_user_failure),
    Row(
        73,
        "control database locked, corrupt, missing",
        "no user notices; the gateway opens none",
        database_gone,
        judge_database_gone,
        plant_fact("databases_open", 1),
    ),
    Row(
        74,
        "cold start with everything else dead",
        "serves from the table on disk; without one says so",
        cold_start,
        judge_cold_start,
        plant_fact("first_answer_s", 12.0),
    ),
    Row(
        80,
        "health probes in four situations",
        "alive = loop runs, ready = valid table, nothing else",
        health,
        judge_health,
        _plant_wrong,
    ),
]
