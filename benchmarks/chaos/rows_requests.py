"""Rows 11, 13, 17, 24, 25, 26, 28: what hostile or clumsy callers send."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time

import psutil
from benchmarks.chaos.client import DIALECTS, raw, request
from benchmarks.chaos.corpus import hostile_json, smuggling
from benchmarks.chaos.fronts import FRONTS, find, front, unseen
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
from benchmarks.chaos.waiting import probing
from benchmarks.chaos.world import Evidence, World, world

MB = 1_000_000


def status_of(answer: bytes) -> int:
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


async def big_bodies(scale: Scale) -> Evidence:
    async with world(limits={"receipt_s": 20}) as made:
        await made.ask()
        process = psutil.Process(made.pid)
        before = process.memory_info().rss
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n"
        peak = before

        async def watch() -> None:
            nonlocal peak
            while True:
                peak = max(peak, process.memory_info().rss)
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        answers = {}
        for name, size in (("33 MB declared", 33_600_000), ("1 GB declared", 1 << 30), ("huge", 10**18)):
            answers[name], _ = await raw(made.port, head + b"content-length: %d\r\n\r\n" % size, patience=1.5)
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        begun = time.monotonic()
        answers["chunked without end"], _ = await raw(
            made.port, head + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 640, patience=8
        )
        made.facts["chunked_s"] = round(time.monotonic() - begun, 2)
        body = json.dumps({"model": "openai", "messages": [{"role": "user", "content": "#tiny# x"}]}).encode()
        one_byte = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
        tiny, _ = await raw(made.port, head + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n" + one_byte)
        watching.cancel()
        made.facts["not_413"] = sum(status_of(answer) != 413 for answer in answers.values())
        made.facts["one_byte_chunks_status"] = status_of(tiny)
        made.facts["rss_peak_mb"] = round((peak - before) / MB, 1)
        made.inc.ledger[:] = [call for call in made.inc.ledger if call.mark != "tiny"]
        return await made.finish()


def judge_big_bodies(evidence: Evidence) -> list[str]:
    found = none_of(evidence, "not_413") + at_most(evidence, "rss_peak_mb", 2 * 33.6)
    if evidence.facts["one_byte_chunks_status"] != 200:
        found.append(f"a body in chunks of one byte got {evidence.facts['one_byte_chunks_status']}")
    return found + only(evidence, "ok")


async def slowloris(scale: Scale) -> Evidence:
    """Many connections that trickle heads or bodies, or say nothing; honest clients beside them."""
    count = scale.n(150, 2000)
    async with world(limits={"connections": 10_000, "idle_s": 1.5, "receipt_s": 1.0}) as made:
        held: list[tuple[float, float]] = []

        async def trickle(kind: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
            begun = time.monotonic()
            data = request("openai", "openai", "slow")
            cut = data.index(b"\r\n\r\n") + 10 if kind == 1 else 30
            if kind != 2:
                writer.write(data[:cut])
            try:
                for byte in data[cut : cut + 100]:
                    if kind != 2:
                        writer.write(bytes([byte]))
                    async with asyncio.timeout(0.1):
                        if not await reader.read(1000):
                            break
            except (TimeoutError, ConnectionError):
                pass
            try:
                async with asyncio.timeout(8):
                    while await reader.read(1000):
                        pass
            except (TimeoutError, ConnectionError):
                pass
            held.append((begun, time.monotonic() - begun))
            writer.transport.abort()

        async def keep_trickling(kind: int) -> None:
            await trickle(kind)

        # The honest are asked from here, for their answers, and by a process of its own, for their time.
        async with probing(made.port, made.pid) as lags:
            trickling = [asyncio.create_task(keep_trickling(index % 3)) for index in range(count)]
            await asyncio.sleep(0.2)
            for _ in range(80):
                await made.ask()
            await asyncio.gather(*trickling)
        made.facts["honest_p99_ms"] = round(1000 * quantile(lags, 0.99), 1)
        made.facts["held_max_s"] = round(max(seconds for _, seconds in held), 2)
        return await made.finish()


def judge_slowloris(evidence: Evidence) -> list[str]:
    return only(evidence, "ok") + in_time(evidence, "held_max_s", 2.6) + at_most(evidence, "honest_p99_ms", 100)


async def smuggled(scale: Scale) -> Evidence:
    async with world(limits={"receipt_s": 0.5, "idle_s": 0.5}) as made:
        made.reconcile = False
        cases = list(smuggling())
        odd: list[str] = []

        async def one(index: int) -> None:
            name, data = cases[index]
            data = data.replace(b"#evil#", b"#e%03d#" % index)
            answer, end = await raw(made.port, data, patience=4)
            statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:] if part[:1] in b"12345"]
            if end == "open":
                odd.append(f"{name}: the connection is still open")
            elif statuses and statuses[-1][:1] == b"5":
                odd.append(f"{name}: answered {statuses}")

        await made.many(len(cases), one, at_once=8)
        made.facts["cases"] = len(cases)
        made.facts["odd"] = odd
        made.facts["smuggled"] = smuggled_in(made, cases)
        for name in FRONTS:
            if find(name) is None:
                sys.stderr.write(f"{name} IS NOT INSTALLED: the smuggling corpus was not sent through it\n")
            else:
                await _behind(name, made, cases)
        made.facts["calls"] = len(made.inc.ledger)
        made.facts["ambiguous_upstream"] = sum(_ambiguous(bytes(line.raw)) for line in made.inc.lines)
        evidence = await made.finish()
        made.facts["booked"] = sum(record.attempts for record in evidence.records)
        return evidence


async def _behind(name: str, made: World, cases: list[tuple[str, bytes]]) -> None:
    """The corpus through a front, and after each case an honest request, on the same kept connections behind it."""
    async with front(name, made.folder / name, made.port) as proxy:
        start = len(made.inc.ledger)
        mixed: list[str] = []

        async def one(index: int) -> None:
            await raw(proxy.port, cases[index][1], patience=4)
            saw = await made.ask(stream=False, port=proxy.port, counted=False)
            own = made.inc.marked(saw.mark)
            if saw.outcome != "ok" or [call.payload for call in own] != [saw.payload]:
                mixed.append(f"{cases[index][0]} behind {name}: the next caller got {saw.status} {saw.payload[:60]!r}")

        await made.many(len(cases), one, at_once=8)
        await asyncio.sleep(1.5)  # the front's own deadlines end what is open, and it writes that down
        received = [call.headers.get("x-request-id", "none") for call in made.inc.ledger[start:]]
        made.facts[f"{name}_calls"] = len(received)
        made.facts["smuggled"] += [f"{id_} behind {name}" for id_ in unseen(proxy.forwarded(), received)]
        made.facts["odd"] += mixed


def smuggled_in(made: World, cases: list[tuple[str, bytes]]) -> list[str]:
    """The cases whose hidden request was carried out although what stood before it has no single reading."""
    sound = {f"e{index:03}" for index, (_, data) in enumerate(cases) if _is_sound(data)}
    made.facts["sound_cases"] = len(sound)
    carried_out = {call.mark for call in made.inc.ledger if call.mark.startswith("e")}
    return [cases[int(mark[1:])][0] for mark in sorted(carried_out - sound)]


_TEXT = rb"[\x20-\x7e\t]*"
_CHUNKS = re.compile(rb"(?:[0-9a-fA-F]+(?:;" + _TEXT + rb")?\r\n)")


def _is_sound(data: bytes) -> bool:
    """Whether the first request has one reading only, so that INNER behind it really is a second request.

    Written by hand, apart from every parser under test: the request line as it must be; one content-length of digits
    that ends where INNER begins and no transfer-encoding, or `transfer-encoding: chunked` alone and proper chunks.
    """
    inner = data.rfind(b"POST ")
    head, gap, body = data[:inner].lstrip(b"\r\n").partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    fields = [(line.partition(b":")[0].lower(), line.partition(b":")[2].strip(b" \t")) for line in lines[1:]]
    names = [name for name, _ in fields]
    if not gap or lines[0] != b"POST /v1/chat/completions HTTP/1.1" or b"\n" in head.replace(b"\r\n", b""):
        return False
    if names.count(b"host") != 1 or any(name in (b"expect", b"upgrade") for name in names):
        return False
    if any(not re.fullmatch(rb"[a-z0-9-]+", name) for name in names):
        return False
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if lengths:
        return not codings and len(lengths) == 1 and lengths[0].isdigit() and int(lengths[0]) == len(body)
    return codings == [b"chunked"] and _proper_chunks(body)


def _proper_chunks(body: bytes) -> bool:
    """Chunks with sizes in hexadecimal, extensions of printable text, no trailer, up to the very end."""
    while size_line := _CHUNKS.match(body):
        size = int(re.split(rb"[;\r]", size_line[0])[0], 16)
        body = body[size_line.end() :]
        if size == 0:
            return body == b"\r\n"
        if body[size : size + 2] != b"\r\n":
            return False
        body = body[size + 2 :]
    return False


def _ambiguous(sent: bytes) -> bool:
    """Whether the gateway itself sent a provider anything but one length and no transfer-encoding."""
    heads = [part for part in sent.split(b"\r\n\r\n") if part.startswith(b"POST ")]
    return any(b"transfer-encoding" in head.lower() or head.lower().count(b"content-length:") != 1 for head in heads)


def judge_smuggled(evidence: Evidence) -> list[str]:
    found = [f"carried out: {name}" for name in evidence.facts["smuggled"]] + evidence.facts["odd"]
    found += none_of(evidence, "ambiguous_upstream")
    if evidence.facts["booked"] != evidence.facts["calls"]:
        found.append(
            f"providers received {evidence.facts['calls']} requests, the ledger has {evidence.facts['booked']}"
        )
    return found if evidence.facts["cases"] >= 150 else [*found, "the corpus has less than 150 cases"]


async def bad_json(scale: Scale) -> Evidence:
    async with world(limits={"receipt_s": 5}) as made:
        made.reconcile = False
        odd: list[str] = []
        for name, body in hostile_json():
            answer, end = await raw(made.port, request("openai", "openai", "json", body=body), patience=5)
            status = status_of(answer)
            if status not in (200, 400, 404, 413) or end == "open":
                odd.append(f"{name}: status {status}, connection {end}")
            for call in made.inc.ledger:
                # "" is a body that the provider could not read either: passed on as it came.
                if call.model not in ("inc", ""):
                    odd.append(f"{name}: the provider was asked for {call.model!r}")
            made.inc.ledger.clear()
        made.facts["odd"] = odd
        await made.ask(counted=False)
        made.facts["alive_after"] = int(bool(made.inc.ledger))
        return await made.finish()


def judge_bad_json(evidence: Evidence) -> list[str]:
    return list(evidence.facts["odd"]) + ([] if evidence.facts["alive_after"] else ["the gateway serves no more"])


FORGED = (
    ("cookie", "session=1"),
    ("x-forwarded-for", "10.0.0.1"),
    ("x-forwarded-host", "evil"),
    ("forwarded", "for=10.0.0.1"),
    ("via", "1.1 evil"),
    ("connection", "x-private"),
    ("x-private", "1"),
    ("te", "trailers"),
    ("proxy-authorization", "Basic abc"),
    ("authorization", "Bearer the-callers-own-key"),
    ("x-api-key", "the-callers-own-key"),
    ("x-goog-api-key", "the-callers-own-key"),
    ("x-understudy-variant", "new"),
    ("x-understudy-epoch", "99"),
    ("x-understudy-arm", "candidate"),
    ("x-understudy-upstream", "http://evil"),
    ("host", "evil"),
)


async def forged_headers(scale: Scale) -> Evidence:
    async with world() as made:
        made.inc.become("inc", "f/hop")
        for dialect in DIALECTS:
            headers = tuple((n, v) for n, v in FORGED if n not in ("host", "connection"))
            await made.ask(dialect, headers=(*headers, ("connection", "x-private")), close=False)
        leaks = []
        for call in made.inc.ledger:
            for name, value in FORGED:
                got = call.headers.get(name, "")
                if value in got or (name == "x-private" and got):
                    leaks.append(f"{name} reached the provider")
            leaks += [f"{name} reached the provider" for name in call.headers if name.startswith("x-understudy")]
        for saw in made.saw:
            # The provider said `connection: x-private`: that header was for the gateway.
            leaks += [f"{name} reached the client" for name in ("x-private", "set-cookie") if name in saw.headers]
        too_big, _ = await raw(made.port, request("openai", "openai", "big", headers=(("cookie", "a" * 70_000),)))
        many = tuple((f"x-h{n}", "1") for n in range(500))
        too_many, _ = await raw(made.port, request("openai", "openai", "many", headers=many))
        made.facts["not_431"] = sum(status_of(answer) != 431 for answer in (too_big, too_many))
        made.facts["leaks"] = sorted(set(leaks))
        return await made.finish()


def judge_forged_headers(evidence: Evidence) -> list[str]:
    return list(evidence.facts["leaks"]) + none_of(evidence, "not_431") + only(evidence, "ok")


async def loop_block(scale: Scale) -> Evidence:
    """Big bodies while somebody asks for the time of day: how long does the loop stand still?"""
    async with world(limits={"receipt_s": 20}) as made:
        await made.ask()
        text = "#big# " + "x" * 8_000_000
        body = json.dumps({"model": "openai", "messages": [{"role": "user", "content": text}]}).encode()
        async with probing(made.port, made.pid) as lags:
            for _ in range(scale.n(5, 50)):
                await made.ask(body=body, counted=False, patience=30)
        made.inc.ledger[:] = [call for call in made.inc.ledger if call.mark != "big"]
        made.facts["lag_p50_ms"] = round(1000 * quantile(lags, 0.5), 2)
        made.facts["lag_max_ms"] = round(1000 * max(lags), 1)
        return await made.finish()


def judge_loop_block(evidence: Evidence) -> list[str]:
    # The waiting for a processor is taken off, so that these are the loop's own and hold on a busy machine too.
    return at_most(evidence, "lag_max_ms", 100) + at_most(evidence, "lag_p50_ms", 10) + only(evidence, "ok")


async def unknown_things(scale: Scale) -> Evidence:
    async with world() as made:
        extra = {"brand_new_field": {"a": [1, 2, {"b": None}]}, "x_zahl": 1.5, "ünïcode": "ß"}
        for dialect in DIALECTS:
            await made.ask(dialect, **extra)
        made.facts["dropped_fields"] = sum(
            json.loads(call.body).get(name) != value for call in made.inc.ledger for name, value in extra.items()
        )
        for dialect in DIALECTS:
            await made.ask(dialect, workload="no-such-workload")
        made.facts["wrong_404"] = sum(s.status != 404 or s.outcome != "error" for s in made.saw[len(DIALECTS) :])
        return await made.finish()


def judge_unknown_things(evidence: Evidence) -> list[str]:
    return none_of(evidence, "dropped_fields") + none_of(evidence, "wrong_404") + only(evidence, "ok", "error")


def _plant_odd(evidence: Evidence) -> None:
    evidence.facts["odd"] = [*evidence.facts["odd"], "depth 100,000: status 500, connection fin"]


def _plant_leak(evidence: Evidence) -> None:
    evidence.facts["leaks"] = [*evidence.facts["leaks"], "cookie reached the provider"]


ROWS = [
    Row(
        11,
        "bodies beyond the limit, declared or not",
        "413 early, memory bounded",
        big_bodies,
        judge_big_bodies,
        plant_fact("rss_peak_mb", 900.0),
    ),
    Row(
        13,
        "slowloris: trickled heads, bodies, silence",
        "freed at the deadline, honest clients served",
        slowloris,
        judge_slowloris,
        plant_fact("held_max_s", 290.0),
    ),
    Row(
        17,
        "request smuggling",
        "refused or read in one way only, framing written anew",
        smuggled,
        judge_smuggled,
        plant_fact("smuggled", ["CL.TE"] * 9),
    ),
    Row(24, "hostile JSON", "400 or passed on, never 500, never another model", bad_json, judge_bad_json, _plant_odd),
    Row(
        25,
        "forged, internal, hop-by-hop and huge headers",
        "nothing of them passes, 431 for too much",
        forged_headers,
        judge_forged_headers,
        _plant_leak,
    ),
    Row(
        26,
        "bodies of 8 MB",
        "the event loop goes on",
        loop_block,
        judge_loop_block,
        plant_fact("lag_max_ms", 2000.0),
    ),
    Row(
        28,
        "unknown fields and models",
        "fields untouched; unknown workload: 404 in the caller's dialect",
        unknown_things,
        judge_unknown_things,
        plant_user_failure,
    ),
]
