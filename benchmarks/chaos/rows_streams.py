"""Rows 1 to 8: clients that leave, providers that stall, cut off, split or spoil a stream."""

from __future__ import annotations

import asyncio

import psutil
from benchmarks.chaos.client import DIALECTS, Leave
from benchmarks.chaos.row import (
    Row,
    Scale,
    at_most,
    in_time,
    none_of,
    only,
    plant_changed_byte,
    plant_fact,
    plant_fake_ending,
    plant_user_failure,
    quantile,
)
from benchmarks.chaos.world import Evidence, World, world


async def _settled(made: World) -> None:
    """Wait until no provider is still answering."""
    for _ in range(3000):
        if all(call.ended for call in made.inc.ledger + made.cand.ledger):
            return
        await asyncio.sleep(0.02)


def _left(evidence: Evidence) -> list[str]:
    """Every client that left: the provider saw it soon, and the ledger says client_gone."""
    found: list[str] = []
    delays: list[float] = []
    errors = {record.unit: record.error for record in evidence.served()}
    for saw in evidence.saw:
        calls = evidence.calls(saw.mark)
        if saw.outcome != "left":
            found.append(f"{saw.mark} ended as {saw.outcome} before the client could leave")
            continue
        if not calls:
            found.append(f"{saw.mark} never reached the provider")
        for call in calls:
            if call.ended != "gone":
                found.append(f"{saw.mark}: the provider was not told; its answer is {call.ended or 'still open'}")
            else:
                delays.append(call.ended_at - saw.ended_at)
        if errors.get(saw.mark) != "client_gone":
            found.append(f"{saw.mark}: the ledger says {errors.get(saw.mark)!r}, not client_gone")
    evidence.facts["leave_to_close_p50_ms"] = round(1000 * quantile(delays, 0.5), 2) if delays else None
    evidence.facts["leave_to_close_p99_ms"] = round(1000 * quantile(delays, 0.99), 2) if delays else None
    return found + in_time(evidence, "leave_to_close_p99_ms", 100)


async def leave_in_stream(scale: Scale) -> Evidence:
    async with world() as made:
        made.inc.become("inc", "f/lat=4")
        cases = [
            (dialect, size, reset)
            for dialect in DIALECTS
            for size in range(1, 1000, 1000 // scale.n(4, 500))
            for reset in (False, True)
        ]

        async def one(number: int) -> None:
            dialect, size, reset = cases[number]
            await made.ask(dialect, leave=Leave(after_bytes=size, reset=reset))

        await made.many(len(cases), one, at_once=48)
        await _settled(made)
        return await made.finish()


async def leave_early(scale: Scale) -> Evidence:
    async with world() as made:
        for fault in ("f/slow-hdr=4", "f/ttft=4"):
            made.inc.become("inc", fault)
            cases = [(d, s, r) for d in DIALECTS for s in (True, False) for r in (False, True)]
            cases *= scale.n(1, 125)

            async def one(number: int, cases: list[tuple[str, bool, bool]] = cases) -> None:
                dialect, stream, reset = cases[number]
                mark = made.mark()
                asked = Leave(after_s=0.15, known=lambda: bool(made.inc.marked(mark)), reset=reset)
                await made.ask(dialect, stream=stream, mark=mark, leave=asked)

            await made.many(len(cases), one, at_once=20)
        await _settled(made)
        return await made.finish()


def _plant_not_told(evidence: Evidence) -> None:
    """A gateway that polls for clients that left now and then, as one rival does."""
    for calls in evidence.received.values():
        for call in calls:
            call.ended_at += 0.5


async def stall(scale: Scale) -> Evidence:
    async with world(deadlines=scale.deadlines) as made:
        made.facts["idle_s"] = scale.deadlines["idle_s"]
        for fault in ("f/stall@3", f"f/pings=14@2;every={scale.n(2, 1) / 10}"):
            made.inc.become("inc", fault)
            cases = [(d, s) for d in DIALECTS for s in (True, False)] * scale.n(1, 5)
            if "pings" in fault:
                # White space keeps a whole answer alive too, but only a stream has pings of its own.
                cases = [case for case in cases if case[1]]
            await made.many(len(cases), lambda i, c=cases: made.ask(c[i][0], stream=c[i][1]), at_once=20)
        return await made.finish()


def judge_stall(evidence: Evidence) -> list[str]:
    found: list[str] = []
    times: list[float] = []
    false_stalls = 0
    for saw in evidence.saw:
        call = evidence.calls(saw.mark)[0]
        if call.fault.startswith("f/stall"):
            if saw.outcome not in ("broken", "error"):
                found.append(f"{saw.mark} ({saw.dialect}): a stalled answer ended as {saw.outcome}")
            times.append(saw.seconds)
        elif saw.outcome != "ok":
            false_stalls += 1
    evidence.facts["detected_max_s"] = round(max(times), 2)
    evidence.facts["false_stalls"] = false_stalls
    return (
        found + in_time(evidence, "detected_max_s", evidence.facts["idle_s"] + 0.7) + none_of(evidence, "false_stalls")
    )


async def silent(scale: Scale) -> Evidence:
    async with world(deadlines=scale.deadlines) as made:
        made.facts["whole_s"] = scale.deadlines["first_token_s"]
        made.inc.become("inc", "f/silent")
        await made.many(scale.n(10, 50), lambda i: made.ask(DIALECTS[i % 5], stream=i % 2 == 0))
        made.inc.become("inc", "f/ok")
        made.cand.become("cand", "f/silent")
        made.publish(share=1.0)
        await made.applied(made.epoch)
        made.facts["fallback_from"] = len(made.saw)
        await made.many(scale.n(10, 50), lambda i: made.ask(DIALECTS[i % 5], stream=i % 2 == 0))
        return await made.finish()


def judge_silent(evidence: Evidence) -> list[str]:
    start = evidence.facts["fallback_from"]
    found = [f"{s.mark}: {s.outcome}, wanted an error" for s in evidence.saw[:start] if s.outcome != "error"]
    failed = [saw.mark for saw in evidence.saw[start:] if saw.outcome != "ok"]
    evidence.facts["user_failures"] = len(failed)
    evidence.facts["fallback_max_s"] = round(max(saw.seconds for saw in evidence.saw[start:]), 2)
    by_unit = {record.unit: record for record in evidence.served()}
    for saw in evidence.saw[start:]:
        record = by_unit.get(saw.mark)
        silent_calls = [c for c in evidence.calls(saw.mark) if c.fault == "f/silent"]
        if record and silent_calls and not (record.masked and record.error and record.arm == "candidate"):
            found.append(f"{saw.mark}: the candidate's silence is not counted against it")
    return (
        found
        + none_of(evidence, "user_failures")
        + in_time(evidence, "fallback_max_s", evidence.facts["whole_s"] + 0.5)
    )


CUTS = ("f/rst@pre", "f/rst@hdr", "f/rst@2", "f/rst@mid", "f/eof@0", "f/eof@5", "f/eof@11", "f/fin@2", "f/short-cl")


async def cut_off(scale: Scale) -> Evidence:
    async with world() as made:
        cases = [(d, s) for d in DIALECTS for s in (True, False)] * scale.n(1, 112)
        for fault in CUTS:
            made.inc.become("inc", fault)
            await made.many(len(cases), lambda i: made.ask(cases[i][0], stream=cases[i][1]))
        return await made.finish()


def judge_cut_off(evidence: Evidence) -> list[str]:
    evidence.facts["fake_successes"] = sum(saw.outcome in ("ok", "quiet") for saw in evidence.saw)
    evidence.facts["cut_streams"] = len(evidence.saw)
    return only(evidence, "broken", "error") + none_of(evidence, "fake_successes")


SPELLINGS = (
    "f/nl=crlf",
    "f/nl=cr",
    "f/nl=lf;bom",
    "f/nl=lf;comments",
    "f/nl=crlf;multiline",
    "f/nl=lf;multiline;chunk=1",
)


async def split(scale: Scale) -> Evidence:
    async with world() as made:
        faults = ["f/split@all", *SPELLINGS, *(f"f/split@{size}" for size in range(2, scale.n(12, 200)))]
        for fault in faults:
            made.inc.become("inc", fault)
            spelt = "nl=" in fault
            for dialect in ("openai", "responses", "anthropic", "gemini") if spelt else DIALECTS:
                more = {"stream_options": {"include_usage": True}} if dialect == "openai" else {}
                for stream in (True,) if spelt else (True, False):
                    await made.ask(dialect, stream=stream, **more)
        return await made.finish()


def judge_split(evidence: Evidence) -> list[str]:
    found = only(evidence, "ok")
    by_unit = {record.unit: record for record in evidence.served()}
    wrong = 0
    for saw in evidence.saw:
        record = by_unit.get(saw.mark)
        if record is None:
            continue
        if record.answer != _text_of(saw.mark) or record.output_tokens != 84 or not record.finish_reason:
            wrong += 1
            call = evidence.calls(saw.mark)[0]
            where = f"{saw.dialect} {'stream' if saw.stream else 'whole'} {call.fault}"
            found.append(f"{where}: read {record.answer[:40]!r} {record.output_tokens} {record.finish_reason!r}")
    evidence.facts["misread"] = wrong
    return found + none_of(evidence, "misread")


def _text_of(mark: str) -> str:
    from understudy.testing.dialects import Asked, Turn
    from understudy.testing.faults import Fault, said

    return said(Asked("inc", (Turn("user", f"#{mark}# Grüße 🎭"),)), Fault("ok")).text


async def spoiled(scale: Scale) -> Evidence:
    async with world(deadlines={"total_s": 60}) as made:
        await made.ask()
        process = psutil.Process(made.pid)
        before = process.memory_info().rss
        for fault in ("f/bad-json@2", "f/unknown@2", "f/wrong-type"):
            made.inc.become("inc", fault)
            for dialect in ("openai", "responses", "anthropic", "gemini"):
                await made.ask(dialect)
        made.inc.become("inc", f"f/huge-line={scale.n(8, 50)}")
        await made.ask("openai", patience=60)
        made.facts["rss_growth_mb"] = round((process.memory_info().rss - before) / 1e6, 1)
        return await made.finish()


def judge_spoiled(evidence: Evidence) -> list[str]:
    changed = 0
    for saw in evidence.saw:
        call = evidence.calls(saw.mark)[0]
        # The provider's own ledger keeps the first MiB of an answer and the hash of all.
        changed += not saw.payload.startswith(call.payload[: 1 << 20])
        changed += len(saw.payload) != call.sent
    evidence.facts["changed_answers"] = changed
    return none_of(evidence, "changed_answers") + at_most(evidence, "rss_growth_mb", 24)


async def errors_after_200(scale: Scale) -> Evidence:
    async with world() as made:
        repeats = scale.n(1, 10)
        for fault in ("f/err@0", "f/err@3"):
            made.inc.become("inc", fault)
            await made.many(5 * repeats, lambda i: made.ask(DIALECTS[i % 5]))
        made.inc.become("inc", "f/ok")
        for fault in ("f/err@0", "f/err@3"):
            # A new upgrade for each, so that the guard of the former does not answer for it.
            made.cand.become("cand", fault)
            for dialect in DIALECTS[:4]:
                made.publish(share=1.0)
                await made.applied(made.epoch)
                await made.ask(dialect)
        return await made.finish()


def judge_errors_after_200(evidence: Evidence) -> list[str]:
    found: list[str] = []
    by_unit = {record.unit: record for record in evidence.served()}
    for saw in evidence.saw:
        calls = evidence.calls(saw.mark)
        record = by_unit.get(saw.mark)
        first = calls[0]
        if record is None or record.reason == "breaker_open":
            continue
        if not record.error:
            found.append(f"{saw.mark} ({saw.dialect} {first.fault}): the error inside the stream is not counted")
        if record.arm == "incumbent":
            if saw.payload != first.payload:
                found.append(
                    f"{saw.mark} ({saw.dialect} {first.fault}): the provider's error was not passed on as it is"
                )
        elif first.fault == "f/err@0" and (saw.outcome != "ok" or not record.masked):
            found.append(f"{saw.mark} ({saw.dialect}): an error before content was not masked by the incumbent")
        elif first.fault == "f/err@3" and len(calls) > 1:
            found.append(f"{saw.mark} ({saw.dialect}): the incumbent was asked after content had been shown")
    evidence.facts["misclassified"] = len(found)
    return found


def _plant_error_lost(evidence: Evidence) -> None:
    """A gateway that looks at the status only: 200 is a success."""
    import msgspec

    at = next(i for i, record in enumerate(evidence.records) if record.error == "in_stream")
    evidence.records[at] = msgspec.structs.replace(evidence.records[at], error="")


ROWS = [
    Row(
        1,
        "client leaves in mid-stream",
        "provider's connection closed, counted client_gone",
        leave_in_stream,
        _left,
        _plant_not_told,
    ),
    Row(
        2,
        "client leaves before headers or first token",
        "the same, streamed or not",
        leave_early,
        _left,
        _plant_not_told,
    ),
    Row(
        3,
        "provider stalls; provider only pings",
        "stall ended at the idle deadline, pings are no stall",
        stall,
        judge_stall,
        plant_fake_ending,
    ),
    Row(
        4,
        "provider accepts and never answers",
        "typed error in time; a candidate's silence is masked",
        silent,
        judge_silent,
        plant_user_failure,
    ),
    Row(
        5,
        "provider resets, ends early, sends less than promised",
        "never a fake ending",
        cut_off,
        judge_cut_off,
        plant_fake_ending,
    ),
    Row(
        6,
        "answers split at any byte, any line end",
        "bytes identical, read alike",
        split,
        judge_split,
        plant_changed_byte,
    ),
    Row(
        7,
        "broken events, unknown events, a line of 50 MB",
        "passed on unchanged in bounded memory",
        spoiled,
        judge_spoiled,
        plant_fact("rss_growth_mb", 120.0),
    ),
    Row(
        8,
        "an error inside a 200",
        "passed on, counted, masked before content only",
        errors_after_200,
        judge_errors_after_200,
        _plant_error_lost,
    ),
]
