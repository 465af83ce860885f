"""Rows 41 to 44, 57, 58 and 75: flips of the table, torn tables, dead candidates, dead guards, rollback by hand."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from dataclasses import replace

from benchmarks.chaos.row import (
    Row,
    Scale,
    at_most,
    in_time,
    none_of,
    only,
    plant_fact,
    plant_user_failure,
    quantile,
)
from benchmarks.chaos.rows_processes import serving, two_workers
from benchmarks.chaos.world import Evidence, World, world

from understudy.core.routing import encode


def epoch_of(headers: dict[str, str]) -> int:
    return int(headers.get("x-understudy-epoch", "-1"))


async def flips(scale: Scale) -> Evidence:
    async with world(workers=2) as made:
        taken: list[float] = []
        stale = 0
        for _ in range(scale.n(12, 300)):
            made.publish(share=0.5)
            taken.append(await made.applied(made.epoch, workers=2))
            later = await made.many(6, lambda i: made.ask())
            stale += sum(epoch_of(saw.headers) < made.epoch for saw in later)
        made.facts["propagation_p50_ms"] = round(1000 * quantile(taken, 0.5))
        made.facts["propagation_p99_ms"] = round(1000 * quantile(taken, 0.99))
        made.facts["stale_after_effective"] = stale
        # A worker that stands still must not be taken for one that has applied the table.
        frozen = serving(made)[0]
        frozen.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.3)
        made.publish(share=0.6)
        try:
            await made.applied(made.epoch, workers=2, timeout=1.0)
            made.facts["false_acknowledgements"] = 1
        except TimeoutError:
            made.facts["false_acknowledgements"] = 0
        frozen.send_signal(signal.SIGCONT)
        await made.applied(made.epoch, workers=2)
        return await made.finish()


def judge_flips(evidence: Evidence) -> list[str]:
    found = none_of(evidence, "stale_after_effective") + none_of(evidence, "false_acknowledgements")
    return found + only(evidence, "ok") + in_time(evidence, "propagation_p99_ms", 300)


async def flips_while_starting(scale: Scale) -> Evidence:
    """Workers die and come back while the table flips: a new worker begins with the newest table."""
    async with world(workers=2) as made:
        wrong = 0
        for number in range(scale.n(4, 40)):
            victim, other = (await two_workers(made))[:: 1 if number % 2 else -1]
            victim.send_signal(signal.SIGKILL)
            made.publish(share=0.5)
            published = made.epoch
            await _acknowledged(made, other.pid, published)
            for saw in await made.many(12, lambda i: made.ask(patience=20)):
                wrong += 0 <= epoch_of(saw.headers) < published
        made.facts["wrong_epoch"] = wrong
        made.tolerates = frozenset({"nothing", "broken"})
        return await made.finish()


async def _acknowledged(made: World, pid: int, epoch: int) -> None:
    """Wait until the worker that lives has applied an epoch. Raises TimeoutError."""
    async with asyncio.timeout(60):
        while not any(beat["pid"] == pid and beat["epoch"] >= epoch for beat in made.heartbeats().values()):
            await asyncio.sleep(0.01)


def judge_flips_while_starting(evidence: Evidence) -> list[str]:
    return none_of(evidence, "wrong_epoch") + only(evidence, "ok")


async def shuffled(scale: Scale) -> Evidence:
    """Two writers, old tables written after new ones: a worker's epoch never goes back."""
    async with world() as made:
        seed = 7
        order = random.Random(seed)
        tables = [made.publish(share=0.1, write=False) for _ in range(30)]
        went_back = 0
        highest = 1
        for _ in range(scale.n(20, 200)):
            index = order.randrange(len(tables))
            made.write(tables[index])
            if index + 2 > highest:
                highest = index + 2
            await asyncio.sleep(0.12)
            saw = await made.ask()
            seen = epoch_of(saw.headers)
            # A flip may take up to 200 ms; what may not happen is an epoch below one seen before.
            went_back += seen < made.facts.get("highest_seen", 0)
            made.facts["highest_seen"] = max(seen, made.facts.get("highest_seen", 0))
        made.write(tables[0])
        made.facts["told"] = 0
        for _ in range(0 if went_back else 600):
            (beat,) = made.heartbeats().values()
            if "older" in beat["status"]:
                made.facts["told"] = 1
                break
            await asyncio.sleep(0.05)
        made.facts["went_back"] = went_back
        made.facts["seed"] = seed
        return await made.finish()


def judge_shuffled(evidence: Evidence) -> list[str]:
    told = [] if evidence.facts["told"] else ["the heartbeat does not say that an older table was refused"]
    return none_of(evidence, "went_back") + told + only(evidence, "ok")


async def torn(scale: Scale) -> Evidence:
    """Tables cut at many lengths, with a flipped bit, and with sound bytes that mean nothing."""
    async with world() as made:
        good = made.epoch
        whole = made.publish(share=1.0, write=False)
        order = random.Random(11)
        cuts = [whole[: order.randrange(len(whole))] for _ in range(scale.n(6, 60))]
        flipped = []
        for _ in range(scale.n(6, 60)):
            at = order.randrange(len(whole))
            flipped.append(whole[:at] + bytes([whole[at] ^ (1 << order.randrange(8))]) + whole[at + 1 :])
        lane = made.routing.workloads["openai"]
        nowhere = replace(made.routing, workloads={**made.routing.workloads, "openai": replace(lane, incumbent="gone")})
        route = lane.route
        assert route is not None
        too_much = replace(lane, route=replace(route, share=2_000_000))
        senseless = [
            encode(nowhere),
            encode(replace(made.routing, workloads={"openai": too_much})),
            b"",
            b"[]",
            b"null",
        ]
        served = 0
        for data in [*cuts, *flipped, *senseless]:
            made.write(data)
            await asyncio.sleep(0.15)
            saw = await made.ask()
            served += epoch_of(saw.headers) != good
        made.facts["bad_tables"] = len(cuts) + len(flipped) + len(senseless)
        made.facts["bad_tables_served"] = served
        made.write(whole)
        made.facts["good_one_applied_ms"] = round(1000 * await made.applied(made.epoch))
        return await made.finish()


def judge_torn(evidence: Evidence) -> list[str]:
    return (
        none_of(evidence, "bad_tables_served") + in_time(evidence, "good_one_applied_ms", 1000) + only(evidence, "ok")
    )


DEATHS = ("f/rst@pre", "f/500", "f/silent", "refused")


async def candidate_dies(scale: Scale) -> Evidence:
    """At 100 %: the incumbent answers, and after a few failures the candidate is left alone."""
    worst_calls = 0
    async with world(deadlines=scale.deadlines) as made:
        for number, fault in enumerate(DEATHS):
            made.routing = replace(made.routing)
            made.cand.become("cand", "f/ok")
            made.publish(share=1.0)
            _upgrade(made, f"u{number}")
            await made.applied(made.epoch)
            await made.many(20, lambda i: made.ask())
            before = len(made.cand.ledger)
            if fault == "refused":
                made.cand.server.stop_listening()
                for connection in list(made.cand.server.connections):
                    connection.transport.abort()
            else:
                made.cand.become("cand", fault)
            died = time.monotonic()
            await made.many(scale.n(60, 5000), lambda i: made.ask(stream=i % 2 == 0), at_once=8)
            calls = made.cand.ledger[before:]
            worst_calls = max(worst_calls, len(calls))
            switched = max((call.at for call in calls), default=died) - died
            made.facts[f"switch_s_{fault.replace('f/', '')}"] = round(switched, 2)
        made.facts["calls_to_dead_candidate"] = worst_calls
        return await made.finish()


def _upgrade(made: World, name: str) -> None:
    """Give the upgrade another id, so that the guard of the former one does not answer for it."""
    workloads = {
        key: replace(w, route=replace(w.route, upgrade=name) if w.route else None)
        for key, w in made.routing.workloads.items()
    }
    made.epoch += 1
    made.routing = replace(made.routing, workloads=workloads, epoch=made.epoch)
    made.write(encode(made.routing))


def judge_candidate_dies(evidence: Evidence) -> list[str]:
    evidence.facts["failed_users"] = sum(saw.outcome != "ok" for saw in evidence.saw)
    found = none_of(evidence, "failed_users") + at_most(evidence, "calls_to_dead_candidate", 20)
    counted = sum(1 for r in evidence.served() if r.arm == "candidate" and r.masked and r.error)
    evidence.facts["masked_and_counted"] = counted
    return found if counted >= 3 * 5 else [*found, f"only {counted} failures were counted against the candidate"]


async def guard_dies(scale: Scale) -> Evidence:
    """Nobody renews the lease of a canary: after it the candidate gets nothing."""
    async with world() as made:
        made.publish(share=1.0, lease_s=60)
        await made.applied(made.epoch)
        before = await made.many(20, lambda i: made.ask())
        made.facts["candidate_before"] = sum(saw.headers.get("x-understudy-variant") == "new" for saw in before)
        lease = scale.n(1, 10)
        made.publish(share=1.0, lease_s=lease)
        until = time.time() + lease
        await made.applied(made.epoch)
        while time.time() < until:
            await asyncio.sleep(0.02)
        after = await made.many(scale.n(100, 5000), lambda i: made.ask())
        made.facts["candidate_after"] = sum(saw.headers.get("x-understudy-variant") == "new" for saw in after)
        made.publish(share=1.0, lease_s=60)
        await made.applied(made.epoch)
        renewed = await made.many(20, lambda i: made.ask())
        made.facts["candidate_renewed"] = sum(saw.headers.get("x-understudy-variant") == "new" for saw in renewed)
        return await made.finish()


def judge_guard_dies(evidence: Evidence) -> list[str]:
    found = none_of(evidence, "candidate_after") + only(evidence, "ok")
    vacuous = [f for f in ("candidate_before", "candidate_renewed") if evidence.facts[f] != 20]
    return found + [f"{fact} is {evidence.facts[fact]}, wanted 20" for fact in vacuous]


async def kill_file(scale: Scale) -> Evidence:
    """No controller, no dashboard: a file beside the table takes the candidate out, and its removal gives it back."""
    async with world(workers=2) as made:
        made.publish(share=1.0)
        await made.applied(made.epoch, workers=2)
        times: list[float] = []
        file = made.table.parent / "rollback.openai"
        for _ in range(scale.n(3, 40)):
            stop = asyncio.Event()

            async def client(stop: asyncio.Event = stop) -> None:
                while not stop.is_set():
                    await made.ask()

            clients = [asyncio.create_task(client()) for _ in range(6)]
            await asyncio.sleep(0.3)
            file.touch()
            touched = time.monotonic()
            await asyncio.sleep(0.7)
            last = max(call.at for call in made.cand.ledger)
            times.append(last - touched)
            stop.set()
            await asyncio.gather(*clients)
            file.unlink()
            for _ in range(200):
                await asyncio.sleep(0.1)
                saw = await made.ask()
                if saw.headers.get("x-understudy-variant") == "new":
                    break
            else:
                made.facts["not_given_back"] = 1
        made.facts["last_candidate_request_max_ms"] = round(1000 * max(times))
        return await made.finish()


def judge_kill_file(evidence: Evidence) -> list[str]:
    found = in_time(evidence, "last_candidate_request_max_ms", 500) + only(evidence, "ok")
    return (
        [*found, "the candidate did not come back with the file gone"] if "not_given_back" in evidence.facts else found
    )


ROWS = [
    Row(
        41,
        "a flip with one worker standing still",
        "effective only when all acknowledged; nothing stale after",
        flips,
        judge_flips,
        plant_fact("stale_after_effective", 17),
    ),
    Row(
        42,
        "flips while workers die and start",
        "a new worker begins with the newest table",
        flips_while_starting,
        judge_flips_while_starting,
        plant_fact("wrong_epoch", 1),
    ),
    Row(
        43,
        "old tables written after new ones",
        "no worker's epoch goes back, and it says so",
        shuffled,
        judge_shuffled,
        plant_fact("went_back", 1),
    ),
    Row(
        44,
        "torn, flipped and senseless tables",
        "the last good one stays, the next good one is taken",
        torn,
        judge_torn,
        plant_fact("bad_tables_served", 1),
    ),
    Row(
        57,
        "the candidate dies at 100 %",
        "no user fails, it is left alone after a few calls",
        candidate_dies,
        judge_candidate_dies,
        plant_user_failure,
    ),
    Row(
        58,
        "guard and controller dead in a canary",
        "no candidate answer after the lease",
        guard_dies,
        judge_guard_dies,
        plant_fact("candidate_after", 12),
    ),
    Row(
        75,
        "everything dead but the gateway, roll back now",
        "a kill file ends the candidate within 500 ms",
        kill_file,
        judge_kill_file,
        plant_fact("last_candidate_request_max_ms", 5000),
    ),
]
